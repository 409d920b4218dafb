/**
 * What is watched of each kind that others use too, and what is kept of it: a cluster may have thousands of ConfigMaps and
 * Pods that are none of ours. Objects under names that ours need have to be known whoever made them; who has them is enough.
 */
import { withoutManagedFields } from './controller/informer.ts'
import type { InformerOptions } from './controller/informer.ts'
import { controllerOf } from './controller/object.ts'
import type { KubeObject } from './controller/object.ts'
import type { Deployment, Pod, Secret, Service } from './kinds.ts'
import { CALCULATE_SERVICES } from './kinds.ts'
import { keepReplicasOwners } from './replicas-owner.ts'

type Options<T extends KubeObject> = Pick<InformerOptions<T>, 'labelSelector' | 'fieldSelector' | 'transform'>

/** Only proxies are looked at. */
export const WATCHED_PODS: Options<Pod> = { labelSelector: 'app.kubernetes.io/component=proxy,grpckafka.dev/service' }

/** Helm keeps each version of each release in one, up to a megabyte; nobody's password is there. */
export const WATCHED_SECRETS: Options<Secret> = { fieldSelector: 'type!=helm.sh/release.v1' }

export const WATCHED_DEPLOYMENTS: Options<Deployment> = { transform: ofOthersLess(keepReplicasOwners) }
export const WATCHED_SERVICES: Options<Service> = { transform: ofOthersLess(withoutManagedFields) }
export const WATCHED_OBJECTS: Options<KubeObject> = { transform: ofOthersLess(withoutManagedFields) }

const [OUR_GROUP] = CALCULATE_SERVICES.apiVersion.split('/')

/** Of what a resource of ours controls the transform's answer is kept; of all else only what it is and whose. */
function ofOthersLess<T extends KubeObject>(transform: (object: T) => T): (object: T) => T {
  return (object) => {
    if (controllerOf(object)?.apiVersion.split('/')[0] === OUR_GROUP) return transform(object)
    const { apiVersion, kind, metadata } = object
    const { name, namespace, uid, resourceVersion, ownerReferences } = metadata
    const kept = { name, namespace, uid, resourceVersion, ownerReferences }
    const defined = Object.fromEntries(Object.entries(kept).filter(([, value]) => value !== undefined))
    return { apiVersion, kind, metadata: defined } as unknown as T
  }
}
