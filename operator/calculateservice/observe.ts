/** All that a CalculateService is judged by, read at one moment: from caches, and from its Kafka. Nothing is written here. */
import type { CalculateService, ConsumerGroup, RetryPolicy } from '../../crds/types.ts'
import type { Clock } from '../controller/clock.ts'
import { isSpecChanged } from '../controller/controller.ts'
import { keyOf, objectKey } from '../controller/object.ts'
import type { KubeObject, ObjectKey } from '../controller/object.ts'
import type { Cache } from '../controller/store.ts'
import { kafkaAccess, missingSecrets } from '../kafka/kafka-access.ts'
import type { KafkaAccess, ReadSecret } from '../kafka/kafka-access.ts'
import { KafkaProblem } from '../kafka/kafka-problem.ts'
import type { KafkaReason } from '../kafka/kafka-problem.ts'
import type { TopicAdmins } from '../kafka/topic-admins.ts'
import type { TopicClaim } from '../kafka/topic-claims.ts'
import type { KeptLooks, TopicQuestion } from '../kafka/topic-looks.ts'
import type { ObservedCluster } from '../kafka/topic-plan.ts'
import type { Deployment, Pod, Secret, Service } from '../kinds.ts'
import { isPaused } from '../paused.ts'
import type { ConsulCatalog } from '../registry/consul-client.ts'
import { callbackSecrets, consulSecrets, kafkaSecrets, proxySecrets } from '../secret-references.ts'
import { scopeOf } from './instances.ts'
import { findRegistered, observeConsul } from './observe-consul.ts'
import type { ConsulView, FoundView } from './observe-consul.ts'
import { proxyName } from './objects.ts'
import { growthWaitsFor } from './ordered-growth.ts'
import { CONSUL_FINALIZER } from './reconciliation.ts'
import { mayAskKafka } from './topic-right.ts'
import { retryStepsOf } from './retry-steps.ts'
import { topicNames } from './topic-names.ts'

/** Indexes that the caches must have. */
export const INDEXES = {
  /** Services by the name of their topic. */
  servicesByTopic: 'topic',
  /** Services by `namespace/name` of each Secret that they name. */
  servicesBySecret: 'secret',
  /** Services by the name that they have in a Consul: see `byConsulName`. */
  servicesByConsulName: 'consulName',
  /** ConsumerGroups that answer calls by `namespace/name` of their service, and of their policy. */
  respondersByService: 'responderOf',
  respondersByPolicy: 'responderBy',
  /** Pods by `namespace/name` of the service whose proxies they are. */
  podsByService: 'service',
} as const

export const byTopic = ({ spec }: CalculateService): readonly string[] => [spec.topic.name]

/** Its namespace, its Consul and its name there: two that have the same would be one service for who asks Consul. */
export const byConsulName = ({ metadata, spec: { registration } }: CalculateService): readonly string[] => {
  if (registration.consul === undefined) return []
  const { address, datacenter = '', name = metadata.name } = registration.consul
  return [[metadata.namespace, address, datacenter, name].join(' ')]
}

export const bySecret = (service: CalculateService): readonly string[] => [
  ...new Set(
    [
      ...proxySecrets(service),
      ...callbackSecrets(service),
      ...[service.spec.registration.consul ?? {}, ...(service.status?.consul ?? [])].flatMap((one) =>
        consulSecrets(one),
      ),
    ].map(({ name }) => keyOf(service.metadata.namespace, name)),
  ),
]

export const responderByService = ({ metadata, spec }: ConsumerGroup): readonly string[] =>
  spec.role === 'Responder' ? [keyOf(metadata.namespace, spec.calculateServiceRef.name)] : []

export const responderByPolicy = ({ metadata, spec }: ConsumerGroup): readonly string[] =>
  spec.role !== 'Responder' || spec.retryPolicyRef === undefined
    ? []
    : [keyOf(metadata.namespace, spec.retryPolicyRef.name)]

export const podByService = ({ metadata: { namespace, labels } }: KubeObject): readonly string[] => {
  const service = labels?.['grpckafka.dev/service']
  return service === undefined || labels?.['app.kubernetes.io/component'] !== 'proxy' ? [] : [keyOf(namespace, service)]
}

type Read<T extends KubeObject> = Pick<Cache<T>, 'get' | 'byIndex'>

export interface ServiceCaches {
  readonly calculateServices: Read<CalculateService>
  readonly secrets: Read<Secret>
  readonly deployments: Read<Deployment>
  readonly services: Read<Service>
  readonly serviceAccounts: Read<KubeObject>
  readonly configMaps: Read<KubeObject>
  readonly podDisruptionBudgets: Read<KubeObject>
  readonly pods: Read<Pod>
  readonly consumerGroups: Read<ConsumerGroup>
  readonly retryPolicies: Read<RetryPolicy>
}

