import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { startRoute, until } from './support/route.ts'
import { headerTexts, readTopic } from './support/topic.ts'

test('what the policy says about a failed attempt', async (t) => {
  const route = await startRoute(t, {
    method: { timeoutMilliseconds: 20_000 },
    worker: {
      retry: { maxAttempts: 3, backoff: { initialMilliseconds: 300, factorPercent: 200, jitterPercent: 0 } },
    },
  })
  const begun = (id: string) => route.ledger().filter((entry) => entry.event === 'began' && entry.id === id)
  const attempts = (id: string) => begun(id).map(({ attempt }) => attempt)

  await t.test('the handler is told the call id and the number of the attempt', async () => {
    assert.equal((await route.call({ id: 'told', status: GrpcStatus.UNAVAILABLE, failures: 2 })).code, 0)
    const entries = begun('told')
    assert.deepEqual(attempts('told'), [1, 2, 3])
    assert.match(entries[0]?.callId ?? '', /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    assert.equal(new Set(entries.map(({ callId }) => callId)).size, 1)
  })

  await t.test('a retryable status is tried again after a growing pause, until it works', async () => {
    const answer = await route.call({ id: 'grows', status: GrpcStatus.UNAVAILABLE, failures: 2, reply: 'at last' })
    assert.deepEqual({ code: answer.code, reply: answer.reply?.toString() }, { code: 0, reply: 'at last' })
    const [first = 0, second = 0, third = 0] = begun('grows').map(({ at }) => at)
    assert.ok(second - first >= 299, `${second - first} ms`)
    assert.ok(third - second >= 599, `${third - second} ms`)
  })

  await t.test(
    'used-up attempts give the caller the last status at once, and the record goes to the failure topic',
    async () => {
      const answer = await route.call({
        id: 'hopeless',
        status: GrpcStatus.UNAVAILABLE,
        details: 'no luck',
        trailing: { why: 'x' },
      })
      assert.deepEqual(
        { code: answer.code, details: answer.details, why: answer.trailing.get('why') },
        { code: GrpcStatus.UNAVAILABLE, details: 'no luck', why: ['x'] },
      )
      assert.deepEqual(attempts('hopeless'), [1, 2, 3])
      const lastAt = begun('hopeless')[2]?.at ?? 0
      const answeredAt = Date.now()
      assert.ok(answeredAt - lastAt < 1500, `answered ${answeredAt - lastAt} ms after the last attempt`)
      const dead = (await readTopic(route, 1, `${route.topic}.dead`)).find(({ value }) => value?.includes('hopeless'))
      assert.ok(dead)
      assert.match(headerTexts(dead, 'dead-reason')[0] ?? '', /^attempts used up, last status 14/)
      assert.deepEqual(headerTexts(dead, 'dead-attempts'), ['3'])
      assert.deepEqual(headerTexts(dead, 'dead-topic'), [route.topic])
    },
  )

  await t.test('a status that is not retryable is the answer at once', async () => {
    const answer = await route.call({ id: 'final', status: GrpcStatus.INVALID_ARGUMENT, details: 'never right' })
    assert.deepEqual(
      { code: answer.code, details: answer.details },
      { code: GrpcStatus.INVALID_ARGUMENT, details: 'never right' },
    )
    assert.deepEqual(attempts('final'), [1])
    assert.equal(await route.records(`${route.topic}.dead`), 1)
  })

  await t.test(
    'a pause that would outlast the deadline is not begun: the caller gets the status that there is',
    async () => {
      const answer = await route.call(
        { id: 'short', status: GrpcStatus.UNAVAILABLE, details: 'busy' },
        { deadline: 700 },
      )
      assert.deepEqual(
        { code: answer.code, details: answer.details },
        { code: GrpcStatus.UNAVAILABLE, details: 'busy' },
      )
      assert.ok(attempts('short').length < 3)
      assert.equal(await route.records(`${route.topic}.dead`), 1)
    },
  )

  await t.test('calls that wait for their next attempt hold no other call up', async () => {
    const waiting = route.call({ id: 'waits', status: GrpcStatus.UNAVAILABLE, failures: 2 })
    await until('the first attempt failed', () => begun('waits').length === 1)
    const { code, milliseconds } = await route.call({ id: 'passes' })
    assert.equal(code, 0)
    assert.ok(milliseconds < 600, `${Math.round(milliseconds)} ms`)
    assert.deepEqual(attempts('waits').length < 3, true, 'the other call was over already')
    assert.equal((await waiting).code, 0)
  })

  await t.test('when all have ended no offset waits', async () => {
    await until('every offset is committed', async () => (await route.lag()) === 0)
  })
})
