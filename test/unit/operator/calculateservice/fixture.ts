/** CalculateServices in a Kubernetes in memory, for tests of their reconciler. */
import assert from 'node:assert/strict'
import type { CalculateService } from '../../../../crds/types.ts'
import { validateResource } from '../../../../crds/validate.ts'
import {
  byConsulName,
  bySecret,
  byTopic,
  INDEXES,
  podByService,
  responderByPolicy,
  responderByService,
} from '../../../../operator/calculateservice/observe.ts'
import type { ServiceCaches } from '../../../../operator/calculateservice/observe.ts'
import { splitKey } from '../../../../operator/controller/object.ts'
import type { ObjectKey } from '../../../../operator/controller/object.ts'
import type { KeptLooks } from '../../../../operator/kafka/topic-looks.ts'
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
} from '../../../../operator/kinds.ts'
import { resource, type Case } from '../../crds/cases.ts'
import type { FakeCluster } from '../fake-cluster.ts'

export const serviceCaches = (cluster: FakeCluster): ServiceCaches => ({
  calculateServices: cluster.cache(CALCULATE_SERVICES, {
    topic: byTopic,
    secret: bySecret,
    consulName: byConsulName,
  }),
  secrets: cluster.cache(SECRETS),
  deployments: cluster.cache(DEPLOYMENTS),
  services: cluster.cache(SERVICES),
  serviceAccounts: cluster.cache(SERVICE_ACCOUNTS),
  configMaps: cluster.cache(CONFIG_MAPS),
  podDisruptionBudgets: cluster.cache(POD_DISRUPTION_BUDGETS),
  pods: cluster.cache(PODS, { service: podByService }),
  consumerGroups: cluster.cache(CONSUMER_GROUPS, {
    [INDEXES.respondersByService]: responderByService,
    [INDEXES.respondersByPolicy]: responderByPolicy,
  }),
  retryPolicies: cluster.cache(RETRY_POLICIES),
})

/** Kafka is asked at every look. */
export const NO_LOOKS: KeptLooks = { kept: () => undefined, keep: () => undefined, forget: () => undefined }

/** Somebody applies a CalculateService on the topic `calc` that says this. */
export function applyService(cluster: FakeCluster, put: Case['put'], key: ObjectKey): void {
  const { namespace = '', name } = splitKey(key)
  const result = validateResource(
    resource('CalculateService', { 'metadata.name': name, 'spec.topic.name': 'calc', ...put }),
  )
  assert.ok(result.ok, result.ok ? '' : result.problems.join('\n'))
  const before = cluster.get(CALCULATE_SERVICES, key)
  const generation = (before?.metadata.generation ?? 0) + 1
  const written = result.resource as CalculateService
  cluster.put({ ...before, ...written, metadata: { ...before?.metadata, ...written.metadata, namespace, generation } })
}
