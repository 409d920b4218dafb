/**
 * How many workers what waits asks for: pure. The rule for fewer is that of Kubernetes' HorizontalPodAutoscaler ("Algorithm
 * details", "Stabilization window"): the largest number that was right at any time within the window. More come at once.
 */
import type { ConsumerGroup } from '../../crds/types.ts'

export type Scaling = NonNullable<ConsumerGroup['spec']['scaling']>

/** How many workers were right at some time. */
export interface Advice {
  /** Milliseconds of the clock that is passed in. */
  readonly at: number
  readonly replicas: number
}

export interface ScalingInput {
  readonly scaling: Pick<Scaling, 'minReplicas' | 'maxReplicas' | 'lagPerReplica' | 'stabilizationSeconds'>
  /** Of the topic: a worker beyond them would have nothing to do. Absent: not known. */
  readonly partitions?: number | undefined
  /** Calls that are not finished, wherever they wait. Absent: not known. */
  readonly lag?: number | undefined
  /** What was decided last. */
  readonly current: number
  /** What this function answered last as `advice`; empty after a start. */
  readonly earlier: readonly Advice[]
  readonly now: number
}

export interface ScalingDecision {
  readonly replicas: number
  /** To be given back as `earlier`. Holds no more than can still count. */
  readonly advice: readonly Advice[]
}

export function scaleByLag(input: ScalingInput): ScalingDecision {
  const { scaling, partitions, lag, current, earlier, now } = input
  const most = Math.max(1, Math.min(scaling.maxReplicas, partitions ?? Infinity))
  // The bounds count whatever is known. Partitions lower them: minReplicas beyond them would be idle.
  const bounded = (replicas: number): number => Math.min(Math.max(replicas, Math.min(scaling.minReplicas, most)), most)
  const kept = bounded(current)
  // What is not known is no reason to have fewer or more. Nor does it count as a time when fewer would have done.
  const right = lag === undefined ? kept : bounded(Math.ceil(lag / scaling.lagPerReplica))

  const since = now - scaling.stabilizationSeconds * 1000
  // Nobody looked before the first advice: until a window has passed, what there is may have been right.
  const before = earlier.length === 0 ? [{ at: now, replicas: kept }] : earlier
  const advice = [...before.filter(({ at, replicas }) => at > since && replicas > right), { at: now, replicas: right }]
  const stabilized = bounded(Math.max(...advice.map(({ replicas }) => replicas)))
  return { replicas: Math.max(right, Math.min(kept, stabilized)), advice }
}
