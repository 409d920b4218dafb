/** Who may have a topic: of several who name it, the oldest. */
import { compareAge } from '../age.ts'
import { isSameKafka } from './same-kafka.ts'

/** One resource that names a topic. */
export interface TopicClaim {
  readonly namespace: string
  readonly name: string
  readonly uid: string
  /** RFC 3339. */
  readonly creationTimestamp: string
  readonly topic: string
  readonly bootstrapServers: readonly string[]
  /** Kafka's own id of the cluster, where it was seen. */
  readonly clusterId?: string
}

/**
 * Whoever has the topic that a claim names: the oldest, by creationTimestamp and then by uid, of all that name it in the
 * same Kafka. Undefined: the claim itself.
 *
 * @param others may hold the claim itself, and claims on other topics.
 */
export function ownerBefore(claim: TopicClaim, others: readonly TopicClaim[]): TopicClaim | undefined {
  return others
    .filter((other) => other.uid !== claim.uid && isSameTopic(claim, other) && compareAge(other, claim) < 0)
    .toSorted(compareAge)[0]
}

/** Whether another resource names the same topic. */
export const hasHeir = (claim: TopicClaim, others: readonly TopicClaim[]): boolean =>
  others.some((other) => other.uid !== claim.uid && isSameTopic(claim, other))

const isSameTopic = (a: TopicClaim, b: TopicClaim): boolean => a.topic === b.topic && isSameKafka(a, b)
