import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { FinishedCall, Told } from '../../../../sidecar/callback/callbacks.ts'
import type { RetryConfig } from '../../../../sidecar/config.ts'
import { ERRORS, GrpcStatus, type ErrorCode } from '../../../../sidecar/errors.ts'
import { ProduceError } from '../../../../sidecar/kafka/producer.ts'
import {
  callbackHeader,
  decodeRecord,
  type CallRecord,
  type RawOutgoingRecord,
} from '../../../../sidecar/kafka/record.ts'
import { decodeOutcome, type Answer, type Outcome, type RecordPlace } from '../../../../sidecar/results/outcome.ts'
import type { OutcomeStore, Start } from '../../../../sidecar/results/store.ts'
import type { FailedCall } from '../../../../sidecar/telemetry/failure-log.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'
import { CallRunner } from '../../../../sidecar/worker/call-runner.ts'
import type { DeadLetters } from '../../../../sidecar/worker/dead-letters.ts'
import type { AttemptResult, HandlerClient, HandlerRequest } from '../../../../sidecar/worker/handler-client.ts'
import { Partition, type Entry } from '../../../../sidecar/worker/partition.ts'
import type { RetryTopics } from '../../../../sidecar/worker/retry-topics.ts'
import { at, fetched, fetchedOfVersion2, idAt, keyedAt, newer, NOW, poison } from './records.ts'

const RETRY: RetryConfig = {
  maxAttempts: 3,
  backoff: { initialMilliseconds: 100, factorPercent: 200, maxMilliseconds: 10_000, jitterPercent: 0 },
  retryableCodes: ['UNAVAILABLE', 'DEADLINE_EXCEEDED'],
  onExpired: 'Drop',
}

interface Options {
  readonly observer?: boolean
  readonly retry?: Partial<RetryConfig>
  readonly timeoutMilliseconds?: number
  readonly beyondDeadlineMilliseconds?: number
  /** Whether there are any. */
  readonly retryTopics?: boolean
  /** Whether there are any. */
  readonly callbacks?: boolean
}

/** Everything that the runner does, in the order in which it does it. */
class Harness {
  readonly runner: CallRunner
  readonly metrics = new Metrics()
  /** What happened, in words. */
  readonly log: string[] = []
  readonly requests: HandlerRequest[] = []
  readonly failures: FailedCall[] = []
  outcome: Outcome | undefined
  place: RecordPlace | undefined
  /** Put on a retry topic. */
  readonly handedOn: RawOutgoingRecord[] = []
  readonly #onRetryTopic = Promise.withResolvers<void>()
  readonly #remembered = Promise.withResolvers<void>()
  readonly #forgotten = Promise.withResolvers<void>()
  told: readonly (Buffer | string)[] = []
  toldOf: FinishedCall | undefined
  readonly #told = Promise.withResolvers<Told>()
  clock = NOW
  #answer: ((result: AttemptResult) => void) | undefined
  #stored: ((raised?: number) => void) | undefined
  expiredAt: number | undefined
  /** Of the redrive that was stored. */
  revision: number | undefined
  /** Whether Redis says that a redrive has nothing to do. */
  done = false
  readonly #onTopic = Promise.withResolvers<void>()

  constructor({
    observer = false,
    retry = {},
    timeoutMilliseconds = 3000,
    beyondDeadlineMilliseconds = 0,
    retryTopics = false,
    callbacks = true,
  }: Options = {}) {
    this.runner = new CallRunner({
      service: 'test.Service',
      methods: ['Do'],
      observer,
      retry: { ...RETRY, ...retry },
      timeoutMilliseconds,
      beyondDeadlineMilliseconds,
      handler: {
        call: (request: HandlerRequest, onResult: (result: AttemptResult) => void) => {
          this.log.push('call')
          this.requests.push(request)
          this.#answer = onResult
          return () => {
            this.log.push('cancel')
            onResult({ kind: 'Cancelled' })
          }
        },
      } as unknown as HandlerClient,
      store: {
        store: (
          id: Buffer,
          replyTo: string,
          bytes: Buffer,
          done: (raised?: number) => void,
          expiredAt?: number,
          revision?: number,
        ) => {
          this.revision = revision
          assert.ok(id.equals(idAt(7)) || id.equals(keyedAt(7)))
          assert.equal(replyTo, 'proxy-1')
          const { place, ...outcome } = { place: undefined, ...decodeOutcome(bytes) }
          this.outcome = outcome
          this.place = place
          this.log.push(`store ${this.outcome.state}`)
          this.#stored = done
          this.expiredAt = expiredAt
        },
        tellAgain: (id: Buffer, replyTo: string) => (this.told = [id, replyTo]),
        areDone: (calls: readonly Pick<Start, 'id' | 'redrive'>[]) => {
          this.log.push(`ask about ${calls.map(({ redrive }) => `${redrive?.revision} of ${redrive?.record}`).join()}`)
          return Promise.resolve(calls.map(() => this.done))
        },
        forgetStarts: (id: Buffer) => {
          assert.deepEqual(id, keyedAt(7))
          this.log.push('forget starts')
          return this.#forgotten.promise
        },
        handedOn: (_id: Buffer, attempt: number, milliseconds: number, revision = 0) => {
          const of = revision === 0 ? '' : ` of redrive ${revision}`
          this.log.push(`remember attempt ${attempt}${of} for ${milliseconds}`)
          return this.#remembered.promise
        },
      } as unknown as OutcomeStore,
      deadLetters: {
        bury: (_entry: Entry, reason: string) => {
          this.log.push(`bury: ${reason}`)
          return this.#onTopic.promise
        },
      } as unknown as DeadLetters,
      retryTopics: {
        isThere: retryTopics,
        handOn: (failed: number, record: RawOutgoingRecord) => {
          this.log.push(`hand on after ${failed}`)
          this.handedOn.push(record)
          return this.#onRetryTopic.promise
        },
      } as unknown as RetryTopics,
      callbacks: callbacks
        ? {
            tell: (call) => {
              this.log.push(`tell ${call.url} of ${call.method}`)
              this.toldOf = call
              return this.#told.promise
            },
          }
        : undefined,
      startsRetentionMilliseconds: 60_000,
      instance: 'worker-1',
      now: () => this.clock,
      random: () => 0.5,
      failures: {
        write: (code, _message, about) => this.failures.push({ code, ...about() }),
      },
      metrics: this.metrics,
      events: {
        answered: () => undefined,
        handlerFree: () => this.log.push('free'),
        finished: (_entry, result) => this.log.push(`finished ${result}`),
        retry: (_entry, milliseconds) => this.log.push(`retry in ${milliseconds}`),
        notReached: (_entry, reason) => this.log.push(`not reached: ${reason}`),
        raised: (_entry, deadline) => this.log.push(`raised to ${deadline}`),
      },
    })
  }

