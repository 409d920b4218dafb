/**
 * The objects of one resource as an informer last saw them, found by key and by index (client-go's `Indexer`), and what this
 * process wrote meanwhile: who reads after writing finds what was written, though the watch may not have told it yet.
 * So a reconcile that follows its own write does not take the old object for drift (the idea of client-go's `MutationCache`).
 */
import { compareVersions, objectKey } from './object.ts'
import type { KubeObject, ObjectKey } from './object.ts'

/**
 * The values under which an object is found in one index: none, one or several. Where it throws, the object is found under
 * none: what is odd in one object must not keep its neighbours from being found.
 */
export type IndexFunction<T> = (object: T) => readonly string[]

/** What a reconciler may do with a store. Nothing that it gives may be changed in place. */
export interface Cache<T extends KubeObject> {
  get(key: ObjectKey): T | undefined
  /**
   * In the order of their keys.
   * @throws RangeError when there is no index of that name.
   */
  byIndex(index: string, value: string): readonly T[]
  /** In the order of their keys. */
  list(): readonly T[]
}

export type StoreChange<T> =
  | { readonly type: 'Added'; readonly object: T }
  | { readonly type: 'Updated'; readonly object: T; readonly old: T }
  | { readonly type: 'Deleted'; readonly object: T }

interface Index<T> {
  readonly of: IndexFunction<T>
  readonly keys: Map<string, Set<ObjectKey>>
}

interface Place {
  readonly keys: Map<string, Set<ObjectKey>>
  readonly value: string
}

export class Store<T extends KubeObject> implements Cache<T> {
  readonly #indexes = new Map<string, Index<T>>()
  /** Where each object stands in the indexes, so that it is taken out of exactly there. */
  readonly #places = new Map<ObjectKey, readonly Place[]>()
  readonly #objects = new Map<ObjectKey, T>()
  /** What this process wrote and no watch or list has told yet: when it was written, by `#writes`. */
  readonly #written = new Map<ObjectKey, number>()
  /** The latest resource version that each namespace's watch (or the one of all: '') has told. */
  readonly #seen = new Map<string, string>()
  #writes = 0

