import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { TestContext } from 'node:test'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { formatCallId } from '../../../../sidecar/call-id.ts'
import { GrpcStatus } from '../../../../sidecar/errors.ts'
import { CallsService } from '../../../../sidecar/proxy/calls-service.ts'
import { encodeStatus, requestInfo } from '../../../../sidecar/proxy/status-details.ts'
import type { KnownCall } from '../../../../sidecar/results/call-results.ts'
import type { CallState } from '../../../../sidecar/results/call-state.ts'
import { OutcomeFormatError } from '../../../../sidecar/results/outcome.ts'
import type { Answer } from '../../../../sidecar/results/outcome.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'
import { CallsClient, statusOf } from '../../../integration/support/calls-client.ts'

const ID = Buffer.alloc(16, 7)
const NAME = formatCallId(ID)
const ENQUEUED: CallState = {
  state: 'Enqueued',
  requestHash: Buffer.alloc(16),
  producedBefore: false,
  claimedAgain: false,
  deadline: 5000,
  token: Buffer.alloc(16),
  leaseUntil: 0,
}
const answer = (part: Partial<Answer>): Answer => ({
  status: 0,
  details: '',
  initialMetadata: [],
  trailingMetadata: [],
  message: Buffer.from('done'),
  ...part,
})
const answered = (part: Partial<Answer>): CallState => ({
  state: 'Answered',
  place: { partition: 3, offset: 2 ** 40, attempts: 2 },
  ...answer(part),
})

async function setUp(t: TestContext) {
  const metrics = new Metrics()
  const gate: { state: 'Starting' | 'Open' | 'Draining' } = { state: 'Open' }
  const cancelled: KnownCall[] = []
  const redis = {
    known: { id: ID, method: 's.S/M', caller: '', deadline: 5000, place: undefined, state: ENQUEUED } as
      KnownCall | undefined,
    failure: undefined as Error | undefined,
    pendingLooks: 0,
  }
  const answerOr = <T>(value: T): Promise<T> =>
    redis.failure === undefined ? Promise.resolve(value) : Promise.reject(redis.failure)
  const calls = new CallsService({
    results: {
      find: () => answerOr(redis.known),
      isPending: () => {
        redis.pendingLooks++
        return answerOr(redis.known?.state.state === 'Enqueued')
      },
      cancel: (call) => {
        cancelled.push(call)
        redis.known = { ...call, state: { state: 'Cancelled' } }
        return answerOr(undefined)
      },
    },
    gate,
    service: 's.S',
    maxMessageBytes: 1000,
    monotonicNow: () => performance.now(),
    metrics,
  })
  const server = new Server()
  calls.addTo(server)
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  )
  const client = new CallsClient(port)
  t.after(() => {
    client.close()
    server.forceShutdown()
  })
  const become = (state: CallState): void => {
    redis.known = redis.known && { ...redis.known, state }
  }
  return { calls, client, gate, redis, cancelled, become, metrics }
}

suite('Get', () => {
  test('says of each state what it is, and what came of it', async (t) => {
    const { client, become } = await setUp(t)
    const seen = async (state: CallState) => {
      become(state)
      const { done, metadata, error, response } = await client.ask('Get', { id: NAME })
      return [metadata.state, done, error?.code, response?.toString()]
    }
    assert.deepEqual(await seen(ENQUEUED), ['PENDING', false, undefined, undefined])
    assert.deepEqual(await seen({ ...ENQUEUED, state: 'Claimed' }), ['PENDING', false, undefined, undefined])
    assert.deepEqual(await seen(answered({})), ['ANSWERED', true, undefined, 'done'])
    assert.deepEqual(await seen(answered({ message: Buffer.alloc(0) })), ['ANSWERED', true, undefined, ''])
    assert.deepEqual(await seen(answered({ status: 6, message: null })), ['ANSWERED', true, 6, undefined])
    assert.deepEqual(await seen({ state: 'DeadLettered', revision: 0, ...answer({ status: 14, message: null }) }), [
      'DEAD_LETTERED',
      true,
      14,
      undefined,
    ])
    assert.deepEqual(await seen({ state: 'Expired', started: 'No' }), ['EXPIRED', true, 4, undefined])
    assert.deepEqual(await seen({ state: 'Cancelled' }), ['CANCELLED', true, 1, undefined])
  })

  test("tells where it was, how often it started, and the handler's metadata", async (t) => {
    const { client, become } = await setUp(t)
    become(answered({ trailingMetadata: [['a-bin', Buffer.from([0, 255])]] }))
    const { id, metadata } = await client.ask('Get', { id: NAME })
    assert.equal(id, NAME)
    const { method, partition, offset, attempts, trailingMetadata } = metadata
    assert.deepEqual([method, partition, offset, attempts], ['s.S/M', 3, 2 ** 40, 2])
    assert.deepEqual(trailingMetadata, [{ name: 'a-bin', value: Buffer.from([0, 255]) }])
  })

  test("has the handler's details in its error, and none where they cannot be read", async (t) => {
    const { client, become } = await setUp(t)
    const detailsOf = async (bytes: Buffer) => {
      become(answered({ status: 9, message: null, trailingMetadata: [['grpc-status-details-bin', bytes]] }))
      const { error } = await client.ask('Get', { id: NAME })
      return (error as unknown as { details: { type_url: string }[] }).details.map(({ type_url }) => type_url)
    }
    assert.deepEqual(await detailsOf(encodeStatus(9, 'no', requestInfo('x'))), [
      'type.googleapis.com/google.rpc.RequestInfo',
    ])
    assert.deepEqual(await detailsOf(Buffer.from('ffff', 'hex')), [])
  })

  test('finds nothing of what is not known, nor of another service', async (t) => {
    const { client, redis } = await setUp(t)
    redis.known = redis.known && { ...redis.known, method: 's.Secret/M' }
    assert.equal(await statusOf(client.ask('Get', { id: NAME })), GrpcStatus.NOT_FOUND)
    redis.known = undefined
    for (const method of ['Get', 'Wait', 'Cancel'] as const)
      assert.equal(await statusOf(client.ask(method, { id: NAME })), GrpcStatus.NOT_FOUND)
  })

  const failures: readonly (readonly [string, Error, number])[] = [
    ['Redis does not answer', new Error('the connection is closed'), GrpcStatus.UNAVAILABLE],
    ['its outcome cannot be read', new OutcomeFormatError('format 9'), GrpcStatus.INTERNAL],
  ]
  for (const [what, failure, status] of failures)
    test(`fails where ${what}`, async (t) => {
      const { client, redis } = await setUp(t)
      redis.failure = failure
      assert.equal(await statusOf(client.ask('Get', { id: NAME })), status)
    })
})

