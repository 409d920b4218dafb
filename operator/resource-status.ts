/** Writing a status: at most once in a reconcile, and not where it would say what stands there already. */
import { isDeepStrictEqual } from 'node:util'
import { asStored, identityOf } from './controller/object.ts'
import type { KubeObject } from './controller/object.ts'

interface WithStatus extends KubeObject {
  readonly status?: object | undefined
}

/**
 * What server-side apply is to be given so that an object has this status. It names the version of the object: a status
 * remembers what was done, so one that was made from an older object than there is must not take its place.
 *
 * @param known the object as it is known now, with what was written of it since `object` was read.
 * @returns undefined where it has it.
 */
export function statusToApply(
  object: WithStatus,
  status: object,
  known: KubeObject | undefined = object,
): KubeObject | undefined {
  const wanted = asStored(status)
  if (isDeepStrictEqual(wanted, asStored(object.status ?? {}))) return undefined
  const { apiVersion, kind } = object
  const { resourceVersion } = known.metadata
  const applied: KubeObject & { readonly status: unknown } = {
    apiVersion,
    kind,
    metadata: { ...identityOf(object), ...(resourceVersion === undefined ? {} : { resourceVersion }) },
    status: wanted,
  }
  return applied
}
