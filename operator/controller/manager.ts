/** Holds informers and controllers together, from the first list to the end of the last reconcile. */
import type { Logger } from 'pino'
import { pause } from './clock.ts'
import type { Clock } from './clock.ts'
import { Controller } from './controller.ts'
import type { ControllerOptions } from './controller.ts'
import type { EventSink } from './events.ts'
import { Informer } from './informer.ts'
import type { InformerOptions } from './informer.ts'
import type { KubeReader } from './kube-client.ts'
import type { LeaderElector } from './leader.ts'
import type { ControllerMetrics } from './metrics.ts'
import { resourceName } from './object.ts'
import type { KubeObject, Resource } from './object.ts'

export interface ManagerOptions {
  readonly client: Pick<KubeReader, 'list' | 'watch'>
  readonly clock: Clock
  readonly random: () => number
  readonly logger: Logger
  readonly metrics: ControllerMetrics
  readonly elector: Pick<LeaderElector, 'acquire' | 'hold' | 'release' | 'problem'>
  readonly events: Pick<EventSink, 'flush'>
  /** Empty: all. */
  readonly namespaces: readonly string[]
  readonly resyncMilliseconds: number
  /** See InformerOptions. */
  readonly silenceMilliseconds?: number
  /** How long reconciles may run on when the process is to end. */
  readonly drainMilliseconds: number
  readonly reconcileTimeoutMilliseconds: number
}

type ControllerParts = Pick<ControllerOptions, 'name' | 'reconciler' | 'sources' | 'workers'>

/** For what was told to end: it ends at once, or never. */
const LAST_MILLISECONDS = 2000

export class Manager {
  readonly #options: ManagerOptions
  readonly #informers = new Map<string, Informer<KubeObject>>()
  readonly #controllers: Controller[] = []

  constructor(options: ManagerOptions) {
    this.#options = options
  }

  /**
   * The one informer of a resource: made when it is asked for first. To be called before `run`.
   * @param options whoever asks first says them, and so everybody the same.
   */
  informer<T extends KubeObject>(
    resource: Resource<T>,
    options: Pick<InformerOptions<T>, 'labelSelector' | 'fieldSelector' | 'transform'> = {},
  ): Informer<T> {
    const name = resourceName(resource)
    let informer = this.#informers.get(name) as Informer<T> | undefined
    if (informer === undefined) {
      informer = new Informer({ ...this.#options, resource, ...options })
      this.#informers.set(name, informer as unknown as Informer<KubeObject>)
    }
    return informer
  }

  /** To be called before `run`. */
  addController(parts: ControllerParts): Controller {
    const controller = new Controller({ ...this.#options, ...parts })
    this.#controllers.push(controller)
    return controller
  }

  /** Lets the informer of the resource, if there is one, know what this process wrote. */
  written(resource: Resource, object: KubeObject): void {
    this.#informers.get(resourceName(resource))?.written(object)
  }

  /** Why this process is no use yet, or undefined: some resource was not listed yet. Also of one that does not lead. */
  notReady(): string | undefined {
    const missing = [...this.#informers.values()].filter(({ synced }) => !synced)
    if (missing.length === 0) return undefined
    return `not listed yet: ${missing.map(({ resource }) => resourceName(resource)).join(', ')}`
  }

  /** Why this process should be started anew, or undefined. */
  unhealthy(): string | undefined {
    const problems = [this.#options.elector, ...this.#controllers].map((part) => part.problem())
    return problems.find((problem) => problem !== undefined)
  }

  /**
   * Informers begin at once, so that one who waits to lead is ready to; workers begin when this process leads and every
   * resource was listed. Ends when the signal is aborted: nothing new is begun, what runs has `drainMilliseconds`, then its
   * signal is aborted; at last the lease is given back.
   * @throws LeadershipLostError: nothing may be written any more, and the process must end.
   */
  async run(stop: AbortSignal): Promise<void> {
    const { elector, events, clock } = this.#options
    const informing = new AbortController()
    const informed = Promise.all([...this.#informers.values()].map((informer) => informer.run(informing.signal)))
    try {
      if (await elector.acquire(stop)) await this.#lead(stop)
    } finally {
      informing.abort(new Error('the process ends'))
      await Promise.race([events.flush(), pause(clock, LAST_MILLISECONDS, NEVER)])
      await informed
    }
  }

  async #lead(stop: AbortSignal): Promise<void> {
    const { elector, clock, logger, drainMilliseconds } = this.#options
    const holding = new AbortController()
    const working = new AbortController()
    const held = elector.hold(holding.signal)
    const worked = this.#work(stop, working.signal)
    try {
      await Promise.race([held, aborted(stop)])
      const stopped = this.#stopControllers().then(() => true)
      const inTime = async (milliseconds: number): Promise<boolean> =>
        Promise.race([stopped, held.then(() => false), pause(clock, milliseconds, NEVER).then(() => false)])
      let ended = await inTime(drainMilliseconds)
      if (!ended) {
        logger.warn({ drainMilliseconds }, 'reconciles are broken off')
        working.abort(new Error('the process ends'))
        ended = await inTime(LAST_MILLISECONDS)
      }
      holding.abort(new Error('the process ends'))
      await held
      // Somebody who leads beside a reconcile that still runs would be the second.
      if (ended) await elector.release()
      else logger.error('a reconcile does not end: the lease runs out by itself')
      if (ended) await worked
    } catch (error) {
      working.abort(error)
      holding.abort(error)
      void this.#stopControllers()
      throw error
    }
  }

  async #work(stop: AbortSignal, signal: AbortSignal): Promise<void> {
    const { logger } = this.#options
    await Promise.all([...this.#informers.values()].map((informer) => informer.whenSyncedOr(stop)))
    if (stop.aborted || signal.aborted) return
    logger.info({ controllers: this.#controllers.map(({ name }) => name) }, 'working')
    await Promise.all(this.#controllers.map((controller) => controller.run(signal)))
  }

  async #stopControllers(): Promise<void> {
    await Promise.all(this.#controllers.map((controller) => controller.stop()))
  }
}

const NEVER = new AbortController().signal

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
