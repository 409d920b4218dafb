/** What a ConsumerGroup's status says after a plan was carried out. Pure. */
import type { ConsumerGroup } from '../../crds/types.ts'
import { finding, readiness, rfc3339, toConditions } from '../conditions.ts'
import type { Condition, ConditionReason, Finding } from '../conditions.ts'
import type { Deployment } from '../kinds.ts'
import { workerSelector } from './objects.ts'
import type { Observed } from './observed.ts'
import type { GroupPlan, WorkersPlan } from './plan.ts'
import type { Replicas } from './replicas.ts'

export type GroupStatus = NonNullable<ConsumerGroup['status']>

/** What became of the actions of a plan. */
export interface Done {
  /** The Deployment as it was stored, where it was applied; null: it was deleted. */
  readonly deployment?: Deployment | null | undefined
  /** Why an action failed; those after it were not tried. */
  readonly failure?: string | undefined
}

export function groupStatus(observed: Observed, plan: GroupPlan, done: Done): GroupStatus {
  const { group, live, now } = observed
  const stored = group.status?.conditions
  const generation = group.metadata.generation ?? 0
  const deployment = done.deployment === null ? undefined : (done.deployment ?? live.deployment)
  if (plan.decision === 'Paused') {
    const message = 'the annotation grpckafka.dev/reconciliation is paused'
    const found = [ready('Paused', message)]
    const rest = (stored ?? []).filter(({ type }) => type !== 'Ready')
    // What was seen last stays, with the generation that it was seen for.
    return { ...group.status, conditions: [...toConditions(found, stored, generation, now), ...rest] }
  }
  const numbers = {
    observedGeneration: generation,
    replicas: deployment?.status?.replicas ?? 0,
    readyReplicas: deployment?.status?.readyReplicas ?? 0,
    selector: Object.entries(workerSelector(group))
      .map(([name, value]) => `${name}=${value}`)
      .join(','),
    ...waiting(observed),
    ...scaled(group, plan, now),
  }
  const found = plan.decision === 'Delete' ? deleting(stored, plan.message) : running(plan, deployment, done.failure)
  return { conditions: toConditions(found, stored, generation, now), ...numbers }
}

/** What waits, as Kafka said it last; what nobody asked for yet since a start of the operator stays as it was. */
function waiting({ group, reading }: Observed): Pick<GroupStatus, 'lag' | 'members' | 'deadLetters'> {
  const { lag, members, deadLetters } = group.status ?? {}
  if (reading?.known === true) {
    return {
      lag: toldLag(reading.lag, lag),
      members: reading.members,
      ...(reading.deadLetters !== undefined && { deadLetters: toldLag(reading.deadLetters) }),
    }
  }
  if (reading !== undefined || lag === undefined || members === undefined) return {}
  return { lag, members, ...(deadLetters !== undefined && { deadLetters }) }
}

const ready = (reason: ConditionReason<'ConsumerGroup', 'Ready'>, message: string): Finding =>
  finding('ConsumerGroup', 'Ready', reason, message)

const deleting = (stored: readonly Condition[] | undefined, message: string): readonly Finding[] => [
  ready('Deleting', message),
  ...(stored ?? []).filter(({ type }) => type !== 'Ready'),
]

function running(
  plan: Extract<GroupPlan, { readonly decision: 'Run' }>,
  deployment: Deployment | undefined,
  failure: string | undefined,
): readonly Finding[] {
  const workers = failure === undefined ? workersFinding(plan.workers, deployment) : ofWorkers('NotApplied', failure)
  return [readiness([plan.references, workers]), plan.references, workers]
}

const ofWorkers = (reason: ConditionReason<'ConsumerGroup', 'WorkersAvailable'>, message: string): Finding =>
  finding('ConsumerGroup', 'WorkersAvailable', reason, message)

function workersFinding(plan: WorkersPlan, deployment: Deployment | undefined): Finding {
  if (plan.state === 'Kept') return plan.finding
  const { replicas, notes } = plan
  const wanted = replicas.replicas ?? deployment?.spec?.replicas ?? 1
  const slow = notes.find(({ reason }) => reason === 'WakeUpTooSlow')
  if (slow !== undefined) return ofWorkers('WakeUpTooSlow', slow.message)
  if (wanted === 0 && replicas.by === 'Spec') return ofWorkers('NoWorkers', 'spec.replicas is 0: calls wait')
  const trouble = rollout(deployment, wanted)
  if (trouble !== undefined) return trouble
  const messages = notes.map(({ message }) => message).join('; ')
  if (wanted === 0) return ofWorkers('ScaledToZero', messages === '' ? zero(replicas) : messages)
  return ofWorkers(notes[0]?.reason ?? 'WorkersAvailable', messages)
}

const zero = (replicas: Replicas): string =>
  replicas.by === 'Autoscaler' ? `by ${replicas.name}` : 'nothing waits and spec.scaling.minReplicas is 0'

/** What of a Deployment is not as it is to be, or undefined. */
function rollout(deployment: Deployment | undefined, wanted: number): Finding | undefined {
  const { status, metadata } = deployment ?? {}
  const { observedGeneration = 0, replicas = 0, updatedReplicas = 0, readyReplicas = 0, conditions = [] } = status ?? {}
  const isSeen = deployment !== undefined && observedGeneration >= (metadata?.generation ?? 0)
  const isRolledOut = isSeen && replicas === wanted && updatedReplicas === wanted
  if (isRolledOut && readyReplicas === wanted) return undefined
  const old = replicas - updatedReplicas
  const trouble = conditions.find(
    ({ type, status: holds }) =>
      (type === 'ReplicaFailure' && holds === 'True') || (type === 'Progressing' && holds === 'False'),
  )
  const message = [
    `${Math.min(readyReplicas, wanted)} of ${wanted} workers are ready`,
    ...(old > 0 ? [`${old} are to be replaced`] : []),
    ...(trouble?.message === undefined ? [] : [trouble.message]),
  ].join('; ')
  return ofWorkers(isRolledOut ? 'WorkersUnavailable' : 'WorkersRollingOut', message)
}

/** What `scaling` decided, and when that was another number last. */
function scaled(
  group: ConsumerGroup,
  plan: GroupPlan,
  now: number,
): Pick<GroupStatus, 'desiredReplicas' | 'lastScaleTime'> {
  const before = group.status
  const kept = {
    ...(before?.desiredReplicas === undefined ? {} : { desiredReplicas: before.desiredReplicas }),
    ...(before?.lastScaleTime === undefined ? {} : { lastScaleTime: before.lastScaleTime }),
  }
  if (plan.decision !== 'Run' || plan.workers.state === 'Kept') return kept
  const { replicas } = plan.workers
  if (replicas.by !== 'Lag') return {}
  if (replicas.replicas === before?.desiredReplicas) return kept
  return { desiredReplicas: replicas.replicas, lastScaleTime: rfc3339(now) }
}

/**
 * What a status tells of so many calls that wait, and does not have to be written at each of them: rounded up to one significant
 * digit; and what it told last for as long as that is right within a factor of four, or stays below ten.
 */
export function toldLag(count: number, toldLast = 0): number {
  const isNear = count > 0 && count <= toldLast && (toldLast < 10 || 4 * count > toldLast)
  if (isNear) return toldLast
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(1, count))))
  return Math.ceil(count / unit) * unit
}
