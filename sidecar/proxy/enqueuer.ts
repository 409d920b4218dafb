import type { ErrorCode } from '../errors.ts'
import { ProduceError } from '../kafka/producer.ts'
import type { ProduceFailure, RecordProducer } from '../kafka/producer.ts'
import { markProducedAgain } from '../kafka/record.ts'
import type { OutgoingRecord } from '../kafka/record.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Counter, Histogram, Metrics } from '../telemetry/metrics.ts'

/** What is put on Kafka. */
export interface Enqueued {
  /** Replaced by a marked copy when it is produced a second time. */
  record: OutgoingRecord
  /** Bytes of the record, an upper estimate. */
  readonly recordBytes: number
  /** Whether nobody waits any more: it is dropped if it was not sent. */
  readonly ended: boolean
  /** Set before it is sent; taken back when Kafka surely has not got it. */
  maybeOnKafka: boolean
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
const FIRST_PAUSE_MILLISECONDS = 50
const LONGEST_PAUSE_MILLISECONDS = 1000

/**
 * Puts records on Kafka: what is pending goes out together, once for each turn of the event loop, and while enough
 * requests are in flight it gathers. What fails is sent again until nobody waits for it.
 */
export class Enqueuer {
  readonly #options: EnqueuerOptions
  readonly #seconds: Histogram
  readonly #batchRecords: Histogram
  readonly #errors: Readonly<Record<ProduceFailure, Counter>>
  readonly #closed = new AbortController()
  #pending: Enqueued[] = []
  #requestsInFlight = 0
  #scheduled = false

  constructor(options: EnqueuerOptions) {
    const { metrics } = options
    this.#options = options
    this.#seconds = metrics.histogram('grpc_kafka_produce_seconds')
    this.#batchRecords = metrics.histogram('grpc_kafka_produce_batch_records')
    const failures = (reason: ProduceFailure) => metrics.counter('grpc_kafka_produce_errors_total', { reason })
    this.#errors = { TOO_LARGE: failures('TOO_LARGE'), REFUSED: failures('REFUSED'), AMBIGUOUS: failures('AMBIGUOUS') }
  }

  add(call: Enqueued): void {
    this.#pending.push(call)
    this.#schedule()
  }

  /** Nothing is sent again from now on; what would be fails as `KAFKA_UNAVAILABLE`. */
  close(): void {
    this.#closed.abort()
  }

  #schedule(): void {
    if (this.#scheduled || this.#requestsInFlight >= MAX_REQUESTS_IN_FLIGHT || this.#pending.length === 0) return
    this.#scheduled = true
    setImmediate(this.#flush)
  }

  readonly #flush = (): void => {
    this.#scheduled = false
    while (this.#requestsInFlight < MAX_REQUESTS_IN_FLIGHT) {
      const batch = this.#take()
      if (batch.length === 0) return
      this.#requestsInFlight++
      void this.#send(batch).then(() => {
        this.#requestsInFlight--
        this.#schedule()
      })
    }
  }

  /** The oldest that are still waited for, up to the limit in bytes. */
  #take(): Enqueued[] {
    const pending = this.#pending
    const batch: Enqueued[] = []
    let bytes = 0
    let next = 0
    for (; next < pending.length; next++) {
      const call = pending[next] as Enqueued
      if (call.ended) continue
      if (batch.length > 0 && bytes + call.recordBytes > this.#options.maxBatchBytes) break
      bytes += call.recordBytes
      batch.push(call)
    }
    this.#pending = next === pending.length ? [] : pending.slice(next)
    return batch
  }

  /** Resolves, and never rejects, when each of the calls is on Kafka, has failed, or is not waited for any more. */
  async #send(calls: readonly Enqueued[]): Promise<void> {
    let left = calls
    let pause = FIRST_PAUSE_MILLISECONDS
    for (;;) {
      const failure = await this.#produce(left)
      if (failure === undefined) return
      if (failure === 'TOO_LARGE') {
        if (left.length === 1) return left[0]?.fail('REQUEST_TOO_LARGE')
        const middle = left.length >> 1
        await this.#send(left.slice(0, middle))
        await this.#send(left.slice(middle))
        return
      }
      await this.#pause(pause)
      pause = Math.min(2 * pause, LONGEST_PAUSE_MILLISECONDS)
      left = left.filter((call) => !call.ended)
      if (left.length === 0) return
      if (this.#closed.signal.aborted) {
        for (const call of left) call.fail('KAFKA_UNAVAILABLE')
        return
      }
    }
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

  /** @returns why it failed; undefined: it is on Kafka. */
  async #produce(calls: readonly Enqueued[]): Promise<ProduceFailure | undefined> {
    const before = calls.map((call) => call.maybeOnKafka)
    for (const call of calls) call.maybeOnKafka = true
    const startedAt = performance.now()
    try {
      await this.#options.producer.produce(
        this.#options.topic,
        calls.map((call) => call.record),
      )
      this.#batchRecords.observe(calls.length)
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
