/** What the status of a CalculateService should say: pure, from what was observed, planned and done. */
import type { CalculateService } from '../../crds/types.ts'
import { finding, readiness, rfc3339, toConditions } from '../conditions.ts'
import type { Condition, ConditionReason, Finding } from '../conditions.ts'
import { KubeError } from '../controller/kube-error.ts'
import { isAmbiguous, KafkaProblem } from '../kafka/kafka-problem.ts'
import { planTopics } from '../kafka/topic-plan.ts'
import type { ObservedCluster, ObservedTopic, RememberedTopic } from '../kafka/topic-plan.ts'
import type { Deployment } from '../kinds.ts'
import type { Outcome } from './execute.ts'
import { instancesOf, placeOf } from './instances.ts'
import type { ConsulPlace } from './instances.ts'
import { serviceAddress } from './objects.ts'
import { isSpecOfStatus } from './observe.ts'
import type { Observed } from './observe.ts'
import type { ConsulView } from './observe-consul.ts'
import { isGivenUp } from './plan-consul.ts'
import { topicsWanted } from './plan.ts'
import type { Part, Plan } from './plan.ts'
import { topicRefusal } from './topic-right.ts'

export type ServiceStatus = NonNullable<CalculateService['status']>

/** @param cluster Kafka as it is after the actions; undefined where it is not known. */
export function desiredStatus(
  observed: Observed,
  plan: Plan,
  outcomes: readonly Outcome[],
  cluster: ObservedCluster | undefined,
): ServiceStatus {
  const { service } = observed
  switch (plan.type) {
    case 'Paused':
      return onlyReady(
        observed,
        finding('CalculateService', 'Ready', 'Paused', 'metadata.annotations: reconciliation is paused'),
      )
    case 'Leave': {
      const failed = outcomes.flatMap((outcome) => ('failure' in outcome ? [outcome.failure.message] : []))
      return onlyReady(observed, finding('CalculateService', 'Ready', 'Deleting', failed[0] ?? plan.waitsFor ?? ''))
    }
    case 'Keep': {
      const deployment = appliedDeployment(outcomes) ?? observed.live.deployment
      const topics =
        cluster === undefined || topicRefusal(observed) !== undefined
          ? (service.status?.topics ?? [])
          : remember(observed, outcomes, cluster)
      const findings = [
        topicFinding(plan, outcomes, topics, cluster),
        proxyFinding(service, plan, outcomes, deployment),
        registrationFinding(observed, plan, outcomes),
      ]
      const address = serviceAddress(service)
      const consul = rememberConsul(observed, outcomes)
      const clusterId = cluster?.id ?? (isSpecOfStatus(service) ? service.status?.clusterId : undefined)
      return {
        observedGeneration: service.metadata.generation ?? 0,
        conditions: conditionsOf(observed, [readiness(findings), ...findings]),
        topics,
        ...(clusterId === undefined ? {} : { clusterId }),
        proxy: {
          replicas: deployment?.status?.replicas ?? 0,
          readyReplicas: deployment?.status?.readyReplicas ?? 0,
          updatedReplicas: deployment?.status?.updatedReplicas ?? 0,
        },
        ...(address === undefined ? {} : { address }),
        ...(consul.length === 0 ? {} : { consul }),
      }
    }
  }
}

const conditionsOf = ({ service, now }: Observed, findings: readonly Finding[]): readonly Condition[] =>
  toConditions(findings, service.status?.conditions, service.metadata.generation ?? 0, now)

/** What was said of the rest stays as it was said. */
function onlyReady(observed: Observed, ready: Finding): ServiceStatus {
  const { status, metadata } = observed.service
  const others = (status?.conditions ?? []).filter(({ type }) => type !== 'Ready')
  return {
    ...status,
    observedGeneration: metadata.generation ?? 0,
    conditions: [...conditionsOf(observed, [ready]), ...others],
  }
}

type Kept = Extract<Plan, { type: 'Keep' }>