suite('Wait', () => {
  test('ends when there is an outcome, also where Redis is away meanwhile', async (t) => {
    const { client, redis, become } = await setUp(t)
    const waiting = client.ask('Wait', { id: NAME })
    while (redis.pendingLooks === 0) await new Promise((next) => setTimeout(next, 1))
    redis.failure = new Error('the connection is closed')
    const { pendingLooks } = redis
    while (redis.pendingLooks === pendingLooks) await new Promise((next) => setTimeout(next, 1))
    redis.failure = undefined
    become(answered({}))
    assert.equal((await waiting).response?.toString(), 'done')
  })

  for (const [what, timeout] of [
    ['no time', { seconds: 0, nanos: 0 }],
    ['a negative time', { seconds: -5, nanos: 0 }],
  ] as const)
    test(`for ${what} is a Get`, async (t) => {
      const { client, redis } = await setUp(t)
      assert.equal((await client.ask('Wait', { id: NAME, timeout })).done, false)
      assert.equal(redis.pendingLooks, 0)
    })

  test('is refused where too many wait, and taken again when they are gone', async (t) => {
    const { client, become, metrics } = await setUp(t)
    const all = Array.from({ length: 1030 }, () => statusOf(client.ask('Wait', { id: NAME })))
    const refused: number[] = []
    for (const one of all) void one.then((status) => status !== 0 && refused.push(status))
    while (refused.length < 6) await new Promise((next) => setTimeout(next, 1))
    assert.match(await metrics.expose(), /^grpc_kafka_result_lookups 1024$/m)
    become(answered({}))
    await Promise.all(all)
    assert.deepEqual(refused, Array(6).fill(GrpcStatus.RESOURCE_EXHAUSTED))
    assert.match(await metrics.expose(), /^grpc_kafka_result_lookups 0$/m)
    assert.equal((await client.ask('Wait', { id: NAME })).done, true)
  })

  test('ends with its caller', async (t) => {
    const { client, metrics } = await setUp(t)
    assert.equal(await statusOf(client.ask('Wait', { id: NAME }, 200)), GrpcStatus.DEADLINE_EXCEEDED)
    while (!/^grpc_kafka_result_lookups 0$/m.test(await metrics.expose()))
      await new Promise((next) => setTimeout(next, 1))
    const ended = /^grpc_server_handled_total\{[^}]*grpc_method="Wait"[^}]*grpc_code="Canceled"\} 1$/m
    assert.match(await metrics.expose(), ended)
  })

  test('is sent away by a replica that ends', async (t) => {
    const { client, calls, gate, redis } = await setUp(t)
    const waiting = statusOf(client.ask('Wait', { id: NAME }))
    while (redis.pendingLooks === 0) await new Promise((next) => setTimeout(next, 1))
    gate.state = 'Draining'
    calls.drain()
    assert.equal(await waiting, GrpcStatus.UNAVAILABLE)
    assert.equal(await statusOf(client.ask('Wait', { id: NAME })), GrpcStatus.UNAVAILABLE)
  })
})

suite('Cancel', () => {
  test('cancels what has no outcome', async (t) => {
    const { client, cancelled } = await setUp(t)
    const { done, metadata } = await client.ask('Cancel', { id: NAME })
    assert.deepEqual([done, metadata.state, cancelled.length], [true, 'CANCELLED', 1])
  })

  test('tells workers again of what is cancelled: who asks again may have had no answer, and they no word', async (t) => {
    const { client, cancelled, become } = await setUp(t)
    become({ state: 'Cancelled' })
    const { metadata } = await client.ask('Cancel', { id: NAME })
    assert.deepEqual([metadata.state, cancelled.length], ['CANCELLED', 1])
  })

  test('leaves what has one', async (t) => {
    const { client, cancelled, become } = await setUp(t)
    become(answered({}))
    const { response } = await client.ask('Cancel', { id: NAME })
    assert.deepEqual([response?.toString(), cancelled.length], ['done', 0])
  })
})
