import type { CommittedOffset, GroupConsumer } from '../kafka/consumer.ts'
import { keyOf } from '../kafka/topic-partition.ts'
import type { Log, Watermark, Watermarks } from '../results/watermarks.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Counter, Metrics } from '../telemetry/metrics.ts'
import { WINDOW_RECORDS } from './partition.ts'
import type { Partition } from './partition.ts'

/** What is known of a partition besides its offset in Kafka. */
export interface Restored {
  /** Of the topic whose log it is now. */
  readonly topicId: string
  /** Absent: Redis has none of this log. */
  readonly watermark?: Watermark
  /** Present: what was kept of it lies past its end, so that it is read from here, its first offset. */
  readonly beginning?: number
}

export interface RedisOffsetsOptions {
  readonly consumer: Pick<GroupConsumer, 'topicIds' | 'ends' | 'beginnings'>
  readonly watermarks: Watermarks
  readonly logger: Logger
  readonly metrics: Metrics
}

/** A group's watermarks in Redis, beside those in Kafka (docs/adr/0021). */
export class RedisOffsets {
  readonly #consumer: RedisOffsetsOptions['consumer']
  readonly #watermarks: Watermarks
  readonly #logger: Logger
  readonly #pastEnd: Counter

  constructor({ consumer, watermarks, logger, metrics }: RedisOffsetsOptions) {
    this.#consumer = consumer
    this.#watermarks = watermarks
    this.#logger = logger
    this.#pastEnd = metrics.counter('grpc_kafka_watermarks_past_end_total')
  }

  /**
   * @param known what Kafka has, asked before this: see `GroupConsumer.topicIds`.
   * @returns by `keyOf`, for each.
   * @throws TopicIdError; or when Redis or Kafka does not answer.
   */
  async restore(known: readonly CommittedOffset[]): Promise<ReadonlyMap<string, Restored>> {
    const ids = await this.#consumer.topicIds([...new Set(known.map(({ topic }) => topic))])
    const logs = known.map(({ topic, partition }) => {
      const topicId = ids.get(topic)
      if (topicId === undefined) throw new Error(`topic ${topic} is not there`)
      return { topic, topicId, partition }
    })
    const watermarks = await this.#watermarks.read(logs)
    const ends = await this.#consumer.ends(known)
    const restored = new Map<string, Restored>()
    for (const [index, log] of logs.entries()) {
      const watermark = watermarks[index]
      const kept = Math.max(watermark?.offset ?? -1, known[index]!.offset)
      const end = ends.get(keyOf(log)) ?? Infinity
      const { topicId } = log
      if (kept > end) restored.set(keyOf(log), { topicId, beginning: await this.#beginAnew(log, kept, end, watermark) })
      else restored.set(keyOf(log), { topicId, ...(watermark !== undefined && { watermark }) })
    }
    return restored
  }

  /** Kafka has lost records that were finished, and others may stand in their places. */
  async #beginAnew(log: Log, kept: number, end: number, watermark: Watermark | undefined): Promise<number> {
    const beginning = (await this.#consumer.beginnings([log])).get(keyOf(log)) ?? 0
    this.#logger.warn(
      { at: keyOf(log), kept, end, beginning },
      'what is kept of the log lies past its end: beginning at its start',
    )
    this.#pastEnd.inc()
    await this.#watermarks.advance([{ ...log, offset: beginning, window: WINDOW_RECORDS }], [watermark?.offset])
    return beginning
  }

  /**
   * Says how far partitions are, where Redis does not know yet.
   * @returns for each of which something was said what stands.
   * @throws when Redis does not answer: the same is said next time.
   */
  async advance(partitions: readonly Partition[]): Promise<ReadonlyMap<Partition, Watermark>> {
    const marks = partitions.flatMap((of) => {
      const { topic, partition, topicId, committed, lost } = of
      const offset = of.watermark()
      if (topicId === undefined || committed === undefined || lost || offset === undefined) return []
      const window = of.windowFrom(offset, WINDOW_RECORDS)
      if (offset <= committed.offset && committed.window === window) return []
      return [{ of, mark: { topic, topicId, partition, offset, window } }]
    })
    if (marks.length === 0) return new Map()
    const standing = await this.#watermarks.advance(marks.map(({ mark }) => mark))
    return new Map(marks.map(({ of, mark }, index) => [of, { offset: standing[index]!, window: mark.window }]))
  }
}