/** What stands under the names that the service needs. */
export interface LiveObjects {
  readonly deployment?: Deployment
  readonly service?: Service
  readonly serviceAccount?: KubeObject
  readonly configMap?: KubeObject
  readonly podDisruptionBudget?: KubeObject
}

export type KafkaView =
  /** It is no matter, or must not be: see `mayAskKafka`. */
  | { readonly state: 'NotAsked' }
  | {
      readonly state: 'Seen'
      readonly cluster: ObservedCluster
      /** Kafka said so some time ago: before anything is done about it, it is to be asked again. */
      readonly isKept: boolean
    }
  | { readonly state: 'Failed'; readonly reason: KafkaReason; readonly message: string }

export interface Observed {
  readonly service: CalculateService
  /** Milliseconds since 1970. */
  readonly now: number
  /** Whether its namespace may use the name of its topic. */
  readonly topicAllowed: boolean
  /** Its own claim, with the cluster's id as Kafka says it now, whether or not its namespace may use the name. */
  readonly mine: TopicClaim
  /** All who name the same topic and may. */
  readonly claims: readonly TopicClaim[]
  /** Lines about Secrets that the sidecars need and that are not there. */
  readonly missingSecrets: readonly string[]
  /** Of these, those without which the operator cannot ask Kafka. */
  readonly missingKafkaSecrets: readonly string[]
  readonly kafka: KafkaView
  /** How many retry topics it has, or is to have. */
  readonly retrySteps: number
  /** Why partitions may not be added now. */
  readonly growthWaitsFor?: string | undefined
  readonly live: LiveObjects
  /** Pods of proxies, also those that are ending. */
  readonly pods: readonly Pod[]
  /** Each Consul that matters; none while the service is paused. */
  readonly consul: readonly ConsulView[]
  /** Of proxies that register themselves; absent where none do, or none should any more. */
  readonly registered?: FoundView
  /** All of its namespace that have its name in its Consul. May hold the service itself. */
  readonly consulNamesakes: readonly CalculateService[]
  /** The name of the Kubernetes cluster in Consul; empty: none. */
  readonly cluster: string
  /** From the end of the drain of one that is deleted: so long its topics are tried to be deleted; then they are left. */
  readonly deletionPatienceMilliseconds: number
}

export interface ObserveParts {
  readonly caches: ServiceCaches
  readonly kafka: Pick<TopicAdmins, 'use'>
  readonly looks: Pick<KeptLooks, 'kept'>
  readonly mayNameTopic: (namespace: string, topic: string) => boolean
  readonly clock: Pick<Clock, 'now'>
  readonly consul: ConsulCatalog
  /** The name of the Kubernetes cluster in Consul; empty: none. */
  readonly cluster: string
  /** From the end of the drain of one that is deleted: so long its topics are tried to be deleted; then they are left. */
  readonly deletionPatienceMilliseconds: number
}

/** @returns undefined where the object is gone. */
export async function observe(key: ObjectKey, parts: ObserveParts, signal: AbortSignal): Promise<Observed | undefined> {
  const { caches, clock, mayNameTopic, cluster, deletionPatienceMilliseconds } = parts
  const service = caches.calculateServices.get(key)
  if (service === undefined) return undefined
  const read = secretReader(service, caches.secrets)
  const named = caches.calculateServices.byIndex(INDEXES.servicesByTopic, service.spec.topic.name)
  const pods = caches.pods.byIndex(INDEXES.podsByService, key)
  const responders = caches.consumerGroups.byIndex(INDEXES.respondersByService, key)
  const observed = {
    service,
    now: clock.now(),
    topicAllowed: mayNameTopic(service.metadata.namespace ?? '', service.spec.topic.name),
    mine: ownClaim(service),
    claims: named.filter(({ metadata, spec }) => mayNameTopic(metadata.namespace ?? '', spec.topic.name)).map(claimOf),
    missingSecrets: missingSecrets(proxySecrets(service), read),
    missingKafkaSecrets: missingSecrets(kafkaSecrets(service), read),
    retrySteps: retryStepsOf(service, policiesOf(responders, caches)),
    growthWaitsFor: growthWaitsFor(service, responders, pods),
    live: liveObjects(service, caches),
    pods,
    consulNamesakes: byConsulName(service).flatMap((name) =>
      caches.calculateServices.byIndex(INDEXES.servicesByConsulName, name),
    ),
    cluster,
    deletionPatienceMilliseconds,
  }
  const mayAskConsul =
    service.metadata.deletionTimestamp === undefined
      ? !isPaused(service)
      : (service.metadata.finalizers ?? []).includes(CONSUL_FINALIZER)
  const mayFind = service.metadata.deletionTimestamp === undefined && !isPaused(service)
  const [kafka, consul, registered] = await Promise.all([
    mayAskKafka(observed) ? askKafka(observed, read, parts, signal) : NOT_ASKED,
    mayAskConsul ? observeConsul(service, scopeOf(service, cluster), read, parts.consul, signal) : [],
    mayFind ? findRegistered(service, read, parts.consul, signal) : undefined,
  ])
  const mine = kafka.state === 'Seen' ? { ...observed.mine, clusterId: kafka.cluster.id } : observed.mine
  return { ...observed, mine, kafka, consul, ...(registered === undefined ? {} : { registered }) }
}

