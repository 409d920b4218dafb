/**
 * Whether somebody else decides how many replicas a Deployment has. With server-side apply a field that its only owner
 * names no more is removed, and `replicas` falls back to 1; so it may only be left to an autoscaler once that owns it too
 * (kubernetes.io/docs/reference/using-api/server-side-apply, "Transferring ownership").
 */
import type { KubeObject, ObjectMeta } from './controller/object.ts'

interface ManagedFields {
  readonly manager?: string
  readonly fieldsV1?: unknown
}

/** What the API server keeps of who set which field. */
interface Managed {
  readonly managedFields?: readonly ManagedFields[]
}

/** An object of which of `managedFields` only those entries are left that say who set `spec.replicas`. For informers. */
export function keepReplicasOwners<T extends KubeObject>(object: T): T {
  const metadata: ObjectMeta & Managed = object.metadata
  const managedFields = (metadata.managedFields ?? []).filter(namesReplicas)
  return { ...object, metadata: { ...metadata, managedFields } }
}

/** @param fieldManager ours. */
export const othersOwnReplicas = (object: KubeObject, fieldManager: string): boolean =>
  ((object.metadata as Managed).managedFields ?? []).some(
    (entry) => entry.manager !== fieldManager && namesReplicas(entry),
  )

/** `{"f:spec": {"f:replicas": {}}}` is the API server's way to write it. */
function namesReplicas({ fieldsV1 }: ManagedFields): boolean {
  const spec = (fieldsV1 as { 'f:spec'?: unknown } | null | undefined)?.['f:spec']
  return typeof spec === 'object' && spec !== null && 'f:replicas' in spec
}
