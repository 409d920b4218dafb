/**
 * Wakes a reconciler for whatever concerns its objects, with the rules of controller-runtime's `controller`: keys only,
 * several workers, never two on one key; a failure comes back after a growing pause, a success is forgotten.
 */
import type { Logger } from 'pino'
import type { Clock } from './clock.ts'
import type { Informer, InformerChange } from './informer.ts'
import { isKubeError } from './kube-error.ts'
import { withTimeout } from './linked-abort.ts'
import type { ControllerMetrics, ReconcileOutcome } from './metrics.ts'
import { controllerOf, keyOf, objectKey } from './object.ts'
import type { KubeObject, ObjectKey, Resource } from './object.ts'
import { defaultRateLimiter } from './rate-limiter.ts'
import { TerminalError } from './reconciler.ts'
import type { Reconciler } from './reconciler.ts'
import { WorkQueue } from './work-queue.ts'

/** What wakes a controller: an informer, and the keys that a change of one of its objects concerns. */
export interface Source {
  readonly informer: Informer<KubeObject>
  /** Asked of the object before a change, too: who was referred to and is no more has to know. */
  readonly keys: (object: KubeObject) => readonly ObjectKey[]
  /** Whether a change is one for them; absent: every one is, and each resync. */
  readonly matters?: (before: KubeObject, now: KubeObject) => boolean
}

export interface ControllerOptions {
  /** In lower case, for metrics and logs: `calculateservice`. */
  readonly name: string
  readonly reconciler: Reconciler
  readonly sources: readonly Source[]
  /** Reconciles at once. */
  readonly workers: number
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics: ControllerMetrics
  /** The signal of a reconcile is aborted after so long. Default two minutes. */
  readonly reconcileTimeoutMilliseconds?: number
}

const RECONCILE_MILLISECONDS = 120_000
/** A reconcile that goes on for so long after its signal was aborted will not end any more. */
const WEDGED_MILLISECONDS = 60_000

/** A reconcile took too long. `code` is `RECONCILE_TIMEOUT`. */
export class ReconcileTimeoutError extends Error {
  readonly code = 'RECONCILE_TIMEOUT'
  constructor(milliseconds: number) {
    super(`the reconcile took longer than ${milliseconds} ms`)
    this.name = 'ReconcileTimeoutError'
  }
}

/** Wakes for the object itself. */
export function forItself<T extends KubeObject>(informer: Informer<T>): Source {
  return source(informer, (object) => [objectKey(object)])
}

/** Wakes the controlling owner of that kind (controller-runtime's `EnqueueRequestForOwner`). */
export function forOwner<T extends KubeObject>(informer: Informer<T>, owner: Resource): Source {
  return source(informer, (object) => {
    const by = controllerOf(object)
    if (by === undefined || by.kind !== owner.kind || groupOf(by.apiVersion) !== groupOf(owner.apiVersion)) return []
    return [keyOf(owner.namespaced ? object.metadata.namespace : undefined, by.name)]
  })
}

/**
 * Wakes what the function answers: those who refer to the object, by an index of theirs.
 * @param matters as controller-runtime's predicates: those whom a change of a status, say, does not concern are not woken.
 */
export function forOthers<T extends KubeObject>(
  informer: Informer<T>,
  keys: (object: T) => readonly ObjectKey[],
  matters?: (before: T, now: T) => boolean,
): Source {
  return source(informer, keys, matters)
}

/** Not only its status, or labels (controller-runtime's `GenerationChangedPredicate`); that it is to be deleted counts. */
export const isSpecChanged = ({ metadata: before }: KubeObject, { metadata: now }: KubeObject): boolean =>
  before.generation !== now.generation || before.deletionTimestamp !== now.deletionTimestamp || before.uid !== now.uid

/** An informer's listeners and its `keys` agree on what its objects are; who only passes both on need not know. */
const source = <T extends KubeObject>(
  informer: Informer<T>,
  keys: (object: T) => readonly ObjectKey[],
  matters?: (before: T, now: T) => boolean,
): Source => ({ informer, keys, ...(matters !== undefined && { matters }) }) as unknown as Source

const groupOf = (apiVersion: string): string => (apiVersion.includes('/') ? apiVersion.split('/')[0]! : '')

export class Controller {
  readonly name: string
  readonly #options: ControllerOptions
  readonly #logger: Logger
  readonly #queue: WorkQueue
  readonly #timeout: number

