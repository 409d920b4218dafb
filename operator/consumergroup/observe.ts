/** All that a ConsumerGroup is judged by, read at one moment from caches. Nothing is asked of anybody, and nothing written. */
import type { CalculateService, ConsumerGroup, RetryPolicy } from '../../crds/types.ts'
import { INDEXES, secretReader } from '../calculateservice/observe.ts'
import { keyOf, objectKey } from '../controller/object.ts'
import type { KubeObject, ObjectKey } from '../controller/object.ts'
import type { Cache, IndexFunction } from '../controller/store.ts'
import type { GroupOfTopics } from '../kafka/group-admin.ts'
import { kafkaAccess, missingSecrets } from '../kafka/kafka-access.ts'
import type { KafkaAccess } from '../kafka/kafka-access.ts'
import type { Autoscaler, Deployment, Secret } from '../kinds.ts'
import { workerSecrets } from '../secret-references.ts'
import type { Advice } from './lag-scaling.ts'
import { workerName } from './objects.ts'
import type { SidecarImage } from '../sidecar-pod.ts'
import type { GroupReading, Observed, Rival } from './observed.ts'
import { retryTopicsIn, topicIn } from './topic-in-status.ts'

type Read<T extends KubeObject> = Pick<Cache<T>, 'get' | 'byIndex'>

export interface GroupCaches {
  readonly consumerGroups: Read<ConsumerGroup>
  readonly calculateServices: Read<CalculateService>
  readonly retryPolicies: Read<RetryPolicy>
  readonly secrets: Read<Secret>
  readonly deployments: Read<Deployment>
  readonly serviceAccounts: Read<KubeObject>
  readonly configMaps: Read<KubeObject>
  readonly pods: Read<KubeObject>
  readonly autoscalers: Read<Autoscaler>
}

/** Indexes that the caches must have, beside that of pods, which is a CalculateService's. */
export const GROUPS_BY_SERVICE = 'service'
export const GROUPS_BY_POLICY = 'policy'
export const GROUPS_BY_GROUP_ID = 'groupId'
const AUTOSCALERS_BY_TARGET = 'target'

/** Those of the cache of ConsumerGroups: by `namespace/name` of the service and of the policy, and by group id. */
export const GROUP_INDEXES: Readonly<Record<string, IndexFunction<ConsumerGroup>>> = {
  [GROUPS_BY_SERVICE]: ({ metadata, spec }) => [keyOf(metadata.namespace, spec.calculateServiceRef.name)],
  [GROUPS_BY_POLICY]: ({ metadata, spec }) =>
    spec.retryPolicyRef === undefined ? [] : [keyOf(metadata.namespace, spec.retryPolicyRef.name)],
  [GROUPS_BY_GROUP_ID]: ({ spec }) => [spec.groupId],
}

/** That of the cache of autoscalers: by `namespace/name` of what they scale, whatever its kind. */
export const AUTOSCALER_INDEXES: Readonly<Record<string, IndexFunction<Autoscaler>>> = {
  [AUTOSCALERS_BY_TARGET]: ({ metadata, spec }) =>
    spec?.scaleTargetRef?.name === undefined ? [] : [keyOf(metadata.namespace, spec.scaleTargetRef.name)],
}

const SUFFIX = workerName({ metadata: { name: '' } } as ConsumerGroup)

/** The group whose name, or whose Deployment's name, an autoscaler gives: to wake it. It need not be there. */
export function groupsOfAutoscaler({ metadata, spec }: Autoscaler): readonly ObjectKey[] {
  const name = spec?.scaleTargetRef?.name
  if (name === undefined) return []
  const group = name.endsWith(SUFFIX) ? name.slice(0, -SUFFIX.length) : name
  return [keyOf(metadata.namespace, group)]
}

/** Where Kafka's word on a group comes from. */
export interface Readings {
  /**
   * What Kafka said last, at once. Where that is older than so long, Kafka is asked, and the group woken when it says
   * something else.
   */
  latest(key: ObjectKey, asked: AskedGroup, maxAgeMilliseconds: number): GroupReading | undefined
  /** Forgets a group that is gone. */
  forget(key: ObjectKey): void
}

