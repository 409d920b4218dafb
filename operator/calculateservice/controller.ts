import type { OperatorContext } from '../context.ts'
import { mayNameTopic } from '../config.ts'
import { forItself, forOthers, forOwner, isSpecChanged } from '../controller/controller.ts'
import type { Controller } from '../controller/controller.ts'
import { keyOf, objectKey } from '../controller/object.ts'
import type { TopicAdmins } from '../kafka/topic-admins.ts'
import { TopicLooks } from '../kafka/topic-looks.ts'
import type { ConsulCatalog } from '../registry/consul-client.ts'
import {
  CALCULATE_SERVICES,
  CONFIG_MAPS,
  CONSUMER_GROUPS,
  DEPLOYMENTS,
  POD_DISRUPTION_BUDGETS,
  PODS,
  RETRY_POLICIES,
  SECRETS,
  SERVICE_ACCOUNTS,
  SERVICES,
} from '../kinds.ts'
import { WATCHED_DEPLOYMENTS, WATCHED_OBJECTS, WATCHED_PODS, WATCHED_SECRETS, WATCHED_SERVICES } from '../watched.ts'
import { registersItself } from './instances.ts'
import {
  byConsulName,
  bySecret,
  byTopic,
  INDEXES,
  isClaimChanged,
  podByService,
  responderByPolicy,
  responderByService,
} from './observe.ts'
import { needsConsulFinalizer } from './plan-consul.ts'
import { CalculateServiceReconciler } from './reconciler.ts'

/** Every kind that is applied for a CalculateService, itself among them. */
export const WRITTEN_FOR_SERVICES = [
  CALCULATE_SERVICES,
  DEPLOYMENTS,
  SERVICES,
  SERVICE_ACCOUNTS,
  CONFIG_MAPS,
  POD_DISRUPTION_BUDGETS,
]

/** As Strimzi: what somebody did to a topic is seen after so long. No later than at a resync. */
const LOOK_MILLISECONDS = 120_000

/** Adds the controller of CalculateServices to the manager. */
export function addServiceController(
  { config, manager, client, writer, mayWrite, events, clock, logger }: OperatorContext,
  kafka: TopicAdmins,
  consul: ConsulCatalog,
): void {
  const calculateServices = manager.informer(CALCULATE_SERVICES)
  const secrets = manager.informer(SECRETS, WATCHED_SECRETS)
  const pods = manager.informer(PODS, WATCHED_PODS)
  const consumerGroups = manager.informer(CONSUMER_GROUPS)
  const retryPolicies = manager.informer(RETRY_POLICIES)
  const owned = {
    deployments: manager.informer(DEPLOYMENTS, WATCHED_DEPLOYMENTS),
    services: manager.informer(SERVICES, WATCHED_SERVICES),
    serviceAccounts: manager.informer(SERVICE_ACCOUNTS, WATCHED_OBJECTS),
    configMaps: manager.informer(CONFIG_MAPS, WATCHED_OBJECTS),
    podDisruptionBudgets: manager.informer(POD_DISRUPTION_BUDGETS, WATCHED_OBJECTS),
  }
  calculateServices.addIndex(INDEXES.servicesByTopic, byTopic)
  calculateServices.addIndex(INDEXES.servicesBySecret, bySecret)
  calculateServices.addIndex(INDEXES.servicesByConsulName, byConsulName)
  pods.addIndex(INDEXES.podsByService, podByService)
  consumerGroups.addIndex(INDEXES.respondersByService, responderByService)
  consumerGroups.addIndex(INDEXES.respondersByPolicy, responderByPolicy)
  const { cache } = calculateServices
  const keysOf = (index: string, value: string): readonly string[] => cache.byIndex(index, value).map(objectKey)
  const caches = {
    calculateServices: cache,
    secrets: secrets.cache,
    pods: pods.cache,
    consumerGroups: consumerGroups.cache,
    retryPolicies: retryPolicies.cache,
    deployments: owned.deployments.cache,
    services: owned.services.cache,
    serviceAccounts: owned.serviceAccounts.cache,
    configMaps: owned.configMaps.cache,
    podDisruptionBudgets: owned.podDisruptionBudgets.cache,
  }
  const looks = new TopicLooks({
    clock,
    kafka,
    everyMilliseconds: Math.min(LOOK_MILLISECONDS, config.resyncMilliseconds),
    changed: (key) => controller.enqueue(key),
    failed: (error) => logger.error({ err: error }, 'a fault in asking Kafka about topics'),
  })
  const controller: Controller = manager.addController({
    name: 'calculateservice',
    workers: config.concurrency,
    sources: [
      forItself(calculateServices),
      // Who had a topic may be gone, or be there for the first time.
      forOthers(
        calculateServices,
        (service) => byTopic(service).flatMap((topic) => keysOf(INDEXES.servicesByTopic, topic)),
        isClaimChanged,
      ),
      forOthers(
        calculateServices,
        (service) => byConsulName(service).flatMap((name) => keysOf(INDEXES.servicesByConsulName, name)),
        isSpecChanged,
      ),
      forOthers(secrets, ({ metadata }) => keysOf(INDEXES.servicesBySecret, keyOf(metadata.namespace, metadata.name))),
      // Its retry topics are as many as their pauses.
      forOthers(consumerGroups, responderByService, isSpecChanged),
      forOthers(
        retryPolicies,
        (policy) =>
          consumerGroups.cache.byIndex(INDEXES.respondersByPolicy, objectKey(policy)).flatMap(responderByService),
        isSpecChanged,
      ),
      // Only who waits for their end, or registers them, has to know of pods.
      forOthers(pods, (pod) =>
        podByService(pod).filter((key) => {
          const service = cache.get(key)
          if (service === undefined) return false
          return (
            service.metadata.deletionTimestamp !== undefined ||
            needsConsulFinalizer({ service }) ||
            registersItself(service)
          )
        }),
      ),
      forOwner(owned.deployments, CALCULATE_SERVICES),
      forOwner(owned.services, CALCULATE_SERVICES),
      forOwner(owned.serviceAccounts, CALCULATE_SERVICES),
      forOwner(owned.configMaps, CALCULATE_SERVICES),
      forOwner(owned.podDisruptionBudgets, CALCULATE_SERVICES),
    ],
    reconciler: new CalculateServiceReconciler({
      caches,
      kafka,
      looks,
      consul,
      cluster: config.clusterName,
      deletionPatienceMilliseconds: config.deletionPatienceMilliseconds,
      reader: client,
      writer,
      mayWrite,
      events,
      clock,
      mayNameTopic: (namespace, topic) => mayNameTopic(config.topicPrefixes, namespace, topic),
      image: { sidecarImage: config.sidecarImage },
    }),
  })
}
