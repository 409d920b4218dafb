/** Everything that reconcilers change at the API server. */
import { isDeepStrictEqual } from 'node:util'
import type { KubeWriter } from './kube-client.ts'
import { KubeError, isKubeError } from './kube-error.ts'
import { asStored, objectKey, objectPath, resourceName } from './object.ts'
import type { KubeObject, ObjectKey, Resource } from './object.ts'
import type { RestClient, RestRequest } from './rest-client.ts'

export interface ApplyWriterOptions {
  readonly client: Pick<RestClient, 'request'>
  /** Of every kind that is written: an object names its kind, and the path needs the plural. */
  readonly resources: readonly Resource[]
  readonly fieldManager: string
  /** Asked before each write; false: nothing is sent, and the write fails with NotLeading. */
  readonly mayWrite: () => boolean
  /** Told what the API server stored (see Store.written). */
  readonly written?: (resource: Resource, object: KubeObject) => void
}

/** Server-side apply (kubernetes.io/docs/reference/using-api/server-side-apply); every body is JSON, which is YAML. */
const APPLY = 'application/apply-patch+yaml'
const MERGE = 'application/merge-patch+json'
const JSON_PATCH = 'application/json-patch+json'

export class ApplyWriter implements KubeWriter {
  readonly #options: ApplyWriterOptions
  readonly #resources: ReadonlyMap<string, Resource>

  constructor(options: ApplyWriterOptions) {
    this.#options = options
    this.#resources = new Map(options.resources.map((resource) => [resourceName(resource), resource]))
  }

  apply<T extends KubeObject>(object: T, signal?: AbortSignal): Promise<T> {
    return this.#apply(object, undefined, signal)
  }

  /** What somebody else wrote into the status by hand is theirs, and stays with what is applied: then it is replaced. */
  async applyStatus<T extends KubeObject>(object: T, signal?: AbortSignal): Promise<T> {
    const stored = await this.#apply(object, 'status', signal)
    if (isDeepStrictEqual(statusOf(stored), statusOf(object))) return stored
    const resource = this.#resourceOf(object)
    const replaced = await this.#send(
      {
        method: 'PATCH',
        path: objectPath(resource, objectKey(object), 'status'),
        query: { fieldManager: this.#options.fieldManager },
        contentType: JSON_PATCH,
        body: [{ op: 'replace', path: '/status', value: statusOf(object) }],
      },
      signal,
    )
    this.#options.written?.(resource, replaced)
    return replaced as T
  }

  async delete(
    resource: Resource,
    key: ObjectKey,
    { uid }: { readonly uid: string },
    signal?: AbortSignal,
  ): Promise<void> {
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid }, propagationPolicy: 'Background' }
    try {
      await this.#send({ method: 'DELETE', path: objectPath(resource, key), body }, signal)
    } catch (error) {
      if (!isKubeError(error, 'NotFound')) throw error
    }
  }

  async setFinalizers(
    resource: Resource,
    key: ObjectKey,
    resourceVersion: string,
    finalizers: readonly string[],
    signal?: AbortSignal,
  ): Promise<void> {
    const stored = await this.#send(
      {
        method: 'PATCH',
        path: objectPath(resource, key),
        query: { fieldManager: this.#options.fieldManager },
        contentType: MERGE,
        body: { metadata: { resourceVersion, finalizers } },
      },
      signal,
    )
    // The last finalizer of an object that is being deleted: it is gone now, whatever the answer shows.
    const gone = stored.metadata.deletionTimestamp !== undefined && (stored.metadata.finalizers ?? []).length === 0
    if (!gone) this.#options.written?.(resource, stored)
  }

  async #apply<T extends KubeObject>(
    object: T,
    subresource: 'status' | undefined,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const resource = this.#resourceOf(object)
    const stored = await this.#send(
      {
        method: 'PATCH',
        path: objectPath(resource, objectKey(object), subresource),
        // Strict: a field that the API server does not know would be dropped, and be missed at each reconcile.
        query: { fieldManager: this.#options.fieldManager, force: 'true', fieldValidation: 'Strict' },
        contentType: APPLY,
        body: object,
      },
      signal,
    )
    this.#options.written?.(resource, stored)
    return stored as T
  }

  #resourceOf(object: KubeObject): Resource {
    const resource = this.#resources.get(resourceName(object))
    if (resource === undefined) throw new RangeError(`nobody said where ${resourceName(object)} is kept`)
    return resource
  }

  async #send(request: RestRequest, signal: AbortSignal | undefined): Promise<KubeObject> {
    if (!this.#options.mayWrite()) throw new KubeError('NotLeading', `${request.method} ${request.path}: not leading`)
    return (await this.#options.client.request(request, signal)) as KubeObject
  }
}

const statusOf = (object: KubeObject): unknown => asStored((object as { readonly status?: object }).status ?? {})
