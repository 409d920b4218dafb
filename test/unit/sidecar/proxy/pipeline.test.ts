import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { TestContext } from 'node:test'
import { Metadata } from '@grpc/grpc-js'
import type { CallId } from '../../../../sidecar/call-id.ts'
import { parseConfig } from '../../../../sidecar/config.ts'
import type { Delivery, ProxyConfig } from '../../../../sidecar/config.ts'
import { callbackIn, decodeRecord } from '../../../../sidecar/kafka/record.ts'
import type { CallRecord } from '../../../../sidecar/kafka/record.ts'
import { Admission } from '../../../../sidecar/proxy/admission.ts'
import type { Call, End } from '../../../../sidecar/proxy/call.ts'
import type { Enqueued } from '../../../../sidecar/proxy/enqueuer.ts'
import { Gate } from '../../../../sidecar/proxy/gate.ts'
import type { CallHandle } from '../../../../sidecar/results/call-handles.ts'
import { LiveConfig } from '../../../../sidecar/live-config.ts'
import { callPipeline } from '../../../../sidecar/proxy/pipeline.ts'
import { QueueEstimate } from '../../../../sidecar/proxy/queue-estimate.ts'
import type { FlowReport } from '../../../../sidecar/results/flow-report.ts'
import type { Outcome } from '../../../../sidecar/results/outcome.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'

/** The shared clock runs this much ahead of the machine's. */
const AHEAD = 4000
const OK: Outcome = {
  state: 'Answered',
  status: 0,
  details: '',
  initialMetadata: [],
  trailingMetadata: [],
  message: Buffer.from('done'),
}

/** These calls have no idempotency key; idempotency.test.ts is about those that have. */
const NO_CLAIMS: Parameters<typeof callPipeline>[0]['claims'] = {
  ask: () => assert.fail(),
  keep: () => assert.fail(),
  forget: () => assert.fail(),
  enqueued: () => assert.fail(),
  giveBack: () => assert.fail(),
  storeOutcome: () => assert.fail(),
}

function setUp(t: TestContext, proxy: Partial<ProxyConfig['proxy']> = {}, claims = NO_CLAIMS) {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 })
  const parsed = parseConfig(
    {
      role: 'proxy',
      instance: 'p-1',
      service: { name: 's.S', topic: 't' },
      kafka: { brokers: ['k:1'] },
      redis: { url: 'redis://r:1' },
      admin: { port: 1 },
      proxy: { port: 1, methods: [{ name: 'M', cacheSeconds: 10 }] },
    },
    {},
  ) as ProxyConfig
  const config = { ...parsed, proxy: { ...parsed.proxy, ...proxy } }
  const live = new LiveConfig(config)
  const gate = new Gate()
  gate.open()
  const admission = new Admission(config.proxy)
  const queueEstimate = new QueueEstimate({ now: () => Date.now() + AHEAD })
  const enqueued: Enqueued[] = []
  const forgotten: Enqueued[] = []
  const waiting = new Map<string, (outcome: Outcome | undefined) => void>()
  const handles: CallHandle[] = []
  const onKepts: (() => void)[] = []
  const pipeline = callPipeline({
    live,
    gate,
    admission,
    queueEstimate,
    partitionOf: (key) => key.length,
    enqueuer: { add: (call) => enqueued.push(call), forget: (call) => forgotten.push(call) },
    waiters: {
      add: (id: CallId, onOutcome) => waiting.set(id.toString('hex'), onOutcome),
      remove: (id: CallId) => waiting.delete(id.toString('hex')),
    },
    handles: {
      keep: (handle, onKept) => {
        handles.push(handle)
        if (onKept !== undefined) onKepts.push(onKept)
      },
    },
    claims,
    nextClaimToken: () => Buffer.alloc(16, 1),
    clock: { now: () => Date.now() + AHEAD },
    localNow: () => Date.now(),
    monotonicNow: () => Date.now() - 1_000_000,
    metrics: new Metrics(),
  })
  let calls = 0
  const start = ({
    cacheSeconds = 0,
    partitionKey,
    delivery = 'Queued',
    cloudEvents = false,
    ...part
  }: {
    readonly clientDeadline?: number
    readonly metadata?: Metadata
    readonly message?: Buffer
    readonly cacheSeconds?: number
    readonly partitionKey?: string | undefined
    readonly delivery?: Delivery
    readonly cloudEvents?: boolean
  } = {}) => {
    const ends: End[] = []
    const id = Buffer.alloc(16, ++calls)
    const call = pipeline.start({
      id,
      method: {
        name: 's.S/M',
        delivery,
        timeoutMilliseconds: 3000,
        metadata: ['tenant'],
        cacheSeconds,
        partitionKey,
        cloudEvents,
      },
      message: Buffer.from('hello'),
      metadata: new Metadata(),
      clientDeadline: Infinity,
      startedAt: 0,
      respond: (end) => ends.push(end),
      ...part,
    })
    return { call, ends, answer: (outcome: Outcome | undefined) => waiting.get(id.toString('hex'))?.(outcome) }
  }
  const record = (index: number): CallRecord => {
    const decoded = decodeRecord((enqueued[index] as Enqueued).record)
    assert.equal(decoded.kind, 'Call')
    return decoded.record
  }
  /** Everything that a call could leave behind. */
  const left = () => ({ waiting: waiting.size, calls: admission.calls, bytes: admission.bytes })
  return { live, gate, admission, queueEstimate, enqueued, forgotten, waiting, handles, onKepts, start, record, left }
}

