import { formatCallId, isKeyed } from '../call-id.ts'
import type { CallId } from '../call-id.ts'
import type { Callbacks } from '../callback/callbacks.ts'
import type { RetryConfig } from '../config.ts'
import { ERRORS, GRPC_STATUS_NAMES, GrpcStatus } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import { ProduceError } from '../kafka/producer.ts'
import { callbackIn, rewriteRecord } from '../kafka/record.ts'
import type { CallRecord, RecordPrefix } from '../kafka/record.ts'
import { encodeOutcome } from '../results/outcome.ts'
import type { Answer, Outcome } from '../results/outcome.ts'
import type { OutcomeStore, Redrive } from '../results/store.ts'
import type { FailureLog } from '../telemetry/failure-log.ts'
import type { Counter, Histogram, Metrics } from '../telemetry/metrics.ts'
import { backoffMilliseconds, isRetryable } from './backoff.ts'
import { deadMetadata, isDeadLetter } from './dead-letter-record.ts'
import type { DeadLetters } from './dead-letters.ts'
import type { AttemptResult, HandlerClient } from './handler-client.ts'
import type { Entry } from './partition.ts'
import { redriveMilliseconds, redriveOf } from './redrive.ts'
import type { RetryTopics } from './retry-topics.ts'

export type RecordResult = 'answered' | 'dead_lettered' | 'expired' | 'skipped' | 'observed' | 'handed_on'

/** What the runner tells the dispatcher about a record that it was given. Exactly one call ends each start. */
export interface RunnerEvents {
  /** The handler answered, with whatever status, after so many milliseconds. Told before `handlerFree`. */
  answered(method: string, milliseconds: number): void
  /** The handler is free for the next call; what follows is only the outcome's way into Redis. */
  handlerFree(entry: Entry): void
  finished(entry: Entry, result: RecordResult): void
  /** Try again here after so many milliseconds. */
  retry(entry: Entry, milliseconds: number): void
  /** The handler was not there: the attempt does not count. */
  notReached(entry: Entry, reason: string): void
  /** It has not expired: a later claimant of its idempotency key raised the call's deadline (on the shared clock). */
  raised(entry: Entry, deadline: number): void
}

interface RunMethod {
  readonly seconds: Histogram
  /** Milliseconds since 1970 on the shared clock; Infinity: it is served. */
  readonly removedAt: number
}

/** What held when an attempt began. */
interface AttemptTerms {
  readonly retry: RetryConfig
  /** Whether the attempt had all the time that was left for the call. */
  readonly untilLastMoment: boolean
}

/**
 * Calls of a method that was removed still run when they were enqueued before, or by a proxy that learned of it later:
 * a mounted configuration reaches some pods within a second and others after more than a minute.
 */
const REMOVED_METHOD_MILLISECONDS = 120_000

export interface CallRunnerOptions {
  readonly service: string
  /** Short names of the methods that are served from the start. */
  readonly methods: readonly string[]
  readonly observer: boolean
  /** This and the timeout are read at each start: they may change. */
  readonly retry: RetryConfig
  /** Longest attempt. */
  readonly timeoutMilliseconds: number
  /** How long after its deadline a call may still be run. */
  readonly beyondDeadlineMilliseconds: number
  readonly handler: HandlerClient
  readonly store: OutcomeStore
  readonly deadLetters: DeadLetters
  /** Undefined: calls wait for their next attempt here, and hold their offsets. */
  readonly retryTopics: RetryTopics | undefined
  /** Undefined: nobody is told by HTTP. */
  readonly callbacks: Pick<Callbacks, 'tell'> | undefined
  /** How long it is remembered that another record has a call's next attempt. */
  readonly startsRetentionMilliseconds: number
  /** This worker's name in the history of attempts. */
  readonly instance: string
  /** Milliseconds since 1970 on the shared clock. */
  readonly now: () => number
  readonly random: () => number
  readonly failures: Pick<FailureLog, 'write'>
  readonly metrics: Metrics
  readonly events: RunnerEvents
}

/** Takes one record from its start to its end: handler, retry decision, dead letter, outcome. */
export class CallRunner {
  readonly #options: CallRunnerOptions
  /** By `package.Service/Method`. */
  readonly #methods = new Map<string, RunMethod>()
  /** What cancels each call that is with the handler, by its id. */
  readonly #running = new Map<string, () => void>()
  readonly #queueWait: Histogram
  readonly #retries: Counter
  readonly #attempts: Readonly<Record<AttemptResult['kind'], Counter>>

