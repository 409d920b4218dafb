/**
 * What to do about one ConsumerGroup, and what to say of it: a pure function of what was observed. Decisions are named checks
 * in their order; the first that applies ends the chain.
 */
import type { CalculateService, ConsumerGroup } from '../../crds/types.ts'
import { pausesProblem } from '../../sidecar/config.ts'
import { needsApply } from '../applied.ts'
import { finding } from '../conditions.ts'
import type { ConditionReason, Finding } from '../conditions.ts'
import type { KubeObject } from '../controller/object.ts'
import { CONSUMER_GROUPS, DEPLOYMENTS, SERVICE_ACCOUNTS } from '../kinds.ts'
import type { Deployment } from '../kinds.ts'
import { belongsToAnother } from '../labels.ts'
import { deletionOf, finalizersOf } from '../object-actions.ts'
import type { ObjectAction } from '../object-actions.ts'
import { isPaused } from '../paused.ts'
import { conflictOf } from './conflict.ts'
import { DRAIN_FINALIZER, drainOf } from './drain.ts'
import type { Advice } from './lag-scaling.ts'
import { topicIn } from './topic-in-status.ts'
import { hasOwnPreStop, renderGroup, workerName } from './objects.ts'
import type { Observed } from './observed.ts'
import { decideReplicas } from './replicas.ts'
import type { Replicas } from './replicas.ts'
import { retentionProblem } from './retention.ts'

/** What is to be said of the workers once the actions have succeeded. */
export type WorkersPlan =
  | {
      /** They are not touched, or are ended. */
      readonly state: 'Kept'
      readonly finding: Finding
    }
  | { readonly state: 'Wanted'; readonly replicas: Replicas; readonly notes: readonly Note[] }

/** Something that is said while nothing is wrong with the Deployment itself. */
export interface Note {
  readonly reason: ConditionReason<'ConsumerGroup', 'WorkersAvailable'>
  readonly message: string
}

export type GroupPlan =
  /** Conditions stay as they are; only Ready says so. */
  | { readonly decision: 'Paused' }
  | {
      readonly decision: 'Delete'
      readonly actions: readonly ObjectAction[]
      /** What is waited for. */
      readonly message: string
      readonly requeueAfterMilliseconds?: number
    }
  | {
      readonly decision: 'Run'
      readonly actions: readonly ObjectAction[]
      readonly references: Finding
      readonly workers: WorkersPlan
      /** To be observed again next time. */
      readonly advice: readonly Advice[]
      readonly requeueAfterMilliseconds: number
    }

/** Kafka is asked again for what waits: for status, to scale, and to start the first worker. */
const LOOK_MILLISECONDS = 30_000
const SCALE_MILLISECONDS = 10_000
const WAKE_MILLISECONDS = 2000

/** What ReferencesResolved says and keeps no workers from being started or changed. */
const WITHOUT_HARM: ReadonlySet<string> = new Set(['PolicyNotFound', 'RetentionTooShort'])

export function planGroup(observed: Observed): GroupPlan {
  const { group } = observed
  if (group.metadata.deletionTimestamp !== undefined) return planDeletion(observed)
  if (isPaused(group)) return { decision: 'Paused' }
  const references = referencesOf(observed)
  const replicas = decideReplicas(observed)
  const { workers, actions } = planWorkers(observed, references, replicas)
  return {
    decision: 'Run',
    actions: [...withFinalizer(group), ...actions],
    references,
    workers,
    advice: replicas.by === 'Lag' ? replicas.advice : [],
    requeueAfterMilliseconds: paceOf(observed, replicas),
  }
}

function paceOf({ reading }: Observed, replicas: Replicas): number {
  if (replicas.by === 'Lag') return replicas.replicas === 0 ? WAKE_MILLISECONDS : SCALE_MILLISECONDS
  // A Kafka that was away is asked again sooner: nobody tells when it is back.
  return reading?.known === false ? SCALE_MILLISECONDS : LOOK_MILLISECONDS
}