const NOTHING = { waiting: 0, calls: 0, bytes: 0 }
const failed = (code: string, retryAfterMilliseconds?: number) => ({ kind: 'Failed', code, retryAfterMilliseconds })

suite('the way of a call', () => {
  test('goes on Kafka with what the worker needs, waits, and answers once', (t) => {
    const { start, record, left } = setUp(t)
    const metadata = new Metadata()
    metadata.set('tenant', 'blue')
    metadata.set('authorization', 'Bearer secret')
    metadata.set('traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01')
    const { ends, answer } = start({ metadata })
    assert.deepEqual(record(0), {
      id: Buffer.alloc(16, 1),
      deadline: 1_000_000 + AHEAD + 3000,
      replyTo: 'p-1',
      method: 's.S/M',
      attempt: 1,
      producedAgain: false,
      enqueuedAt: 1_000_000 + AHEAD,
      firstFailureAt: 0,
      caller: '',
      metadata: [['tenant', Buffer.from('blue')]],
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      message: Buffer.from('hello'),
    })
    assert.deepEqual(left(), { waiting: 1, calls: 1, bytes: 5 })
    answer(OK)
    answer(OK)
    t.mock.timers.tick(10_000)
    assert.deepEqual(ends, [{ kind: 'Outcome', outcome: OK }])
    assert.deepEqual(left(), NOTHING)
  })

  test('a nearer deadline of the client wins, a farther one does not', (t) => {
    const { start, record } = setUp(t)
    start({ clientDeadline: 1_000_500 })
    start({ clientDeadline: 1_009_000 })
    assert.equal(record(0).deadline, 1_000_500 + AHEAD)
    assert.equal(record(1).deadline, 1_003_000 + AHEAD)
  })

  test('at its deadline the call ends, and says whether it may have run', (t) => {
    const { start, enqueued, left } = setUp(t)
    const notSent = start()
    const sent = start()
    ;(enqueued[1] as Enqueued).maybeOnKafka = true
    t.mock.timers.tick(2999)
    assert.deepEqual([...notSent.ends, ...sent.ends], [])
    t.mock.timers.tick(1)
    assert.deepEqual(notSent.ends, [failed('DEADLINE_BEFORE_START')])
    assert.deepEqual(sent.ends, [failed('DEADLINE_PASSED')])
    assert.equal(enqueued[0]?.ended, true)
    assert.deepEqual(left(), NOTHING)
  })

  test('a deadline that has passed reaches nothing', (t) => {
    const { start, enqueued } = setUp(t)
    assert.deepEqual(start({ clientDeadline: 1_000_000 }).ends, [failed('DEADLINE_BEFORE_START')])
    assert.deepEqual(enqueued, [])
  })

  test('a caller who goes away gives up its waiting', (t) => {
    const { start, enqueued, forgotten, left } = setUp(t)
    const { call, ends, answer } = start()
    call.end({ kind: 'Abandoned' })
    answer(OK)
    assert.deepEqual(ends, [{ kind: 'Abandoned' }])
    assert.equal(enqueued[0]?.ended, true)
    assert.deepEqual(forgotten, [call])
    assert.deepEqual(left(), NOTHING)
  })

  test('an outcome that cannot be read is an error', (t) => {
    const { start } = setUp(t)
    const { ends, answer } = start()
    answer(undefined)
    assert.deepEqual(ends, [failed('RESULT_UNREADABLE')])
  })

  test('that is one-way ends when Kafka has it, and nobody is to be woken', (t) => {
    const { start, enqueued, waiting, handles, onKepts, record, left } = setUp(t)
    const { call, ends } = start({ delivery: 'OneWay' })
    assert.deepEqual([record(0).replyTo, waiting.size, ends], ['', 0, []])
    const place = { partition: 2, offset: 7 }
    enqueued[0]?.onKafka?.(place)
    const { deadline } = record(0)
    assert.deepEqual(handles, [{ id: call.id, method: 's.S/M', caller: '', deadline, place }])
    assert.deepEqual(ends, [], 'it is not known by its id yet')
    onKepts[0]?.()
    assert.deepEqual(ends, [{ kind: 'Accepted', place: { partition: 2, offset: 7 } }])
    assert.deepEqual(left(), NOTHING)
  })

  test('that is one-way has the time of its method, however soon its caller must be answered', (t) => {
    const { start, enqueued, record, left } = setUp(t)
    const { ends } = start({ delivery: 'OneWay', clientDeadline: 1_000_200 })
    assert.equal(record(0).deadline, 1_000_000 + AHEAD + 3000)
    t.mock.timers.tick(200)
    assert.deepEqual(ends, [failed('DEADLINE_BEFORE_START')])
    const late = start({ delivery: 'OneWay', clientDeadline: 1_000_400 })
    enqueued[1]!.maybeOnKafka = true
    t.mock.timers.tick(200)
    assert.deepEqual(late.ends, [
      {
        ...failed('DEADLINE_PASSED'),
        details: 'Kafka did not acknowledge the call before the deadline; it may still run',
      },
    ])
    enqueued[1]?.onKafka?.({ partition: 0, offset: 0 })
    assert.equal(late.ends.length, 1)
    assert.deepEqual(left(), NOTHING)
  })

  test('that is one-way and on Kafka is accepted at its deadline, also where Redis does not say what it is known by', (t) => {
    const { start, enqueued, onKepts } = setUp(t)
    const { ends } = start({ delivery: 'OneWay', clientDeadline: 1_000_200 })
    const place = { partition: 2, offset: 7 }
    enqueued[0]!.maybeOnKafka = true
    enqueued[0]?.onKafka?.(place)
    t.mock.timers.tick(200)
    assert.deepEqual(ends, [{ kind: 'Accepted', place }])
    onKepts[0]?.()
    assert.equal(ends.length, 1)
  })

  test('is known by its id where its caller was told that it may still run, and nowhere else', (t) => {
    const { start, enqueued, handles, gate } = setUp(t)
    const [late, cut, unsent, abandoned, answered] = Array.from({ length: 5 }, () => start())
    for (const index of [0, 1, 3, 4]) enqueued[index]!.maybeOnKafka = true
    answered?.answer(OK)
    abandoned?.call.end({ kind: 'Abandoned' })
    unsent?.call.fail('KAFKA_UNAVAILABLE')
    cut?.call.fail('CUT_OFF')
    t.mock.timers.tick(3000)
    assert.deepEqual(late?.ends, [failed('DEADLINE_PASSED')])
    assert.deepEqual(
      handles.map(({ id, place }) => [id, place]),
      [cut, late].map((one) => [one?.call.id, undefined]),
    )
    assert.equal(gate.state, 'Open')
  })

  test('that waits for another with its key is known until the latest deadline which that may have', (t) => {
    const { start, handles } = setUp(t, {}, { ...NO_CLAIMS, ask: (_, answer) => answer({ kind: 'Waits' }) })
    const metadata = new Metadata()
    metadata.set('idempotency-key', 'shared')
    const { ends } = start({ metadata, clientDeadline: 1_000_010 })
    t.mock.timers.tick(10)
    assert.deepEqual(ends, [failed('DEADLINE_PASSED')])
    assert.deepEqual(
      handles.map(({ deadline }) => deadline),
      [1_000_010 + AHEAD + 3000],
    )
  })

  test('has the headers of a CloudEvent where its method says so, and they count', (t) => {
    const { start, enqueued, record } = setUp(t)
    start()
    start({ cloudEvents: true })
    const [plain, event] = enqueued.map((call) => call.record.headers)
    assert.deepEqual(Object.keys(plain!), ['grpc-kafka'])
    const { 'grpc-kafka': ours, ...others } = event!
    assert.deepEqual(others, {
      ce_specversion: '1.0',
      ce_id: '02020202-0202-0202-0202-020202020202',
      ce_source: '/s.S',
      ce_type: 's.S.M',
      ce_time: new Date(1_000_000 + AHEAD).toISOString(),
      'content-type': 'application/protobuf',
    })
    assert.ok(Buffer.isBuffer(ours))
    assert.equal(record(1).message.toString(), 'hello')
    assert.ok(enqueued[1]!.recordBytes > enqueued[0]!.recordBytes + 150)
  })

  test('with a partition key it is the key of the record, and decides the partition', (t) => {
    const { start, enqueued, record } = setUp(t)
    const metadata = new Metadata()
    metadata.set('account', 'alice')
    metadata.set('token-bin', Buffer.from([0, 255]))
    start({ metadata, partitionKey: 'account' })
    start({ metadata, partitionKey: 'token-bin' })
    assert.deepEqual(
      enqueued.map((call) => [call.record.key, call.partition]),
      [
        [Buffer.from('alice'), 5],
        [Buffer.from([0, 255]), 2],
      ],
    )
    assert.deepEqual(record(0).metadata, [], 'it travels no further where the resource does not say so')
    assert.equal(enqueued[0]!.recordBytes - enqueued[1]!.recordBytes, 3, 'the key counts')
  })

  test('without a value for its partition key it may go anywhere, under its own id', (t) => {
    const { start, enqueued } = setUp(t)
    const empty = new Metadata()
    empty.set('account', '')
    start({ partitionKey: 'account' })
    start({ partitionKey: 'account', metadata: empty })
    assert.deepEqual(
      enqueued.map((call) => [call.record.key, call.partition]),
      [
        [Buffer.alloc(16, 1), undefined],
        [Buffer.alloc(16, 2), undefined],
      ],
    )
  })

  test('a partition key that is too long is refused', (t) => {
    const { start, enqueued } = setUp(t)
    const metadata = new Metadata()
    metadata.set('account', 'x'.repeat(1025))
    const [end] = start({ metadata, partitionKey: 'account' }).ends
    assert.ok(end?.kind === 'Failed' && end.code === 'METADATA_TOO_LARGE')
    assert.equal(end.details, 'account, the partition key, has more than 1024 bytes')
    assert.deepEqual(enqueued, [])
  })

  test('metadata that is too large is refused, and holds no place', (t) => {
    const { start, enqueued, left } = setUp(t)
    const metadata = new Metadata()
    metadata.set('tenant', 'x'.repeat(40_000))
    assert.deepEqual(start({ metadata }).ends, [failed('METADATA_TOO_LARGE')])
    assert.deepEqual(enqueued, [])
    assert.deepEqual(left(), NOTHING)
  })

  test('the limits on what is in flight refuse with a time, and an end makes room', (t) => {
    const { start, left } = setUp(t, { maxInFlight: 1 })
    const first = start()
    assert.deepEqual(start().ends, [failed('TOO_MANY_IN_FLIGHT', 100)])
    assert.equal(left().calls, 1)
    first.answer(OK)
    assert.deepEqual(start().ends, [])
  })

  test('the rate limit refuses before a place is taken', (t) => {
    const { start, left } = setUp(t, { rateLimit: { requestsPerSecond: 10, burst: 1, maxWaiting: 0 } })
    start()
    assert.deepEqual(start().ends, [failed('RATE_LIMITED', 100)])
    assert.equal(left().calls, 1)
  })

  test('a call that waits for a token goes on when it comes; its deadline runs meanwhile', (t) => {
    const { start, record, enqueued } = setUp(t, { rateLimit: { requestsPerSecond: 10, burst: 1, maxWaiting: 5 } })
    start()
    start()
    assert.equal(enqueued.length, 1)
    t.mock.timers.tick(100)
    assert.equal(record(1).enqueuedAt, 1_000_100 + AHEAD)
    assert.equal(record(1).deadline, 1_003_000 + AHEAD)
  })

  test('a call that waits for a token counts with its bytes, once, and leaves none behind', (t) => {
    const rateLimit = { requestsPerSecond: 10, burst: 1, maxWaiting: 5 }
    const { start, enqueued, left } = setUp(t, { rateLimit, maxInFlightBytes: 20 })
    const message = Buffer.alloc(10)
    const calls = [start({ message }), start({ message })]
    assert.deepEqual(left(), { waiting: 1, calls: 1, bytes: 20 })
    assert.deepEqual(start({ message }).ends, [failed('TOO_MANY_BYTES', 100)])
    t.mock.timers.tick(100)
    assert.equal(enqueued.length, 2)
    assert.deepEqual(left(), { waiting: 2, calls: 2, bytes: 20 })
    calls.push(start({ message: Buffer.alloc(0) }))
    for (const { call } of calls) call.end({ kind: 'Abandoned' })
    assert.deepEqual(left(), NOTHING)
  })

  test('a call that ends while it waits for a token never goes on', (t) => {
    const { start, enqueued } = setUp(t, { rateLimit: { requestsPerSecond: 10, burst: 1, maxWaiting: 5 } })
    start()
    start().call.end({ kind: 'Abandoned' })
    const third = start()
    t.mock.timers.tick(100)
    assert.equal(enqueued.length, 2)
    assert.equal(enqueued[1], third.call)
  })

  test('a wait for a token that would outlast the deadline is refused at once', (t) => {
    const { start } = setUp(t, { rateLimit: { requestsPerSecond: 1, burst: 1, maxWaiting: 5 } })
    start()
    assert.deepEqual(start({ clientDeadline: 1_000_900 }).ends, [failed('RATE_LIMITED', 1000)])
  })
})

