/** Labels of what the operator makes, and how it belongs to the resource that it is made for. */
import type { KubeObject, ObjectMeta } from './controller/object.ts'

type Labels = Readonly<Record<string, string>>

/** What a part is, for people and dashboards (kubernetes.io/docs, "Recommended Labels"), and for selectors. */
export const labelsOf = (component: 'proxy' | 'worker', instance: string, own: Labels): Labels => ({
  'app.kubernetes.io/name': `grpc-kafka-${component}`,
  'app.kubernetes.io/instance': instance,
  'app.kubernetes.io/component': component,
  'app.kubernetes.io/managed-by': 'grpc-kafka-operator',
  ...own,
})

/** Metadata of an object that goes with its owner, and whose changes its owner is told. */
export const ownedBy = (owner: KubeObject, name: string, labels: Labels): ObjectMeta => ({
  name,
  ...(owner.metadata.namespace === undefined ? {} : { namespace: owner.metadata.namespace }),
  labels,
  ownerReferences: [
    {
      apiVersion: owner.apiVersion,
      kind: owner.kind,
      name: owner.metadata.name,
      uid: owner.metadata.uid ?? '',
      controller: true,
      blockOwnerDeletion: true,
    },
  ],
})

/** Whether an object of a name that an owner needs belongs to somebody else, or to nobody. */
export const belongsToAnother = (live: KubeObject | undefined, owner: KubeObject): boolean =>
  live !== undefined &&
  !(live.metadata.ownerReferences ?? []).some(
    ({ uid, controller }) => controller === true && uid === owner.metadata.uid,
  )
