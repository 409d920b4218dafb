import { setTimeout as pause } from 'node:timers/promises'
import { GRPC_STATUS_NAMES } from '../errors.ts'
import { ProduceError } from '../kafka/producer.ts'
import type { RecordProducer } from '../kafka/producer.ts'
import { rewriteRecord, writableHeaders } from '../kafka/record.ts'
import type { RawOutgoingRecord } from '../kafka/record.ts'
import { deadTopic } from '../kafka/topic-names.ts'
import { keyOf } from '../kafka/topic-partition.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Counter, Metrics } from '../telemetry/metrics.ts'
import type { Entry } from './partition.ts'

const SHORTEST_PAUSE_MILLISECONDS = 100
const LONGEST_PAUSE_MILLISECONDS = 5000
/** What is kept of a record that the failure topic refuses for its size. */
const TRUNCATED_BYTES = 1024

export interface DeadLettersOptions {
  readonly producer: RecordProducer
  readonly topic: string
  readonly groupId: string
  readonly observer: boolean
  readonly now: () => number
  readonly logger: Logger
  readonly metrics: Metrics
}

/**
 * The service's failure topic `<topic>.dead`: a record goes there as it was read, with headers that say whence and why.
 * It is tried until Kafka took it: the offset waits, within the window, and nothing is dropped.
 *
 * headers added: `dead-reason`, `dead-topic`, `dead-partition`, `dead-offset`, `dead-group`, `dead-at` (milliseconds since 1970),
 * `dead-attempts`, `dead-status` (the gRPC status by name that its caller gets), `dead-role` where an Observer gave it up (its call may
 * have been answered), and `dead-truncated` where only the beginning of the value was kept
 */
export class DeadLetters {
  readonly #producer: RecordProducer
  readonly #topic: string
  readonly #groupId: string
  readonly #observer: boolean
  readonly #now: () => number
  readonly #logger: Logger
  readonly #errors: Counter
  readonly #closed = new AbortController()

  constructor({ producer, topic, groupId, observer, now, logger, metrics }: DeadLettersOptions) {
    this.#producer = producer
    this.#topic = topic
    this.#groupId = groupId
    this.#observer = observer
    this.#now = now
    this.#logger = logger
    this.#errors = metrics.counter('grpc_kafka_dead_letter_errors_total')
  }

  /** Gives up what is not written yet; its records are read again by the next owner. */
  close(): void {
    this.#closed.abort(new Error('the failure topic is closed'))
  }

  /**
   * Resolves when the record stands on the failure topic.
   * @param status gRPC status code that its caller gets.
   * @throws the reason, once closed.
   */
  async bury(entry: Entry, reason: string, status: number): Promise<void> {
    const about = {
      'dead-reason': reason,
      'dead-topic': entry.partition.topic,
      'dead-partition': String(entry.partition.partition),
      'dead-offset': String(entry.offset),
      'dead-group': this.#groupId,
      'dead-at': String(this.#now()),
      'dead-attempts': String(entry.attempt),
      'dead-status': GRPC_STATUS_NAMES[status] ?? String(status),
      ...(this.#observer && { 'dead-role': 'Observer' }),
    }
    const { key, value } = entry.raw
    const read = withHistory(entry)
    const whole = { ...read, headers: { ...read.headers, ...about } }
    const truncated = {
      key: key?.subarray(0, TRUNCATED_BYTES) ?? null,
      value: value?.subarray(0, TRUNCATED_BYTES) ?? null,
      headers: { ...about, 'dead-truncated': String(value?.length ?? 0) },
    }
    let record: RawOutgoingRecord = whole
    for (let wait = SHORTEST_PAUSE_MILLISECONDS; ; wait = Math.min(2 * wait, LONGEST_PAUSE_MILLISECONDS)) {
      this.#closed.signal.throwIfAborted()
      try {
        await this.#producer.produce(deadTopic(this.#topic), [record])
        return
      } catch (error) {
        if (error instanceof ProduceError && error.code === 'TOO_LARGE' && record === whole) {
          record = truncated
          continue
        }
        this.#errors.inc()
        this.#logger.error(
          { at: keyOf(entry.partition), offset: entry.offset, reason: (error as Error).message },
          `the failure topic ${deadTopic(this.#topic)} does not take a record; its offset waits`,
        )
        await pause(wait, undefined, { signal: this.#closed.signal })
        // Where it refused the beginning, too, its limit is what is wrong, and may be mended.
        record = whole
      }
    }
  }
}

/** A call goes there with all attempts that are known of it; what cannot be read as it is. */
function withHistory({ raw, decoded, failures, attempt }: Entry): RawOutgoingRecord {
  if (decoded.kind === 'Call' && failures.length > 0)
    return rewriteRecord(raw, { ...decoded.record, attempt, failures, firstFailureAt: failures[0]!.at })
  return { key: raw.key, value: raw.value, headers: writableHeaders(raw) }
}