suite('the gate', () => {
  test('before it opens and while it drains calls are refused; those inside go on', async (t) => {
    const { start, gate } = setUp(t)
    const { ends, answer } = start()
    gate.drain()
    assert.deepEqual(start().ends, [failed('DRAINING')])
    gate.open()
    assert.equal(gate.state, 'Draining')
    let empty = false
    const whenEmpty = gate.empty().then(() => {
      empty = true
    })
    await Promise.resolve()
    assert.equal(empty, false)
    answer(OK)
    await whenEmpty
    assert.deepEqual(ends, [{ kind: 'Outcome', outcome: OK }])
    await gate.empty()
  })

  test('a gate that never opened refuses', (t) => {
    const { start, gate } = setUp(t)
    const shut = new Gate()
    const { call } = start()
    assert.equal(shut.enter(call), 'NOT_READY')
    assert.equal(gate.enter(call), undefined)
  })

  test('can end everybody inside', (t) => {
    const { start, gate, left } = setUp(t)
    const calls = [start(), start()]
    assert.equal(gate.failAll('CUT_OFF'), 2)
    for (const { ends } of calls) assert.deepEqual(ends, [failed('CUT_OFF')])
    assert.deepEqual(left(), NOTHING)
    assert.equal(gate.failAll('CUT_OFF'), 0)
  })
})