/** A consumer group in a Kafka. */
export interface AskedGroup extends GroupOfTopics {
  readonly access: KafkaAccess
}

export interface ObserveParts {
  readonly caches: GroupCaches
  readonly readings: Readings
  /** What the lag asked for lately, by group. */
  readonly advice: ReadonlyMap<ObjectKey, readonly Advice[]>
  /** Milliseconds since 1970. */
  readonly now: () => number
  readonly image: SidecarImage
}

/** Kafka's word is asked for again at the next look: a little less than the shortest time to it. */
const MAX_AGE_MILLISECONDS = { Asleep: 1500, Scaled: 9000, Fixed: 25_000 } as const

/** @returns undefined where the object is gone. */
export function observeGroup(key: ObjectKey, parts: ObserveParts): Observed | undefined {
  const { caches, readings, advice, now, image } = parts
  const group = caches.consumerGroups.get(key)
  if (group === undefined) return undefined
  const { namespace } = group.metadata
  const service = serviceOf(group, caches)
  const policyRef = group.spec.retryPolicyRef
  const own = keyOf(namespace, workerName(group))
  const read = service === undefined ? () => undefined : secretReader(service, caches.secrets)
  const access = service === undefined ? undefined : kafkaAccess(service, read)
  return {
    group,
    service,
    policy: policyRef === undefined ? undefined : caches.retryPolicies.get(keyOf(namespace, policyRef.name)),
    missingSecrets: service === undefined ? [] : missingSecrets(workerSecrets(service, group), read),
    rivals: rivalsOf(group, caches),
    live: {
      serviceAccount: caches.serviceAccounts.get(own),
      configMap: caches.configMaps.get(own),
      deployment: caches.deployments.get(own),
    },
    autoscalers: [key, own].flatMap((target) => caches.autoscalers.byIndex(AUTOSCALERS_BY_TARGET, target)),
    proxyPods: caches.pods.byIndex(INDEXES.podsByService, keyOf(namespace, group.spec.calculateServiceRef.name)),
    reading:
      service === undefined || access === undefined || topicIn(service) === undefined
        ? undefined
        : readings.latest(key, { access, ...askedOf(group, service) }, MAX_AGE_MILLISECONDS[pace(group)]),
    advice: advice.get(key) ?? [],
    now: now(),
    image,
  }
}

function askedOf(group: ConsumerGroup, service: CalculateService): GroupOfTopics {
  const { spec } = group
  return {
    topics: spec.topics !== undefined && spec.topics.length > 0 ? spec.topics : readTopics(group, service),
    groupId: spec.groupId,
    startFrom: spec.startFrom,
    // Of several groups of a service the one that answers tells.
    ...(spec.role === 'Responder' && { deadLettersOf: service.spec.topic.name }),
  }
}

/** Calls and, as the Responder's affair, those that wait for their next attempt. */
const readTopics = (group: ConsumerGroup, service: CalculateService): readonly string[] => [
  service.spec.topic.name,
  ...(group.spec.role === 'Responder' ? retryTopicsIn(service) : []),
]

function pace({ spec, status }: ConsumerGroup): keyof typeof MAX_AGE_MILLISECONDS {
  if (spec.scaling === undefined) return 'Fixed'
  return status?.desiredReplicas === 0 ? 'Asleep' : 'Scaled'
}

const serviceOf = ({ metadata, spec }: ConsumerGroup, caches: GroupCaches): CalculateService | undefined =>
  caches.calculateServices.get(keyOf(metadata.namespace, spec.calculateServiceRef.name))

function rivalsOf(group: ConsumerGroup, caches: GroupCaches): readonly Rival[] {
  const { metadata, spec } = group
  const ofService = caches.consumerGroups.byIndex(
    GROUPS_BY_SERVICE,
    keyOf(metadata.namespace, spec.calculateServiceRef.name),
  )
  const ofGroupId = caches.consumerGroups.byIndex(GROUPS_BY_GROUP_ID, spec.groupId)
  const all = new Map([...ofService, ...ofGroupId].map((one) => [objectKey(one), one]))
  return [...all.values()].map((one) => ({ group: one, service: serviceOf(one, caches) }))
}