const about = (reason: ConditionReason<'ConsumerGroup', 'ReferencesResolved'>, message: string): Finding =>
  finding('ConsumerGroup', 'ReferencesResolved', reason, message)

const ofWorkers = (reason: ConditionReason<'ConsumerGroup', 'WorkersAvailable'>, message: string): Finding =>
  finding('ConsumerGroup', 'WorkersAvailable', reason, message)

function referencesOf({ group, service, policy, missingSecrets }: Observed): Finding {
  const { calculateServiceRef, retryPolicyRef } = group.spec
  if (service === undefined) {
    return about(
      'ServiceNotFound',
      `spec.calculateServiceRef: there is no CalculateService ${calculateServiceRef.name}`,
    )
  }
  if (topicOf(service) !== 'Ours') {
    const { name } = service.metadata
    return about('TopicNotReady', `CalculateService ${name}: ${topicReady(service)?.message ?? 'not looked at yet'}`)
  }
  if (missingSecrets.length > 0) {
    return about('SecretMissing', `CalculateService ${service.metadata.name}: ${missingSecrets.join('; ')}`)
  }
  if (retryPolicyRef !== undefined && policy === undefined) {
    return about(
      'PolicyNotFound',
      `spec.retryPolicyRef: there is no RetryPolicy ${retryPolicyRef.name}; each call is tried once`,
    )
  }
  const pauses = policy === undefined ? undefined : pausesProblem(group.spec.ordering, policy.spec)
  if (pauses !== undefined) return about('PausesTooLong', `RetryPolicy ${policy?.metadata.name ?? ''}: ${pauses}`)
  const retention = retentionProblem(service, group, policy)
  if (retention !== undefined) {
    return about('RetentionTooShort', `RetryPolicy ${policy?.metadata.name ?? ''}: ${retention}`)
  }
  return about('ReferencesResolved', '')
}

const topicReady = ({ status }: CalculateService) => status?.conditions?.find(({ type }) => type === 'TopicReady')

/** Whose the topic is that the workers would read. What is not known to be otherwise stays as it was. */
function topicOf(service: CalculateService): 'Ours' | 'NotYet' | 'NotOurs' {
  const reason: string | undefined = topicReady(service)?.reason
  if (reason === 'TopicConflict' || reason === 'TopicNotAllowed') return 'NotOurs'
  return topicIn(service) === undefined ? 'NotYet' : 'Ours'
}

interface PlannedWorkers {
  readonly workers: WorkersPlan
  readonly actions: readonly ObjectAction[]
}

function planWorkers(observed: Observed, references: Finding, replicas: Replicas): PlannedWorkers {
  const { group, service, policy, rivals, live, image } = observed
  const foreign = Object.values(live).find((object) => belongsToAnother(object, group))
  if (foreign !== undefined) {
    const message = `${foreign.kind} ${foreign.metadata.name} is there and is not this ConsumerGroup's`
    return { workers: { state: 'Kept', finding: ofWorkers('NameTaken', message) }, actions: [] }
  }
  const conflict = conflictOf(group, service, rivals)
  if (conflict !== undefined) {
    // Its workers would take or answer the calls of the older one.
    return {
      workers: { state: 'Kept', finding: ofWorkers('Conflict', conflict) },
      actions: endWorkers(live.deployment),
    }
  }
  // Without a policy there is something to fall back to.
  if (service === undefined || (references.status !== 'True' && !WITHOUT_HARM.has(references.reason))) {
    const others = service !== undefined && topicOf(service) === 'NotOurs'
    const rest = live.deployment === undefined || others ? '' : '; those that there are go on as they are'
    const message = `not started: ReferencesResolved is ${references.reason}${rest}`
    return {
      workers: { state: 'Kept', finding: ofWorkers('ReferencesMissing', message) },
      // They would run the calls of somebody else's service.
      actions: others ? endWorkers(live.deployment) : [],
    }
  }
  const wanted = renderGroup({ group, service, policy, replicas: replicas.replicas }, image)
  const apply = (object: KubeObject | undefined, there: KubeObject | undefined): readonly ObjectAction[] =>
    object !== undefined && needsApply(object, there) ? [{ type: 'ApplyObject', object }] : []
  return {
    workers: { state: 'Wanted', replicas, notes: notesOf(observed, service, replicas) },
    actions: [
      ...apply(wanted.serviceAccount, live.serviceAccount),
      ...apply(wanted.configMap, live.configMap),
      ...apply(wanted.deployment, live.deployment),
      // Last: pods name it until the Deployment was changed.
      ...(wanted.serviceAccount === undefined ? deleted(SERVICE_ACCOUNTS, live.serviceAccount) : []),
    ],
  }
}