suite('the cache', () => {
  const CACHED = { cacheSeconds: 10 }
  const FAILURE: Outcome = { ...OK, status: 9, message: null }

  test('gives an OK answer again until it runs out, and says so', (t) => {
    const { start, enqueued, left } = setUp(t)
    start(CACHED).answer(OK)
    t.mock.timers.tick(9999)
    assert.deepEqual(start(CACHED).ends, [{ kind: 'Outcome', outcome: OK, cached: true }])
    assert.equal(enqueued.length, 1)
    assert.deepEqual(left(), NOTHING)
    t.mock.timers.tick(2)
    assert.deepEqual(start(CACHED).ends, [])
    assert.equal(enqueued.length, 2)
  })

  test('keeps an answer no longer than the method says by now', (t) => {
    const { live, start, enqueued } = setUp(t)
    const begunBefore = start(CACHED)
    const { current } = live
    live.replace({
      ...current,
      proxy: { ...current.proxy, methods: current.proxy.methods.map((method) => ({ ...method, cacheSeconds: 1 })) },
    })
    begunBefore.answer(OK)
    assert.equal(start({ cacheSeconds: 1 }).ends.length, 1)
    t.mock.timers.tick(1001)
    assert.deepEqual(start({ cacheSeconds: 1 }).ends, [])
    assert.equal(enqueued.length, 2)
  })

  test('forgets what it kept when what may be kept has changed', (t) => {
    const { live, start, enqueued } = setUp(t)
    start(CACHED).answer(OK)
    const { current } = live
    live.replace({ ...current, proxy: { ...current.proxy, maxInFlight: 7 } })
    assert.equal(start(CACHED).ends.length, 1)
    live.replace({ ...current, proxy: { ...current.proxy, cacheMaxBytes: 2_000_000 } })
    assert.deepEqual(start(CACHED).ends, [])
    assert.equal(enqueued.length, 2)
  })

  test('is for methods that ask for it only', (t) => {
    const { start, enqueued } = setUp(t)
    start().answer(OK)
    start()
    start()
    assert.equal(enqueued.length, 3)
  })

  test('keeps no failure, and shares it with those that followed', (t) => {
    const { start, enqueued } = setUp(t)
    const leader = start(CACHED)
    const follower = start(CACHED)
    assert.equal(enqueued.length, 1)
    leader.answer(FAILURE)
    assert.deepEqual(leader.ends, [{ kind: 'Outcome', outcome: FAILURE }])
    assert.deepEqual(follower.ends, [{ kind: 'Outcome', outcome: FAILURE }])
    assert.deepEqual(start(CACHED).ends, [])
    assert.equal(enqueued.length, 2)
  })

  test('tells calls apart by request and by the metadata that travels, and by no other', (t) => {
    const { start, enqueued } = setUp(t)
    const withMetadata = (name: string, value: string) => {
      const metadata = new Metadata()
      metadata.set(name, value)
      return { ...CACHED, metadata }
    }
    start(CACHED).answer(OK)
    start({ ...CACHED, message: Buffer.from('other') }).answer(OK)
    start(withMetadata('tenant', 'blue')).answer(OK)
    start(withMetadata('tenant', 'red')).answer(OK)
    assert.equal(enqueued.length, 4)
    assert.equal(start(withMetadata('x-request-id', '7')).ends.length, 1)
    assert.equal(start(withMetadata('tenant', 'red')).ends.length, 1)
    assert.equal(enqueued.length, 4)
  })

  test('a follower keeps its own deadline and its own caller', (t) => {
    const { start, enqueued, left } = setUp(t)
    const leader = start(CACHED)
    const hurried = start({ ...CACHED, clientDeadline: 1_000_500 })
    const leaving = start(CACHED)
    const staying = start(CACHED)
    t.mock.timers.tick(500)
    assert.deepEqual(hurried.ends, [failed('DEADLINE_BEFORE_START')])
    leaving.call.end({ kind: 'Abandoned' })
    leader.answer(OK)
    assert.deepEqual(staying.ends, [{ kind: 'Outcome', outcome: OK }])
    assert.deepEqual(leaving.ends, [{ kind: 'Abandoned' }])
    assert.equal(enqueued.length, 1)
    assert.deepEqual(left(), NOTHING)
  })

  for (const [what, ends] of [
    ['whose caller goes away', (call: Call) => call.end({ kind: 'Abandoned' })],
    ['that expires', (call: Call) => call.fail('DEADLINE_PASSED')],
    ['whose result cannot be read', (call: Call) => call.fail('RESULT_UNREADABLE')],
    [
      'that a worker found too late',
      (call: Call) => call.end({ kind: 'Outcome', outcome: { state: 'Expired', started: 'No' } }),
    ],
  ] as const) {
    test(`a leader ${what} hands over to the follower that can wait longest`, (t) => {
      const { start, enqueued, left } = setUp(t)
      const leader = start(CACHED)
      const hurried = start({ ...CACHED, clientDeadline: 1_000_500 })
      const patient = start(CACHED)
      ends(leader.call)
      assert.deepEqual([...hurried.ends, ...patient.ends], [])
      assert.deepEqual(
        enqueued.map((call) => call),
        [leader.call, patient.call],
      )
      patient.answer(OK)
      assert.deepEqual(hurried.ends, [{ kind: 'Outcome', outcome: OK }])
      assert.deepEqual(left(), NOTHING)
    })
  }

  test('followers of a leader that is cut off are cut off with it', (t) => {
    const { start, gate, left } = setUp(t)
    const calls = [start(CACHED), start(CACHED), start(CACHED)]
    assert.equal(gate.failAll('CUT_OFF'), 3)
    for (const { ends } of calls) assert.deepEqual(ends, [failed('CUT_OFF')])
    assert.deepEqual(left(), NOTHING)
  })
})

