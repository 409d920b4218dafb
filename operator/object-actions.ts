/** What a plan may ask of the API server, and the one place that does it. */
import type { KubeWriter } from './controller/kube-client.ts'
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
