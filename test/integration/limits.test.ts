/** Admission: what is too much is refused early, says which limit it was, and when to try again. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { PATIENT, startRoute, until } from './support/route.ts'
import type { Answer, Route } from './support/route.ts'
import { decodeStatus } from './support/google-status.ts'

const RATE = 40
const BURST = 10

const pushback = ({ trailing }: Answer): number => Number(trailing.get('grpc-retry-pushback-ms')[0])

test('a rate limit', async (t) => {
  const route = await startRoute(t, {
    method: PATIENT,
    proxy: { rateLimit: { requestsPerSecond: RATE, burst: BURST } },
  })
  const [proxy] = route.proxies
  assert.ok(proxy)
  await until('the bucket is full', async () => {
    const answer = await route.call({})
    await pause((1000 / RATE) * (BURST + 2))
    return answer.code === 0
  })

  const answers: Promise<Answer>[] = []
  const started = performance.now()
  while (performance.now() - started < 3000) {
    // What is due by now: a busy machine's pauses are longer.
    for (const due = (performance.now() - started) / 5; answers.length < due;) answers.push(route.call({}))
    await pause(4)
  }
  const seconds = (performance.now() - started) / 1000
  const settled = await Promise.all(answers)
  const refused = settled.filter(({ code }) => code === GrpcStatus.RESOURCE_EXHAUSTED)

  await t.test('lets its burst and its rate through, and no more', () => {
    const admitted = settled.filter(({ code }) => code === 0).length
    const expected = BURST + RATE * seconds
    t.diagnostic(
      `${settled.length} calls in ${seconds.toFixed(2)} s: ${admitted} admitted, ${expected.toFixed(0)} expected`,
    )
    assert.ok(settled.length > 1.5 * expected, 'there was more than enough load')
    assert.ok(admitted <= 1.05 * expected + 2, `${admitted} admitted, ${expected} expected`)
    // What a full bucket cannot take while a busy machine lets the load stand still is gone; the unit tests, whose clock
    // is their own, count to the call.
    assert.ok(admitted >= 0.75 * expected, `${admitted} admitted, ${expected} expected`)
    assert.equal(admitted + refused.length, settled.length, 'every other call was refused for its limit')
  })

  await t.test('refuses as RESOURCE_EXHAUSTED, naming the limit', () => {
    assert.deepEqual(
      [...new Set(refused.map(({ details }) => details))],
      ['the limit rateLimit.requestsPerSecond of this replica is reached'],
    )
  })

  await t.test('says when to try again, to libraries and to programs alike', () => {
    for (const answer of refused) {
      const wait = pushback(answer)
      assert.ok(Number.isInteger(wait) && wait >= 1 && wait <= 1000 / RATE + 1, `pushback of ${wait} ms`)
      const [details] = answer.trailing.get('grpc-status-details-bin')
      assert.ok(Buffer.isBuffer(details))
      assert.deepEqual(decodeStatus(details), {
        code: GrpcStatus.RESOURCE_EXHAUSTED,
        message: answer.details,
        retryDelayMilliseconds: [wait],
        requestIds: [],
      })
    }
  })

  await t.test('puts nothing of what it refuses on Kafka, and counts it', async () => {
    assert.equal(await route.metric(proxy, 'grpc_kafka_refusals_total', 'limit="RATE_LIMITED"'), refused.length)
    const handled = await route.metric(proxy, 'grpc_server_handled_total', 'grpc_code="OK"')
    assert.equal(await route.records(), handled)
  })
})

test('a rate limit at which calls may wait', async (t) => {
  const route = await startRoute(t, {
    method: PATIENT,
    proxy: { rateLimit: { requestsPerSecond: 10, burst: 1, maxWaiting: 8 } },
  })
  const waits = async (calls: number) => {
    await pause(300)
    return Promise.all(Array.from({ length: calls }, (_, index) => route.call({ id: `${calls}-${index}` })))
  }

  await t.test('lets those wait that come too early, each for its turn', async () => {
    const answers = await waits(9)
    assert.deepEqual(
      answers.map(({ code }) => code),
      answers.map(() => 0),
    )
    const times = answers.map(({ milliseconds }) => milliseconds)
    assert.ok(Math.max(...times) > 750, `the last waited ${Math.max(...times)} ms`)
    assert.ok(Math.max(...times) < 3000, `the last waited ${Math.max(...times)} ms`)
  })

  await t.test('refuses those above maxWaiting at once, naming it', async () => {
    const answers = await waits(13)
    const refused = answers.filter(({ code }) => code === GrpcStatus.RESOURCE_EXHAUSTED)
    assert.equal(refused.length, 4)
    for (const answer of refused) {
      assert.equal(answer.details, 'the limit rateLimit.maxWaiting of this replica is reached')
      assert.ok(answer.milliseconds < 700)
      assert.ok(pushback(answer) > 0)
    }
  })

  await t.test('refuses at once who could not be served before the deadline', async () => {
    await pause(300)
    const patient = Array.from({ length: 8 }, () => route.call({}))
    await until('five wait or more', async () => (await waitingCalls(route)) >= 5, 2000)
    const hurried = await route.call({ id: 'hurried' }, { deadline: 250 })
    assert.equal(hurried.code, GrpcStatus.RESOURCE_EXHAUSTED)
    assert.equal(hurried.details, 'the limit rateLimit.requestsPerSecond of this replica is reached')
    assert.ok((await Promise.all(patient)).every(({ code }) => code === 0))
  })

  await t.test('gives the place of one that goes away to the next', async () => {
    await pause(300)
    const controller = new AbortController()
    const leaving = Array.from({ length: 8 }, () => route.call({ id: 'leaving' }, { signal: controller.signal }))
    await until('five wait or more', async () => (await waitingCalls(route)) >= 5, 2000)
    controller.abort()
    await Promise.all(leaving)
    const next = await route.call({ id: 'next' })
    assert.equal(next.code, 0)
    assert.ok(next.milliseconds < 500, `waited ${next.milliseconds} ms`)
    assert.ok((route.runs().get('leaving') ?? 0) <= 4, 'those that left while they waited did not run')
  })
})

const waitingCalls = (route: Route): Promise<number> => {
  const [proxy] = route.proxies
  return proxy === undefined ? Promise.resolve(0) : route.metric(proxy, 'grpc_kafka_calls_waiting')
}

test('a bound on calls in flight', async (t) => {
  const route = await startRoute(t, { method: PATIENT, proxy: { maxInFlight: 3 } })
  const busy = Array.from({ length: 3 }, (_, index) => route.call({ id: `busy-${index}`, sleep: 800 }))
  await until('three calls run', () => route.runs().size === 3)

  await t.test('refuses what is above it, naming it', async () => {
    const answer = await route.call({ id: 'above' })
    assert.equal(answer.code, GrpcStatus.RESOURCE_EXHAUSTED)
    assert.equal(answer.details, 'the limit proxy.maxInFlight of this replica is reached')
    assert.ok(pushback(answer) > 0)
    assert.equal(route.runs().has('above'), false)
  })

  await t.test('takes calls again when others have ended', async () => {
    assert.deepEqual(
      (await Promise.all(busy)).map(({ code }) => code),
      [0, 0, 0],
    )
    assert.equal((await route.call({ id: 'after' })).code, 0)
  })

  await t.test('is given back by calls that fail, expire or are cancelled', async () => {
    await route.call({ status: GrpcStatus.INTERNAL })
    await route.call({ sleep: 1500 }, { deadline: 100 })
    const controller = new AbortController()
    const cancelled = route.call({ id: 'cancelled', sleep: 1500 }, { signal: controller.signal })
    await until('it runs', () => route.runs().has('cancelled'))
    controller.abort()
    await cancelled
    const answers = await Promise.all([1, 2, 3].map((index) => route.call({ id: `again-${index}` })))
    assert.deepEqual(
      answers.map(({ code }) => code),
      [0, 0, 0],
    )
  })
})

test('a bound on the bytes in flight refuses what is above it, naming it', async (t) => {
  const route = await startRoute(t, { method: PATIENT, proxy: { maxInFlightBytes: 1_048_576 } })
  const large = (id: string, sleep: number) =>
    Buffer.concat([Buffer.from(JSON.stringify({ id, sleep })), Buffer.alloc(700_000)])
  const first = route.call(large('first', 800))
  await until('the first call runs', () => route.runs().has('first'))
  const second = await route.call(large('second', 0))
  assert.equal(second.code, GrpcStatus.RESOURCE_EXHAUSTED)
  assert.match(second.details, /limit on request bytes in flight/)
  assert.equal((await route.call({ id: 'small' })).code, 0, 'a small call still fits')
  assert.equal((await first).code, 0)
  assert.equal((await route.call(large('third', 0))).code, 0)
})