suite('the queue', () => {
  /** Twenty places that answer a hundred calls a second, and so many that wait. */
  const report = (waiting: number): FlowReport => ({
    time: 1_000_000 + AHEAD,
    unfinished: 20 + waiting,
    places: 20,
    partitions: 3,
    rate: 100,
    serviceMilliseconds: new Map([['s.S/M', 200]]),
  })
  const code = ([end]: readonly End[]): string | undefined => (end?.kind === 'Failed' ? end.code : end?.kind)

  test('refuses who would be answered too late, with the estimate and a time', (t) => {
    const { start, queueEstimate, enqueued, left } = setUp(t)
    queueEstimate.update([report(200)])
    assert.deepEqual(start({ clientDeadline: 1_001_000 }).ends, [
      {
        ...failed('QUEUE_TOO_LONG', 1700),
        details: 'the queue is too long: an answer would take about 2700 ms, and the deadline is in 1000 ms',
      },
    ])
    assert.deepEqual(enqueued, [])
    assert.deepEqual(left(), NOTHING)
    assert.deepEqual(start().ends, [])
    assert.equal(enqueued.length, 1)
  })

  test('lets in only as many as can be answered, and as many again when those are', (t) => {
    const { start, queueEstimate, left } = setUp(t)
    queueEstimate.update([report(0)])
    const calls = Array.from({ length: 400 }, () => start())
    const inside = calls.filter(({ ends }) => ends.length === 0)
    // Three seconds less the call's own time, at a hundred a second with caution, and the one that finds the queue empty.
    assert.equal(inside.length, (2800 / 1.25) * 0.1 + 1)
    assert.deepEqual(new Set(calls.map(({ ends }) => code(ends))), new Set([undefined, 'QUEUE_TOO_LONG']))
    assert.equal(queueEstimate.inFlight, inside.length)
    for (const { answer } of inside) answer(OK)
    assert.equal(queueEstimate.inFlight, 0)
    assert.deepEqual(start().ends, [])
    assert.equal(left().calls, 1)
  })

  test('is left by calls that expire and by those whose callers go away', (t) => {
    const { start, queueEstimate } = setUp(t)
    start()
    start().call.end({ kind: 'Abandoned' })
    assert.equal(queueEstimate.inFlight, 1)
    t.mock.timers.tick(3000)
    assert.equal(queueEstimate.inFlight, 0)
  })

  test('keeps nobody from what is in the cache', (t) => {
    const { start, queueEstimate } = setUp(t)
    start({ cacheSeconds: 10 }).answer(OK)
    queueEstimate.update([report(10_000)])
    assert.equal(code(start().ends), 'QUEUE_TOO_LONG')
    assert.equal(code(start({ cacheSeconds: 10 }).ends), 'Outcome')
  })

  for (const [what, answer, refused] of [
    ['refuses a call that has just claimed its key', { kind: 'Claimed' }, true],
    ['refuses no call that took a claim over: it may run', { kind: 'TakenOver', deadline: 1_009_000 }, false],
  ] as const) {
    test(what, (t) => {
      const { start, queueEstimate, enqueued } = setUp(
        t,
        {},
        {
          ...NO_CLAIMS,
          ask: (_claim, onAnswer) => onAnswer(answer),
          keep: () => undefined,
          giveBack: () => undefined,
          forget: () => undefined,
        },
      )
      queueEstimate.update([report(10_000)])
      const metadata = new Metadata()
      metadata.set('idempotency-key', 'k')
      const { ends } = start({ metadata })
      assert.equal(code(ends), refused ? 'QUEUE_TOO_LONG' : undefined)
      assert.equal(enqueued.length, refused ? 0 : 1)
    })
  }
})