  start(entry: Entry): this {
    this.runner.start(entry)
    return this
  }

  answer(result: AttemptResult): this {
    assert.ok(this.#answer !== undefined, 'the handler was not called')
    this.#answer(result)
    return this
  }

  /** Redis has the outcome. */
  stored(raised?: number): this {
    assert.ok(this.#stored !== undefined, 'nothing was stored')
    this.#stored(raised)
    return this
  }

  /** The retry topic has the record, or never will. */
  async onRetryTopic(failure?: Error): Promise<this> {
    if (failure === undefined) this.#onRetryTopic.resolve()
    else this.#onRetryTopic.reject(failure)
    await turn()
    return this
  }

  /** Redis knows that another record has the next attempt. */
  async remembered(): Promise<this> {
    this.#remembered.resolve()
    await turn()
    return this
  }

  /** The receiver knows, or never will. */
  async onTold(told: Told): Promise<this> {
    this.#told.resolve(told)
    await turn()
    return this
  }

  /** Redis holds no starts of the call any more. */
  async forgotten(): Promise<this> {
    this.#forgotten.resolve()
    await turn()
    return this
  }

  /** The failure topic has the record, or never will. */
  async onTopic(has = true): Promise<this> {
    if (has) this.#onTopic.resolve()
    else this.#onTopic.reject(new Error('closed'))
    await turn()
    return this
  }
}

function entryOf(raw = fetched(7), changes: Partial<Entry> = {}): Entry {
  const partition = new Partition(at(0))
  partition.heldUntil = 1
  partition.open({ offset: 0, window: 100 }, false)
  partition.deliver([raw], 8)
  const entry = partition.takeStartable(0) ?? partition.takeUnusual(0)
  assert.ok(entry !== undefined)
  return Object.assign(entry, { state: 'Running' as const }, changes)
}

const callOf = (record: Partial<CallRecord> = {}, changes: Partial<Entry> = {}) => entryOf(fetched(7, record), changes)

const answerOf = (status: number, details = ''): Answer => ({
  status,
  details,
  initialMetadata: [],
  trailingMetadata: [],
  message: status === 0 ? Buffer.from('answer') : null,
})
const answered = (status: number, details = ''): AttemptResult => ({
  kind: 'Answered',
  answer: answerOf(status, details),
})
const own = (code: ErrorCode): Answer => answerOf(GrpcStatus[ERRORS[code].status], ERRORS[code].message)

describe('a start', () => {
  test('calls the handler with the record, its id, its attempt and its trace', () => {
    const metadata = [['x-tenant', Buffer.from('one')]] as const
    const harness = new Harness().start(
      callOf({ metadata, traceparent: '00-a-b-01', tracestate: 'c=d' }, { attempt: 2 }),
    )
    assert.deepEqual(harness.requests, [
      {
        path: '/test.Service/Do',
        message: Buffer.from('7'),
        metadata,
        extra: {
          'grpc-kafka-call-id': '00000000-0000-0000-0000-000000000007',
          'grpc-kafka-attempt': '2',
          traceparent: '00-a-b-01',
          tracestate: 'c=d',
        },
        timeoutMilliseconds: 3000,
      },
    ])
  })

  test('gives the handler what remains of the deadline when that is less than an attempt may take', () => {
    const harness = new Harness().start(callOf({ deadline: NOW + 250 }))
    assert.equal(harness.requests[0]?.timeoutMilliseconds, 250)
  })

  test('of a call whose deadline passed calls nobody', () => {
    const harness = new Harness().start(callOf({ deadline: NOW }))
    assert.deepEqual(harness.log, ['free', 'store Expired'])
    assert.deepEqual(harness.outcome, { state: 'Expired', started: 'No' })
    assert.deepEqual(harness.stored().log.at(-1), 'finished expired')
  })

  test('that has not expired after all is given back with the deadline that a takeover raised', () => {
    const harness = new Harness().start(callOf({ deadline: NOW }))
    assert.equal(harness.expiredAt, NOW)
    assert.equal(harness.stored(NOW + 5000).log.at(-1), `raised to ${NOW + 5000}`)
  })

  test('of a call that goes on beyond its deadline has all the time that an attempt may take', () => {
    const harness = new Harness({ beyondDeadlineMilliseconds: 60_000 }).start(callOf({ deadline: NOW - 10 }))
    assert.equal(harness.requests[0]?.timeoutMilliseconds, 3000)
    harness.answer(answered(GrpcStatus.OK, ''))
    assert.equal(harness.outcome?.state, 'Answered')
  })

  test('of a call that goes on beyond its deadline ends with what is kept of it', () => {
    const beyond = { beyondDeadlineMilliseconds: 1000 }
    const late = new Harness(beyond).start(callOf({ deadline: NOW - 900 }))
    assert.equal(late.requests[0]?.timeoutMilliseconds, 100)
    late.answer({ kind: 'TimedOut' })
    assert.deepEqual(late.outcome, { state: 'Expired', started: 'Unknown' })
    assert.equal(late.expiredAt, NOW - 900, 'a takeover may have raised the deadline')
    const tooLate = new Harness(beyond).start(callOf({ deadline: NOW - 1000 }))
    assert.deepEqual(tooLate.outcome, { state: 'Expired', started: 'No' })
  })

  test('of a method that is not served goes to the failure topic and calls nobody', async () => {
    const harness = new Harness().start(callOf({ method: 'test.Service/Other' }))
    assert.deepEqual(harness.log, ['free', 'bury: method test.Service/Other is not served'])
    await harness.onTopic()
    assert.deepEqual(harness.outcome, { state: 'DeadLettered', revision: 0, ...own('METHOD_NOT_SERVED') })
  })

  test('counts the wait in the queue for the first attempt and a retry for the others', async () => {
    const harness = new Harness()
    harness.start(callOf({ enqueuedAt: NOW - 2000 }))
    harness.start(callOf({}, { attempt: 2 }))
    harness.start(callOf({}, { attempt: 3 }))
    const text = await harness.metrics.expose()
    assert.match(text, /^grpc_kafka_queue_wait_seconds_count 1$/m)
    assert.match(text, /^grpc_kafka_queue_wait_seconds_sum 2$/m)
    assert.match(text, /^grpc_kafka_handler_retries_total 2$/m)
  })
})

describe("the handler's word", () => {
  const final = [
    GrpcStatus.OK,
    GrpcStatus.NOT_FOUND,
    GrpcStatus.INTERNAL,
    GrpcStatus.UNKNOWN,
    GrpcStatus.RESOURCE_EXHAUSTED,
  ]
  for (const status of final) {
    test(`of status ${status} is the outcome`, () => {
      const harness = new Harness().start(callOf()).answer(answered(status, 'why'))
      assert.deepEqual(harness.outcome, { state: 'Answered', ...answerOf(status, 'why') })
      assert.deepEqual(
        harness.log,
        ['call', 'free', 'store Answered'],
        'the place is free before the outcome is stored',
      )
      assert.deepEqual(harness.stored().log.at(-1), 'finished answered')
    })
  }

  test('is stored with its record and the number of the start', () => {
    const harness = new Harness().start(callOf({}, { attempt: 2 })).answer(answered(GrpcStatus.NOT_FOUND))
    assert.deepEqual(harness.place, { partition: 0, offset: 7, attempts: 2 })
  })

  test('of a status that is retried is tried again after the backoff', () => {
    for (const [attempt, wait] of [
      [1, 100],
      [2, 200],
    ] as const) {
      const harness = new Harness().start(callOf({}, { attempt })).answer(answered(GrpcStatus.UNAVAILABLE))
      assert.deepEqual(harness.log, ['call', 'free', `retry in ${wait}`])
    }
  })

  test('of a status that is retried is the outcome where one attempt is allowed', () => {
    const harness = new Harness({ retry: { maxAttempts: 1 } })
      .start(callOf())
      .answer(answered(GrpcStatus.UNAVAILABLE, 'busy'))
    assert.deepEqual(harness.outcome, { state: 'Answered', ...answerOf(GrpcStatus.UNAVAILABLE, 'busy') })
  })

  test('is the outcome when the next attempt would begin after the deadline', () => {
    const late = new Harness().start(callOf({ deadline: NOW + 100 })).answer(answered(GrpcStatus.UNAVAILABLE, 'busy'))
    assert.deepEqual(late.outcome, { state: 'Answered', ...answerOf(GrpcStatus.UNAVAILABLE, 'busy') })
    const inTime = new Harness().start(callOf({ deadline: NOW + 101 })).answer(answered(GrpcStatus.UNAVAILABLE, 'busy'))
    assert.deepEqual(inTime.log.at(-1), 'retry in 100')
  })

  test('is not the outcome of a call that goes on beyond its deadline, until that time is over', () => {
    const beyond = { beyondDeadlineMilliseconds: 1000 }
    const busy = answered(GrpcStatus.UNAVAILABLE, 'busy')
    const inTime = new Harness(beyond).start(callOf({ deadline: NOW - 899 })).answer(busy)
    assert.deepEqual(inTime.log.at(-1), 'retry in 100')
    const late = new Harness(beyond).start(callOf({ deadline: NOW - 900 })).answer(busy)
    assert.deepEqual(late.outcome, { state: 'Answered', ...answerOf(GrpcStatus.UNAVAILABLE, 'busy') })
  })

  test('at the last attempt: the failure topic has the record before the caller has the status', async () => {
    const harness = new Harness().start(callOf({}, { attempt: 3 })).answer(answered(GrpcStatus.UNAVAILABLE, 'busy'))
    assert.deepEqual(harness.log, ['call', 'free', 'bury: attempts used up, last status 14'])
    await harness.onTopic()
    assert.deepEqual(harness.outcome, {
      state: 'DeadLettered',
      revision: 0,
      ...answerOf(GrpcStatus.UNAVAILABLE, 'busy'),
    })
    assert.deepEqual(harness.log.slice(3), ['store DeadLettered'])
    assert.deepEqual(harness.stored().log.at(-1), 'finished dead_lettered')
  })

  test('a record that the failure topic never took is not finished', async () => {
    const harness = new Harness().start(callOf({}, { attempt: 3 })).answer(answered(GrpcStatus.UNAVAILABLE))
    await harness.onTopic(false)
    assert.deepEqual(harness.log.slice(3), [])
  })
})

describe('with retry topics a call that is tried again', () => {
  const failed = (changes: Partial<CallRecord> = {}, entry: Partial<Entry> = {}) =>
    new Harness({ retryTopics: true })
      .start(entryOf(fetchedOfVersion2(7, changes), entry))
      .answer(answered(GrpcStatus.UNAVAILABLE, 'busy'))
  const nextOf = ({ handedOn }: Harness): CallRecord => {
    const decoded = decodeRecord(handedOn[0]!)
    assert.ok(decoded.kind === 'Call')
    return decoded.record
  }

  test('is finished when Kafka has its next attempt, and Redis knows that', async () => {
    const harness = failed()
    assert.deepEqual(harness.log.splice(0), ['call', 'free', 'hand on after 1'])
    await harness.onRetryTopic()
    assert.deepEqual(harness.log.splice(0), ['remember attempt 1 for 60000'])
    await harness.remembered()
    assert.deepEqual(harness.log, ['finished handed_on'])
    assert.equal(harness.outcome, undefined)
  })

  test('goes on as the same call, with its attempt, its due time, whence it came and what failed', () => {
    const before = { metadata: [['x-tenant', Buffer.from('one')]], caller: 'me', replyTo: 'proxy-1' } as const
    const failure = { attempt: 1, at: NOW, status: GrpcStatus.UNAVAILABLE, worker: 'worker-1' }
    const next = nextOf(failed(before))
    assert.deepEqual(
      { ...next, message: String(next.message) },
      {
        ...before,
        id: idAt(7),
        deadline: NOW + 10_000,
        method: 'test.Service/Do',
        attempt: 2,
        producedAgain: false,
        enqueuedAt: NOW - 5,
        firstFailureAt: NOW,
        redriveRevision: 0,
        notBefore: NOW + 100,
        origin: { partition: 0, offset: 7 },
        failures: [failure],
        message: '7',
      },
    )
  })

  test('keeps its origin, its first failure and its history from one retry topic to the next', () => {
    const first = { attempt: 1, at: NOW - 1000, status: GrpcStatus.ABORTED, worker: 'other' }
    const record = { origin: { partition: 3, offset: 99 }, firstFailureAt: NOW - 1000 }
    const next = nextOf(failed(record, { attempt: 2, failures: [first] }))
    assert.deepEqual(next.failures, [
      first,
      { attempt: 2, at: NOW, status: GrpcStatus.UNAVAILABLE, worker: 'worker-1' },
    ])
    assert.deepEqual([next.attempt, next.firstFailureAt, next.notBefore], [3, NOW - 1000, NOW + 200])
  })

  test('is not finished where its topic is closed before it took it', async () => {
    const harness = await failed().onRetryTopic(new Error('closed'))
    assert.deepEqual(harness.log, ['call', 'free', 'hand on after 1'])
  })

  test('goes to the failure topic when it is too large for its retry topic, and its caller gets the last status', async () => {
    const harness = await failed().onRetryTopic(new ProduceError('TOO_LARGE', 'too large'))
    assert.match(harness.log.at(-1)!, /^bury: cannot be put on its retry topic: .*too large/)
    await harness.onTopic()
    assert.partialDeepStrictEqual(harness.outcome, {
      state: 'DeadLettered',
      ...answerOf(GrpcStatus.UNAVAILABLE, 'busy'),
    })
  })

  test("is tried again by itself where it is an Observer's", () => {
    const harness = new Harness({ retryTopics: true, observer: true })
    harness.start(callOf()).answer(answered(GrpcStatus.UNAVAILABLE))
    assert.deepEqual(harness.log.at(-1), 'retry in 100')
  })

  test('has the place of its first record in its outcome', () => {
    const harness = new Harness()
    harness.start(entryOf(fetchedOfVersion2(7, { origin: { partition: 3, offset: 99 } }), { attempt: 2 }))
    harness.answer(answered(GrpcStatus.OK))
    assert.deepEqual(harness.place, { partition: 3, offset: 99, attempts: 2 })
  })
})

describe('a call that is cancelled', () => {
  test('while it is with the handler is taken from it, and has that as its outcome', () => {
    const harness = new Harness().start(callOf())
    harness.runner.cancel(idAt(8))
    harness.runner.cancel(idAt(7))
    harness.stored()
    assert.deepEqual(harness.log, ['call', 'cancel', 'free', 'store Cancelled', 'finished skipped'])
  })

  test('when the handler has answered keeps that', () => {
    const harness = new Harness().start(callOf()).answer(answered(0))
    harness.runner.cancel(idAt(7))
    assert.deepEqual(harness.log, ['call', 'free', 'store Answered'])
  })
})

describe('a redriven call', () => {
  const redriven = (changes: Partial<CallRecord> = {}, entry: Partial<Entry> = {}) =>
    entryOf(fetchedOfVersion2(7, { redriveRevision: 2, ...changes }), entry)

  test('has an outcome that says which redrive it comes of', () => {
    const harness = new Harness().start(redriven()).answer(answered(GrpcStatus.OK))
    assert.deepEqual([harness.outcome?.state, harness.revision], ['Answered', 2])
  })

  test('is a dead letter of its revision when its attempts are used up', async () => {
    const harness = new Harness().start(redriven({}, { attempt: 3 })).answer(answered(GrpcStatus.UNAVAILABLE, 'busy'))
    await harness.onTopic()
    const busy = answerOf(GrpcStatus.UNAVAILABLE, 'busy')
    assert.deepEqual(harness.outcome, { state: 'DeadLettered', revision: 2, ...busy })
    assert.equal(harness.revision, 2)
  })

  test('is a dead letter again where one attempt is allowed, or there is no time for another', async () => {
    const retry = { maxAttempts: 1 }
    const one = new Harness({ retry }).start(redriven()).answer(answered(GrpcStatus.UNAVAILABLE))
    assert.equal(one.log.at(-1), 'bury: attempts used up, last status 14')
    const late = new Harness().start(redriven({ deadline: NOW + 100 })).answer(answered(GrpcStatus.UNAVAILABLE))
    assert.equal(late.log.at(-1), 'bury: no time for another attempt, last status 14')
  })

  test('is a dead letter again when its deadline passes: nobody waits who would be told that it expired', async () => {
    const harness = new Harness()
    harness.runner.expire(redriven({ deadline: NOW }))
    await turn()
    assert.deepEqual(harness.log, ['ask about 2 of 0/7', 'bury: the deadline of redrive 2 passed'])
    await harness.onTopic()
    assert.deepEqual(harness.outcome, { state: 'DeadLettered', revision: 2, ...own('EXPIRED') })
  })

  test('whose deadline passes is done where an outcome stands, or another copy of it does the work', async () => {
    const harness = new Harness()
    harness.done = true
    harness.runner.expire(redriven({ deadline: NOW, origin: { partition: 3, offset: 9 } }))
    await turn()
    assert.deepEqual(harness.log, ['ask about 2 of 3/9', 'finished skipped'])
    assert.equal(harness.outcome, undefined)
  })

  test('keeps its revision on a retry topic, where its attempts are counted for that revision', async () => {
    const late = redriven({ deadline: NOW + 3_600_000 })
    const harness = new Harness({ retryTopics: true }).start(late).answer(answered(GrpcStatus.UNAVAILABLE))
    const next = decodeRecord(harness.handedOn[0]!)
    assert.deepEqual(next.kind === 'Call' && [next.record.redriveRevision, next.record.attempt], [2, 2])
    await harness.onRetryTopic()
    assert.equal(harness.log.at(-1), 'remember attempt 1 of redrive 2 for 3660000', 'for as long as it may run')
  })
})

describe('an Observer of a failure topic', () => {
  const dead = (changes: Partial<CallRecord> = {}) => {
    const record = fetchedOfVersion2(7, {
      attempt: 3,
      redriveRevision: 2,
      producedAgain: true,
      notBefore: NOW + 1,
      ...changes,
    })
    const headers = { ...record.headers, 'dead-reason': 'used up\r\n\u2026', 'dead-offset': '9' }
    return entryOf({ ...record, headers })
  }

  test('runs the call of a dead letter from its first attempt, and is told whence it came and why', () => {
    const harness = new Harness({ observer: true }).start(dead())
    assert.deepEqual(harness.requests[0]?.extra, {
      'dead-reason': 'used up???',
      'dead-offset': '9',
      'grpc-kafka-call-id': '00000000-0000-0000-0000-000000000007',
      'grpc-kafka-attempt': '1',
    })
    harness.answer(answered(GrpcStatus.UNAVAILABLE))
    assert.equal(harness.log.at(-1), 'retry in 100')
  })

  test('buries none of them again: it would read its own for ever', () => {
    const harness = new Harness({ observer: true, retry: { maxAttempts: 1 } }).start(
      dead({ method: 'test.Service/Other' }),
    )
    assert.deepEqual(harness.log, ['free', 'finished observed'])
  })
})

describe('no word of the handler', () => {
  test('NotReached does not count, and the call is not said to have run', () => {
    const entry = callOf()
    const harness = new Harness().start(entry).answer({ kind: 'NotReached', reason: 'refused' })
    assert.deepEqual(harness.log, ['call', 'free', 'not reached: refused'])
    assert.equal(entry.mayHaveRun, false)
  })

  test('Broken counts as UNAVAILABLE, and the call may have run', () => {
    const entry = callOf()
    const harness = new Harness().start(entry).answer({ kind: 'Broken', reason: 'reset' })
    assert.deepEqual(harness.log, ['call', 'free', 'retry in 100'])
    assert.equal(entry.mayHaveRun, true)
    const last = new Harness({ retry: { maxAttempts: 1 } }).start(callOf()).answer({ kind: 'Broken', reason: 'reset' })
    assert.deepEqual(last.outcome, { state: 'Answered', ...own('HANDLER_UNREACHABLE') })
  })

  test('TimedOut within the deadline counts as DEADLINE_EXCEEDED, and the call may have run', () => {
    const entry = callOf()
    const harness = new Harness().start(entry)
    harness.clock += 3000
    harness.answer({ kind: 'TimedOut' })
    assert.deepEqual(harness.log, ['call', 'free', 'retry in 100'])
    assert.equal(entry.mayHaveRun, true)
    const last = new Harness({ retry: { retryableCodes: [] } }).start(callOf()).answer({ kind: 'TimedOut' })
    assert.deepEqual(last.outcome, { state: 'Answered', ...own('HANDLER_TIMEOUT') })
  })

  test('TimedOut at the deadline is Expired(Unknown), also when the timer was a little early', () => {
    for (const early of [0, 1, 5]) {
      const harness = new Harness().start(callOf({ deadline: NOW + 1000 }))
      harness.clock = NOW + 1000 - early
      harness.answer({ kind: 'TimedOut' })
      assert.deepEqual(harness.outcome, { state: 'Expired', started: 'Unknown' }, `${early} ms early`)
    }
  })

  test('TooLarge is RESOURCE_EXHAUSTED', () => {
    const harness = new Harness().start(callOf()).answer({ kind: 'TooLarge' })
    assert.deepEqual(harness.outcome, { state: 'Answered', ...own('RESULT_TOO_LARGE') })
  })

  test('NotGrpc is INTERNAL', () => {
    const harness = new Harness().start(callOf()).answer({ kind: 'NotGrpc', reason: 'html' })
    assert.deepEqual(harness.outcome, { state: 'Answered', ...own('HANDLER_PROTOCOL') })
  })

  test('Unsendable goes to the failure topic: no handler would take it', async () => {
    const harness = new Harness().start(callOf()).answer({ kind: 'Unsendable', reason: 'connection' })
    assert.deepEqual(harness.log, ['call', 'free', 'bury: cannot be sent to a handler: connection'])
    await harness.onTopic()
    assert.deepEqual(harness.outcome, { state: 'DeadLettered', revision: 0, ...own('UNREADABLE_RECORD') })
  })
})

describe('an expired call', () => {
  test('surely did not run at its first start, outside any window, produced once', () => {
    const harness = new Harness()
    harness.runner.expire(callOf())
    assert.deepEqual(harness.outcome, { state: 'Expired', started: 'No' })
  })

  for (const [what, entry] of [
    ['in a window that was taken over', () => callOf({}, { mayHaveRun: true })],
    ['after another attempt', () => callOf({}, { attempt: 2 })],
    ['produced again', () => callOf({ producedAgain: true })],
  ] as const) {
    test(`may have run ${what}`, () => {
      const harness = new Harness()
      harness.runner.expire(entry())
      assert.deepEqual(harness.outcome, { state: 'Expired', started: 'Unknown' })
    })
  }

  test('of the next version gets its outcome by its prefix', () => {
    const harness = new Harness()
    harness.runner.expire(entryOf(newer(7, 2)))
    assert.deepEqual(harness.outcome, { state: 'Expired', started: 'No' })
    assert.deepEqual(harness.stored().log.at(-1), 'finished expired')
  })
})

describe('a record that cannot be read', () => {
  test('is finished when the failure topic has it, if nobody can be told', async () => {
    const harness = new Harness()
    harness.runner.bury(entryOf(poison(7)), 'UNREADABLE_RECORD', 'unreadable')
    assert.deepEqual(harness.log, ['bury: unreadable'])
    await harness.onTopic()
    assert.deepEqual(harness.log, ['bury: unreadable', 'finished dead_lettered'])
  })

  test('whose prefix can be read tells its caller', async () => {
    const harness = new Harness()
    harness.runner.bury(entryOf({ ...fetched(7), value: null }), 'UNREADABLE_RECORD', 'unreadable')
    await harness.onTopic()
    assert.deepEqual(harness.outcome, { state: 'DeadLettered', revision: 0, ...own('UNREADABLE_RECORD') })
  })
})

describe('the starts of a call with an idempotency key', () => {
  const keyed = (changes: Partial<Entry>) => callOf({ id: keyedAt(7) }, changes)

  for (const [what, changes] of [
    ['a second attempt', { attempt: 2 }],
    ['a start that was asked for', { counted: 'token' }],
    ['an earlier owner may have run it', { mayHaveRun: true }],
  ] as const) {
    test(`are forgotten when it has its outcome, before its offset may pass: ${what}`, async () => {
      const harness = new Harness().start(keyed(changes)).answer(answered(GrpcStatus.OK)).stored()
      assert.deepEqual(harness.log.slice(-2), ['store Answered', 'forget starts'])
      await harness.forgotten()
      assert.equal(harness.log.at(-1), 'finished answered')
    })
  }

  test('are forgotten by whoever finds the outcome, too: who stored it may have died then', async () => {
    const harness = new Harness()
    harness.runner.skip(keyed({ mayHaveRun: true }))
    assert.deepEqual(harness.log, ['forget starts'])
    await harness.forgotten()
    assert.equal(harness.log.at(-1), 'finished skipped')
  })

  test('are forgotten by an Observer, which may see the key again', async () => {
    const harness = new Harness({ observer: true }).start(keyed({ attempt: 2 })).answer(answered(GrpcStatus.OK))
    await harness.forgotten()
    assert.deepEqual(harness.log.slice(-2), ['forget starts', 'finished observed'])
  })

  test('are not asked for after a first start, which nobody counted', () => {
    const harness = new Harness().start(keyed({})).answer(answered(GrpcStatus.OK)).stored()
    assert.equal(harness.log.at(-1), 'finished answered')
  })
})

test('a record that has an outcome tells its replica again and is finished', () => {
  const harness = new Harness()
  harness.runner.skip(callOf())
  assert.deepEqual(harness.told, [idAt(7), 'proxy-1'])
  assert.deepEqual(harness.log, ['finished skipped'])
})

describe('an observer', () => {
  const observing = () => new Harness({ observer: true })

  test('runs a call whose deadline passed, with all the time that an attempt may take', () => {
    const harness = observing().start(callOf({ deadline: NOW - 1000 }))
    assert.equal(harness.requests[0]?.timeoutMilliseconds, 3000)
  })

  test('writes no outcome, whatever the handler says', () => {
    for (const result of [
      answered(0),
      answered(GrpcStatus.NOT_FOUND),
      { kind: 'TooLarge' },
      { kind: 'NotGrpc', reason: 'html' },
    ] as const) {
      assert.deepEqual(observing().start(callOf()).answer(result).log, ['call', 'free', 'finished observed'])
    }
  })

  test('tries again without looking at the deadline', () => {
    const harness = observing().start(callOf({ deadline: NOW - 1000 }))
    assert.deepEqual(harness.answer({ kind: 'TimedOut' }).log, ['call', 'free', 'retry in 100'])
  })

  test('writes no outcome for a call that it gives up', () => {
    const harness = observing()
    harness.runner.expire(callOf())
    assert.deepEqual(harness.log, ['finished expired'])
  })

  test('writes no outcome for what goes to the failure topic', async () => {
    const harness = observing()
      .start(callOf({}, { attempt: 3 }))
      .answer(answered(GrpcStatus.UNAVAILABLE))
    await harness.onTopic()
    assert.deepEqual(harness.log, ['call', 'free', 'bury: attempts used up, last status 14', 'finished dead_lettered'])
  })
})

describe('of a failed call the log tells', () => {
  const told = ({ failures }: Harness) =>
    failures.map(({ code, status, attempt, topic, partition, offset }) => ({
      code,
      status,
      attempt,
      topic,
      partition,
      offset,
    }))
  const place = { topic: 'calls', partition: 0, offset: 7 }

  test('nothing where the handler answered, whatever it said', () => {
    const harness = new Harness({ retry: { maxAttempts: 1 } }).start(callOf()).answer(answered(GrpcStatus.INTERNAL))
    assert.deepEqual(harness.failures, [])
  })

  test('that it expired, and whether it may have run', () => {
    const harness = new Harness().start(callOf({ deadline: NOW - 10, enqueuedAt: NOW - 1000 }))
    assert.deepEqual(harness.failures, [
      {
        code: 'EXPIRED_NOT_STARTED',
        callId: '00000000-0000-0000-0000-000000000007',
        method: 'test.Service/Do',
        status: 'DEADLINE_EXCEEDED',
        milliseconds: 1000,
        deadline: NOW - 10,
        attempt: 1,
        ...place,
        traceparent: undefined,
        reason: undefined,
      },
    ])
    const again = new Harness().start(callOf({ deadline: NOW }, { attempt: 2 }))
    assert.equal(again.failures[0]?.code, 'EXPIRED')
  })

  test('once, when the last attempt has no answer, and not of each attempt', () => {
    const harness = new Harness().start(callOf()).answer({ kind: 'Broken', reason: 'reset' })
    assert.deepEqual(harness.failures, [])
    const last = new Harness({ retry: { maxAttempts: 1 } }).start(callOf()).answer({ kind: 'Broken', reason: 'reset' })
    assert.deepEqual(told(last), [{ code: 'HANDLER_UNREACHABLE', status: 'UNAVAILABLE', attempt: 1, ...place }])
    assert.equal(last.failures[0]?.reason, 'reset')
  })

  test("that its attempts are used up, with the handler's last status", () => {
    const harness = new Harness({ retry: { retryableCodes: ['ABORTED'] } })
      .start(callOf({}, { attempt: 3 }))
      .answer(answered(GrpcStatus.ABORTED))
    assert.deepEqual(told(harness), [{ code: 'ATTEMPTS_USED_UP', status: 'ABORTED', attempt: 3, ...place }])
  })

  test('that a record could not be read, though nothing is known of its call', () => {
    const harness = new Harness()
    harness.runner.bury(entryOf(poison(7)), 'UNREADABLE_RECORD', 'unreadable: no grpc-kafka header')
    assert.deepEqual(told(harness), [{ code: 'UNREADABLE_RECORD', status: 'INTERNAL', attempt: 1, ...place }])
    assert.equal(harness.failures[0]?.callId, undefined)
  })
})

describe('whom its caller wants to be told', () => {
  const URL = 'https://hooks.example.com/a'
  const withCallback = (raw = fetched(7)) => ({ ...raw, headers: { ...raw.headers, ...callbackHeader(URL) } })
  const TOLD = `tell ${URL} of test.Service/Do`

  test('is told when Redis has the outcome, and the record is finished when that is done', async () => {
    const harness = new Harness().start(entryOf(withCallback())).answer(answered(0))
    assert.deepEqual(harness.log.splice(0), ['call', 'free', 'store Answered'])
    harness.stored()
    assert.deepEqual(harness.log.splice(0), [TOLD])
    await harness.onTold({ kind: 'Delivered' })
    assert.deepEqual(harness.log, ['finished answered'])
    const { id, revision } = harness.toldOf ?? {}
    assert.deepEqual([id, revision], [idAt(7), 0])
  })

  test('is told by whoever finds the outcome there: the worker before may have died first', async () => {
    const harness = new Harness()
    harness.runner.skip(entryOf(withCallback()))
    await harness.onTold({ kind: 'Delivered' })
    assert.deepEqual(harness.log, [TOLD, 'finished skipped'])
  })

  test('is told of a dead letter after the failure topic has it, also where its record cannot be read', async () => {
    const harness = new Harness()
    harness.runner.bury(entryOf(withCallback(newer(7, 9))), 'UNREADABLE_RECORD', 'unreadable')
    await harness.onTopic()
    harness.stored()
    assert.deepEqual(harness.log, ['bury: unreadable', 'store DeadLettered', `tell ${URL} of `])
  })

  test('is told of an expiry', () => {
    const harness = new Harness()
    harness.runner.expire(entryOf(withCallback()))
    harness.stored()
    assert.deepEqual(harness.log, ['store Expired', TOLD])
  })

  test('is not told of a call whose deadline was raised: it goes on', () => {
    const harness = new Harness()
    harness.runner.expire(entryOf(withCallback()))
    harness.stored(NOW + 1)
    assert.deepEqual(harness.log, ['store Expired', `raised to ${NOW + 1}`])
  })

  test('is not told by an Observer', () => {
    const harness = new Harness({ observer: true }).start(entryOf(withCallback())).answer(answered(0))
    assert.deepEqual(harness.log, ['call', 'free', 'finished observed'])
  })

  test('and is not, because the worker has no callbacks, is a line in the log; of an Observer it is none', () => {
    const codesOf = (observer: boolean) => {
      const harness = new Harness({ callbacks: false, observer }).start(entryOf(withCallback())).answer(answered(0))
      if (!observer) harness.stored()
      assert.match(harness.log.at(-1) ?? '', /^finished/)
      return harness.failures.map(({ code }) => code)
    }
    assert.deepEqual([codesOf(false), codesOf(true)], [['CALLBACK_NOT_DELIVERED'], []])
  })

  test('and cannot be is a line in the log, and the record is finished', async () => {
    const harness = new Harness().start(entryOf(withCallback())).answer(answered(0)).stored()
    await harness.onTold({ kind: 'NotDelivered', reason: 'hooks.example.com: status 503' })
    assert.equal(harness.log.at(-1), 'finished answered')
    const [{ code, status, reason, offset } = {}] = harness.failures as readonly Partial<FailedCall>[]
    assert.deepEqual([code, status, reason, offset], ['CALLBACK_NOT_DELIVERED', '', 'hooks.example.com: status 503', 7])
  })

  test('is left to another worker once its partition is elsewhere', async () => {
    const entry = entryOf(withCallback())
    const harness = new Harness().start(entry).answer(answered(0)).stored()
    assert.equal(harness.toldOf?.isOurs(), true)
    entry.partition.lose()
    assert.equal(harness.toldOf.isOurs(), false)
  })

  test('is told in less time once nothing else of the partition can start before', () => {
    const entry = entryOf(withCallback())
    const { partition } = entry
    const harness = new Harness().start(entry).answer(answered(0)).stored()
    partition.committedUpTo({ offset: 7, window: 2 })
    partition.deliver([fetched(8)], 10)
    assert.equal(harness.toldOf?.holdsOthersUp(), false)
    partition.takeStartable(0)!.state = 'Running'
    partition.deliver([fetched(9)], 10)
    assert.equal(harness.toldOf.holdsOthersUp(), true)
  })
})
