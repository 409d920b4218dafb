/** What can be asked of an API server. Paths, bodies and errors are Kubernetes' own; nothing here knows a kind. */
import type { KubeObject, ObjectKey, Resource } from './object.ts'

export interface ListPage<T extends KubeObject> {
  readonly items: readonly T[]
  /** Of the whole list, alike on each of its pages. */
  readonly resourceVersion: string
  /** Asks for the next page; absent on the last one. */
  readonly continueToken?: string
}

export interface ListOptions {
  /** Absent: all namespaces. */
  readonly namespace?: string
  /** `app=a,tier!=b`; absent: all objects. */
  readonly labelSelector?: string
  /** `type!=a`; absent: all objects. */
  readonly fieldSelector?: string
  /** Objects of a page; absent: all. */
  readonly limit?: number
  readonly continueToken?: string
}

export type WatchEvent<T extends KubeObject> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T }
  /** Nothing changed up to this version. */
  | { readonly type: 'BOOKMARK'; readonly resourceVersion: string }

export interface WatchOptions {
  /** Absent: all namespaces. */
  readonly namespace?: string
  /** Absent: all objects. */
  readonly labelSelector?: string
  /** `type!=a`; absent: all objects. */
  readonly fieldSelector?: string
  /** Changes after this one are told. */
  readonly resourceVersion: string
  /** The API server ends the watch after so long. */
  readonly timeoutSeconds: number
  /** The watch fails with code Timeout when nothing at all arrives for so long. */
  readonly silenceMilliseconds: number
}

/** Each method throws KubeError; each request has a timeout, and waits out what the API server asks for by Retry-After. */
export interface KubeReader {
  get<T extends KubeObject>(resource: Resource<T>, key: ObjectKey, signal?: AbortSignal): Promise<T>
  list<T extends KubeObject>(resource: Resource<T>, options: ListOptions, signal?: AbortSignal): Promise<ListPage<T>>
  /**
   * The changes as they happen, until the API server ends the watch. Ends silently then.
   * @throws KubeError when it cannot begin, and when it breaks: `Expired` (410) asks for a new list.
   */
  watch<T extends KubeObject>(
    resource: Resource<T>,
    options: WatchOptions,
    signal: AbortSignal,
  ): AsyncIterable<WatchEvent<T>>
}

/** How reconcilers change things. Only `execute` of a kind calls it. Each method throws KubeError. */
export interface KubeWriter {
  /**
   * Server-side apply by the field manager `grpc-kafka-operator`, forced: what is named is ours from then on, what was
   * named before and is no more is taken away. Answers the object as stored.
   */
  apply<T extends KubeObject>(object: T, signal?: AbortSignal): Promise<T>
  /** The same for the status; nothing but `status` should be named beside what identifies the object. */
  applyStatus<T extends KubeObject>(object: T, signal?: AbortSignal): Promise<T>
  /** Deletes this very object: another of the same name is left alone (Conflict). What is not there is deleted already. */
  delete(
    resource: Resource,
    key: ObjectKey,
    preconditions: { readonly uid: string },
    signal?: AbortSignal,
  ): Promise<void>
  /**
   * Replaces the list of finalizers.
   * @throws KubeError Conflict when the object is not of that resource version any more.
   */
  setFinalizers(
    resource: Resource,
    key: ObjectKey,
    resourceVersion: string,
    finalizers: readonly string[],
    signal?: AbortSignal,
  ): Promise<void>
}
