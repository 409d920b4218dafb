import { setTimeout as pause } from 'node:timers/promises'
import { ProduceError } from '../kafka/producer.ts'
import type { RecordProducer } from '../kafka/producer.ts'
import type { RawOutgoingRecord } from '../kafka/record.ts'
import { MOST_RETRY_STEPS, retryTopic } from '../kafka/topic-names.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Counter, Metrics } from '../telemetry/metrics.ts'

const SHORTEST_PAUSE_MILLISECONDS = 100
const LONGEST_PAUSE_MILLISECONDS = 5000
/** Of one produce: far below what any broker takes, and enough that a handler that fails every call costs little. */
const LARGEST_BATCH_RECORDS = 64
const LARGEST_BATCH_BYTES = 524_288

/** Who can say which topics there are. */
interface TopicLister {
  connect(): Promise<void>
  listTopics(): Promise<readonly string[]>
  disconnect(): Promise<void>
}

export interface RetryTopicsOptions {
  readonly admin: TopicLister
  readonly producer: Pick<RecordProducer, 'produce'>
  /** Of the service's calls. */
  readonly topic: string
  readonly logger: Logger
  readonly metrics: Metrics
}

interface Waiting {
  readonly record: RawOutgoingRecord
  readonly done: () => void
  readonly failed: (error: unknown) => void
}

/**
 * The topics on which calls wait for their next attempt, one for each pause of the policy (`<topic>.retry.1` and on). Whoever makes
 * the service's topics makes them; those that are there are used and read, and where there are fewer than the policy has
 * pauses the longer ones share the last: a record says itself when it is due.
 */
export class RetryTopics {
  readonly #options: RetryTopicsOptions
  readonly #errors: Counter
  readonly #closed = new AbortController()
  readonly #waiting = new Map<string, Waiting[]>()
  #names: readonly string[] = []

  constructor(options: RetryTopicsOptions) {
    this.#options = options
    this.#errors = options.metrics.counter('grpc_kafka_retry_topic_errors_total')
  }

  /** Those that were there at the last look, by step. */
  get names(): readonly string[] {
    return this.#names
  }

  get isThere(): boolean {
    return this.#names.length > 0
  }

  /** Asks Kafka which are there. @throws when it cannot say. */
  async look(): Promise<readonly string[]> {
    const { admin, topic } = this.#options
    await admin.connect()
    const all = new Set(await admin.listTopics())
    // Also beyond one that somebody deleted: calls may wait there.
    this.#names = Array.from({ length: MOST_RETRY_STEPS }, (_, index) => retryTopic(topic, index + 1)).filter((name) =>
      all.has(name),
    )
    return this.#names
  }

  /**
   * Resolves when Kafka has the record. It is tried until then: the offset of the record that it follows waits, within the window.
   * @param failed number of the attempt that failed last, from 1.
   * @throws ProduceError `TOO_LARGE`; the reason, once closed.
   */
  handOn(failed: number, record: RawOutgoingRecord): Promise<void> {
    const topic = this.#names[Math.min(failed, this.#names.length) - 1]
    if (topic === undefined) throw new RangeError('there is no retry topic')
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const waiting = this.#waiting.get(topic)
    if (waiting === undefined) {
      this.#waiting.set(topic, [{ record, done: resolve, failed: reject }])
      setImmediate(() => this.#flush(topic))
    } else waiting.push({ record, done: resolve, failed: reject })
    return promise
  }

  /** Gives up what is not written yet; its records are read again by the next owner. */
  async close(): Promise<void> {
    this.#closed.abort(new Error('the retry topics are closed'))
    await this.#options.admin.disconnect().catch(() => undefined)
  }

  #flush(topic: string): void {
    const waiting = this.#waiting.get(topic) ?? []
    this.#waiting.delete(topic)
    let batch: Waiting[] = []
    let bytes = 0
    for (const one of waiting) {
      const size = one.record.value?.length ?? 0
      if (batch.length === LARGEST_BATCH_RECORDS || (batch.length > 0 && bytes + size > LARGEST_BATCH_BYTES)) {
        void this.#send(topic, batch)
        batch = []
        bytes = 0
      }
      batch.push(one)
      bytes += size
    }
    void this.#send(topic, batch)
  }

  async #send(topic: string, batch: readonly Waiting[]): Promise<void> {
    try {
      await this.#persist(
        topic,
        batch.map(({ record }) => record),
      )
    } catch (error) {
      if (batch.length > 1 && error instanceof ProduceError) {
        const half = batch.length >> 1
        await Promise.all([this.#send(topic, batch.slice(0, half)), this.#send(topic, batch.slice(half))])
      } else for (const { failed } of batch) failed(error)
      return
    }
    for (const { done } of batch) done()
  }

  /** An answer that was lost makes a second copy of each: whatever reads them asks `begin`, which counts both. */
  async #persist(topic: string, records: readonly RawOutgoingRecord[]): Promise<void> {
    const { producer, logger } = this.#options
    for (let wait = SHORTEST_PAUSE_MILLISECONDS; ; wait = Math.min(2 * wait, LONGEST_PAUSE_MILLISECONDS)) {
      this.#closed.signal.throwIfAborted()
      try {
        await producer.produce(topic, records)
        return
      } catch (error) {
        if (error instanceof ProduceError && error.code === 'TOO_LARGE') throw error
        this.#errors.inc()
        logger.error(
          { topic, records: records.length, reason: (error as Error).message },
          'the retry topic does not take records; their offsets wait',
        )
        await pause(wait, undefined, { signal: this.#closed.signal })
      }
    }
  }
}
