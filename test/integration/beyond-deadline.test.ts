/** Calls that go on when nobody waits for them any more: `onExpired: Continue`. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { idOfKey, withKey } from './support/keyed.ts'
import { PATIENT, startRoute, until } from './support/route.ts'
import { OutcomeReader, readTopic } from './support/topic.ts'

const RETRY = {
  maxAttempts: 3,
  backoff: { initialMilliseconds: 1500, factorPercent: 100, jitterPercent: 0 },
  onExpired: 'Continue',
} as const

test('a call that goes on beyond its deadline', async (t) => {
  const route = await startRoute(t, { retryTopics: 1, method: PATIENT, worker: { retry: RETRY } })
  const outcomes = new OutcomeReader(route)
  t.after(() => outcomes.close())
  const attempts = (id: string) => route.ledger().filter((entry) => entry.event === 'began' && entry.id === id).length
  const busy = (id: string, failures = 9) => ({
    id,
    status: GrpcStatus.UNAVAILABLE,
    details: 'busy',
    failures,
    reply: 'done',
  })

  await t.test('is tried again until it succeeds, and gives that to whoever comes with its key', async () => {
    const first = await route.call(busy('later', 2), { metadata: withKey('later'), deadline: 1000 })
    assert.equal(first.code, GrpcStatus.DEADLINE_EXCEEDED)
    const second = await route.call(busy('later', 2), { metadata: withKey('later') })
    assert.deepEqual([second.code, second.reply?.toString()], [0, 'done'])
    assert.equal(attempts('later'), 3)
  })

  await t.test('is a dead letter when its attempts are used up', async () => {
    const first = await route.call(busy('never'), { metadata: withKey('never'), deadline: 1000 })
    assert.equal(first.code, GrpcStatus.DEADLINE_EXCEEDED)
    const outcome = await outcomes.settled(idOfKey('never'))
    assert.equal(outcome.state, 'DeadLettered')
    assert.equal((await readTopic(route, 1, `${route.topic}.dead`)).length, 1)
    assert.equal(attempts('never'), 3)
  })

  await t.test('waits for workers that are away', async () => {
    const worker = route.workers[0]!
    worker.process.kill('SIGTERM')
    await worker.process.exited
    const first = await route.call({ id: 'waits', reply: 'done' }, { metadata: withKey('waits'), deadline: 1000 })
    assert.equal(first.code, GrpcStatus.DEADLINE_EXCEEDED)
    await route.startWorker()
    const second = await route.call({ id: 'waits', reply: 'done' }, { metadata: withKey('waits') })
    assert.deepEqual([second.code, second.reply?.toString()], [0, 'done'])
    assert.equal(attempts('waits'), 1)
    await until('no offset waits', async () => (await route.lag()) === 0)
  })
})