/** What is wrong with one part, worst first: what failed, then what no action would put right. */
function troubleOf(
  part: Part,
  plan: Kept,
  outcomes: readonly Outcome[],
): { readonly reason: string; readonly message: string } | undefined {
  const failed = outcomes.flatMap((outcome) =>
    outcome.action.part === part && 'failure' in outcome ? [outcome.failure] : [],
  )
  const problems: readonly { readonly reason: string; readonly message: string }[] = [
    ...failed.map((failure) => ({
      reason: failure instanceof KubeError ? 'NotApplied' : failure.reason,
      message: failure.message,
    })),
    ...plan.problems[part],
  ]
  const [first] = problems
  return first === undefined
    ? undefined
    : { reason: first.reason, message: problems.map(({ message }) => message).join('; ') }
}

function topicFinding(
  plan: Kept,
  outcomes: readonly Outcome[],
  topics: readonly RememberedTopic[],
  cluster: ObservedCluster | undefined,
): Finding {
  const trouble = troubleOf('TopicReady', plan, outcomes)
  if (trouble !== undefined) return found('TopicReady', trouble)
  const each = topics.map(
    ({ name, partitions }) =>
      `${name} has ${partitions} ${partitions === 1 ? 'partition' : 'partitions'}${sizeOf(cluster?.topics.get(name))}`,
  )
  return found('TopicReady', { reason: 'TopicsReady', message: each.join(', ') })
}

/** How much may wait is for people to judge: nobody knows how large calls are. */
function sizeOf(topic: ObservedTopic | undefined): string {
  const bytes = topic?.config['retention.bytes']?.value ?? '-1'
  return bytes === '-1' ? '' : ` of at most ${bytes} bytes (retention.bytes: what is older is deleted, read or not)`
}

function proxyFinding(
  service: CalculateService,
  plan: Kept,
  outcomes: readonly Outcome[],
  deployment: Deployment | undefined,
): Finding {
  const trouble = troubleOf('ProxyAvailable', plan, outcomes)
  if (trouble !== undefined) return found('ProxyAvailable', trouble)
  const { replicas } = service.spec.proxy
  if (replicas === 0) return found('ProxyAvailable', { reason: 'ScaledToZero', message: 'spec.proxy.replicas is 0' })
  const { observedGeneration = 0, updatedReplicas = 0, readyReplicas = 0 } = deployment?.status ?? {}
  const isNew = deployment?.metadata.generation === observedGeneration && updatedReplicas >= replicas
  const isReady = readyReplicas >= replicas
  return found('ProxyAvailable', {
    reason: isNew ? (isReady ? 'ProxiesAvailable' : 'ProxiesUnavailable') : 'ProxiesRollingOut',
    message: `${readyReplicas} of ${replicas} proxies are ready, ${updatedReplicas} are as the spec says${refused(deployment)}`,
  })
}

/** Why Pods cannot be made (a quota, an admission), in the words of the Deployment's controller. */
function refused(deployment: Deployment | undefined): string {
  const failure = deployment?.status?.conditions?.find(
    ({ type, status }) => type === 'ReplicaFailure' && status === 'True',
  )
  return failure === undefined ? '' : `; ${failure.message ?? failure.type}`
}

function registrationFinding(observed: Observed, plan: Kept, outcomes: readonly Outcome[]): Finding {
  const { service } = observed
  const trouble = troubleOf('Registered', plan, outcomes)
  if (trouble !== undefined) return found('Registered', trouble)
  const address = serviceAddress(service)
  const { consul } = service.spec.registration
  if (address === undefined && consul === undefined)
    return found('Registered', { reason: 'NotAsked', message: 'spec.registration.kubernetes is None' })
  const places = [
    ...(address === undefined ? [] : [address]),
    ...(consul === undefined ? [] : [`${consul.address}: ${inConsul(observed, consul.name ?? service.metadata.name)}`]),
  ]
  return found('Registered', { reason: 'Registered', message: places.join('; ') })
}

