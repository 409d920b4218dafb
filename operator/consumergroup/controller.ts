import { INDEXES, isClaimChanged } from '../calculateservice/observe.ts'
import type { OperatorContext } from '../context.ts'
import { forItself, forOthers, forOwner, isSpecChanged } from '../controller/controller.ts'
import type { Controller } from '../controller/controller.ts'
import { keyOf, objectKey } from '../controller/object.ts'
import type { ObjectKey } from '../controller/object.ts'
import type { GroupAdmin } from '../kafka/group-admin.ts'
import type { TopicAdmins } from '../kafka/topic-admins.ts'
import {
  AUTOSCALERS,
  CALCULATE_SERVICES,
  CONFIG_MAPS,
  CONSUMER_GROUPS,
  DEPLOYMENTS,
  PODS,
  RETRY_POLICIES,
  SECRETS,
  SERVICE_ACCOUNTS,
} from '../kinds.ts'
import { WATCHED_DEPLOYMENTS, WATCHED_OBJECTS, WATCHED_PODS, WATCHED_SECRETS } from '../watched.ts'
import {
  AUTOSCALER_INDEXES,
  GROUP_INDEXES,
  GROUPS_BY_GROUP_ID,
  GROUPS_BY_POLICY,
  GROUPS_BY_SERVICE,
  groupsOfAutoscaler,
} from './observe.ts'
import { GroupReadings } from './readings.ts'
import { GroupReconciler } from './reconciler.ts'

/** Every kind that is applied for a ConsumerGroup, itself among them. */
export const WRITTEN_FOR_GROUPS = [CONSUMER_GROUPS, DEPLOYMENTS, SERVICE_ACCOUNTS, CONFIG_MAPS]

/** Adds the controller of ConsumerGroups to the manager. That of CalculateServices is there: it makes the index of pods. */
export function addGroupController(
  { config, manager, writer, events, clock, logger }: OperatorContext,
  kafka: TopicAdmins<GroupAdmin>,
): void {
  const consumerGroups = manager.informer(CONSUMER_GROUPS)
  const calculateServices = manager.informer(CALCULATE_SERVICES)
  const retryPolicies = manager.informer(RETRY_POLICIES)
  const secrets = manager.informer(SECRETS, WATCHED_SECRETS)
  const autoscalers = manager.informer(AUTOSCALERS)
  const owned = {
    deployments: manager.informer(DEPLOYMENTS, WATCHED_DEPLOYMENTS),
    serviceAccounts: manager.informer(SERVICE_ACCOUNTS, WATCHED_OBJECTS),
    configMaps: manager.informer(CONFIG_MAPS, WATCHED_OBJECTS),
  }
  for (const [name, of] of Object.entries(GROUP_INDEXES)) consumerGroups.addIndex(name, of)
  for (const [name, of] of Object.entries(AUTOSCALER_INDEXES)) autoscalers.addIndex(name, of)
  const keysOf = (index: string, value: string): readonly ObjectKey[] =>
    consumerGroups.cache.byIndex(index, value).map(objectKey)

  const readings = new GroupReadings({
    clock,
    use: (access, work) => kafka.use(access, work),
    changed: (key) => controller.enqueue(key),
    failed: (error) => logger.error({ err: error }, 'a fault in asking Kafka about a consumer group'),
  })
  const controller: Controller = manager.addController({
    name: 'consumergroup',
    workers: config.concurrency,
    sources: [
      forItself(consumerGroups),
      // Whoever was older may be gone, or be there for the first time.
      forOthers(
        consumerGroups,
        ({ metadata, spec }) => [
          ...keysOf(GROUPS_BY_SERVICE, keyOf(metadata.namespace, spec.calculateServiceRef.name)),
          ...keysOf(GROUPS_BY_GROUP_ID, spec.groupId),
        ],
        isSpecChanged,
      ),
      forOthers(calculateServices, (service) => keysOf(GROUPS_BY_SERVICE, objectKey(service))),
      // Whether groups of one id are in one Kafka is seen by their services.
      forOthers(
        calculateServices,
        (service) =>
          consumerGroups.cache
            .byIndex(GROUPS_BY_SERVICE, objectKey(service))
            .flatMap(({ spec }) => keysOf(GROUPS_BY_GROUP_ID, spec.groupId)),
        isClaimChanged,
      ),
      forOthers(retryPolicies, (policy) => keysOf(GROUPS_BY_POLICY, objectKey(policy))),
      forOthers(secrets, ({ metadata }) => {
        const key = keyOf(metadata.namespace, metadata.name)
        const services = calculateServices.cache.byIndex(INDEXES.servicesBySecret, key)
        return services.flatMap((service) => keysOf(GROUPS_BY_SERVICE, objectKey(service)))
      }),
      forOthers(autoscalers, groupsOfAutoscaler),
      forOwner(owned.deployments, CONSUMER_GROUPS),
      forOwner(owned.serviceAccounts, CONSUMER_GROUPS),
      forOwner(owned.configMaps, CONSUMER_GROUPS),
    ],
    reconciler: new GroupReconciler({
      caches: {
        consumerGroups: consumerGroups.cache,
        calculateServices: calculateServices.cache,
        retryPolicies: retryPolicies.cache,
        secrets: secrets.cache,
        pods: manager.informer(PODS, WATCHED_PODS).cache,
        autoscalers: autoscalers.cache,
        deployments: owned.deployments.cache,
        serviceAccounts: owned.serviceAccounts.cache,
        configMaps: owned.configMaps.cache,
      },
      readings,
      writer,
      events,
      now: () => clock.now(),
      image: { sidecarImage: config.sidecarImage },
    }),
  })
}
