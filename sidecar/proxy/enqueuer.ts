import type { ErrorCode } from '../errors.ts'
import { ProduceError } from '../kafka/producer.ts'
import type { ProduceFailure, RecordProducer } from '../kafka/producer.ts'
import { markProducedAgain } from '../kafka/record.ts'
import type { OutgoingRecord } from '../kafka/record.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Counter, Histogram, Metrics } from '../telemetry/metrics.ts'
import type { CallClaim } from './call.ts'

/** What is put on Kafka. */
export interface Enqueued {
  /** Replaced by a marked copy when it is produced a second time. */
  record: OutgoingRecord
  /** Bytes of the record, an upper estimate. */
  readonly recordBytes: number
  /** The partition that it has to be in; undefined: any. */
  readonly partition?: number | undefined
  /** Whether nobody waits any more: it is dropped if it was not sent. */
  readonly ended: boolean
  /** Set before it is sent; taken back when Kafka surely has not got it. */
  maybeOnKafka: boolean
  /** Asked before it is sent for the first time, and told what became of it. */
  readonly claim?: Pick<CallClaim, 'stands' | 'settled'> | undefined
  fail(code: ErrorCode): void
}

export interface EnqueuerOptions {
  readonly producer: Pick<RecordProducer, 'produce'>
  readonly topic: string
  /** What goes into one produce request at the most, but for a record that is larger alone. */
  readonly maxBatchBytes: number
  readonly logger: Logger
  readonly metrics: Metrics
}

/** With more in flight batches stay small, and a small batch costs proxy, broker and worker nearly what a large one does. */
const MAX_REQUESTS_IN_FLIGHT = 2
/** A batch not done by then no longer counts as in flight: its broker may be silent, and the others are not. */
const LATE_MILLISECONDS = 500
/** Late batches and those in flight; each may hold `maxBatchBytes` of calls that have ended. */
const MAX_BATCHES = 16
/**
 * A partition that calls have to be in gets one batch after the other, so that they stay in their order whatever fails; so many
 * partitions may have one in flight that is not late. While one waits for its leader it is none of them.
 */
const MAX_PARTITIONS_IN_FLIGHT = 8
/** Each partition may hold one batch of calls that have ended. */
const LARGEST_BATCH_OF_PARTITION_BYTES = 1_048_576
const FIRST_PAUSE_MILLISECONDS = 50
const LONGEST_PAUSE_MILLISECONDS = 1000

/**
 * Puts records on Kafka: what is pending goes out together, once for each turn of the event loop, and while enough
 * requests are in flight it gathers. What fails is sent again until nobody waits for it. Calls with a partition of their own wait
 * for that one and hold up no other.
 */
export class Enqueuer {
  readonly #options: EnqueuerOptions
  readonly #seconds: Histogram
  readonly #batchRecords: Histogram
  readonly #errors: Readonly<Record<ProduceFailure, Counter>>
  readonly #closed = new AbortController()
  readonly #pending = new Set<Enqueued>()
  /** By partition, in the order in which they get their turn. */
  readonly #lanes = new Map<number, Lane>()
  #partitionsInFlight = 0
  /** What was in a request before and will be in another: calls that end leave these too. */
  readonly #toSendAgain = new Set<Set<Enqueued>>()
  #requestsInFlight = 0
  #lateBatches = 0
  #scheduled = false

