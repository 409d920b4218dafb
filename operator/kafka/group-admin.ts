/** What Kafka knows of a consumer group. */
import type { Admin } from 'kafkajs'
import { deadTopic, openLettersGroup } from '../../sidecar/kafka/topic-names.ts'
import type { KafkaAccess } from './kafka-access.ts'
import { assertUsable, kafkaClient } from './kafka-client.ts'
import { asProblem, KafkaProblem } from './kafka-problem.ts'

export interface GroupOfTopics {
  /** Of the calls first. */
  readonly topics: readonly string[]
  readonly groupId: string
  /** Where it begins in a partition of which it has finished nothing. */
  readonly startFrom: 'Earliest' | 'Latest'
  /** Of the service's calls, where its dead letters are to be counted. */
  readonly deadLettersOf?: string | undefined
}

export interface GroupState {
  /** Records of the topics that the group has not finished: those that wait, run, or are between two attempts. */
  readonly lag: number
  readonly members: number
  /** Dead letters that are not done with; absent where they are not counted, or the failure topic is not there. */
  readonly deadLetters?: number
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
      throw isOfType(error, 'UNKNOWN_TOPIC_OR_PARTITION')
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

async function ask(admin: Admin, { topics, groupId, startFrom, deadLettersOf }: GroupOfTopics): Promise<GroupState> {
  const dead = deadLettersOf === undefined ? undefined : await countDeadLetters(admin, deadLettersOf)
  const lag = await askLag(admin, topics, groupId, startFrom)
  const { groups } = await admin.describeGroups([groupId])
  return {
    lag,
    members: groups[0]?.members.length ?? 0,
    ...(dead !== undefined && { deadLetters: dead }),
  }
}

/** @throws when Kafka does not tell of one of them. */
export async function askLag(
  admin: Pick<Admin, 'fetchTopicOffsets' | 'fetchOffsets'>,
  topics: readonly string[],
  groupId: string,
  startFrom: GroupOfTopics['startFrom'],
): Promise<number> {
  const ends = new Map<string, readonly PartitionOffsets[]>()
  // One after the other: asked about several at once kafkajs may lose one, and then there seems to be nothing in it.
  for (const topic of topics) ends.set(topic, await admin.fetchTopicOffsets(topic))
  const committed = await admin.fetchOffsets({ groupId, topics: [...topics] })
  return topics
    .map((topic) => {
      const partitions = ends.get(topic) ?? []
      const own = committed.find((one) => one.topic === topic)?.partitions ?? []
      if (partitions.length === 0 || own.length === 0) throw new Error(`Kafka does not tell of all of ${topic}`)
      return lagOf(partitions, own, startFrom)
    })
    .reduce((sum, lag) => sum + lag, 0)
}

/** As whoever redrove or discarded some last has left their count: as the lag of a group that nobody is in. */
async function countDeadLetters(admin: Admin, topic: string): Promise<number | undefined> {
  const failureTopic = deadTopic(topic)
  if (!(await admin.listTopics()).includes(failureTopic)) return undefined
  return askLag(admin, [failureTopic], openLettersGroup(topic), 'Earliest').catch((error: unknown) => {
    // Who may not see that group goes without the count, not without the lag.
    if (isOfType(error, 'GROUP_AUTHORIZATION_FAILED')) return undefined
    throw error
  })
}

/** @param type as Kafka's protocol names it. */
function isOfType(error: unknown, type: string): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ((cause as { readonly type?: unknown }).type === type) return true
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