  /** @throws RangeError when there is one of that name, or objects are there already. */
  addIndex(name: string, of: IndexFunction<T>): void {
    if (this.#indexes.has(name)) throw new RangeError(`there is an index ${name} already`)
    if (this.#objects.size > 0) throw new RangeError(`the index ${name} comes too late`)
    this.#indexes.set(name, { of, keys: new Map() })
  }

  get(key: ObjectKey): T | undefined {
    return this.#objects.get(key)
  }

  list(): readonly T[] {
    return this.#sorted(this.#objects.keys())
  }

  byIndex(index: string, value: string): readonly T[] {
    const keys = this.#indexes.get(index)?.keys
    if (keys === undefined) throw new RangeError(`there is no index ${index}`)
    return this.#sorted(keys.get(value) ?? [])
  }

  get size(): number {
    return this.#objects.size
  }

  /** To be taken before a list is asked for, and given to `replace`. */
  beginList(): number {
    return this.#writes
  }

  /**
   * Takes over a whole list: what is not in it is gone. What is as it was is not told.
   * @param scope the namespace that was listed; '' for all.
   * @param begun what `beginList` answered: what this process wrote later is kept, as the list may not know it.
   */
  replace(scope: string, items: readonly T[], resourceVersion: string, begun: number): readonly StoreChange<T>[] {
    const changes: StoreChange<T>[] = []
    const listed = new Set<ObjectKey>()
    const writtenSince = (key: ObjectKey): boolean => (this.#written.get(key) ?? 0) > begun
    for (const item of items) {
      const key = objectKey(item)
      listed.add(key)
      if (writtenSince(key) && isNewer(this.#objects.get(key), item)) continue
      this.#written.delete(key)
      const change = this.#put(key, item)
      if (change !== undefined) changes.push(change)
    }
    for (const [key, object] of this.#objects) {
      if (scope !== '' && object.metadata.namespace !== scope) continue
      if (!listed.has(key) && !writtenSince(key)) changes.push(this.#remove(key, object))
    }
    this.#seen.set(scope, resourceVersion)
    return changes
  }

  /** Takes over what a watch told. Undefined: it was known, or was older than what this process wrote. */
  observe(scope: string, type: 'ADDED' | 'MODIFIED' | 'DELETED', object: T): StoreChange<T> | undefined {
    const key = objectKey(object)
    const known = this.#objects.get(key)
    this.bookmark(scope, object.metadata.resourceVersion ?? '')
    if (this.#written.has(key) && isNewer(known, object)) return undefined
    this.#written.delete(key)
    if (type === 'DELETED') return known === undefined ? undefined : this.#remove(key, object)
    return this.#put(key, object)
  }

  /** Up to which version of it the scope is known; undefined before its first list. */
  seen(scope: string): string | undefined {
    return this.#seen.get(scope)
  }

  /** A watch has told everything up to this version. */
  bookmark(scope: string, resourceVersion: string): void {
    this.#seen.set(scope, resourceVersion)
  }

  /** Takes over what the API server answered to a write of this process, unless the watch was further already. */
  written(object: T): StoreChange<T> | undefined {
    const key = objectKey(object)
    const version = object.metadata.resourceVersion
    if (version === undefined) return undefined
    const seen = this.#seen.get('') ?? this.#seen.get(object.metadata.namespace ?? '')
    // Without a list there is nothing to be ahead of; and what the watch passed may have changed, or be gone, since.
    if (seen === undefined || compareVersions(seen, version) >= 0) return undefined
    if (!isNewer(object, this.#objects.get(key))) return undefined
    this.#writes += 1
    this.#written.set(key, this.#writes)
    return this.#put(key, object)
  }

  #sorted(keys: Iterable<ObjectKey>): readonly T[] {
    return [...keys].sort().map((key) => this.#objects.get(key)!)
  }

  /** Undefined: it is there in this very version already, and whoever listens was told. */
  #put(key: ObjectKey, object: T): StoreChange<T> | undefined {
    const old = this.#objects.get(key)
    const { uid, resourceVersion } = object.metadata
    if (
      resourceVersion !== undefined &&
      old?.metadata.resourceVersion === resourceVersion &&
      old.metadata.uid === uid
    ) {
      return undefined
    }
    this.#unindex(key)
    this.#objects.set(key, object)
    this.#places.set(key, this.#index(key, object))
    return old === undefined ? { type: 'Added', object } : { type: 'Updated', object, old }
  }

  #remove(key: ObjectKey, last: T): StoreChange<T> {
    this.#unindex(key)
    this.#objects.delete(key)
    this.#written.delete(key)
    return { type: 'Deleted', object: last }
  }

  #index(key: ObjectKey, object: T): readonly Place[] {
    return [...this.#indexes.values()].flatMap(({ of, keys }) =>
      valuesOf(of, object).map((value) => {
        keys.set(value, (keys.get(value) ?? new Set()).add(key))
        return { keys, value }
      }),
    )
  }

  #unindex(key: ObjectKey): void {
    for (const { keys, value } of this.#places.get(key) ?? []) {
      const found = keys.get(value)
      found?.delete(key)
      if (found?.size === 0) keys.delete(value)
    }
    this.#places.delete(key)
  }
}

function valuesOf<T>(indexed: IndexFunction<T>, object: T): readonly string[] {
  try {
    return indexed(object)
  } catch {
    return []
  }
}

/** Whether a is there and is later than b. */
const isNewer = (a: KubeObject | undefined, b: KubeObject | undefined): boolean =>
  a !== undefined &&
  (b === undefined || compareVersions(a.metadata.resourceVersion ?? '', b.metadata.resourceVersion ?? '') > 0)
