/** Time: the deadline travels, the nearer one wins, and who goes away stops waiting and nothing else. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { startRoute, until } from './support/route.ts'

/** How much later than asked a timer may fire on a busy machine. */
const SLACK_MILLISECONDS = 1000

test('the deadline of a call', async (t) => {
  const route = await startRoute(t)
  const [proxy] = route.proxies
  assert.ok(proxy)
  const began = (id: string) => route.ledger().find((entry) => entry.event === 'began' && entry.id === id)
  const ended = (id: string) => route.ledger().some((entry) => entry.event === 'ended' && entry.id === id)
  assert.equal((await route.call({ id: 'warm' })).code, 0)

  await t.test('a call that takes longer is DEADLINE_EXCEEDED at the deadline', async () => {
    const answer = await route.call({ id: 'long', sleep: 3000 }, { deadline: 700 })
    assert.equal(answer.code, GrpcStatus.DEADLINE_EXCEEDED)
    assert.ok(answer.milliseconds >= 690, `after ${answer.milliseconds} ms`)
    assert.ok(answer.milliseconds < 700 + SLACK_MILLISECONDS, `after ${answer.milliseconds} ms`)
  })

  await t.test('the proxy ends such a call too, whatever its client does', async () => {
    await until(
      'nothing is in flight',
      async () => (await route.metric(proxy, 'grpc_kafka_calls_in_flight')) === 0,
      10_000,
    )
    // Whether the client's reset says so or its deadline, on a busy machine nobody can tell.
    const handled = (code: string) => route.metric(proxy, 'grpc_server_handled_total', `grpc_code="${code}"`)
    assert.equal((await handled('DeadlineExceeded')) + (await handled('Canceled')), 1)
  })

  await t.test('the handler gets the time that remains', () => {
    const remaining = began('long')?.remaining ?? 0
    assert.ok(remaining > 200 && remaining <= 700, `${remaining} ms remained`)
  })

  await t.test("a deadline longer than the resource's does not win", async () => {
    const route3 = began('warm')
    assert.ok(route3 && route3.remaining > 1500 && route3.remaining <= 3000, `${route3?.remaining} ms remained of 20 s`)
    const answer = await route.call({ id: 'beyond', sleep: 6000 }, { deadline: 20_000 })
    assert.equal(answer.code, GrpcStatus.DEADLINE_EXCEEDED)
    assert.ok(
      answer.milliseconds >= 2990 && answer.milliseconds < 3000 + SLACK_MILLISECONDS,
      `after ${answer.milliseconds} ms`,
    )
    // Of the proxy, the worker and the handler one is first.
    assert.match(
      answer.details,
      /no result before the deadline|deadline passed before a worker finished|did not answer in time|Deadline exceeded/,
    )
  })

  await t.test('a call whose client cancels ends at once, and its record runs to its end', async () => {
    const controller = new AbortController()
    const answer = route.call({ id: 'cancelled', sleep: 4000 }, { signal: controller.signal })
    await until('the handler began', () => began('cancelled') !== undefined)
    const at = performance.now()
    controller.abort()
    assert.equal((await answer).code, GrpcStatus.CANCELLED)
    assert.ok(performance.now() - at < SLACK_MILLISECONDS)
    await until(
      'the proxy stopped waiting',
      async () => (await route.metric(proxy, 'grpc_kafka_calls_in_flight')) === 0,
      5000,
    )
    assert.equal(ended('cancelled'), false, 'the proxy let go before the handler was done')
    await until('the handler ends', () => ended('cancelled'))
    assert.equal(route.runs().get('cancelled'), 1)
  })

  await t.test('a deadline in the past is DEADLINE_EXCEEDED without a run', async () => {
    const before = await route.records()
    const answer = await route.call({ id: 'past' }, { deadline: -50 })
    assert.equal(answer.code, GrpcStatus.DEADLINE_EXCEEDED)
    assert.equal(await route.records(), before)
  })

  await t.test(
    'a deadline of ninety days is as good as any: grpc-js would take it for one that has passed',
    async () => {
      const answer = await route.call({ id: 'patient', reply: 'yes' }, { deadline: 90 * 86_400_000 })
      assert.deepEqual([answer.code, answer.reply?.toString()], [0, 'yes'], answer.details)
    },
  )

  await t.test('when all have ended no offset waits', async () => {
    await until('the lag is 0', async () => (await route.lag()) === 0)
  })
})

test("the resource's own deadline holds where the client has none", async (t) => {
  const route = await startRoute(t, { method: { timeoutMilliseconds: 600 } })
  const answer = await route.call({ id: 'unbounded', sleep: 3000 }, { deadline: Infinity })
  assert.equal(answer.code, GrpcStatus.DEADLINE_EXCEEDED)
  assert.ok(
    answer.milliseconds >= 590 && answer.milliseconds < 600 + SLACK_MILLISECONDS,
    `after ${answer.milliseconds} ms`,
  )
  const remaining = route.ledger()[0]?.remaining ?? 0
  assert.ok(remaining > 0 && remaining <= 600, `${remaining} ms remained`)
})