function inConsul({ service, pods, cluster, registered }: Observed, name: string): string {
  const passing =
    registered?.state === 'Seen'
      ? registered.instances.map(({ isPassing }) => isPassing)
      : instancesOf(service, pods, cluster).map(({ health }) => health === 'passing')
  return `${name} with ${passing.length} instances, ${passing.filter(Boolean).length} passing`
}

/** The reasons of actions and plans are those of their part; the types that say so are lost where they are put together. */
const found = (type: Part, { reason, message }: { readonly reason: string; readonly message: string }): Finding =>
  finding('CalculateService', type, reason as ConditionReason<'CalculateService', typeof type>, message)

function appliedDeployment(outcomes: readonly Outcome[]): Deployment | undefined {
  for (const outcome of outcomes) {
    if ('stored' in outcome && outcome.stored?.kind === 'Deployment') return outcome.stored
  }
  return undefined
}

/** Enough for whoever goes from one Consul to the next before the last one is clean. */
const MOST_PLACES = 8

/** The Consul that the spec names, and each other one that may still have instances. */
function rememberConsul({ service, consul, now }: Observed, outcomes: readonly Outcome[]): readonly ConsulPlace[] {
  const current = placeOf(service)
  const former = consul
    .filter((view) => !view.isCurrent && !isClean(view, outcomes) && !isGivenUp(view, now))
    .map(({ place }) => ({ ...place, leftAt: place.leftAt ?? rfc3339(now) }))
  return [...(current === undefined ? [] : [current]), ...former].slice(0, MOST_PLACES)
}

const isClean = ({ registry }: ConsulView, outcomes: readonly Outcome[]): boolean =>
  registry.state === 'Seen' &&
  registry.catalog.instances.every(({ id }) =>
    outcomes.some(
      (outcome) =>
        outcome.action.type === 'Consul' &&
        outcome.action.access === registry.access &&
        outcome.action.action.type === 'DeregisterInstance' &&
        outcome.action.action.id === id &&
        !('failure' in outcome),
    ),
  )

/** Kafka said so, or its answer was lost and the topic was announced right before. */
const mayHaveMade = (outcome: Outcome, name: string, outcomes: readonly Outcome[]): boolean =>
  'failure' in outcome
    ? outcome.failure instanceof KafkaProblem &&
      isAmbiguous(outcome.failure) &&
      outcomes.some(
        ({ action, ...one }) =>
          action.type === 'AnnounceTopics' &&
          !('failure' in one) &&
          action.names.includes(name) &&
          action.notMade?.has(name) !== true,
      )
    : outcome.topic !== 'WasThere'

/** What is remembered of the topics: never less than before, for it decides what may be deleted one day. */
function remember(
  observed: Observed,
  outcomes: readonly Outcome[],
  cluster: ObservedCluster,
): readonly RememberedTopic[] {
  const before = observed.service.status?.topics ?? []
  const made = outcomes.flatMap((outcome) =>
    outcome.action.type === 'Topic' &&
    outcome.action.action.type === 'CreateTopic' &&
    mayHaveMade(outcome, outcome.action.action.topic.name, outcomes)
      ? [outcome.action.action.topic.name]
      : [],
  )
  const failed = new Set(
    outcomes.flatMap((outcome) =>
      'failure' in outcome && outcome.action.type === 'Topic' && outcome.action.action.type === 'AlterTopic'
        ? [outcome.action.action.name]
        : [],
    ),
  )
  const wanted = topicsWanted(observed, cluster, made)
  const { kept } = planTopics(wanted)
  return wanted.desired.flatMap(({ name }) => {
    const old = before.find((topic) => topic.name === name)
    const now = kept.find((topic) => topic.name === name)
    if (now === undefined) return old === undefined ? [] : [old]
    // Settings that could not be set are none that somebody else changed.
    return failed.has(name) ? [{ ...now, config: old?.config ?? {} }] : [now]
  })
}
