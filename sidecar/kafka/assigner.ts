import { AssignerProtocol } from 'kafkajs'
import type { Assigner, Cluster, PartitionAssigner } from 'kafkajs'

/** Partitions by topic. */
export type Assignment = Readonly<Record<string, readonly number[]>>

export interface Member {
  readonly id: string
  /** What it reads: others may have found other topics. Undefined: all, as it does not say. */
  readonly topics?: readonly string[]
  /** What it had before, by its own word. */
  readonly owned: Assignment
}

const VERSION = 1
const NAME = 'grpc-kafka-sticky'

/**
 * Shares the partitions of each topic out among those who read it, so that the counts differ by at most one and as many as
 * can be stay where they are: a partition that moves makes its new owner look its window up and wait for the old one, so
 * none moves without need. Topics are shared one by one, as their partitions are not alike: all of one's calls must not
 * come to one member because it has none of another's. Where one cannot be even, those with fewest of all get one more.
 * @param partitions numbers by topic.
 */
export function assignSticky(
  members: readonly Member[],
  partitions: ReadonlyMap<string, readonly number[]>,
): Map<string, Record<string, number[]>> {
  const result = new Map<string, Record<string, number[]>>(members.map(({ id }) => [id, {}]))
  const totals = new Map(members.map(({ id }) => [id, 0]))
  for (const [topic, numbers] of partitions) {
    const readers = members.filter((member) => member.topics?.includes(topic) ?? true)
    if (readers.length === 0) continue
    for (const [id, mine] of shareTopic(readers, topic, numbers, totals)) {
      if (mine.length === 0) continue
      result.get(id)![topic] = mine.toSorted((a, b) => a - b)
      totals.set(id, totals.get(id)! + mine.length)
    }
  }
  return result
}

function shareTopic(
  members: readonly Member[],
  topic: string,
  numbers: readonly number[],
  totals: ReadonlyMap<string, number>,
): Map<string, number[]> {
  const least = Math.floor(numbers.length / members.length)
  let extra = numbers.length % members.length
  const shares = new Map<string, number[]>(members.map(({ id }) => [id, []]))
  const free = new Set(numbers)
  const claims = members
    .map(({ id, owned }) => ({ id, claimed: (owned[topic] ?? []).filter((number) => free.has(number)) }))
    // Those that had most keep the places that are one above the others: fewest moves.
    .sort(
      (a, b) => b.claimed.length - a.claimed.length || totals.get(a.id)! - totals.get(b.id)! || (a.id < b.id ? -1 : 1),
    )
  for (const { id, claimed } of claims) {
    const share = shares.get(id)!
    for (const number of claimed) {
      if (!free.has(number)) continue
      if (share.length === least) {
        if (extra === 0) break
        extra -= 1
      } else if (share.length > least) break
      free.delete(number)
      share.push(number)
    }
  }
  const order = members.map(({ id }) => id).sort((a, b) => totals.get(a)! - totals.get(b)! || (a < b ? -1 : 1))
  for (const number of free) {
    const next = order.reduce((best, id) => (shares.get(id)!.length < shares.get(best)!.length ? id : best))
    shares.get(next)!.push(number)
  }
  return shares
}

/**
 * kafkajs' form of the assigner. `owned` says what this member has at the time of each join; `onCluster` is given the
 * consumer's own connections, which kafkajs hands to nobody else.
 */
export function stickyAssigner(owned: () => Assignment, onCluster: (cluster: Cluster) => void): PartitionAssigner {
  return ({ cluster }) => {
    onCluster(cluster)
    return assigner(cluster, owned)
  }
}

function assigner(cluster: Cluster, owned: () => Assignment): Assigner {
  return {
    name: NAME,
    version: VERSION,
    protocol: ({ topics }) => ({
      name: NAME,
      metadata: AssignerProtocol.MemberMetadata.encode({
        version: VERSION,
        topics,
        userData: Buffer.from(JSON.stringify(owned())),
      }),
    }),
    assign: async ({ members, topics }) => {
      const partitions = new Map(
        topics
          .toSorted()
          .map((topic) => [topic, cluster.findTopicPartitionMetadata(topic).map(({ partitionId }) => partitionId)]),
      )
      const shares = assignSticky(members.map(readMember), partitions)
      return [...shares].map(([memberId, assignment]) => ({
        memberId,
        memberAssignment: AssignerProtocol.MemberAssignment.encode({
          version: VERSION,
          assignment,
          userData: Buffer.alloc(0),
        }),
      }))
    },
  }
}

interface KafkaMember {
  readonly memberId: string
  readonly memberMetadata: Buffer
}

/** Another member's word is input from outside: what is not an assignment counts as nothing owned. */
function readMember({ memberId: id, memberMetadata }: KafkaMember): Member {
  try {
    const metadata = AssignerProtocol.MemberMetadata.decode(memberMetadata)
    return { id, ...(metadata !== null && { topics: metadata.topics }), owned: readOwned(metadata?.userData) }
  } catch {
    return { id, owned: {} }
  }
}

function readOwned(userData: Buffer | undefined): Assignment {
  try {
    const value: unknown = JSON.parse(userData?.toString() ?? '{}')
    if (typeof value !== 'object' || value === null) return {}
    return Object.fromEntries(
      Object.entries(value).filter(
        (entry): entry is [string, number[]] =>
          Array.isArray(entry[1]) && entry[1].every((one) => Number.isInteger(one)),
      ),
    )
  } catch {
    return {}
  }
}
