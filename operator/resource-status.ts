/** Writing a status: at most once in a reconcile, and not where it would say what stands there already. */
import { isDeepStrictEqual } from 'node:util'
import { identityOf } from './controller/object.ts'
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
  const { apiVersion, kind } = object
  const applied: KubeObject & { readonly status: unknown } = {
    apiVersion,
    kind,
    metadata: identityOf(object),
    status: wanted,
  }
  return applied
}

/** As it comes back from the API server. */
const withoutUndefined = (value: object): unknown => JSON.parse(JSON.stringify(value))
