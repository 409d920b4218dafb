/** What Kafka knows of a consumer group. */
import type { Admin } from 'kafkajs'
import type { KafkaAccess } from './kafka-access.ts'
import { kafkaClient } from './kafka-client.ts'
import { asProblem } from './kafka-problem.ts'

export interface GroupOfTopic {
  readonly topic: string
  readonly groupId: string
  /** Where it begins in a partition of which it has finished nothing. */
  readonly startFrom: 'Earliest' | 'Latest'
}

export interface GroupState {
  /** Records of the topic that the group has not finished: those that wait, run, or are parked between attempts. */
  readonly lag: number
  readonly members: number
}

/** Throws KafkaProblem. */
export interface GroupAdmin {
  read(group: GroupOfTopic): Promise<GroupState>
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

export class KafkaGroupAdmin implements GroupAdmin {
  readonly #access: KafkaAccess
  readonly #admin: Admin
  /** The same for all who come while it is made. */
  #connected: Promise<void> | undefined

  constructor(access: KafkaAccess) {
    this.#access = access
    this.#admin = kafkaClient(access).admin()
  }

  async read({ topic, groupId, startFrom }: GroupOfTopic): Promise<GroupState> {
    try {
      await (this.#connected ??= this.#admin.connect())
      const [committed, partitions, described] = await Promise.all([
        this.#admin.fetchOffsets({ groupId, topics: [topic] }),
        this.#admin.fetchTopicOffsets(topic),
        this.#admin.describeGroups([groupId]),
      ])
      return {
        lag: lagOf(partitions, committed.find((one) => one.topic === topic)?.partitions ?? [], startFrom),
        members: described.groups[0]?.members.length ?? 0,
      }
    } catch (error) {
      this.#connected = undefined
      throw asProblem(error, this.#access.servers)
    }
  }

  async close(): Promise<void> {
    await this.#admin.disconnect().catch(() => undefined)
  }
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
