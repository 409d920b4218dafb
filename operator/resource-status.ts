/** Writing a status: at most once in a reconcile, and not where it would say what stands there already. */
import { isDeepStrictEqual } from 'node:util'
import type { KubeObject } from './controller/object.ts'

interface WithStatus extends KubeObject {
  readonly status?: object | undefined
}

/**
 * What server-side apply is to be given so that an object has this status.
 * @returns undefined where it has it.
 */
export function statusToApply(object: WithStatus, status: object): KubeObject | undefined {
  const wanted: unknown = withoutUndefined(status)
  if (isDeepStrictEqual(wanted, withoutUndefined(object.status ?? {}))) return undefined
  const { apiVersion, kind, metadata } = object
  const { name, namespace } = metadata
  // With the uid, an object that was made anew under the name meanwhile does not get the status of the one before.
  const identity = {
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(metadata.uid === undefined ? {} : { uid: metadata.uid }),
  }
  const applied: KubeObject & { readonly status: unknown } = { apiVersion, kind, metadata: identity, status: wanted }
  return applied
}

/** As it comes back from the API server. */
const withoutUndefined = (value: object): unknown => JSON.parse(JSON.stringify(value))