const endWorkers = (deployment: Deployment | undefined): readonly ObjectAction[] => deleted(DEPLOYMENTS, deployment)

function deleted(resource: typeof SERVICE_ACCOUNTS, object: KubeObject | undefined): readonly ObjectAction[] {
  if (object?.metadata.uid === undefined || object.metadata.deletionTimestamp !== undefined) return []
  return [deletionOf(resource, object)]
}

/** What is worth saying of workers that may be well, worst first. */
function notesOf({ group, reading }: Observed, service: CalculateService, replicas: Replicas): readonly Note[] {
  const { scaling } = group.spec
  const notes: Note[] = []
  if (replicas.by === 'Lag' && scaling?.minReplicas === 0 && group.spec.role === 'Responder') {
    const short = service.spec.methods.filter((one) => one.timeoutMilliseconds < scaling.wakeUpSeconds * 1000)
    const told = short.map(({ name, timeoutMilliseconds }) => `${name} (${timeoutMilliseconds} ms)`).join(', ')
    if (short.length > 0) {
      const message = `spec.scaling.minReplicas is 0 and a worker needs ${scaling.wakeUpSeconds} s to start: longer than the timeout of ${told}`
      notes.push({ reason: 'WakeUpTooSlow', message })
    }
  }
  if (group.spec.ordering === 'Key' && service.spec.methods.every(({ partitionKey }) => partitionKey === undefined)) {
    const message = `spec.ordering is Key, and no method of CalculateService ${service.metadata.name} has a partitionKey: no call waits for another`
    notes.push({ reason: 'NoPartitionKey', message })
  }
  if (hasOwnPreStop(group)) {
    const message =
      'spec.template: the handler has its own lifecycle.preStop, which does not call /quiesce of its worker'
    notes.push({ reason: 'OwnPreStop', message })
  }
  if (replicas.by === 'Lag' && reading?.known === false) {
    notes.push({
      reason: 'WorkersAvailable',
      message: `what waits is not known, their number stays: ${reading.message}`,
    })
  }
  return notes
}

/** Only a Responder has callers who wait for its workers to finish. */
function withFinalizer(group: ConsumerGroup): readonly ObjectAction[] {
  const { finalizers = [] } = group.metadata
  if (group.spec.role !== 'Responder' || finalizers.includes(DRAIN_FINALIZER)) return []
  return [finalizersOf(CONSUMER_GROUPS, group, [...finalizers, DRAIN_FINALIZER])]
}

/** The group's objects go with it, and their pods end in their order (SEMANTICS 8). */
function planDeletion(observed: Observed): GroupPlan {
  const { group, live } = observed
  const { finalizers = [] } = group.metadata
  const ending = `${workerName(group)}: its ${live.deployment?.status?.replicas ?? 0} workers end`
  if (!finalizers.includes(DRAIN_FINALIZER)) return { decision: 'Delete', actions: [], message: ending }
  const drain = drainOf(observed)
  if (drain !== undefined) return { decision: 'Delete', actions: [], ...drain }
  const next = finalizers.filter((one) => one !== DRAIN_FINALIZER)
  return {
    decision: 'Delete',
    actions: [finalizersOf(CONSUMER_GROUPS, group, next)],
    message: ending,
  }
}
