/**
 * The way of a call through the proxy, as a list of layers: read `callPipeline` from top to bottom. A call passes them
 * downwards until one ends it, and leaves them upwards when it has ended.
 */
import { isDeepStrictEqual } from 'node:util'
import { findTarget } from '../callback/target.ts'
import type { ProxyConfig } from '../config.ts'
import { cloudEventHeaders } from '../kafka/cloud-events.ts'
import { callbackHeader, encodeRecord, headerBytes } from '../kafka/record.ts'
import type { RecordOrigin } from '../kafka/record.ts'
import type { LiveConfig } from '../live-config.ts'
import type { MetadataPairs } from '../metadata.ts'
import type { Outcome } from '../results/outcome.ts'
import type { CallHandle, CallHandles } from '../results/call-handles.ts'
import type { CallClaims } from '../results/claims.ts'
import type { OutcomeWaiters } from '../results/waiters.ts'
import type { SharedClock } from '../results/shared-clock.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Admission } from './admission.ts'
import { cacheKey } from './cache-key.ts'
import { Pipeline } from './call.ts'
import type { Call, End, LayerFactory } from './call.ts'
import type { Enqueuer } from './enqueuer.ts'
import { Flights } from './flights.ts'
import type { Gate } from './gate.ts'
import { idempotency } from './idempotency.ts'
import type { QueueEstimate } from './queue-estimate.ts'
import { RateLimiter } from './limiter.ts'
import type { RateLimit } from './limiter.ts'
import { declaredMetadata, firstValue } from './metadata.ts'
import { ResultCache } from './result-cache.ts'
import { traceContext } from './trace-context.ts'

export interface PipelineOptions {
  readonly live: LiveConfig<ProxyConfig>
  readonly gate: Gate
  readonly admission: Admission
  readonly queueEstimate: QueueEstimate
  readonly enqueuer: Pick<Enqueuer, 'add' | 'forget'>
  /** The partition of the records with a key. */
  readonly partitionOf: (key: Buffer) => number
  readonly waiters: Pick<OutcomeWaiters, 'add' | 'remove'>
  readonly handles: Pick<CallHandles, 'keep'>
  readonly claims: Pick<CallClaims, 'ask' | 'keep' | 'forget' | 'enqueued' | 'giveBack' | 'storeOutcome'>
  /** Random bytes, `CLAIM_TOKEN_BYTES` of them. */
  readonly nextClaimToken: () => Buffer
  readonly clock: Pick<SharedClock, 'now'>
  /** Milliseconds since 1970 on this machine. */
  readonly localNow: () => number
  /** Milliseconds that never go back. */
  readonly monotonicNow: () => number
  readonly metrics: Metrics
}

export function callPipeline(options: PipelineOptions): Pipeline {
  return new Pipeline([
    gate(options),
    deadline(options),
    callback(options),
    admitBytes(options),
    limit(options),
    admit(options),
    handOut(options),
    idempotency({ ...options, service: options.live.current.service.name }),
    cache(options),
    queue(options),
    enqueue(options),
    awaitOutcome(options),
  ])
}

const gate =
  ({ gate }: PipelineOptions): LayerFactory =>
  (next) => ({
    enter: (call) => {
      const refusal = gate.enter(call)
      if (refusal === undefined) next(call)
      else call.fail(refusal)
    },
    leave: (call) => gate.leave(call),
  })

/** The resource's timeout or the client's deadline, whichever is nearer, ends the call wherever it is. */
const deadline =
  ({ clock, localNow, monotonicNow }: PipelineOptions): LayerFactory =>
  (next) => ({
    enter: (call) => {
      const patience = Math.min(call.method.timeoutMilliseconds, Math.ceil(call.clientDeadline - localNow()))
      if (patience <= 0) {
        call.fail('DEADLINE_BEFORE_START')
        return
      }
      // Who does not wait for the answer does not bound how long it may take.
      call.deadline = clock.now() + (call.method.delivery === 'OneWay' ? call.method.timeoutMilliseconds : patience)
      call.patienceEndsAt = monotonicNow() + patience
      call.deadlineTimer = setTimeout(expire, patience, call)
      next(call)
    },
    leave: (call) => clearTimeout(call.deadlineTimer),
  })

