/**
 * Keeps a store equal to what the API server has, for as long as the process lives (client-go's `Reflector` and
 * `SharedInformer` in one): list in pages, watch from the list's version, go on from where a watch ended, list again when
 * the API server has forgotten that place. No error ends it; @kubernetes/client-node's own informer stops after any but 410.
 */
import type { Logger } from 'pino'
import { pause } from './clock.ts'
import type { Clock } from './clock.ts'
import type { KubeReader } from './kube-client.ts'
import { KubeError, isKubeError } from './kube-error.ts'
import { compareVersions, resourceName } from './object.ts'
import type { KubeObject, ObjectMeta, Resource } from './object.ts'
import { Store } from './store.ts'
import type { Cache, IndexFunction, StoreChange } from './store.ts'

/** `Resynced`: nothing changed; what is there is told again, so that what went wrong unseen is seen. */
export type InformerChange<T> = StoreChange<T> | { readonly type: 'Resynced'; readonly object: T }

export interface InformerOptions<T extends KubeObject> {
  readonly resource: Resource<T>
  /** Empty: all namespaces. */
  readonly namespaces?: readonly string[]
  /** Only objects with such labels are kept; one that loses them is gone, to those who listen. Absent: all. */
  readonly labelSelector?: string
  /** As `labelSelector`, of what the API server selects by: `type!=a`. */
  readonly fieldSelector?: string
  readonly client: Pick<KubeReader, 'list' | 'watch'>
  readonly clock: Clock
  /** From 0 up to 1. */
  readonly random: () => number
  readonly logger: Logger
  /** 0: never. */
  readonly resyncMilliseconds: number
  /** What is kept of an object. Default: all but `managedFields`, which nobody here reads. */
  readonly transform?: (object: T) => T
  /** Default 150 s: the API server sends a bookmark each minute. */
  readonly silenceMilliseconds?: number
}

/** Objects of a page of a list, as client-go's pager. */
const PAGE = 500
/** client-go's reflector: a watch lives five to ten minutes, so that API servers behind a load balancer share the watches. */
const SHORTEST_WATCH_SECONDS = 300
const SILENCE_MILLISECONDS = 150_000
/** client-go's reflector backs off from 0.8 s to 30 s, doubling, each up to twice as long, anew after two minutes without. */
const FIRST_BACKOFF_MILLISECONDS = 800
const LONGEST_BACKOFF_MILLISECONDS = 30_000
const FORGET_BACKOFF_MILLISECONDS = 120_000
/** A list that is older than what was known is refused for so long; then the API server's data are older for good (a backup). */
const GO_BACK_MILLISECONDS = 60_000
/** A watch that ends sooner, without having told anything, is no watch: the next one waits. */
const SHORT_WATCH_MILLISECONDS = 1000

export class Informer<T extends KubeObject> {
  readonly resource: Resource<T>
  readonly #options: InformerOptions<T>
  readonly #logger: Logger
  readonly #store = new Store<T>()
  readonly #listeners: ((change: InformerChange<T>) => void)[] = []
  /** The namespaces whose first list is still to come; '' for all. */
  readonly #toSync: Set<string>
  readonly #whenSynced: (() => void)[] = []

  constructor(options: InformerOptions<T>) {
    const { resource, namespaces = [], logger } = options
    this.resource = resource
    this.#options = options
    this.#logger = logger.child({ resource: resourceName(resource) })
    this.#toSync = new Set(namespaces.length === 0 ? [''] : namespaces)
  }

  /** Complete once `synced`. */
  get cache(): Cache<T> {
    return this.#store
  }

  /** Objects will be found by these values, too. To be called before `run`. */
  addIndex(name: string, of: IndexFunction<T>): void {
    this.#store.addIndex(name, of)
  }

  /** Whether everything was listed once. It stays so: a store may be behind, but it is never empty again. */
  get synced(): boolean {
    return this.#toSync.size === 0
  }

  /** Resolves when everything was listed once. */
  whenSynced(): Promise<void> {
    return new Promise((resolve) => {
      if (this.synced) resolve()
      else this.#whenSynced.push(resolve)
    })
  }

