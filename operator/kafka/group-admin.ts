/** What Kafka knows of a consumer group. */
import type { Admin } from 'kafkajs'
import type { KafkaAccess } from './kafka-access.ts'
import { assertUsable, kafkaClient } from './kafka-client.ts'
import { asProblem, KafkaProblem } from './kafka-problem.ts'

export interface GroupOfTopics {
  /** Of the calls first. */
  readonly topics: readonly string[]
  readonly groupId: string
  /** Where it begins in a partition of which it has finished nothing. */
  readonly startFrom: 'Earliest' | 'Latest'
}

export interface GroupState {
  /** Records of the topics that the group has not finished: those that wait, run, or are between two attempts. */
  readonly lag: number
  readonly members: number
}

/** Throws KafkaProblem. */
export interface GroupAdmin {
  read(group: GroupOfTopics): Promise<GroupState>
  close(): Promise<void>
}

interface PartitionOffsets {
  readonly partition: number
  /** Decimal: of the oldest record, and of the next one. */
  readonly low: string
  readonly high: string
}

interface CommittedOffset {
  readonly partition: number
  /** Decimal; -1: none. */
  readonly offset: string
}

/**
 * kafkajs asks for the metadata of every topic that it was ever asked about, and fails for all of them when one is gone. So
 * groups are asked about one after the other, and a client that failed is left for a fresh one.
 */
export class KafkaGroupAdmin implements GroupAdmin {
  readonly #access: KafkaAccess
  readonly #asked: (request: string) => void
  #admin: Promise<Admin> | undefined
  #last: Promise<unknown> = Promise.resolve()

  /** @param asked told of each request, as Kafka names it. */
  constructor(access: KafkaAccess, asked: (request: string) => void = () => undefined) {
    this.#access = access
    this.#asked = asked
  }

  read(group: GroupOfTopics): Promise<GroupState> {
    const read = this.#last.then(() => this.#read(group))
    this.#last = read.catch(() => undefined)
    return read
  }

  async close(): Promise<void> {
    await this.#last
    await this.#leave()
  }

  async #read(group: GroupOfTopics): Promise<GroupState> {
    const isFresh = this.#admin === undefined
    try {
      return await ask(await this.#connect(), group)
    } catch (error) {
      await this.#leave()
      if (!isFresh) return this.#read(group)
      throw isMissingTopic(error)
        ? new KafkaProblem('TopicRefused', `topic ${group.topics.join(' or ')}: is not there`, { cause: error })
        : asProblem(error, this.#access.servers)
    }
  }

  #connect(): Promise<Admin> {
    this.#admin ??= (async () => {
      assertUsable(this.#access.tls)
      const admin = kafkaClient(this.#access).admin()
      admin.on(admin.events.REQUEST, ({ payload }) => this.#asked(payload.apiName))
      await admin.connect()
      return admin
    })()
    return this.#admin
  }

  async #leave(): Promise<void> {
    const admin = this.#admin
    this.#admin = undefined
    await admin?.then((connected) => connected.disconnect()).catch(() => undefined)
  }
}

async function ask(admin: Admin, { topics, groupId, startFrom }: GroupOfTopics): Promise<GroupState> {
  const ends = await Promise.all(topics.map((topic) => admin.fetchTopicOffsets(topic)))
  const committed = await admin.fetchOffsets({ groupId, topics: [...topics] })
  const { groups } = await admin.describeGroups([groupId])
  const lags = topics.map((topic, index) =>
    lagOf(ends[index] ?? [], committed.find((one) => one.topic === topic)?.partitions ?? [], startFrom),
  )
  return { lag: lags.reduce((sum, lag) => sum + lag, 0), members: groups[0]?.members.length ?? 0 }
}

function isMissingTopic(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ((cause as { readonly type?: unknown }).type === 'UNKNOWN_TOPIC_OR_PARTITION') return true
  }
  return false
}

/** Records between what a group has finished and the end of the topic. */
export function lagOf(
  partitions: readonly PartitionOffsets[],
  committed: readonly CommittedOffset[],
  startFrom: 'Earliest' | 'Latest',
): number {
  const finished = new Map(committed.map(({ partition, offset }) => [partition, Number(offset)]))
  return partitions
    .map(({ partition, low, high }) => {
      const offset = finished.get(partition) ?? -1
      if (offset < 0 && startFrom === 'Latest') return 0
      // What retention has deleted waits no more.
      return Math.max(0, Number(high) - Math.max(offset, Number(low)))
    })
    .reduce((sum, waiting) => sum + waiting, 0)
}