function expire(call: Call): void {
  if (call.place !== undefined) {
    call.end({ kind: 'Accepted', place: call.place })
    return
  }
  if (!call.maybeOnKafka && call.claim?.mayRunElsewhere !== true) call.fail('DEADLINE_BEFORE_START')
  else if (call.method.delivery === 'Queued') call.fail('DEADLINE_PASSED')
  else call.fail('DEADLINE_PASSED', undefined, NOT_ACKNOWLEDGED)
}

const NOT_ACKNOWLEDGED = 'Kafka did not acknowledge the call before the deadline; it may still run'

/** Where a caller wants to be told of the outcome: the metadata of its call, one value. */
const CALLBACK_URL = 'grpc-kafka-callback-url'

/** Refused at once where it may not be called; the worker looks again, when it calls it. */
const callback =
  ({ live }: PipelineOptions): LayerFactory =>
  (next) => ({
    enter: (call) => {
      const [url, second] = call.metadata.get(CALLBACK_URL)
      if (url !== undefined) {
        const target =
          typeof url === 'string' && second === undefined
            ? findTarget(url, live.current.proxy.callbacks?.receivers ?? [])
            : ({ kind: 'Refused', reason: 'stands twice' } as const)
        if (target.kind === 'Refused') {
          call.fail('CALLBACK_NOT_ALLOWED', undefined, `the metadata field ${CALLBACK_URL} ${target.reason}`)
          return
        }
        call.callback = target.url.href
      }
      next(call)
    },
  })

/** How long the calls in flight take is not known here; a tenth of a second frees room and does not starve the client. */
const ADMISSION_RETRY_MILLISECONDS = 100

/** Before the rate limit: a call that waits for a token holds its message as well. */
const admitBytes =
  ({ admission, metrics }: PipelineOptions): LayerFactory =>
  (next) => {
    metrics.gaugeFrom('grpc_kafka_bytes_in_flight', {}, () => admission.bytes)
    return {
      enter: (call) => {
        const refusal = admission.admitBytes(call.message.length)
        if (refusal === undefined) {
          call.bytesAdmitted = true
          next(call)
        } else call.fail(refusal, ADMISSION_RETRY_MILLISECONDS)
      },
      leave: (call) => {
        if (call.bytesAdmitted) admission.releaseBytes(call.message.length)
      },
    }
  }

const limit =
  ({ live, monotonicNow, metrics }: PipelineOptions): LayerFactory =>
  (next) => {
    const limiterOf = (limit: RateLimit | undefined, tokens?: number) =>
      limit && new RateLimiter({ limit, now: monotonicNow, grant: next, ...(tokens !== undefined && { tokens }) })
    let limiter = limiterOf(live.current.proxy.rateLimit)
    /** Calls that wait when the limit changes keep their place and the pace that they were let in by. */
    const former = new Set<RateLimiter<Call>>()
    live.subscribe((now, before) => {
      if (isDeepStrictEqual(now.proxy.rateLimit, before.proxy.rateLimit)) return
      if (limiter !== undefined && limiter.waiting > 0) former.add(limiter)
      limiter = limiterOf(now.proxy.rateLimit, limiter?.tokens)
    })
    metrics.gaugeFrom('grpc_kafka_calls_waiting', {}, () =>
      [...former].reduce((sum, { waiting }) => sum + waiting, limiter?.waiting ?? 0),
    )
    return {
      enter: (call) => {
        if (limiter === undefined) {
          next(call)
          return
        }
        const verdict = limiter.take(call, call.patienceEndsAt - monotonicNow())
        if (verdict.kind === 'Granted') next(call)
        else if (verdict.kind === 'Refused') call.fail(verdict.code, verdict.retryAfterMilliseconds)
      },
      leave: (call) => {
        limiter?.forget(call)
        for (const one of former) {
          one.forget(call)
          if (one.waiting === 0) former.delete(one)
        }
      },
    }
  }

const admit =
  ({ admission, metrics }: PipelineOptions): LayerFactory =>
  (next) => {
    metrics.gaugeFrom('grpc_kafka_calls_in_flight', {}, () => admission.calls)
    return {
      enter: (call) => {
        const refusal = admission.admitCall()
        if (refusal === undefined) {
          call.admitted = true
          next(call)
        } else call.fail(refusal, ADMISSION_RETRY_MILLISECONDS)
      },
      leave: (call) => {
        if (call.admitted) admission.releaseCall()
      },
    }
  }

