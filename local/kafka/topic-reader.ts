import type { Admin, Broker, Kafka, KafkaMessage } from 'kafkajs'
import type { FetchedRecord } from '../../sidecar/kafka/consumer.ts'

/** What a topic does not have, or cannot be had. `code` is `TOPIC_UNREADABLE`. */
export class TopicReadError extends Error {
  readonly code = 'TOPIC_UNREADABLE'
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'TopicReadError'
  }
}

/** What a partition holds: offsets from `low` to before `high`. */
export interface PartitionBounds {
  readonly partition: number
  readonly low: number
  readonly high: number
}

export interface TopicRecord extends FetchedRecord {
  readonly partition: number
  /** Milliseconds since 1970, of its producer's machine. */
  readonly timestamp: number
}

const FETCH_BYTES = 4_194_304
/** Of a commit by no member. */
const NO_GENERATION = -1
const LONGEST_FETCH_WAIT_MILLISECONDS = 500

/** Of kafkajs' own parts: what one fetch needs. */
interface Cluster {
  connect(): Promise<void>
  disconnect(): Promise<void>
  addTargetTopic(topic: string): Promise<void>
  refreshMetadata(): Promise<void>
  findLeaderForPartitions(topic: string, partitions: readonly number[]): Readonly<Record<string, readonly number[]>>
  findBroker(node: { readonly nodeId: string }): Promise<Broker>
  findGroupCoordinator(group: { readonly groupId: string }): Promise<Broker>
}

interface Fetching {
  fetch(request: object): Promise<{
    readonly responses: readonly { readonly partitions: readonly { readonly messages: readonly KafkaMessage[] }[] }[]
  }>
}

/**
 * Reads ranges of a topic without being a member of any group: nobody's partitions move, no offset is kept, and the right to
 * read the topic is enough. kafkajs has no public call for that; its consumer's own is used.
 */
export class TopicReader {
  readonly #topic: string
  readonly #admin: Admin
  readonly #cluster: Cluster

  constructor(kafka: Kafka, topic: string) {
    this.#topic = topic
    this.#admin = kafka.admin({ retry: { retries: 2 } })
    this.#cluster = clusterOf(kafka)
  }

  /** @throws TopicReadError when the topic does not exist or Kafka cannot be reached. */
  open(): Promise<readonly PartitionBounds[]> {
    return orTopicReadError(() => this.#open())
  }

  async #open(): Promise<readonly PartitionBounds[]> {
    await this.#admin.connect()
    const topics = await this.#admin.listTopics()
    if (!topics.includes(this.#topic)) throw new TopicReadError(`there is no topic ${this.#topic}`)
    await this.#cluster.connect()
    await this.#cluster.addTargetTopic(this.#topic)
    const bounds = await this.#admin.fetchTopicOffsets(this.#topic)
    return bounds
      .map(({ partition, low, high }) => ({ partition, low: Number(low), high: Number(high) }))
      .toSorted((a, b) => a.partition - b.partition)
  }

  /** For each partition the first offset whose record is of this time or later; the end where there is none. */
  async offsetsAt(milliseconds: number): Promise<ReadonlyMap<number, number>> {
    const found = await this.#admin.fetchTopicOffsetsByTimestamp(this.#topic, milliseconds)
    return new Map(found.map(({ partition, offset }) => [partition, Number(offset)]))
  }

  /** Records of one partition in the order of their offsets, from `from` to before `to`. @throws the signal's reason */
  async *read(partition: number, from: number, to: number, signal: AbortSignal): AsyncGenerator<TopicRecord> {
    for (let next = from; next < to;) {
      signal.throwIfAborted()
      const offset = next
      const messages = await orTopicReadError(() => this.#fetch(partition, offset))
      // Nothing but what Kafka keeps for itself is left.
      if (messages.length === 0) return
      for (const { offset: text, timestamp, key, value, headers, isControlRecord } of messages) {
        const at = Number(text)
        if (at < next) continue
        if (at >= to) return
        next = at + 1
        if (isControlRecord === true) continue
        yield { partition, offset: at, timestamp: Number(timestamp), key, value, headers: headers ?? {} }
      }
    }
  }

  /** Commits offsets in the name of a group that nobody is in. @throws when Kafka refuses */
  async commit(
    groupId: string,
    offsets: readonly { readonly partition: number; readonly offset: number }[],
  ): Promise<void> {
    const coordinator = await this.#cluster.findGroupCoordinator({ groupId })
    await coordinator.offsetCommit({
      groupId,
      groupGenerationId: NO_GENERATION,
      memberId: '',
      topics: [
        {
          topic: this.#topic,
          partitions: offsets.map(({ partition, offset }) => ({ partition, offset: String(offset) })),
        },
      ],
    })
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.#admin.disconnect(), this.#cluster.disconnect()])
  }

  async #fetch(partition: number, fetchOffset: number): Promise<readonly (KafkaMessage & IsControl)[]> {
    const leader = Object.entries(this.#cluster.findLeaderForPartitions(this.#topic, [partition]))[0]?.[0]
    if (leader === undefined) throw new TopicReadError(`partition ${partition} of ${this.#topic} has no leader`)
    const broker = (await this.#cluster.findBroker({ nodeId: leader })) as unknown as Fetching
    const { responses } = await broker.fetch({
      maxWaitTime: LONGEST_FETCH_WAIT_MILLISECONDS,
      minBytes: 1,
      maxBytes: FETCH_BYTES,
      topics: [{ topic: this.#topic, partitions: [{ partition, fetchOffset, maxBytes: FETCH_BYTES }] }],
    })
    return responses[0]?.partitions[0]?.messages ?? []
  }
}

interface IsControl {
  readonly isControlRecord?: boolean
}

/** kafkajs' errors are long and about itself: the innermost says what happened. */
async function orTopicReadError<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof TopicReadError) throw error
    let innermost = error as Error
    while (innermost.cause instanceof Error) innermost = innermost.cause
    throw new TopicReadError(`Kafka cannot be read: ${innermost.message}`, { cause: error })
  }
}

/** kafkajs 2.2.4 keeps the maker of its cluster under a symbol of its own. */
function clusterOf(kafka: Kafka): Cluster {
  const symbol = Object.getOwnPropertySymbols(kafka).find(
    ({ description }) => description === 'private:Kafka:createCluster',
  )
  if (symbol === undefined) throw new Error('this kafkajs has no cluster to be had')
  const create = (kafka as unknown as Record<symbol, (options: object) => Cluster>)[symbol]
  return create!({ allowAutoTopicCreation: false, isolationLevel: 0, metadataMaxAge: 300_000 })
}