  constructor(options: EnqueuerOptions) {
    const { metrics } = options
    this.#options = options
    this.#seconds = metrics.histogram('grpc_kafka_produce_seconds')
    this.#batchRecords = metrics.histogram('grpc_kafka_produce_batch_records')
    metrics.gaugeFrom('grpc_kafka_produce_pending_calls', {}, () => this.#waiting)
    const failures = (reason: ProduceFailure) => metrics.counter('grpc_kafka_produce_errors_total', { reason })
    this.#errors = { TOO_LARGE: failures('TOO_LARGE'), REFUSED: failures('REFUSED'), AMBIGUOUS: failures('AMBIGUOUS') }
  }

  add(call: Enqueued): void {
    if (call.partition === undefined) this.#pending.add(call)
    else this.#laneOf(call.partition).pending.add(call)
    this.#schedule()
  }

  /** Lets go of a call that has ended, and of its message, unless a request with it is on its way. */
  forget(call: Enqueued): void {
    if (call.partition === undefined) this.#pending.delete(call)
    else this.#lanes.get(call.partition)?.pending.delete(call)
    for (const calls of this.#toSendAgain) if (calls.delete(call)) settleDropped(call)
  }

  /** Nothing is sent again from now on; what would be fails as `KAFKA_UNAVAILABLE`. */
  close(): void {
    this.#closed.abort()
  }

  get #waiting(): number {
    let calls = this.#pending.size
    for (const { pending } of this.#lanes.values()) calls += pending.size
    for (const again of this.#toSendAgain) calls += again.size
    return calls
  }

  get #full(): boolean {
    return this.#requestsInFlight >= MAX_REQUESTS_IN_FLIGHT || this.#requestsInFlight + this.#lateBatches >= MAX_BATCHES
  }

  #laneOf(partition: number): Lane {
    let lane = this.#lanes.get(partition)
    if (lane === undefined) {
      lane = { partition, pending: new Set(), busy: false }
      this.#lanes.set(partition, lane)
    }
    return lane
  }

  #schedule(): void {
    if (this.#scheduled) return
    const maySend = this.#pending.size > 0 && !this.#full
    if (!maySend && (this.#lanes.size === 0 || this.#partitionsInFlight >= MAX_PARTITIONS_IN_FLIGHT)) return
    this.#scheduled = true
    setImmediate(this.#flush)
  }

  readonly #flush = (): void => {
    this.#scheduled = false
    while (!this.#full) {
      const batch = this.#take(this.#pending, this.#options.maxBatchBytes)
      if (batch.size === 0) break
      this.#start(batch)
    }
    for (const lane of this.#lanes.values()) {
      if (this.#partitionsInFlight >= MAX_PARTITIONS_IN_FLIGHT) return
      if (!lane.busy) this.#startOf(lane)
    }
  }

  #startOf(lane: Lane): void {
    const { partition, pending } = lane
    const { maxBatchBytes } = this.#options
    const batch = this.#take(pending, Math.min(maxBatchBytes, LARGEST_BATCH_OF_PARTITION_BYTES))
    // The others come first next time.
    this.#lanes.delete(partition)
    if (batch.size === 0) return
    this.#lanes.set(partition, lane)
    lane.busy = true
    void this.#send(batch, partition).then(() => {
      lane.busy = false
      this.#schedule()
    })
  }

  #start(batch: Set<Enqueued>): void {
    this.#requestsInFlight++
    let late = false
    const timer = setTimeout(() => {
      late = true
      this.#requestsInFlight--
      this.#lateBatches++
      this.#schedule()
    }, LATE_MILLISECONDS)
    void this.#send(batch, undefined).then(() => {
      clearTimeout(timer)
      if (late) this.#lateBatches--
      else this.#requestsInFlight--
      this.#schedule()
    })
  }

  /** The oldest that are still waited for, up to the limit in bytes. */
  #take(pending: Set<Enqueued>, mostBytes: number): Set<Enqueued> {
    const batch = new Set<Enqueued>()
    let bytes = 0
    for (const call of pending) {
      if (!call.ended && mayBeSent(call)) {
        if (batch.size > 0 && bytes + call.recordBytes > mostBytes) break
        bytes += call.recordBytes
        batch.add(call)
      }
      pending.delete(call)
    }
    return batch
  }

  /**
   * Resolves, and never rejects, when each of the calls is on Kafka, has failed, or is not waited for any more.
   * @param calls is emptied of what ended meanwhile, so that a batch that fails for long does not hold its messages.
   */
  async #send(calls: Set<Enqueued>, partition: number | undefined): Promise<void> {
    let pause = FIRST_PAUSE_MILLISECONDS
    for (;;) {
      const failure = await (partition === undefined ? this.#produce(calls) : this.#produceTo(partition, calls))
      if (failure === undefined) return
      if (failure === 'TOO_LARGE') {
        if (calls.size === 1) {
          for (const call of calls) {
            call.fail('REQUEST_TOO_LARGE')
            settleDropped(call)
          }
          return
        }
        const secondHalf = splitOffHalf(calls)
        await this.#whileForgetting(secondHalf, () => this.#send(calls, partition))
        if (secondHalf.size > 0) await this.#send(secondHalf, partition)
        return
      }
      await this.#whileForgetting(calls, () => this.#pause(pause))
      pause = Math.min(2 * pause, LONGEST_PAUSE_MILLISECONDS)
      dropLapsed(calls)
      if (calls.size === 0) return
      if (this.#closed.signal.aborted) {
        for (const call of calls) {
          call.fail('KAFKA_UNAVAILABLE')
          settleDropped(call)
        }
        return
      }
    }
  }

  /** While something else happens, the calls that have ended or end now leave. */
  async #whileForgetting(calls: Set<Enqueued>, happens: () => Promise<void>): Promise<void> {
    dropEnded(calls)
    this.#toSendAgain.add(calls)
    await happens()
    this.#toSendAgain.delete(calls)
  }

  /** Ends early when this closes. */
  #pause(milliseconds: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, milliseconds)
    const { signal } = this.#closed
    const onClose = (): void => resolve()
    signal.addEventListener('abort', onClose)
    if (signal.aborted) resolve()
    return promise.finally(() => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onClose)
    })
  }

  /** While the request is on its way, and no longer than until it is late, it is one of those in flight. */
  async #produceTo(partition: number, batch: ReadonlySet<Enqueued>): Promise<ProduceFailure | undefined> {
    this.#partitionsInFlight++
    let counts = true
    const leave = (): void => {
      if (counts) this.#partitionsInFlight--
      counts = false
      this.#schedule()
    }
    const timer = setTimeout(leave, LATE_MILLISECONDS)
    try {
      return await this.#produce(batch, partition)
    } finally {
      clearTimeout(timer)
      leave()
    }
  }

  /** @returns why it failed; undefined: it is on Kafka. */
  async #produce(batch: ReadonlySet<Enqueued>, partition?: number): Promise<ProduceFailure | undefined> {
    const calls = [...batch]
    const before = calls.map((call) => call.maybeOnKafka)
    for (const call of calls) call.maybeOnKafka = true
    const startedAt = performance.now()
    try {
      await this.#options.producer.produce(
        this.#options.topic,
        calls.map((call) => call.record),
        partition,
      )
      this.#batchRecords.observe(calls.length)
      for (const call of calls) call.claim?.settled('OnKafka')
      return undefined
    } catch (error) {
      const failure = error instanceof ProduceError ? error.code : 'AMBIGUOUS'
      this.#errors[failure].inc()
      this.#options.logger.warn(
        { failure, records: calls.length, reason: (error as Error).message },
        'Kafka did not take the calls',
      )
      calls.forEach((call, index) => {
        if (failure === 'AMBIGUOUS') call.record = markProducedAgain(call.record)
        else call.maybeOnKafka = before[index] ?? true
      })
      return failure
    } finally {
      this.#seconds.observe((performance.now() - startedAt) / 1000)
    }
  }
}

/** Calls that have to be in one partition. */
interface Lane {
  readonly partition: number
  readonly pending: Set<Enqueued>
  /** A batch is on its way, or waits to be sent again. */
  busy: boolean
}

// Functions of their own: a loop's variables would live on in an async function that waits, and hold a call.

function dropEnded(calls: Set<Enqueued>): void {
  for (const call of calls) {
    if (!call.ended) continue
    calls.delete(call)
    settleDropped(call)
  }
}

function dropLapsed(calls: Set<Enqueued>): void {
  for (const call of calls) if (!mayBeSent(call)) calls.delete(call)
}

/** What may be on Kafka already is sent again in any case, marked. */
const mayBeSent = (call: Enqueued): boolean => call.claim === undefined || call.maybeOnKafka || call.claim.stands()

/** It is not sent again. */
const settleDropped = (call: Enqueued): void => call.claim?.settled(call.maybeOnKafka ? 'Unknown' : 'NotOnKafka')

/** @returns the second half, which has left `calls`. */
function splitOffHalf(calls: Set<Enqueued>): Set<Enqueued> {
  const half = new Set([...calls].slice(calls.size >> 1))
  for (const call of half) calls.delete(call)
  return half
}