/**
 * Identical calls of a method that may be cached get one answer: kept ones at once, and those that come while one is in
 * flight with it. Whatever the handler said is shared with these; only OK is kept.
 */
const cache =
  ({ live, monotonicNow, metrics }: PipelineOptions): LayerFactory =>
  (next) => {
    const config = live.current
    const { maxMessageBytes } = config.service
    const kept = new ResultCache({ maxBytes: config.proxy.cacheMaxBytes, maxMessageBytes, monotonicNow, metrics })
    let longest = cacheSecondsByMethod(config)
    live.subscribe((now, before) => {
      const { cacheMaxBytes, methods } = now.proxy
      if (cacheMaxBytes === before.proxy.cacheMaxBytes && isDeepStrictEqual(methods, before.proxy.methods)) return
      kept.reset(cacheMaxBytes)
      longest = cacheSecondsByMethod(now)
    })
    const flights = new Flights<Call>(next)
    const result = (name: string) => metrics.counter('grpc_kafka_cache_requests_total', { result: name })
    const [hits, misses, collapsed] = [result('hit'), result('miss'), result('collapsed')]
    return {
      enter: (call) => {
        // Whom a caller wants to be told is told by a worker.
        if (call.method.cacheSeconds === 0 || call.callback !== undefined) {
          next(call)
          return
        }
        const metadata = travelling(call)
        if (metadata === undefined) return
        const key = cacheKey({ method: call.method.name, caller: call.caller, metadata, message: call.message })
        const outcome = kept.get(key)
        if (outcome !== undefined) {
          hits.inc()
          call.conclude({ kind: 'Outcome', outcome, cached: true })
        } else if (flights.join(key, call)) {
          misses.inc()
          next(call)
        } else collapsed.inc()
      },
      leave: (call, end) => {
        const outcome = end.kind === 'Outcome' && isAnswer(end.outcome) ? end.outcome : undefined
        const landed = flights.leave(call, outcome !== undefined)
        if (landed === undefined || outcome === undefined) return
        // It may have begun when answers were kept for longer.
        const seconds = Math.min(call.method.cacheSeconds, longest.get(call.method.name) ?? 0)
        kept.keep(landed.key, outcome, seconds)
        for (const follower of landed.followers) follower.conclude({ kind: 'Outcome', outcome })
      },
    }
  }

/** By `package.Service/Method`. */
const cacheSecondsByMethod = ({ service, proxy }: ProxyConfig): ReadonlyMap<string, number> =>
  new Map(proxy.methods.map(({ name, cacheSeconds }) => [`${service.name}/${name}`, cacheSeconds]))

/** Expired and Cancelled are about one call; these hold for every call like it. */
const isAnswer = ({ state }: Outcome): boolean => state === 'Answered' || state === 'DeadLettered'

/** What a refused client waits at the least: the workers report each second. */
const QUEUE_RETRY_MILLISECONDS = 100
const LONGEST_QUEUE_RETRY_MILLISECONDS = 10_000

/** A call that workers would come to too late is refused now: it would only keep them from those that can be answered. */
const queue =
  ({ queueEstimate, clock, monotonicNow, metrics }: PipelineOptions): LayerFactory =>
  (next) => {
    metrics.gaugeFrom('grpc_kafka_queue_wait_estimate_seconds', {}, () =>
      queueEstimate.wait === undefined ? undefined : queueEstimate.wait / 1000,
    )
    return {
      enter: (call) => {
        const remaining =
          call.method.delivery === 'OneWay' ? call.deadline - clock.now() : call.patienceEndsAt - monotonicNow()
        const wait = queueEstimate.tooLong(call.method.name, remaining)
        // A refusal says that the call did not run, which nobody knows of one whose claim was taken over.
        if (wait === undefined || call.claim?.mayRunElsewhere === true) {
          queueEstimate.inFlight++
          call.queued = true
          next(call)
          return
        }
        const retryAfter = Math.min(
          Math.max(wait - remaining, QUEUE_RETRY_MILLISECONDS),
          LONGEST_QUEUE_RETRY_MILLISECONDS,
        )
        const estimate = Number.isFinite(wait)
          ? `about ${Math.ceil(wait)} ms`
          : 'for as long as the handlers do not answer'
        call.fail(
          'QUEUE_TOO_LONG',
          Math.ceil(retryAfter),
          `the queue is too long: an answer would take ${estimate}, and the deadline is in ${Math.ceil(remaining)} ms`,
        )
      },
      leave: (call) => {
        if (call.queued) queueEstimate.inFlight--
        call.queued = false
      },
    }
  }