  constructor(options: CallRunnerOptions) {
    this.#options = options
    const { metrics } = options
    this.serve(options.methods)
    this.#queueWait = metrics.histogram('grpc_kafka_queue_wait_seconds')
    this.#retries = metrics.counter('grpc_kafka_handler_retries_total')
    const attempts = (result: AttemptResult['kind']) => metrics.counter('grpc_kafka_attempts_total', { result })
    this.#attempts = {
      Answered: attempts('Answered'),
      NotReached: attempts('NotReached'),
      Unsendable: attempts('Unsendable'),
      Broken: attempts('Broken'),
      TimedOut: attempts('TimedOut'),
      TooLarge: attempts('TooLarge'),
      NotGrpc: attempts('NotGrpc'),
      Cancelled: attempts('Cancelled'),
    }
  }

  /** @param methods short names of all methods that are served from now on. */
  serve(methods: readonly string[]): void {
    const { service, metrics, now } = this.#options
    const served = new Set(methods.map((method) => `${service}/${method}`))
    for (const [path, method] of this.#methods) {
      if (!served.has(path) && method.removedAt === Infinity) this.#methods.set(path, { ...method, removedAt: now() })
    }
    for (const method of methods) {
      const seconds = metrics.histogram('grpc_kafka_handler_seconds', { method })
      this.#methods.set(`${service}/${method}`, { seconds, removedAt: Infinity })
    }
  }

  /** Starts an attempt of a record that is a call. */
  start(entry: Entry): void {
    const { observer, now, timeoutMilliseconds, handler, retry } = this.#options
    if (entry.decoded.kind !== 'Call') throw new Error('only calls run')
    const { record } = entry.decoded
    const method = this.#methods.get(record.method)
    if (method === undefined || record.enqueuedAt > method.removedAt + REMOVED_METHOD_MILLISECONDS) {
      this.#options.events.handlerFree(entry)
      this.bury(entry, 'METHOD_NOT_SERVED', `method ${record.method} is not served`)
      return
    }
    const clock = now()
    const remaining = observer ? Infinity : this.#lastMoment(record) - clock
    if (remaining <= 0) {
      this.#options.events.handlerFree(entry)
      this.expire(entry)
      return
    }
    if (entry.attempt === 1) this.#queueWait.observe(Math.max(0, clock - record.enqueuedAt) / 1000)
    else this.#retries.inc()
    const started = performance.now()
    const key = record.id.toString('latin1')
    const cancel = handler.call(
      {
        path: `/${record.method}`,
        message: record.message,
        metadata: record.metadata,
        extra: {
          ...(observer && isDeadLetter(entry.raw) && deadMetadata(entry.raw)),
          ...handlerMetadata(record, entry.attempt),
        },
        timeoutMilliseconds: Math.min(remaining, timeoutMilliseconds),
      },
      (result) => {
        const milliseconds = performance.now() - started
        if (this.#running.get(key) === cancel) this.#running.delete(key)
        method.seconds.observe(milliseconds / 1000, record.traceparent)
        this.#attempts[result.kind].inc()
        if (result.kind === 'Answered') this.#options.events.answered(record.method, milliseconds)
        this.#options.events.handlerFree(entry)
        this.#judge(entry, record, result, { retry, untilLastMoment: remaining <= timeoutMilliseconds })
      },
    )
    if (!observer) this.#running.set(key, cancel)
  }

  /** Its handler is told, where it runs here. */
  cancel(id: CallId): void {
    this.#running.get(id.toString('latin1'))?.()
  }

  /** When it is no use any more to run the call, in milliseconds since 1970 on the shared clock. */
  #lastMoment({ deadline }: CallRecord): number {
    return deadline + this.#options.beyondDeadlineMilliseconds
  }

  /**
   * The deadline, and what may follow it, passed before the record could be run to its end. A redrive is a dead letter again: nobody
   * waits who would be told.
   */
  expire(entry: Entry): void {
    const redrive = redriveOf(entry)
    if (redrive !== undefined) {
      this.#buryUnlessDone(entry, redrive)
      return
    }
    const started =
      entry.mayHaveRun || entry.attempt > 1 || (entry.decoded.kind === 'Call' && entry.decoded.record.producedAgain)
    const code = started ? 'EXPIRED' : 'EXPIRED_NOT_STARTED'
    this.#tell(entry, code, ERRORS[code].message)
    this.#conclude(entry, prefixOf(entry), { state: 'Expired', started: started ? 'Unknown' : 'No' }, 'expired')
  }

  /** An outcome stands already: whoever waits is told again, and the offset may pass. */
  skip(entry: Entry): void {
    const prefix = prefixOf(entry)
    if (prefix !== undefined) this.#options.store.tellAgain(prefix.id, prefix.replyTo)
    this.#finish(entry, 'skipped')
  }

  /**
   * The record goes to the failure topic, then its caller, if it is known, gets its outcome.
   * @param last what the caller gets where an attempt had an answer.
   */
  bury(entry: Entry, code: ErrorCode, reason: string, last?: Answer): void {
    const { deadLetters, observer } = this.#options
    const prefix = prefixOf(entry)
    this.#tell(entry, code, 'the record goes to the failure topic', { reason, status: last?.status })
    // It stands on a failure topic already, which this group, or another that would write it again, may read.
    if (observer && isDeadLetter(entry.raw)) {
      this.#finish(entry, 'observed')
      return
    }
    const answer = last ?? ownAnswer(code)
    const revision = redriveOf(entry)?.revision ?? 0
    deadLetters.bury(entry, reason, answer.status).then(
      () => {
        if (observer) this.#finish(entry, 'dead_lettered')
        else this.#conclude(entry, prefix, { state: 'DeadLettered', revision, ...answer }, 'dead_lettered')
      },
      // Closed before Kafka took it: the record is not finished and its next owner reads it again.
      () => undefined,
    )
  }

  /** It may never have been asked about, and an outcome, or another copy of it, may have ended it meanwhile. */
  #buryUnlessDone(entry: Entry, redrive: Redrive): void {
    const { store, startsRetentionMilliseconds } = this.#options
    const { id } = prefixOf(entry)!
    store.areDone([{ id, redrive }], startsRetentionMilliseconds).then(
      ([done]) => {
        if (done === true) this.skip(entry)
        else this.bury(entry, 'EXPIRED', `the deadline of redrive ${redrive.revision} passed`)
      },
      // Closed before Redis answered: its next owner reads it again.
      () => undefined,
    )
  }

  #judge(entry: Entry, record: CallRecord, result: AttemptResult, { retry, untilLastMoment }: AttemptTerms): void {
    const { events, observer, now } = this.#options
    switch (result.kind) {
      case 'Answered':
        this.#answered(entry, record, result.answer, retry)
        return
      case 'NotReached':
        events.notReached(entry, result.reason)
        return
      case 'Unsendable':
        this.bury(entry, 'UNREADABLE_RECORD', `cannot be sent to a handler: ${result.reason}`)
        return
      case 'Broken':
        entry.mayHaveRun = true
        this.#answered(entry, record, ownAnswer('HANDLER_UNREACHABLE'), retry, {
          code: 'HANDLER_UNREACHABLE',
          reason: result.reason,
        })
        return
      case 'TimedOut':
        entry.mayHaveRun = true
        // A timer may be some milliseconds early by the shared clock.
        if (!observer && (untilLastMoment || now() >= this.#lastMoment(record))) this.expire(entry)
        else this.#answered(entry, record, ownAnswer('HANDLER_TIMEOUT'), retry, { code: 'HANDLER_TIMEOUT' })
        return
      case 'Cancelled':
        this.#conclude(entry, record, { state: 'Cancelled' }, 'skipped')
        return
      case 'TooLarge':
        this.#end(entry, record, ownAnswer('RESULT_TOO_LARGE'), { code: 'RESULT_TOO_LARGE' })
        return
      case 'NotGrpc':
        this.#end(entry, record, ownAnswer('HANDLER_PROTOCOL'), { code: 'HANDLER_PROTOCOL', reason: result.reason })
        return
    }
  }

  /** @param failure why the answer is ours and not the handler's. */
  #answered(entry: Entry, record: CallRecord, answer: Answer, retry: RetryConfig, failure?: Failure): void {
    const { observer, random, now, events, instance, retryTopics } = this.#options
    const redriven = redriveOf(entry) !== undefined && !observer
    if (
      answer.status === GrpcStatus.OK ||
      !isRetryable(retry, answer.status) ||
      (retry.maxAttempts === 1 && !redriven)
    ) {
      this.#end(entry, record, answer, failure)
      return
    }
    entry.failures = [...entry.failures, { attempt: entry.attempt, at: now(), status: answer.status, worker: instance }]
    if (entry.attempt >= retry.maxAttempts) {
      this.bury(entry, 'ATTEMPTS_USED_UP', `attempts used up, last status ${answer.status}`, answer)
      return
    }
    const wait = backoffMilliseconds(retry, entry.attempt, random())
    // An attempt that would begin too late helps nobody: the caller gets what there is, and of a redrive whoever asked for it.
    const tooLate = !observer && now() + wait >= this.#lastMoment(record)
    if (tooLate && redriven)
      this.bury(entry, 'ATTEMPTS_USED_UP', `no time for another attempt, last status ${answer.status}`, answer)
    else if (tooLate) this.#end(entry, record, answer, failure)
    else if (observer || retryTopics?.isThere !== true) events.retry(entry, wait)
    else this.#handOn(entry, record, wait, retryTopics, answer)
  }

  /**
   * The next attempt is that of a record of its own, so that a rebalance or a kill loses nothing of it. In this order: Kafka has
   * that record, it is said that this one is done, the offset may pass. In between a kill makes the two of them stand side by
   * side; `begin` counts what they start.
   */
  #handOn(entry: Entry, record: CallRecord, wait: number, retryTopics: RetryTopics, answer: Answer): void {
    const { store, events, startsRetentionMilliseconds, now } = this.#options
    const { attempt, failures, partition, offset } = entry
    const failedAt = failures.at(-1)!.at
    const next = rewriteRecord(entry.raw, {
      ...record,
      attempt: attempt + 1,
      firstFailureAt: record.firstFailureAt || failedAt,
      notBefore: failedAt + wait,
      origin: record.origin ?? { partition: partition.partition, offset },
      failures,
    })
    retryTopics
      .handOn(attempt, next)
      .then(() => {
        const keep = startsRetentionMilliseconds + redriveMilliseconds(entry, now())
        return store.handedOn(record.id, attempt, keep, record.redriveRevision)
      })
      .then(
        () => events.finished(entry, 'handed_on'),
        (error: unknown) => {
          // Else it was closed before: the record is not finished, and its next owner reads it again.
          if (error instanceof ProduceError)
            this.bury(entry, 'ATTEMPTS_USED_UP', `cannot be put on its retry topic: ${error.message}`, answer)
        },
      )
  }

  #end(entry: Entry, record: CallRecord, answer: Answer, failure?: Failure): void {
    if (failure !== undefined) this.#tell(entry, failure.code, ERRORS[failure.code].message, failure)
    if (this.#options.observer) this.#finish(entry, 'observed')
    else this.#conclude(entry, record, { state: 'Answered', ...answer }, 'answered')
  }

  /** @param about `status` is that of the handler's last answer, where the caller gets that. */
  #tell(
    entry: Entry,
    code: ErrorCode | 'CALLBACK_NOT_DELIVERED',
    message: string,
    about: { readonly reason?: string | undefined; readonly status?: number | undefined } = {},
  ): void {
    const { failures, now } = this.#options
    failures.write(code, message, () => {
      const prefix = prefixOf(entry)
      const record = entry.decoded.kind === 'Call' ? entry.decoded.record : undefined
      return {
        callId: prefix && formatCallId(prefix.id),
        method: record?.method,
        status: statusName(code, about.status),
        milliseconds: record === undefined ? 0 : now() - record.enqueuedAt,
        deadline: prefix?.deadline ?? 0,
        attempt: entry.attempt,
        topic: entry.partition.topic,
        partition: entry.partition.partition,
        offset: entry.offset,
        traceparent: record?.traceparent,
        reason: about.reason,
      }
    })
  }

  #conclude(entry: Entry, prefix: RecordPrefix | undefined, outcome: Outcome, result: RecordResult): void {
    const { store, events, observer } = this.#options
    if (prefix === undefined || observer) {
      this.#finish(entry, result)
      return
    }
    const done = (raised: number | undefined): void => {
      if (raised === undefined) this.#finish(entry, result)
      else events.raised(entry, raised)
    }
    const expiredAt = outcome.state === 'Expired' ? prefix.deadline : undefined
    const bytes = encodeOutcome(placed(outcome, entry))
    store.store(prefix.id, prefix.replyTo, bytes, done, expiredAt, redriveOf(entry)?.revision)
  }

  /**
   * The call has its outcome, or needs none here. Whom its caller wants to be told is told, and its starts are forgotten, before the
   * offset may pass: whoever finds the outcome after a kill in between comes by here, too.
   */
  #finish(entry: Entry, result: RecordResult): void {
    const { events } = this.#options
    const told = this.#tellReceiver(entry)
    const forgotten = this.#forgetStarts(entry)
    if (told === undefined && forgotten === undefined) {
      events.finished(entry, result)
      return
    }
    Promise.all([told, forgotten]).then(
      () => events.finished(entry, result),
      // Closed before both were done: its next owner reads the record again.
      () => undefined,
    )
  }

  /** Undefined: there is nobody to tell. */
  #tellReceiver(entry: Entry): Promise<void> | undefined {
    const { callbacks, observer } = this.#options
    const prefix = prefixOf(entry)
    const url = callbackIn(entry.raw)
    if (observer || url === undefined || prefix === undefined) return undefined
    if (callbacks === undefined) {
      this.#notTold(entry, 'this worker knows no receivers of callbacks')
      return undefined
    }
    const method = entry.decoded.kind === 'Call' ? entry.decoded.record.method : ''
    const call = {
      id: prefix.id,
      revision: redriveOf(entry)?.revision ?? 0,
      method,
      url,
      isOurs: () => !entry.partition.lost,
      holdsOthersUp: () => entry.partition.isHeldBy(entry),
    }
    return callbacks.tell(call).then((told) => {
      if (told.kind === 'NotDelivered') this.#notTold(entry, told.reason)
    })
  }

  #notTold(entry: Entry, reason: string): void {
    this.#tell(entry, 'CALLBACK_NOT_DELIVERED', 'whom its caller wanted to be told does not know', { reason })
  }

  /** Undefined: Redis has none. */
  #forgetStarts(entry: Entry): Promise<void> | undefined {
    const prefix = prefixOf(entry)
    if (prefix === undefined || !isKeyed(prefix.id) || redriveOf(entry) !== undefined || !mayHaveStarts(entry))
      return undefined
    return this.#options.store.forgetStarts(prefix.id)
  }
}

