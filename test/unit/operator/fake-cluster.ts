import { KubeError } from '../../../operator/controller/kube-error.ts'
import type { KubeReader, KubeWriter } from '../../../operator/controller/kube-client.ts'
import { objectKey, resourceName } from '../../../operator/controller/object.ts'
import type { KubeObject, ObjectKey, Resource } from '../../../operator/controller/object.ts'
import type { IndexFunction } from '../../../operator/controller/store.ts'

/**
 * Kubernetes' objects in memory, caches that are never behind, and a writer with as much of server-side apply as the operator
 * leans on: what is applied takes the place of what was applied before, and leaves the rest alone.
 */
export class FakeCluster implements KubeWriter {
  /** What was written, in order: `apply Deployment calc-proxy`. */
  readonly writes: string[] = []
  /** Fails writes that begin so. */
  readonly refuses = new Map<string, KubeError>()
  /** What happens while the next status is on its way. */
  whileWriting: (() => Promise<void>) | undefined
  readonly #objects = new Map<string, KubeObject>()
  #versions = 0

  /** Somebody else writes an object. */
  put(object: KubeObject): void {
    this.#versions += 1
    const { uid = `uid-${this.#versions}`, creationTimestamp = '2026-01-01T00:00:00Z' } = object.metadata
    this.#objects.set(this.#place(object, objectKey(object)), {
      ...object,
      metadata: { ...object.metadata, uid, creationTimestamp, resourceVersion: String(this.#versions) },
    })
  }

  /** Somebody else changes an object. */
  change(resource: Resource, key: ObjectKey, change: (object: never) => KubeObject): void {
    this.put(change(this.get(resource, key) as never))
  }

  remove(resource: Resource, key: ObjectKey): void {
    this.#objects.delete(this.#place(resource, key))
  }

  get<T extends KubeObject>(resource: Resource<T>, key: ObjectKey): T | undefined {
    return this.#objects.get(this.#place(resource, key)) as T | undefined
  }

  list<T extends KubeObject>(resource: Resource<T>): readonly T[] {
    const prefix = this.#place(resource, '')
    return [...this.#objects].flatMap(([place, object]) => (place.startsWith(prefix) ? [object as T] : []))
  }

  cache<T extends KubeObject>(resource: Resource<T>, indexes: Readonly<Record<string, IndexFunction<T>>> = {}) {
    return {
      get: (key: ObjectKey) => this.get(resource, key),
      byIndex: (index: string, value: string) =>
        this.list(resource).filter((object) => indexes[index]?.(object).includes(value)),
    }
  }

  /** The API server itself, which caches may be behind. */
  readonly reader: Pick<KubeReader, 'get'> = {
    get: async <T extends KubeObject>(resource: Resource<T>, key: ObjectKey): Promise<T> => {
      const found = this.get(resource, key)
      if (found === undefined) throw new KubeError('NotFound', key)
      return found
    },
  }

  async apply<T extends KubeObject>(object: T): Promise<T> {
    this.#write(`apply ${object.kind} ${object.metadata.name}`)
    const before = this.#objects.get(this.#place(object, objectKey(object)))
    const isOurResource = object.apiVersion.startsWith('grpckafka.dev/')
    const metadata = { ...before?.metadata, ...object.metadata }
    const merged = isOurResource
      ? { ...before, ...object, metadata: { ...metadata, annotations: this.#annotations(before, object) } }
      : { ...before, ...object, metadata: { ...metadata, generation: (before?.metadata.generation ?? 0) + 1 } }
    this.put(merged)
    return this.#objects.get(this.#place(object, objectKey(object))) as T
  }

  async applyStatus<T extends KubeObject>(object: T): Promise<T> {
    await this.whileWriting?.()
    this.whileWriting = undefined
    this.#write(`status ${object.kind} ${object.metadata.name}`)
    const before = this.#objects.get(this.#place(object, objectKey(object)))
    if (before === undefined || before.metadata.uid !== object.metadata.uid)
      throw new KubeError('Conflict', 'another uid')
    if (before.metadata.resourceVersion !== object.metadata.resourceVersion)
      throw new KubeError('Conflict', 'another version')
    this.put({ ...before, status: (object as { status?: unknown }).status } as KubeObject)
    return this.#objects.get(this.#place(object, objectKey(object))) as T
  }

  async delete(resource: Resource, key: ObjectKey, { uid }: { readonly uid: string }): Promise<void> {
    this.#write(`delete ${resource.kind} ${key.split('/').at(-1) ?? ''}`)
    const found = this.#objects.get(this.#place(resource, key))
    if (found !== undefined && found.metadata.uid !== uid) throw new KubeError('Conflict', 'another uid')
    this.remove(resource, key)
  }

  async setFinalizers(
    resource: Resource,
    key: ObjectKey,
    resourceVersion: string,
    finalizers: readonly string[],
  ): Promise<void> {
    this.#write(`finalizers [${finalizers.join(', ')}]`)
    const found = this.#objects.get(this.#place(resource, key))
    if (found?.metadata.resourceVersion !== resourceVersion) throw new KubeError('Conflict', 'another version')
    if (finalizers.length === 0 && found.metadata.deletionTimestamp !== undefined) this.remove(resource, key)
    else this.put({ ...found, metadata: { ...found.metadata, finalizers } })
  }

  #annotations(before: KubeObject | undefined, object: KubeObject): Readonly<Record<string, string>> {
    const ours = /^grpckafka\.dev\/announced/
    const others = Object.entries(before?.metadata.annotations ?? {}).filter(([name]) => !ours.test(name))
    return { ...Object.fromEntries(others), ...object.metadata.annotations }
  }

  #write(what: string): void {
    for (const [prefix, error] of this.refuses) if (what.startsWith(prefix)) throw error
    this.writes.push(what)
  }

  #place(resource: Pick<Resource, 'apiVersion' | 'kind'>, key: ObjectKey): string {
    return `${resourceName(resource)} ${key}`
  }
}
