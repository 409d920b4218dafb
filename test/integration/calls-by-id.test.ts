/** Results by id: the service grpckafka.v1.Calls beside the user's own. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { atEnd } from './support/clean-up.ts'
import { CallsClient, callIdIn, statusOf } from './support/calls-client.ts'
import { decodeStatus } from './support/google-status.ts'
import { withKey } from './support/keyed.ts'
import { ownRedis } from './support/own.ts'
import { PATIENT, startRoute, until } from './support/route.ts'
import type { Route, RouteOptions } from './support/route.ts'

const ONE_WAY = { name: 'Do', ...PATIENT, delivery: 'OneWay' } as const
const IMPATIENT = { name: 'Also', timeoutMilliseconds: 1500 } as const

async function callsRoute(t: TestContext, options: RouteOptions = {}) {
  const route = await startRoute(t, {
    proxies: 2,
    proxy: { methods: [ONE_WAY, IMPATIENT] },
    worker: { methods: [{ name: 'Do', ...PATIENT }, IMPATIENT] },
    ...options,
  })
  // Another replica than the one that took the calls.
  const calls = new CallsClient(route.proxies[1]!.port)
  atEnd(t, () => calls.close())
  return { route, calls }
}

async function oneWay(route: Route, instruction: object, metadata = withKey()): Promise<string> {
  const answer = await route.call(Buffer.from(JSON.stringify(instruction)), { metadata })
  assert.equal(answer.code, 0, answer.details)
  return callIdIn(answer.trailing)
}

test('a call that is known by its id', async (t) => {
  const { route, calls } = await callsRoute(t)

  await t.test('is pending until it is done, and then has its answer, at any replica', async () => {
    const id = await oneWay(route, { id: 'known', sleep: 1500, reply: 'done', trailing: { 'x-from-handler': 'yes' } })
    const pending = await calls.ask('Get', { id })
    assert.deepEqual([pending.id, pending.done, pending.metadata.state], [id, false, 'PENDING'])
    assert.equal(pending.metadata.method, 'test.Work/Do')
    assert.ok(Number(pending.metadata.offset) >= 0 && Number(pending.metadata.partition) >= 0)
    const done = await calls.ask('Wait', { id })
    const { state, attempts, trailingMetadata, partition, offset } = done.metadata
    assert.deepEqual([done.done, done.response?.toString(), state, attempts], [true, 'done', 'ANSWERED', 1])
    assert.deepEqual([partition, offset], [pending.metadata.partition, pending.metadata.offset])
    assert.deepEqual(
      trailingMetadata.map(({ name, value }) => [name, value.toString()]),
      [['x-from-handler', 'yes']],
    )
    assert.deepEqual(await calls.ask('Get', { id }), done)
  })

  await t.test("has the handler's own status where that was its answer", async () => {
    const id = await oneWay(route, { id: 'refused', status: GrpcStatus.ALREADY_EXISTS, details: 'twice' })
    const { error, result } = await calls.ask('Wait', { id })
    assert.deepEqual([result, error?.code, error?.message], ['error', GrpcStatus.ALREADY_EXISTS, 'twice'])
  })

  await t.test('with an idempotency key is found by the id that all who have the key were told', async () => {
    const instruction = { id: 'keyed', reply: 'once' }
    const metadata = withKey('found by id')
    const ids = [await oneWay(route, instruction, metadata), await oneWay(route, instruction, metadata)]
    assert.equal(ids[0], ids[1])
    assert.equal((await calls.ask('Wait', { id: ids[0] })).response?.toString(), 'once')
  })

  await t.test('is told as it is when the time to wait is over, and the wait ends with the caller', async () => {
    const id = await oneWay(route, { id: 'long', sleep: 6000 })
    const began = performance.now()
    const { done } = await calls.ask('Wait', { id, timeout: { seconds: 0, nanos: 700_000_000 } })
    const took = performance.now() - began
    assert.ok(!done && took >= 690, `after ${took} ms`)
    assert.equal(await statusOf(calls.ask('Wait', { id }, 500)), GrpcStatus.DEADLINE_EXCEEDED)
    const lookups = () => route.metric(route.proxies[1]!, 'grpc_kafka_result_lookups')
    await until('nobody waits', async () => (await lookups()) === 0)
  })

  await t.test('is in the details of the error where a queued call ran out of its deadline', async () => {
    const answer = await route.call({ id: 'late', sleep: 4000 }, { method: '/test.Work/Also' })
    assert.equal(answer.code, GrpcStatus.DEADLINE_EXCEEDED)
    const id = callIdIn(answer.trailing)
    const status = decodeStatus(answer.trailing.get('grpc-status-details-bin')[0] as Buffer)
    assert.deepEqual(status, {
      code: GrpcStatus.DEADLINE_EXCEEDED,
      message: answer.details,
      retryDelayMilliseconds: [],
      requestIds: [id],
    })
    const { done, error, metadata } = await calls.ask('Wait', { id })
    assert.deepEqual([done, error?.code, metadata.state], [true, GrpcStatus.DEADLINE_EXCEEDED, 'EXPIRED'])
  })

  await t.test('and no other: what was never told, is malformed, or was answered, is not found', async () => {
    const answered = await route.call({ id: 'answered' }, { method: '/test.Work/Also' })
    assert.equal(answered.code, 0)
    for (const method of ['Get', 'Wait', 'Cancel'] as const) {
      assert.equal(await statusOf(calls.ask(method, { id: randomUUID() })), GrpcStatus.NOT_FOUND)
      assert.equal(await statusOf(calls.ask(method, { id: callIdIn(answered.trailing) })), GrpcStatus.NOT_FOUND)
      for (const id of ['', 'a', '../x', `${randomUUID()}0`])
        assert.equal(await statusOf(calls.ask(method, { id })), GrpcStatus.INVALID_ARGUMENT)
    }
  })

  await t.test('is not told of to who calls another service, though both have one Redis', async (part) => {
    const other = await callsRoute(part, { workers: 0, proxies: 2 })
    const id = await oneWay(route, { id: 'private' })
    assert.equal((await calls.ask('Wait', { id })).done, true)
    for (const method of ['Get', 'Wait', 'Cancel'] as const)
      assert.equal(await statusOf(other.calls.ask(method, { id })), GrpcStatus.NOT_FOUND)
  })
})

test('a call that is cancelled', async (t) => {
  const { route, calls } = await callsRoute(t, {
    proxies: 2,
    partitions: 1,
    worker: {
      methods: [{ name: 'Do', ...PATIENT }, IMPATIENT],
      concurrency: 1,
    },
  })
  const cancelled = [true, GrpcStatus.CANCELLED, 'CANCELLED']
  const seen = ({ done, error, metadata: { state } }: Awaited<ReturnType<CallsClient['ask']>>) => [
    done,
    error?.code,
    state,
  ]

  await t.test('before it has started does not run', async () => {
    const first = await oneWay(route, { id: 'first', sleep: 3000 })
    const second = await oneWay(route, { id: 'second' })
    await until('the first runs', () => route.runs().has('first'))
    assert.deepEqual(seen(await calls.ask('Cancel', { id: second })), cancelled)
    assert.deepEqual(seen(await calls.ask('Get', { id: second })), cancelled)
    assert.equal((await calls.ask('Wait', { id: first })).metadata.state, 'ANSWERED')
    await until('every offset is committed', async () => (await route.lag()) === 0)
    assert.ok(!route.runs().has('second'))
  })

  await t.test('while it runs is cut off, and frees its place', async () => {
    const id = await oneWay(route, { id: 'running', sleep: 60_000 })
    await until('it runs', () => route.runs().has('running'))
    assert.deepEqual(seen(await calls.ask('Cancel', { id })), cancelled)
    const next = await oneWay(route, { id: 'next', reply: 'free' })
    assert.equal((await calls.ask('Wait', { id: next })).response?.toString(), 'free')
    assert.deepEqual(seen(await calls.ask('Get', { id })), cancelled)
  })

  await t.test('when it is done keeps its answer', async () => {
    const id = await oneWay(route, { id: 'done', reply: 'kept' })
    await calls.ask('Wait', { id })
    const { response, metadata } = await calls.ask('Cancel', { id })
    assert.deepEqual([response?.toString(), metadata.state], ['kept', 'ANSWERED'])
  })
})

test('while Redis is away results are UNAVAILABLE, who waits goes on, and what was told is known when it is back', async (t) => {
  const redis = await ownRedis(t)
  const { route, calls } = await callsRoute(t, { redisUrl: redis.url })
  const before = await oneWay(route, { id: 'before', sleep: 3000, reply: 'waited for' })
  const waiting = calls.ask('Wait', { id: before }, 60_000)
  const lookups = () => route.metric(route.proxies[1]!, 'grpc_kafka_result_lookups')
  await until('it waits', async () => (await lookups()) === 1)
  await redis.kill('SIGKILL')
  const during = await oneWay(route, { id: 'during', reply: 'known' })
  assert.equal(await statusOf(calls.ask('Get', { id: before })), GrpcStatus.UNAVAILABLE)
  await redis.start()
  assert.equal((await waiting).response?.toString(), 'waited for')
  await until('it is known', async () => (await statusOf(calls.ask('Get', { id: during }))) === 0)
  assert.equal((await calls.ask('Wait', { id: during })).response?.toString(), 'known')
})

test('calls that go on beyond their deadlines are found by their ids with what becomes of them', async (t) => {
  const short = { timeoutMilliseconds: 2500 }
  const { route, calls } = await callsRoute(t, {
    proxy: {
      methods: [
        { ...ONE_WAY, ...short },
        { ...IMPATIENT, ...short },
      ],
    },
    worker: {
      methods: [
        { ...IMPATIENT, name: 'Do', ...short },
        { ...IMPATIENT, ...short },
      ],
      retry: {
        maxAttempts: 2,
        backoff: { initialMilliseconds: 3000, factorPercent: 100, jitterPercent: 0 },
        onExpired: 'Continue',
      },
    },
  })
  const busy = { status: GrpcStatus.UNAVAILABLE, details: 'busy', failures: 1, reply: 'done' }
  const [told, late] = await Promise.all([
    oneWay(route, { id: 'told', ...busy }),
    route.call({ id: 'late', ...busy }, { method: '/test.Work/Also' }),
  ])
  assert.equal(late.code, GrpcStatus.DEADLINE_EXCEEDED)
  for (const id of [told, callIdIn(late.trailing)]) {
    const { response, metadata } = await calls.ask('Wait', { id })
    assert.deepEqual([response?.toString(), metadata.state, metadata.attempts], ['done', 'ANSWERED', 2])
  }
})

test('a replica that ends', async (t) => {
  const { route, calls } = await callsRoute(t, {
    proxies: 3,
    proxy: { methods: [ONE_WAY, { ...IMPATIENT, ...PATIENT }], drainMilliseconds: 500 },
    worker: {
      methods: [
        { name: 'Do', ...PATIENT },
        { ...IMPATIENT, ...PATIENT },
      ],
    },
  })
  const other = new CallsClient(route.proxies[0]!.port)
  atEnd(t, () => other.close())

  await t.test('sends who waits to another, which knows as much', async () => {
    const id = await oneWay(route, { id: 'moved', sleep: 3000, reply: 'there' })
    const waiting = statusOf(calls.ask('Wait', { id }))
    await until('it waits', async () => (await route.metric(route.proxies[1]!, 'grpc_kafka_result_lookups')) === 1)
    const ended = route.proxies[1]!.process.end()
    assert.equal(await waiting, GrpcStatus.UNAVAILABLE)
    assert.equal(await ended, 0)
    assert.equal((await other.ask('Wait', { id })).response?.toString(), 'there')
  })

  await t.test('leaves the calls that it cuts off known to another', async () => {
    const cut = route.call({ id: 'cut', sleep: 3000, reply: 'kept' }, { method: '/test.Work/Also', proxy: 2 })
    await until('it runs', () => route.runs().has('cut'))
    assert.equal(await route.proxies[2]!.process.end(), 0)
    const answer = await cut
    assert.equal(answer.code, GrpcStatus.UNAVAILABLE)
    const { response } = await other.ask('Wait', { id: callIdIn(answer.trailing) })
    assert.equal(response?.toString(), 'kept')
  })
})
