import { setTimeout as pause } from 'node:timers/promises'
import { Partitioners } from 'kafkajs'
import type { Admin, Kafka, Producer } from 'kafkajs'
import type { Logger } from '../telemetry/log.ts'
import type { EncodedBatch } from './kafkajs-codec.ts'
import { encodeRecordBatch } from './record-batch.ts'
import type { OutgoingRecord } from './record.ts'

const RETRY_MILLISECONDS = 250
const NOTHING = Buffer.alloc(0)
const ACKNOWLEDGE_TIMEOUT_MILLISECONDS = 10_000

/**
 * Why a produce failed.
 * - `TOO_LARGE`: the broker refused the batch for its size; nothing was written.
 * - `REFUSED`: the broker or the client refused it for another reason; nothing was written.
 * - `AMBIGUOUS`: no answer came; the records may have been written.
 */
export type ProduceFailure = 'TOO_LARGE' | 'REFUSED' | 'AMBIGUOUS'

export class ProduceError extends Error {
  readonly code: ProduceFailure
  constructor(code: ProduceFailure, reason: string, options?: ErrorOptions) {
    super(`Kafka did not take the records: ${reason}`, options)
    this.name = 'ProduceError'
    this.code = code
  }
}

interface SpreadRecord {
  readonly key: Buffer | null
  /** Present: any partition will do, and all records with the same number go to the same one. */
  readonly spread?: number
}

/**
 * Produces records, never again by itself: whoever produces decides whether a record may stand twice.
 * Every produce goes to a single partition, so its answer holds for all of its records, and brokers, which pay by
 * the batch, see one batch and not one for each partition.
 */
export class RecordProducer {
  readonly #producer: Producer
  readonly #admin: Admin
  readonly #logger: Logger
  readonly #localNow: () => number
  #batches = 0

  /** @param localNow milliseconds since 1970 on this machine: the records' timestamps. */
  constructor(kafka: Kafka, logger: Logger, localNow: () => number = Date.now) {
    const byKey = Partitioners.DefaultPartitioner()
    this.#producer = kafka.producer({
      allowAutoTopicCreation: false,
      retry: { retries: 0 },
      createPartitioner: () => (args) => {
        const { spread } = args.message as SpreadRecord
        if (spread === undefined) return byKey(args)
        const led = args.partitionMetadata.filter(({ leader }) => leader !== -1)
        const candidates = led.length > 0 ? led : args.partitionMetadata
        return candidates[spread % candidates.length]?.partitionId ?? 0
      },
    })
    this.#admin = kafka.admin({ retry: { retries: 0 } })
    this.#logger = logger
    this.#localNow = localNow
  }

  /**
   * Resolves when every partition of the topics has a leader that is known here.
   * @throws the signal's reason.
   */
  async connect(topics: readonly string[], signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        await this.#admin.connect()
        const { topics: found } = await this.#admin.fetchTopicMetadata({ topics: [...topics] })
        const headless = found.flatMap(({ name, partitions }) =>
          partitions.filter(({ leader }) => leader < 0).map(({ partitionId }) => `${name}/${partitionId}`),
        )
        if (headless.length > 0) throw new Error(`no leader for ${headless.join(', ')}`)
        await this.#producer.connect()
        // Producing nothing loads the producer's own metadata, so that the first call does not pay for it.
        await this.#producer.sendBatch({ topicMessages: topics.map((topic) => ({ topic, messages: [] })) })
        await this.#admin.disconnect()
        return
      } catch (error) {
        this.#logger.warn({ topics, reason: (error as Error).message }, 'Kafka is not ready; trying again')
        await pause(RETRY_MILLISECONDS, undefined, { signal })
      }
    }
  }

  /**
   * Writes records, all of them to one partition of the topic, acknowledged by all in-sync replicas.
   * @throws ProduceError
   */
  async produce(topic: string, records: readonly (OutgoingRecord | RawOutgoingRecord)[]): Promise<void> {
    const spread = this.#batches++
    // The batch is read when kafkajs writes the request and never before: what fails earlier was not sent.
    let sent = false
    const localNow = this.#localNow
    const message: EncodedBatch & SpreadRecord = {
      key: null,
      value: NOTHING,
      spread,
      get recordBatch() {
        sent = true
        return encodeRecordBatch(records, localNow())
      },
    }
    try {
      await this.#producer.sendBatch({
        acks: -1,
        timeout: ACKNOWLEDGE_TIMEOUT_MILLISECONDS,
        topicMessages: [{ topic, messages: [message] }],
      })
    } catch (error) {
      throw classify(error, sent)
    }
  }

  async disconnect(): Promise<void> {
    await Promise.allSettled([this.#producer.disconnect(), this.#admin.disconnect()])
  }
}

/** A record produced as it was read: key and value may be missing. */
export interface RawOutgoingRecord {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: OutgoingRecord['headers']
}

/**
 * Answers to a produce request that mean "written nowhere" (kafka.apache.org/protocol, error codes), and to no other
 * request: after a failure kafkajs asks for metadata, and when that fails it tells of that failure alone. What is not
 * listed may have been written: REQUEST_TIMED_OUT and NOT_ENOUGH_REPLICAS_AFTER_APPEND surely were, on the leader.
 */
const NOT_WRITTEN: ReadonlySet<string> = new Set([
  'NOT_LEADER_FOR_PARTITION',
  'NOT_ENOUGH_REPLICAS',
  'INVALID_RECORD',
  'POLICY_VIOLATION',
])

function classify(error: unknown, sent: boolean): ProduceError {
  let cause = error as { type?: string; cause?: unknown; message?: string }
  while (cause.cause != null && cause.type === undefined && cause.cause !== cause) cause = cause.cause
  const reason = cause.type ?? cause.message ?? 'unknown'
  const options = { cause: error }
  if (cause.type === 'MESSAGE_TOO_LARGE' || cause.type === 'RECORD_LIST_TOO_LARGE')
    return new ProduceError('TOO_LARGE', reason, options)
  if (!sent || (cause.type !== undefined && NOT_WRITTEN.has(cause.type)))
    return new ProduceError('REFUSED', reason, options)
  return new ProduceError('AMBIGUOUS', reason, options)
}
