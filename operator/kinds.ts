/** The resources that the operator reads or writes, and where the API server keeps them. */
import type { CalculateService, ConsumerGroup, RetryPolicy } from '../crds/types.ts'
import type { KubeObject, Resource } from './controller/object.ts'

const GROUP = 'grpckafka.dev/v1alpha1'

const namespaced = <T extends KubeObject>(apiVersion: string, kind: string, plural: string): Resource<T> => ({
  apiVersion,
  kind,
  plural,
  namespaced: true,
})

/** A Secret, whose values are in base64. */
export interface Secret extends KubeObject {
  readonly data?: Readonly<Record<string, string>>
}

/** What is read of a Deployment. Counts are left out where they are 0. */
export interface Deployment extends KubeObject {
  readonly spec?: {
    readonly replicas?: number
    readonly template?: {
      readonly spec?: { readonly containers?: readonly { readonly env?: readonly { readonly name: string }[] }[] }
    }
  }
  readonly status?: {
    readonly observedGeneration?: number
    readonly replicas?: number
    readonly updatedReplicas?: number
    readonly readyReplicas?: number
    readonly conditions?: readonly { readonly type: string; readonly status: string; readonly message?: string }[]
  }
}

/** What is read of a HorizontalPodAutoscaler. KEDA works through one of its own. */
export interface Autoscaler extends KubeObject {
  readonly spec?: {
    readonly scaleTargetRef?: { readonly kind?: string; readonly name?: string }
  }
}

/** What is read of a Pod. */
export interface Pod extends KubeObject {
  readonly status?: {
    readonly phase?: string
    readonly podIP?: string
    readonly conditions?: readonly { readonly type: string; readonly status: string }[]
  }
}

/** What is read of a Service. */
export interface Service extends KubeObject {
  readonly spec?: { readonly clusterIP?: string }
}

export const CALCULATE_SERVICES = namespaced<CalculateService>(GROUP, 'CalculateService', 'calculateservices')
export const CONSUMER_GROUPS = namespaced<ConsumerGroup>(GROUP, 'ConsumerGroup', 'consumergroups')
export const RETRY_POLICIES = namespaced<RetryPolicy>(GROUP, 'RetryPolicy', 'retrypolicies')
export const AUTOSCALERS = namespaced<Autoscaler>(
  'autoscaling/v2',
  'HorizontalPodAutoscaler',
  'horizontalpodautoscalers',
)
export const PODS = namespaced<Pod>('v1', 'Pod', 'pods')
export const SECRETS = namespaced<Secret>('v1', 'Secret', 'secrets')
export const CONFIG_MAPS = namespaced('v1', 'ConfigMap', 'configmaps')
export const SERVICES = namespaced<Service>('v1', 'Service', 'services')
export const SERVICE_ACCOUNTS = namespaced('v1', 'ServiceAccount', 'serviceaccounts')
export const DEPLOYMENTS = namespaced<Deployment>('apps/v1', 'Deployment', 'deployments')
export const POD_DISRUPTION_BUDGETS = namespaced('policy/v1', 'PodDisruptionBudget', 'poddisruptionbudgets')
