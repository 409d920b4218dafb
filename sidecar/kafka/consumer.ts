import type { Admin, Broker, Cluster, Consumer, EachBatchPayload, Kafka } from 'kafkajs'
import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from '../telemetry/log.ts'
import { stickyAssigner } from './assigner.ts'
import type { Assignment } from './assigner.ts'
import type { ClusterBroker } from './cluster.ts'
import { whyNotJoined } from './coordinator.ts'
import type { RawRecord } from './record.ts'
import { topicIds } from './topic-ids.ts'
import { keyOf } from './topic-partition.ts'
import type { TopicPartition } from './topic-partition.ts'

/** SEMANTICS 4: the broker's minimum session, and a heartbeat that leaves it ten chances. */
export const SESSION_MILLISECONDS = 6000
const HEARTBEAT_MILLISECONDS = 500
const REBALANCE_MILLISECONDS = 10_000
/** Also how long `leave` may take: kafkajs lets a fetch end first. */
const LONGEST_FETCH_WAIT_MILLISECONDS = 200
const FETCH_BYTES_PER_PARTITION = 1_048_576
/** How long calls on partitions that were added may wait to be seen: proxies may know of them at once. */
const METADATA_AGE_MILLISECONDS = 3000
const RESTART_MILLISECONDS = 1000

export interface FetchedRecord extends RawRecord {
  readonly offset: number
}

const NOTHING_COMMITTED = -1

/** What kafkajs' types leave out. */
interface OffsetAnswer {
  readonly partition: number
  readonly offset: string
  readonly metadata?: string | null
}

export interface CommittedOffset extends TopicPartition {
  /** The next offset to be read; -1 when nothing was ever committed. */
  readonly offset: number
  readonly metadata: string
}

export interface GroupJoin {
  /** Another id than at the last join means that the group had given this member up. */
  readonly memberId: string
  readonly partitions: readonly TopicPartition[]
}

/** What the consumer tells its owner. Neither may throw. */
export interface ConsumerEvents {
  joined(join: GroupJoin): void
  /** Records in the order of their offsets. After each join reading begins again at the committed offset. */
  fetched(at: TopicPartition, records: readonly FetchedRecord[], highWatermark: number): void
}

export interface GroupConsumerOptions {
  readonly kafka: Kafka
  readonly groupId: string
  /** Asked before each start: topics may come. @throws when it cannot be said; that is tried again. */
  readonly topics: () => Promise<readonly string[]>
  readonly startFrom: 'Earliest' | 'Latest'
  readonly logger: Logger
  readonly events: ConsumerEvents
}

/**
 * A member of a consumer group. It reads ahead and never commits by itself. A kafkajs consumer that gave up is
 * replaced by a new one until `leave`.
 */
export class GroupConsumer {
  readonly #kafka: Kafka
  readonly #groupId: string
  readonly #topics: () => Promise<readonly string[]>
  readonly #startFrom: 'Earliest' | 'Latest'
  readonly #logger: Logger
  readonly #events: ConsumerEvents
  #admin: Admin
  #consumer: Consumer | undefined
  #cluster: Cluster | undefined
  #coordinator: Broker | undefined
  #owned: Assignment = {}
  #memberId = ''
  #generation: number | undefined
  #left = new AbortController()
  #problem: string | undefined

  constructor({ kafka, groupId, topics, startFrom, logger, events }: GroupConsumerOptions) {
    this.#kafka = kafka
    this.#groupId = groupId
    this.#topics = topics
    this.#startFrom = startFrom
    this.#logger = logger
    this.#events = events
    this.#admin = kafka.admin()
  }

  /** Why the group could not be joined, or was left, since the last join; for people. */
  get problem(): string | undefined {
    return this.#problem
  }

  /** Joins the group, trying until it works or `leave` is called. May be called again after `leave`. */
  async join(): Promise<void> {
    this.#left = new AbortController()
    const { signal } = this.#left
    while (!signal.aborted) {
      try {
        await this.#start(signal)
        return
      } catch (error) {
        if (signal.aborted) return
        void this.#tell('the consumer group cannot be joined yet; trying again', error as Error)
        await pause(RESTART_MILLISECONDS, undefined, { signal }).catch(() => undefined)
      }
    }
  }