/** The metadata that goes with a call; undefined: it is too large and the call has ended. */
function travelling(call: Call): MetadataPairs | undefined {
  call.travelling ??= declaredMetadata(call.metadata, call.method.metadata)
  if (call.travelling === undefined) call.fail('METADATA_TOO_LARGE')
  return call.travelling
}

/** Every record of the key carries it. */
const MAX_KEY_BYTES = 1024

/** The record leaves at the end of this turn of the event loop, so the layers below are in place before it does. */
const enqueue =
  ({ live, enqueuer, partitionOf, clock }: PipelineOptions): LayerFactory =>
  (next) => ({
    enter: (call) => {
      const metadata = travelling(call)
      if (metadata === undefined) return
      const trace = traceContext(call.metadata)
      call.traceparent = trace.traceparent
      const { partitionKey } = call.method
      const key = partitionKey === undefined ? undefined : firstValue(call.metadata, partitionKey)
      if (key !== undefined && key.length > MAX_KEY_BYTES) {
        call.fail(
          'METADATA_TOO_LARGE',
          undefined,
          `${partitionKey}, the partition key, has more than ${MAX_KEY_BYTES} bytes`,
        )
        return
      }
      if (key !== undefined) call.partition = partitionOf(key)
      const enqueuedAt = clock.now()
      call.record = encodeRecord(
        {
          id: call.id,
          deadline: call.claim?.deadline ?? call.deadline,
          replyTo: call.method.delivery === 'OneWay' ? '' : live.current.instance,
          method: call.method.name,
          attempt: 1,
          producedAgain: call.claim?.producedBefore ?? false,
          enqueuedAt,
          firstFailureAt: 0,
          caller: call.caller,
          metadata,
          ...trace,
          message: call.message,
        },
        live.current.proxy.recordVersion,
        key,
      )
      if (call.method.cloudEvents)
        Object.assign(call.record.headers, cloudEventHeaders(call.id, call.method.name, enqueuedAt))
      if (call.callback !== undefined) Object.assign(call.record.headers, callbackHeader(call.callback))
      call.recordBytes = call.message.length + headerBytes(call.record)
      enqueuer.add(call)
      next(call)
    },
    leave: (call) => enqueuer.forget(call),
  })

/** A call with a key may have come with another caller, whose deadline is not known here, but no later than its method's from now. */
const handleOf = ({ id, method, caller, claim, deadline }: Call, now: number, place?: RecordOrigin): CallHandle => ({
  id,
  method: method.name,
  caller,
  deadline: claim === undefined ? deadline : Math.max(claim.deadline, now + method.timeoutMilliseconds),
  place,
})

/** A caller that is told an id, and no outcome, may ask for that later; so may a receiver, for what its message has no room for. */
const handOut =
  ({ handles, clock }: PipelineOptions): LayerFactory =>
  (next) => ({
    enter: next,
    leave: (call, end) => {
      const isForReceiver = call.callback !== undefined && call.maybeOnKafka
      if (end.kind === 'Accepted' ? call.place === undefined : isForReceiver || isUndecided(call, end))
        handles.keep(handleOf(call, clock.now()))
    },
  })

/** Whether the call may still come to an outcome. */
export const isUndecided = (call: Call, end: End): boolean =>
  end.kind === 'Failed' && (end.code === 'DEADLINE_PASSED' || (end.code === 'CUT_OFF' && call.maybeOnKafka))

const awaitOutcome =
  ({ waiters, handles, clock }: PipelineOptions): LayerFactory =>
  () => ({
    enter: (call) => {
      if (call.method.delivery === 'OneWay') {
        call.onKafka = (place) => {
          if (call.ended) return
          call.place = place
          handles.keep(handleOf(call, clock.now(), place), () => call.end({ kind: 'Accepted', place }))
        }
        return
      }
      call.onOutcome = (outcome) => {
        if (outcome === undefined) call.fail('RESULT_UNREADABLE')
        else call.end({ kind: 'Outcome', outcome })
      }
      waiters.add(call.id, call.onOutcome)
    },
    leave: (call) => {
      if (call.onOutcome !== undefined) waiters.remove(call.id, call.onOutcome)
    },
  })
