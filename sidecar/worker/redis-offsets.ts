import type { CommittedOffset, GroupConsumer } from '../kafka/consumer.ts'
import { keyOf } from '../kafka/topic-partition.ts'
import type { TopicPartition } from '../kafka/topic-partition.ts'
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
  /** Present: what was kept of it lies past its end, so that it is read from its start. */
  readonly anew?: BegunAnew
}

/** A log that has lost records that were finished. */
export interface BegunAnew {
  /** Its first offset, and how far records may have been started before it lost them. */
  readonly start: Watermark
  /** What Redis had of it; undefined: nothing. */
  readonly wrong: number | undefined
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
   * @param seenEnds where logs were seen to end, by `keyOf`: they may have grown since.
   * @param earlier what was found before, when the same logs could not be opened yet. It is added to.
   * @returns by `keyOf`, for each.
   * @throws TopicIdError; or when Redis or Kafka does not answer.
   */
  async restore(
    known: readonly CommittedOffset[],
    seenEnds: ReadonlyMap<string, number>,
    earlier: Map<string, Restored>,
  ): Promise<ReadonlyMap<string, Restored>> {
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
      const key = keyOf(log)
      const { topicId } = log
      const found = earlier.get(key)
      if (found?.topicId === topicId) {
        restored.set(key, found)
        continue
      }
      const watermark = watermarks[index]
      const kept = Math.max(watermark?.offset ?? -1, known[index]!.offset)
      const end = Math.min(ends.get(key) ?? Infinity, seenEnds.get(key) ?? Infinity)
      if (kept <= end) {
        restored.set(key, { topicId, ...(watermark !== undefined && { watermark }) })
        continue
      }
      const anew = { topicId, anew: await this.#beginAnew(log, kept, end, watermark) }
      earlier.set(key, anew)
      restored.set(key, anew)
    }
    return restored
  }

  /** Kafka has lost records that were finished, and others may stand in their places. */
  async #beginAnew(log: Log, kept: number, end: number, watermark: Watermark | undefined): Promise<BegunAnew> {
    const offset = (await this.#consumer.beginnings([log])).get(keyOf(log)) ?? 0
    this.#logger.warn(
      { at: keyOf(log), kept, end, beginning: offset },
      'what is kept of the log lies past its end: beginning at its start',
    )
    this.#pastEnd.inc()
    return { start: { offset, window: kept - offset + WINDOW_RECORDS }, wrong: watermark?.offset }
  }

  /**
   * Puts the watermarks back of logs that are read from their start. To be done when Kafka has that offset: whoever comes after a kill in
   * between finds the log past its end again.
   * @throws when Redis does not answer.
   */
  async putBack(at: readonly TopicPartition[], restored: ReadonlyMap<string, Restored>): Promise<void> {
    const back = at.flatMap(({ topic, partition }) => {
      const found = restored.get(keyOf({ topic, partition }))
      return found?.anew === undefined ? [] : [{ log: { topic, partition, topicId: found.topicId }, ...found.anew }]
    })
    if (back.length === 0) return
    await this.#watermarks.advance(
      back.map(({ log, start }) => ({ ...log, ...start })),
      back.map(({ wrong }) => wrong),
    )
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