  /** Leaves the group at once, so that the others need not wait for the session to end. */
  async leave(): Promise<void> {
    this.#left.abort()
    const consumer = this.#consumer
    this.#consumer = undefined
    this.#owned = {}
    this.#generation = undefined
    await Promise.allSettled([consumer?.disconnect(), this.#admin.disconnect()])
  }

  /** Leaves and joins again, on the topics that there are now. Nothing where it was not joined. */
  async rejoin(): Promise<void> {
    const consumer = this.#consumer
    if (consumer === undefined || this.#left.signal.aborted) return
    this.#left.abort()
    this.#generation = undefined
    await consumer.disconnect().catch(() => undefined)
    // Unless it was left for good meanwhile.
    if (this.#consumer === consumer) await this.join()
  }

  pause({ topic, partition }: TopicPartition): void {
    this.#consumer?.pause([{ topic, partitions: [partition] }])
  }

  resume({ topic, partition }: TopicPartition): void {
    this.#consumer?.resume([{ topic, partitions: [partition] }])
  }

  /** Reads on from this offset. */
  seek({ topic, partition }: TopicPartition, offset: number): void {
    this.#consumer?.seek({ topic, partition, offset: String(offset) })
  }

  /**
   * Commits once, in the name of the membership that stands now. kafkajs' own commit tries again after a rebalance under
   * the new generation and could so set back what the partition's next owner has committed; here the coordinator
   * refuses a commit whose membership has passed.
   * @throws when it was refused or the generation is not known yet; a later commit carries the same.
   */
  async commit(offsets: readonly CommittedOffset[]): Promise<void> {
    const generation = this.#generation
    const memberId = this.#memberId
    if (generation === undefined) throw new Error('the generation of the group is not known yet')
    await this.#askCoordinator((coordinator) =>
      coordinator.offsetCommit({
        groupId: this.#groupId,
        groupGenerationId: generation,
        memberId,
        topics: byTopic(offsets),
      }),
    )
  }

  /**
   * Asks the coordinator itself for these very partitions: kafkajs' own question leaves out those that are not in its metadata
   * yet (and may forget one topic while it asks for several), and it would look as if nothing was ever committed there.
   * @throws when Kafka cannot say.
   */
  async committed(partitions: readonly TopicPartition[]): Promise<CommittedOffset[]> {
    const topics = byTopic(partitions.map((at) => ({ ...at, offset: NOTHING_COMMITTED })))
    const { responses } = await this.#askCoordinator((coordinator) =>
      coordinator.offsetFetch({ groupId: this.#groupId, topics }),
    )
    const found = new Map(
      responses.flatMap(({ topic, partitions: ofIt }) =>
        ofIt.map((one: OffsetAnswer) => [keyOf({ ...one, topic }), one] as const),
      ),
    )
    return partitions.map(({ topic, partition }) => {
      const one = found.get(keyOf({ topic, partition }))
      if (one === undefined) throw new Error(`Kafka does not tell what is committed of ${topic}/${partition}`)
      return { topic, partition, offset: Number(one.offset), metadata: one.metadata ?? '' }
    })
  }

  /**
   * The ids of topics, by name, as the group's coordinator knows them. Asked after `committed`, they are no older than what that told:
   * a coordinator that has forgotten the offsets of a topic that was deleted tells the id of the one that came after it.
   * @throws TopicIdError; or when Kafka cannot say.
   */
  async topicIds(topics: readonly string[]): Promise<ReadonlyMap<string, string>> {
    return this.#askCoordinator((coordinator) => topicIds(coordinator as unknown as ClusterBroker, topics))
  }

  /** Where a group without offsets begins, by `keyOf`. @throws when Kafka cannot say. */
  async start(partitions: readonly TopicPartition[]): Promise<ReadonlyMap<string, number>> {
    return this.#offsets(partitions, ({ low, high }) => (this.#startFrom === 'Earliest' ? low : high))
  }

  /** The first offset of each partition that has not been deleted, by `keyOf`. @throws when Kafka cannot say. */
  async beginnings(partitions: readonly TopicPartition[]): Promise<ReadonlyMap<string, number>> {
    return this.#offsets(partitions, ({ low }) => low)
  }

  /** The offset after the last record of each partition, by `keyOf`. @throws when Kafka cannot say. */
  async ends(partitions: readonly TopicPartition[]): Promise<ReadonlyMap<string, number>> {
    return this.#offsets(partitions, ({ high }) => high)
  }

  async #offsets(
    partitions: readonly TopicPartition[],
    which: (of: { readonly low: string; readonly high: string }) => string,
  ): Promise<ReadonlyMap<string, number>> {
    const offsets = new Map<string, number>()
    // One after the other: of questions about several topics at once kafkajs may lose one.
    for (const [topic, ofIt] of Map.groupBy(partitions, (at) => at.topic)) {
      await this.#ask(async (admin) => {
        const told = new Map((await admin.fetchTopicOffsets(topic)).map((one) => [one.partition, one]))
        for (const { partition } of ofIt) {
          const one = told.get(partition)
          // Left for a fresh client, which knows of a partition that was added.
          if (one === undefined) throw new Error(`Kafka does not tell where ${topic}/${partition} begins and ends`)
          offsets.set(keyOf({ topic, partition }), Number(which(one)))
        }
      })
    }
    return offsets
  }

  /** @throws what `question` throws. */
  async #askCoordinator<T>(question: (coordinator: Broker) => Promise<T>): Promise<T> {
    if (this.#cluster === undefined) throw new Error('the group was not joined')
    try {
      this.#coordinator ??= await this.#cluster.findGroupCoordinator({ groupId: this.#groupId })
      return await question(this.#coordinator)
    } catch (error) {
      // It may have moved to another broker.
      this.#coordinator = undefined
      throw error
    }
  }

  /**
   * kafkajs asks for the metadata of every topic that it was ever asked about, and fails for all of them when one is gone: a client
   * that failed is left for a fresh one.
   */
  async #ask<T>(question: (admin: Admin) => Promise<T>): Promise<T> {
    const admin = this.#admin
    try {
      await admin.connect()
      return await question(admin)
    } catch (error) {
      if (this.#admin === admin) {
        this.#admin = this.#kafka.admin()
        void admin.disconnect().catch(() => undefined)
      }
      throw error
    }
  }

  async #start(signal: AbortSignal): Promise<void> {
    const consumer = this.#kafka.consumer({
      groupId: this.#groupId,
      allowAutoTopicCreation: false,
      sessionTimeout: SESSION_MILLISECONDS,
      heartbeatInterval: HEARTBEAT_MILLISECONDS,
      rebalanceTimeout: REBALANCE_MILLISECONDS,
      maxWaitTimeInMs: LONGEST_FETCH_WAIT_MILLISECONDS,
      maxBytesPerPartition: FETCH_BYTES_PER_PARTITION,
      metadataMaxAge: METADATA_AGE_MILLISECONDS,
      partitionAssigners: [
        stickyAssigner(
          () => this.#owned,
          (cluster) => {
            this.#cluster = cluster
            this.#coordinator = undefined
          },
        ),
      ],
      retry: {
        retries: 8,
        initialRetryTime: 100,
        maxRetryTime: 2000,
        // It would start again with the same topics, of which one may be gone, and so for ever.
        restartOnFailure: () => Promise.resolve(false),
      },
    })
    this.#consumer = consumer
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      if (signal.aborted) return
      this.#owned = payload.memberAssignment
      const partitions = Object.entries(this.#owned).flatMap(([topic, numbers]) =>
        numbers.map((partition) => ({ topic, partition })),
      )
      this.#memberId = payload.memberId
      this.#generation = undefined
      this.#problem = undefined
      this.#events.joined({ memberId: payload.memberId, partitions })
    })
    // The join does not tell its generation; the first heartbeat after it does.
    consumer.on(consumer.events.HEARTBEAT, ({ payload }) => {
      if (!signal.aborted && payload.memberId === this.#memberId) this.#generation = payload.groupGenerationId
    })
    consumer.on(consumer.events.REBALANCING, () => {
      this.#generation = undefined
    })
    consumer.on(consumer.events.CRASH, ({ payload }) => {
      if (signal.aborted || this.#consumer !== consumer) return
      void this.#tell('the consumer gave up', payload.error)
      void this.#replace(signal)
    })
    try {
      const topics = await this.#topics()
      await consumer.connect()
      await consumer.subscribe({ topics: [...topics], fromBeginning: this.#startFrom === 'Earliest' })
      signal.throwIfAborted()
      await consumer.run({ autoCommit: false, eachBatch: async (payload) => this.#batch(payload) })
    } catch (error) {
      // This one, and not the one that may have taken its place when it was left meanwhile.
      await consumer.disconnect().catch(() => undefined)
      throw error
    }
  }

  async #tell(what: string, error: Error): Promise<void> {
    const problem = error.message.trimEnd()
    this.#problem = problem
    const reason = (await whyNotJoined(this.#kafka, this.#groupId, error)).trimEnd()
    // Unless it was joined meanwhile.
    if (this.#problem === problem) this.#problem = reason
    this.#logger.warn({ reason }, what)
  }

  async #replace(signal: AbortSignal): Promise<void> {
    await pause(RESTART_MILLISECONDS, undefined, { signal }).catch(() => undefined)
    if (!signal.aborted) await this.join()
  }

  #batch({ batch }: EachBatchPayload): void {
    const records: FetchedRecord[] = []
    for (const { offset, key, value, headers } of batch.messages) {
      records.push({ offset: Number(offset), key, value, headers: headers ?? {} })
    }
    this.#events.fetched(batch, records, Number(batch.highWatermark))
  }
}

/** As the protocol has it. */
const byTopic = (offsets: readonly (TopicPartition & { readonly offset: number; readonly metadata?: string })[]) =>
  [...Map.groupBy(offsets, ({ topic }) => topic)].map(([topic, ofIt]) => ({
    topic,
    partitions: ofIt.map(({ partition, offset, metadata = '' }) => ({ partition, offset: String(offset), metadata })),
  }))