  /** Listens to its sources from now on. */
  constructor(options: ControllerOptions) {
    const { name, clock, metrics, workers, logger, sources, reconcileTimeoutMilliseconds } = options
    this.name = name
    this.#options = options
    this.#logger = logger.child({ controller: name })
    this.#timeout = reconcileTimeoutMilliseconds ?? RECONCILE_MILLISECONDS
    this.#queue = new WorkQueue(clock, defaultRateLimiter(clock.monotonic), metrics.queue(name))
    metrics.watchQueue(name, this.#queue)
    metrics.addController(name, workers)
    for (const one of sources) one.informer.onChange((change) => this.#wake(change, one))
  }

  /** The informers that must know everything before the workers begin. */
  get informers(): readonly Informer<KubeObject>[] {
    return this.#options.sources.map(({ informer }) => informer)
  }

  /** Reconciles this one soon, for a reason that no informer knows. */
  enqueue(key: ObjectKey): void {
    this.#queue.add(key)
  }

  /** The same after so long. */
  enqueueAfter(key: ObjectKey, milliseconds: number): void {
    this.#queue.addAfter(key, milliseconds)
  }

  /** Why this process should be started anew, or undefined. */
  problem(): string | undefined {
    const longest = Math.max(0, ...this.#queue.processingMilliseconds)
    if (longest <= this.#timeout + WEDGED_MILLISECONDS) return undefined
    return `a reconcile of ${this.name} has run for ${Math.round(longest)} ms`
  }

  /**
   * Works until the queue is stopped. To be called once everything is known.
   * @param signal aborted: what runs has to end at once.
   */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all(Array.from({ length: this.#options.workers }, () => this.#work(signal)))
  }

  /** Begins nothing more. Resolves when what runs has ended. */
  stop(): Promise<void> {
    return this.#queue.shutDown()
  }

  #wake(change: InformerChange<KubeObject>, { keys, matters }: Source): void {
    if (matters !== undefined) {
      if (change.type === 'Resynced' || (change.type === 'Updated' && !matters(change.old, change.object))) return
    }
    for (const key of keys(change.object)) this.#queue.add(key)
    if (change.type === 'Updated') for (const key of keys(change.old)) this.#queue.add(key)
  }

  async #work(signal: AbortSignal): Promise<void> {
    for (;;) {
      const key = await this.#queue.take()
      if (key === undefined) return
      try {
        await this.#reconcile(key, signal)
      } finally {
        this.#queue.done(key)
      }
    }
  }

  async #reconcile(key: ObjectKey, signal: AbortSignal): Promise<void> {
    const { name, reconciler, clock, metrics } = this.#options
    const began = clock.monotonic()
    let result: ReconcileOutcome = 'success'
    metrics.reconcileBegan(name)
    try {
      const late = (): Error => {
        metrics.reconcileTimedOut(name)
        return new ReconcileTimeoutError(this.#timeout)
      }
      const { requeueAfterMilliseconds } = await withTimeout(clock, this.#timeout, late, signal, (own) =>
        reconciler.reconcile(key, own),
      )
      this.#queue.forget(key)
      if (requeueAfterMilliseconds !== undefined) {
        result = 'requeue_after'
        this.#queue.addAfter(key, requeueAfterMilliseconds)
      }
    } catch (error) {
      result = 'error'
      this.#failed(key, error, signal)
    }
    const milliseconds = clock.monotonic() - began
    metrics.reconcileEnded(name, result, milliseconds)
    this.#logger.debug({ key, result, milliseconds: Math.round(milliseconds) }, 'reconciled')
  }

  #failed(key: ObjectKey, error: unknown, signal: AbortSignal): void {
    if (error instanceof TerminalError) {
      this.#options.metrics.reconcileWillNotBeRetried(this.name)
      this.#queue.forget(key)
      this.#logger.error({ err: error, key }, 'a reconcile failed, and will again until something changes')
      return
    }
    this.#queue.addRateLimited(key)
    // What the end of the process broke off is no fault; and a stale view of an object is mended by looking again.
    const expected = signal.aborted || isKubeError(error, 'Conflict')
    this.#logger[expected ? 'info' : 'error'](
      { err: error, key, failures: this.#queue.failures(key) },
      'a reconcile failed',
    )
  }
}