/** Of those who answer its calls, and put those to be tried again on topics: calls with an order wait in their place. */
const policiesOf = (responders: readonly ConsumerGroup[], { retryPolicies }: ServiceCaches): readonly RetryPolicy[] =>
  responders.flatMap(({ metadata, spec }) => {
    const name = spec.retryPolicyRef?.name
    return name === undefined || spec.ordering !== 'None'
      ? []
      : (retryPolicies.get(keyOf(metadata.namespace, name)) ?? [])
  })

const NOT_ASKED: KafkaView = { state: 'NotAsked' }

const claimOf = ({ metadata, spec, status }: CalculateService): TopicClaim => ({
  namespace: metadata.namespace ?? '',
  name: metadata.name,
  uid: metadata.uid ?? '',
  creationTimestamp: metadata.creationTimestamp ?? '',
  topic: spec.topic.name,
  bootstrapServers: spec.kafka.bootstrapServers,
  ...(status?.clusterId === undefined ? {} : { clusterId: status.clusterId }),
})

/** Whether what a service claims, and in which Kafka, may be another than before: of what others judge themselves by. */
export const isClaimChanged = (before: CalculateService, now: CalculateService): boolean =>
  isSpecChanged(before, now) || before.status?.clusterId !== now.status?.clusterId

/** What its status says of the cluster is of the spec as it was then: it may name another Kafka now. */
const ownClaim = (service: CalculateService): TopicClaim => {
  const { clusterId, ...claim } = claimOf(service)
  return clusterId === undefined || !isSpecOfStatus(service) ? claim : { ...claim, clusterId }
}

/** Whether the status was written for the spec as it is now. */
export const isSpecOfStatus = ({ metadata, status }: CalculateService): boolean =>
  status?.observedGeneration === metadata.generation

/** Reads keys of Secrets in a service's namespace. */
export const secretReader =
  ({ metadata: { namespace } }: CalculateService, secrets: Pick<Cache<Secret>, 'get'>): ReadSecret =>
  ({ name, key }) => {
    const data = secrets.get(keyOf(namespace, name))?.data ?? {}
    const value = Object.hasOwn(data, key) ? data[key] : undefined
    return value === undefined || value === '' ? undefined : Buffer.from(value, 'base64').toString('utf8')
  }

function liveObjects(service: CalculateService, caches: ServiceCaches): LiveObjects {
  const key = keyOf(service.metadata.namespace, proxyName(service))
  const found = {
    deployment: caches.deployments.get(key),
    service: caches.services.get(key),
    serviceAccount: caches.serviceAccounts.get(key),
    configMap: caches.configMaps.get(key),
    podDisruptionBudget: caches.podDisruptionBudgets.get(key),
  }
  return Object.fromEntries(Object.entries(found).filter(([, object]) => object !== undefined))
}

export const topicQuestion = (
  { service, retrySteps }: Pick<Observed, 'service' | 'retrySteps'>,
  access: KafkaAccess,
): TopicQuestion => ({
  access,
  topics: topicNames(service, retrySteps),
  uid: service.metadata.uid ?? '',
})

async function askKafka(
  observed: Pick<Observed, 'service' | 'retrySteps'>,
  read: ReadSecret,
  { kafka, looks }: ObserveParts,
  signal: AbortSignal,
): Promise<KafkaView> {
  const { service, retrySteps } = observed
  const access = kafkaAccess(service, read)
  if (access === undefined) return NOT_ASKED
  // Whoever has changed the spec is told of Kafka as it is now.
  const mayBeKept = service.metadata.deletionTimestamp !== undefined || isSpecOfStatus(service)
  const kept = mayBeKept ? looks.kept(objectKey(service), topicQuestion(observed, access)) : undefined
  if (kept !== undefined) return { state: 'Seen', cluster: kept, isKept: true }
  try {
    const cluster = await kafka.use(access, (admin) => admin.observe(topicNames(service, retrySteps), signal))
    return { state: 'Seen', cluster, isKept: false }
  } catch (error) {
    if (!(error instanceof KafkaProblem)) throw error
    return { state: 'Failed', reason: error.reason, message: error.message }
  }
}
