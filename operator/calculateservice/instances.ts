/** What a CalculateService wants in which Consul: pure. */
import type { CalculateService } from '../../crds/types.ts'
import type { ConsulScope, FoundInstance } from '../registry/consul-client.ts'
import type { ConsulInstance } from '../registry/consul-plan.ts'
import type { Pod } from '../kinds.ts'

/** A Consul in which the service has instances, or had, as its status remembers it. */
export type ConsulPlace = NonNullable<NonNullable<CalculateService['status']>['consul']>[number]

const NAME = 'grpc-kafka-service'
const UID = 'grpc-kafka-service-uid'
const CLUSTER = 'k8s-cluster'
const NAMESPACE = 'k8s-namespace'
const POD_NAME = 'pod-name'

/** What each instance of a service says of itself, whoever registers it. */
export const instanceMeta = ({ namespace, name }: CalculateService['metadata']): Readonly<Record<string, string>> => ({
  // As consul-k8s says it; Consul's own pages show where an instance comes from by it.
  'external-source': 'kubernetes',
  [NAMESPACE]: namespace ?? '',
  [NAME]: name,
})

/** Whether its proxies keep themselves registered, each at a Consul agent. */
export const registersItself = ({ spec: { registration } }: CalculateService): boolean =>
  registration.consul?.check === 'TTL'

/** The Consul in whose catalog the spec wants the operator to keep the proxies. */
export function placeOf(service: CalculateService): ConsulPlace | undefined {
  const { registration } = service.spec
  if (registration.consul === undefined || registersItself(service)) return undefined
  const { address, datacenter, tokenSecretRef, caSecretRef } = registration.consul
  return {
    address,
    ...(datacenter === undefined ? {} : { datacenter }),
    ...(tokenSecretRef === undefined ? {} : { tokenSecretRef }),
    ...(caSecretRef === undefined ? {} : { caSecretRef }),
  }
}

export const isSamePlace = (a: ConsulPlace | undefined, b: ConsulPlace | undefined): boolean =>
  a?.address === b?.address && a?.datacenter === b?.datacenter

/** Those that the status remembers and the spec does not name: what is there has to go. */
export const formerPlaces = (service: CalculateService): readonly ConsulPlace[] =>
  (service.status?.consul ?? []).filter((place) => !isSamePlace(place, placeOf(service)))

/**
 * All services of a namespace share a node. Whoever bears the resource's uid is ours; with a name for the cluster also
 * those of a resource of this name that went while Consul was away.
 * @param cluster empty: it has no name.
 */
export function scopeOf({ metadata }: CalculateService, cluster: string): ConsulScope {
  const namespace = metadata.namespace ?? ''
  const named = { [CLUSTER]: cluster, [NAMESPACE]: namespace, [NAME]: metadata.name }
  return {
    node: ['grpc-kafka', ...(cluster === '' ? [] : [cluster]), namespace].join('-'),
    marks: [{ [UID]: metadata.uid ?? '' }, ...(cluster === '' ? [] : [named])],
  }
}

/** One for each proxy that has an address and is not ending. */
export function instancesOf(
  service: CalculateService,
  pods: readonly Pod[],
  cluster: string,
): readonly ConsulInstance[] {
  const { metadata, spec } = service
  const { consul } = spec.registration
  if (consul === undefined) return []
  return pods.filter(takesPart).map((pod) => ({
    id: pod.metadata.uid ?? '',
    service: consul.name ?? metadata.name,
    address: pod.status?.podIP ?? '',
    port: spec.proxy.port,
    tags: consul.tags,
    meta: {
      ...instanceMeta(metadata),
      [POD_NAME]: pod.metadata.name,
      [UID]: metadata.uid ?? '',
      ...(cluster === '' ? {} : { [CLUSTER]: cluster }),
    },
    health: isReady(pod) ? 'passing' : 'critical',
  }))
}

/**
 * Whether clients find it. A proxy that registers itself does so by its pod's name; one of before may still stand there as the
 * operator put it.
 */
export const isFound = ({ id, address, meta }: ConsulInstance, found: readonly FoundInstance[]): boolean =>
  found.some((one) => one.isPassing && one.address === address && (one.id === id || one.id === meta[POD_NAME]))

const takesPart = ({ metadata, status }: Pod): boolean =>
  metadata.deletionTimestamp === undefined &&
  status?.podIP !== undefined &&
  status.podIP !== '' &&
  status.phase !== 'Succeeded' &&
  status.phase !== 'Failed'

const isReady = ({ status }: Pod): boolean =>
  (status?.conditions ?? []).some(({ type, status: is }) => type === 'Ready' && is === 'True')
