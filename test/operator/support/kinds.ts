/** Kubernetes kinds that tests read and write, and where the API server has them. */

const PLACES = {
  CalculateService: ['grpckafka.dev/v1alpha1', 'calculateservices'],
  ConfigMap: ['v1', 'configmaps'],
  ConsumerGroup: ['grpckafka.dev/v1alpha1', 'consumergroups'],
  Deployment: ['apps/v1', 'deployments'],
  EndpointSlice: ['discovery.k8s.io/v1', 'endpointslices'],
  Event: ['events.k8s.io/v1', 'events'],
  HorizontalPodAutoscaler: ['autoscaling/v2', 'horizontalpodautoscalers'],
  Lease: ['coordination.k8s.io/v1', 'leases'],
  Pod: ['v1', 'pods'],
  PodDisruptionBudget: ['policy/v1', 'poddisruptionbudgets'],
  ReplicaSet: ['apps/v1', 'replicasets'],
  RetryPolicy: ['grpckafka.dev/v1alpha1', 'retrypolicies'],
  Role: ['rbac.authorization.k8s.io/v1', 'roles'],
  RoleBinding: ['rbac.authorization.k8s.io/v1', 'rolebindings'],
  Secret: ['v1', 'secrets'],
  Service: ['v1', 'services'],
  ServiceAccount: ['v1', 'serviceaccounts'],
} as const satisfies Readonly<Record<string, readonly [apiVersion: string, plural: string]>>

export type Kind = keyof typeof PLACES

export const OUR_KINDS = ['CalculateService', 'ConsumerGroup', 'RetryPolicy'] as const satisfies readonly Kind[]

export type OurKind = (typeof OUR_KINDS)[number]

export const apiVersionOf = (kind: Kind): string => PLACES[kind][0]

/** The path of one object, or of all of the namespace when no name is given. */
export function pathOf(kind: Kind, namespace: string, name?: string): string {
  const [apiVersion, plural] = PLACES[kind]
  const root = apiVersion === 'v1' ? '/api/v1' : `/apis/${apiVersion}`
  return `${root}/namespaces/${namespace}/${plural}${name === undefined ? '' : `/${name}`}`
}