suite('a call that names a receiver', () => {
  const RECEIVERS = { callbacks: { receivers: [{ host: 'hooks.example.com', scheme: 'HTTPS' as const }] } }
  const naming = (...urls: readonly string[]): Metadata => {
    const metadata = new Metadata()
    for (const url of urls) metadata.add('grpc-kafka-callback-url', url)
    return metadata
  }
  const URL = 'https://hooks.example.com/a'

  test('takes its URL along, as it was understood', (t) => {
    const { start, enqueued } = setUp(t, RECEIVERS)
    start({ metadata: naming('HTTPS://hooks.example.com:443/a') })
    start()
    assert.deepEqual(
      enqueued.map(({ record }) => callbackIn(record)),
      [URL, undefined],
    )
  })

  for (const [what, urls, reason] of [
    ['that is not allowed', ['https://evil.example/'], "is none of a receiver of the service's callbacks"],
    ['and a user', ['https://me@hooks.example.com/'], 'has user information'],
    ['twice', [URL, URL], 'stands twice'],
  ] as const)
    test(`${what} reaches nothing`, (t) => {
      const { start, enqueued, left } = setUp(t, RECEIVERS)
      const details = `the metadata field grpc-kafka-callback-url ${reason}`
      const [end] = start({ metadata: naming(...urls) }).ends
      assert.deepEqual(end, { ...failed('CALLBACK_NOT_ALLOWED'), details })
      assert.deepEqual([enqueued, left()], [[], NOTHING])
    })

  test('of a service that has none reaches nothing', (t) => {
    const { start, enqueued } = setUp(t)
    const [end] = start({ metadata: naming(URL) }).ends
    assert.ok(end?.kind === 'Failed' && end.code === 'CALLBACK_NOT_ALLOWED')
    assert.deepEqual(enqueued, [])
  })

  test('is held against the receivers of now', (t) => {
    const { start, live, enqueued } = setUp(t, RECEIVERS)
    live.replace({ ...live.current, proxy: { ...live.current.proxy, callbacks: { receivers: [] } } })
    start({ metadata: naming(URL) })
    assert.deepEqual(enqueued, [])
  })

  test('is run also where its answer is known: nobody else tells the receiver', (t) => {
    const { start, enqueued } = setUp(t, RECEIVERS)
    start({ cacheSeconds: 10 }).answer(OK)
    assert.equal(start({ cacheSeconds: 10 }).ends.length, 1)
    start({ cacheSeconds: 10, metadata: naming(URL) })
    assert.equal(enqueued.length, 2)
  })

  test('can be asked for by its id once Kafka may have it, for what the message has no room for', (t) => {
    const { start, enqueued, handles } = setUp(t, RECEIVERS)
    const [told, gone] = [start({ metadata: naming(URL) }), start({ metadata: naming(URL) })]
    const notSent = start({ metadata: naming(URL) })
    for (const call of enqueued.slice(0, 2)) call.maybeOnKafka = true
    told.answer(OK)
    for (const { call } of [gone, notSent]) call.end({ kind: 'Abandoned' })
    assert.deepEqual(
      handles.map(({ id }) => id),
      [told.call.id, gone.call.id],
    )
  })
})
