import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { Load, assertAllAnswered } from './support/load.ts'
import { ownKafka } from './support/own.ts'
import { startRoute, until } from './support/route.ts'

test('calls under load are all answered when Kafka restarts', async (t) => {
  const kafka = await ownKafka(t)
  const route = await startRoute(t, {
    brokers: kafka.brokers,
    method: { timeoutMilliseconds: 30_000 },
    worker: { retry: { maxAttempts: 3 } },
  })
  const load = new Load(route, { perSecond: 100, instruction: { sleep: 5 }, deadline: 30_000 })
  await until('the load runs', () => load.answered > 100)
  const brokenAt = performance.now()
  await kafka.kill('SIGKILL')
  await kafka.start()
  const upAgain = Math.round(performance.now() - brokenAt)
  const goal = load.sent + 100
  await until('calls are answered again', () => load.answered > goal, 30_000)
  const answers = await load.stop()
  const runs = [...route.runs().values()]
  t.diagnostic(
    `Kafka was back after ${upAgain} ms; ${answers.length} calls, ${runs.filter((count) => count > 1).length} ran again, ` +
      `slowest ${Math.round(Math.max(...answers.map(({ milliseconds }) => milliseconds)))} ms`,
  )
  assertAllAnswered(answers)
  assert.equal(runs.length, answers.length)
  await until('every offset is committed', async () => (await route.lag()) === 0)
})

test('with Kafka stopped no call is answered and none is invented', async (t) => {
  const kafka = await ownKafka(t)
  const route = await startRoute(t, { brokers: kafka.brokers })
  assert.equal((await route.call({ id: 'before' })).code, 0)
  await kafka.stop()
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, number) => route.call({ id: `stopped-${number}` }, { deadline: 2000 })),
  )
  const codes = new Set(answers.map(({ code }) => code))
  for (const code of codes)
    assert.ok(code === GrpcStatus.UNAVAILABLE || code === GrpcStatus.DEADLINE_EXCEEDED, `status ${code}`)
  for (const { reply, milliseconds } of answers) {
    assert.equal(reply, undefined)
    assert.ok(milliseconds < 3000, `refused after ${Math.round(milliseconds)} ms`)
  }
  assert.deepEqual([...route.runs().keys()], ['before'])

  await kafka.start()
  let last = -1
  await until(
    'calls are answered again',
    async () => {
      last = (await route.call({ id: 'after', reply: 'back' }, { deadline: 3000 })).code
      return last === 0
    },
    30_000,
  )
  // What was refused may stand on Kafka only where the proxy said that it cannot tell; nothing else may have run.
  const extra = [...route.runs().keys()].filter((id) => id !== 'before' && id !== 'after')
  assert.deepEqual(extra, [], 'a call ran after its caller was refused')
})