/** Whether Redis may know of starts of this record, or of an earlier one of its call. */
const mayHaveStarts = ({ counted, mayHaveRun, attempt, decoded }: Entry): boolean =>
  counted !== undefined || mayHaveRun || attempt > 1 || (decoded.kind === 'Call' && decoded.record.producedAgain)

function prefixOf(entry: Entry): RecordPrefix | undefined {
  switch (entry.decoded.kind) {
    case 'Call':
      return entry.decoded.record
    case 'Newer':
    case 'Unreadable':
      return entry.decoded.prefix
  }
}

/** The place that the call had on the service's own topic. */
function placed(outcome: Outcome, { partition: { partition }, offset, decoded, attempt }: Entry): Outcome {
  if (outcome.state !== 'Answered' && outcome.state !== 'DeadLettered') return outcome
  const origin = decoded.kind === 'Call' ? decoded.record.origin : undefined
  return { ...outcome, place: { ...(origin ?? { partition, offset }), attempts: attempt } }
}

/** What the caller gets, by name; empty: that is another matter. */
const statusName = (code: ErrorCode | 'CALLBACK_NOT_DELIVERED', status: number | undefined): string =>
  status !== undefined
    ? (GRPC_STATUS_NAMES[status] ?? '')
    : code === 'CALLBACK_NOT_DELIVERED'
      ? ''
      : ERRORS[code].status

interface Failure {
  readonly code: ErrorCode
  readonly reason?: string
}

const ownAnswer = (code: ErrorCode): Answer => ({
  status: GrpcStatus[ERRORS[code].status],
  details: ERRORS[code].message,
  initialMetadata: [],
  trailingMetadata: [],
  message: null,
})

function handlerMetadata(record: CallRecord, attempt: number): Record<string, string> {
  const extra: Record<string, string> = {
    'grpc-kafka-call-id': formatCallId(record.id),
    'grpc-kafka-attempt': String(attempt),
  }
  if (record.traceparent !== undefined) extra['traceparent'] = record.traceparent
  if (record.tracestate !== undefined) extra['tracestate'] = record.tracestate
  return extra
}
