import { AssignerProtocol } from 'kafkajs'
import type { Assigner, Cluster, PartitionAssigner } from 'kafkajs'

/** Partitions by topic. */
export type Assignment = Readonly<Record<string, readonly number[]>>

export interface Member {
  readonly id: string
  /** What it had before, by its own word. */
  readonly owned: Assignment
}

const VERSION = 1
const NAME = 'grpc-kafka-sticky'

/**
 * Shares partitions out so that the counts differ by at most one and as many as can be stay where they are: a partition that
 * moves makes its new owner look its window up and wait for the old one, so none moves without need.
 */
export function assignSticky(
  members: readonly Member[],
  partitions: readonly (readonly [topic: string, partition: number])[],
): Map<string, Record<string, number[]>> {
  const order = [...members].sort((a, b) => (a.id < b.id ? -1 : 1))
  const all = new Map(partitions.map((one) => [key(one), one]))
  const least = Math.floor(all.size / order.length)
  let extra = all.size % order.length
  const owners = new Map<string, string>()
  const counts = new Map(order.map(({ id }) => [id, 0]))

  const claims = order.map(({ id, owned }) => ({
    id,
    claimed: Object.entries(owned).flatMap(([topic, numbers]) => numbers.map((number) => key([topic, number]))),
  }))
  // Those that had most keep the places that are one above the others: fewest moves.
  for (const { id, claimed } of claims.sort((a, b) => b.claimed.length - a.claimed.length)) {
    let kept = 0
    for (const one of claimed) {
      if (!all.has(one) || owners.has(one)) continue
      if (kept === least) {
        if (extra === 0) break
        extra -= 1
      } else if (kept > least) break
      owners.set(one, id)
      kept += 1
    }
    counts.set(id, kept)
  }
  for (const one of all.keys()) {
    if (owners.has(one)) continue
    const next = order.reduce((best, member) =>
      (counts.get(member.id) ?? 0) < (counts.get(best.id) ?? 0) ? member : best,
    )
    owners.set(one, next.id)
    counts.set(next.id, (counts.get(next.id) ?? 0) + 1)
  }

  const result = new Map<string, Record<string, number[]>>(order.map(({ id }) => [id, {}]))
  for (const [one, owner] of owners) {
    const [topic, partition] = all.get(one) ?? ['', 0]
    const mine = result.get(owner)
    if (mine !== undefined) (mine[topic] ??= []).push(partition)
  }
  for (const mine of result.values()) for (const numbers of Object.values(mine)) numbers.sort((a, b) => a - b)
  return result
}

const key = ([topic, partition]: readonly [string, number]): string => `${partition}/${topic}`

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
      const partitions = topics.flatMap((topic) =>
        cluster.findTopicPartitionMetadata(topic).map(({ partitionId }) => [topic, partitionId] as const),
      )
      const shares = assignSticky(
        members.map(({ memberId, memberMetadata }) => ({ id: memberId, owned: readOwned(memberMetadata) })),
        partitions,
      )
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

/** Another member's word is input from outside: what is not an assignment counts as nothing owned. */
function readOwned(metadata: Buffer): Assignment {
  try {
    const value: unknown = JSON.parse(AssignerProtocol.MemberMetadata.decode(metadata)?.userData.toString() ?? '{}')
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