  /** The listener is called after the store was changed. To be added before `run`. */
  onChange(listener: (change: InformerChange<T>) => void): void {
    this.#listeners.push(listener)
  }

  /** Takes over what the API server answered to a write (see Store.written). Tells the listeners. */
  written(object: T): void {
    this.#tell(this.#store.written(this.#transform(object)))
  }

  /** Resolves when the signal is aborted, and not before. */
  async run(signal: AbortSignal): Promise<void> {
    const scopes = [...this.#toSync]
    await Promise.all([...scopes.map((scope) => this.#follow(scope, signal)), this.#resync(signal)])
  }

  async #follow(scope: string, signal: AbortSignal): Promise<void> {
    const backoff = new Backoff(this.#options.clock, this.#options.random)
    const past = new PastGuard(this.#options.clock)
    /** Undefined: a list is needed. */
    let version: string | undefined
    while (!signal.aborted) {
      try {
        version ??= await this.#list(scope, past, signal)
        version = await this.#watch(scope, version, backoff, signal)
      } catch (error) {
        if (signal.aborted) return
        version = error instanceof BrokenWatch && error.mayGoOn ? error.version : undefined
        const cause = error instanceof BrokenWatch ? error.cause : error
        const gone = isKubeError(cause, 'Expired')
        this.#logger[gone ? 'info' : 'warn'](
          { err: cause, namespace: scope },
          version === undefined ? 'listing again' : 'watching again',
        )
        // A forgotten version is no fault: the list follows at once, unless the list itself said so.
        if (!(gone && error instanceof BrokenWatch)) await pause(this.#options.clock, backoff.next(), signal)
      }
    }
  }

  /** @returns the list's version. */
  async #list(scope: string, past: PastGuard, signal: AbortSignal): Promise<string> {
    const { client, resource } = this.#options
    const which = this.#which(scope)
    const begun = this.#store.beginList()
    let page = await client.list(resource, { ...which, limit: PAGE }, signal)
    // Page by page: all of them as they came may be more than the process can hold.
    let kept = page.items.map((item) => this.#transform(item))
    while (page.continueToken !== undefined) {
      try {
        page = await client.list(resource, { ...which, limit: PAGE, continueToken: page.continueToken }, signal)
        for (const item of page.items) kept.push(this.#transform(item))
      } catch (error) {
        if (!isKubeError(error, 'Expired')) throw error
        // The list took longer than its version is kept: all at once, as client-go's pager does.
        page = await client.list(resource, which, signal)
        kept = page.items.map((item) => this.#transform(item))
      }
    }
    past.check(page.resourceVersion, this.#store.seen(scope))
    for (const change of this.#store.replace(scope, kept, page.resourceVersion, begun)) this.#tell(change)
    if (this.#toSync.delete(scope) && this.synced) for (const resolve of this.#whenSynced.splice(0)) resolve()
    return page.resourceVersion
  }

  /**
   * @returns the version to go on from, when the API server ended the watch.
   * @throws BrokenWatch
   */
  async #watch(scope: string, from: string, backoff: Backoff, signal: AbortSignal): Promise<string> {
    const { client, resource, clock, random, silenceMilliseconds = SILENCE_MILLISECONDS } = this.#options
    const begun = clock.monotonic()
    let version = from
    let told = 0
    try {
      const events = client.watch(
        resource,
        {
          ...this.#which(scope),
          resourceVersion: from,
          timeoutSeconds: Math.round(SHORTEST_WATCH_SECONDS * (1 + random())),
          silenceMilliseconds,
        },
        signal,
      )
      for await (const event of events) {
        told += 1
        if (event.type === 'BOOKMARK') {
          version = event.resourceVersion
          this.#store.bookmark(scope, version)
          continue
        }
        version = event.object.metadata.resourceVersion ?? version
        this.#tell(this.#store.observe(scope, event.type, this.#transform(event.object)))
      }
    } catch (error) {
      throw new BrokenWatch(version, error)
    }
    if (told === 0 && clock.monotonic() - begun < SHORT_WATCH_MILLISECONDS) await pause(clock, backoff.next(), signal)
    return version
  }

  #which(scope: string): {
    readonly namespace?: string
    readonly labelSelector?: string
    readonly fieldSelector?: string
  } {
    const { labelSelector, fieldSelector } = this.#options
    return {
      ...(scope !== '' && { namespace: scope }),
      ...(labelSelector !== undefined && { labelSelector }),
      ...(fieldSelector !== undefined && { fieldSelector }),
    }
  }

  async #resync(signal: AbortSignal): Promise<void> {
    const { clock, random, resyncMilliseconds } = this.#options
    if (resyncMilliseconds === 0) return
    await this.whenSyncedOr(signal)
    while (!signal.aborted) {
      // Up to a tenth later, so that the kinds do not all come at once.
      await pause(clock, resyncMilliseconds * (1 + random() / 10), signal)
      if (!signal.aborted) for (const object of this.#store.list()) this.#tell({ type: 'Resynced', object })
    }
  }

  /** Resolves when everything was listed once, or the signal is aborted. */
  whenSyncedOr(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        signal.removeEventListener('abort', end)
        resolve()
      }
      if (signal.aborted) end()
      else signal.addEventListener('abort', end)
      void this.whenSynced().then(end)
    })
  }

  #transform(object: T): T {
    return (this.#options.transform ?? withoutManagedFields)(object)
  }

  #tell(change: InformerChange<T> | undefined): void {
    if (change === undefined) return
    for (const listener of this.#listeners) {
      try {
        listener(change)
      } catch (error) {
        // One odd object must not stop the others from being told.
        const { name, namespace, resourceVersion } = change.object.metadata
        // No more of it: kubectl keeps all that it applied, the data of a Secret too, in an annotation.
        this.#logger.error({ err: error, object: { name, namespace, resourceVersion } }, 'a listener failed')
      }
    }
  }
}

/** A watch that ended by an error, and how far it came. */
class BrokenWatch extends Error {
  readonly version: string

  constructor(version: string, cause: unknown) {
    super('the watch broke', { cause })
    this.version = version
  }

  /**
   * Where nothing says that the version is wrong, watching goes on from it: the connection broke, or the API server has no
   * time. client-go does so for refused connections and 429, and lists again otherwise. Silence may say so: an API server
   * whose etcd was restored from a backup takes a watch from a version that is yet to come, and tells nothing on it.
   */
  get mayGoOn(): boolean {
    return isKubeError(this.cause, 'Unreachable', 'TooManyRequests')
  }
}

/** What is known must not be undone by an API server that lags behind: client-go asks for lists "not older than". */
class PastGuard {
  readonly #clock: Clock
  #refusedAt: number | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @throws KubeError Expired: the list is older than what is known. */
  check(listed: string, seen: string | undefined): void {
    if (seen === undefined || compareVersions(listed, seen) >= 0) {
      this.#refusedAt = undefined
      return
    }
    const now = this.#clock.monotonic()
    this.#refusedAt ??= now
    if (now - this.#refusedAt >= GO_BACK_MILLISECONDS) return
    throw new KubeError('Expired', `a list of version ${listed}, though ${seen} was seen already`)
  }
}

class Backoff {
  readonly #clock: Clock
  readonly #random: () => number
  #next = FIRST_BACKOFF_MILLISECONDS
  #last = 0

  constructor(clock: Clock, random: () => number) {
    this.#clock = clock
    this.#random = random
  }

  next(): number {
    const now = this.#clock.monotonic()
    if (now - this.#last > FORGET_BACKOFF_MILLISECONDS) this.#next = FIRST_BACKOFF_MILLISECONDS
    this.#last = now
    const wait = this.#next * (1 + this.#random())
    this.#next = Math.min(this.#next * 2, LONGEST_BACKOFF_MILLISECONDS)
    return wait
  }
}

/** Nobody here reads them, and they are half of many objects. */
export function withoutManagedFields<T extends KubeObject>(object: T): T {
  const metadata: ObjectMeta & { managedFields?: unknown } = { ...object.metadata }
  delete metadata.managedFields
  return { ...object, metadata }
}
