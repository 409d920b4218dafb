/** What a plan may ask of the API server, and the one place that does it. */
import type { KubeWriter } from './controller/kube-client.ts'
import { KubeError } from './controller/kube-error.ts'
import type { KubeErrorCode } from './controller/kube-error.ts'
import { objectKey } from './controller/object.ts'
import type { KubeObject, ObjectKey, Resource } from './controller/object.ts'

export type ObjectAction =
  | { readonly type: 'ApplyObject'; readonly object: KubeObject }
  | { readonly type: 'DeleteObject'; readonly resource: Resource; readonly key: ObjectKey; readonly uid: string }
  | {
      readonly type: 'SetFinalizers'
      readonly resource: Resource
      readonly key: ObjectKey
      readonly resourceVersion: string
      readonly finalizers: readonly string[]
    }

/** Deletes what was seen, and nothing that is made under its name meanwhile. */
export const deletionOf = (resource: Resource, object: KubeObject) =>
  ({ type: 'DeleteObject', resource, key: objectKey(object), uid: object.metadata.uid ?? '' }) as const

/** Names the version that was seen: whoever changed the object meanwhile is not overwritten. */
export const finalizersOf = (resource: Resource, object: KubeObject, finalizers: readonly string[]) =>
  ({
    type: 'SetFinalizers',
    resource,
    key: objectKey(object),
    resourceVersion: object.metadata.resourceVersion ?? '',
    finalizers,
  }) as const

/** What is not about the objects is not the resource's to tell: our end, or that we looked at an old object. */
const NOT_TO_TELL: ReadonlySet<KubeErrorCode> = new Set(['Aborted', 'NotLeading', 'Conflict'])

/** Whether the API server's refusal belongs into the resource's conditions. */
export const isToTell = (error: unknown): error is KubeError =>
  error instanceof KubeError && !NOT_TO_TELL.has(error.code)

/** @returns what the API server stored, where something was applied. @throws KubeError */
export async function executeObjectAction(
  writer: KubeWriter,
  action: ObjectAction,
  signal: AbortSignal,
): Promise<KubeObject | undefined> {
  switch (action.type) {
    case 'ApplyObject':
      return writer.apply(action.object, signal)
    case 'DeleteObject':
      await writer.delete(action.resource, action.key, { uid: action.uid }, signal)
      return undefined
    case 'SetFinalizers':
      await writer.setFinalizers(action.resource, action.key, action.resourceVersion, action.finalizers, signal)
      return undefined
  }
}
