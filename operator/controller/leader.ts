/**
 * One of several processes leads: whoever holds a Lease (coordination.k8s.io/v1), by the rules of client-go's
 * `leaderelection`. How old a foreign lease is counts from when this process saw it change, never by the times written in
 * it: clocks of other machines are not believed. Who cannot renew stops before the others may take over.
 */
import type { Logger } from 'pino'
import { microTime, pause } from './clock.ts'
import type { Clock } from './clock.ts'
import { KubeError, isKubeError } from './kube-error.ts'
import { withTimeout } from './linked-abort.ts'
import { collectionPath, keyOf, objectPath } from './object.ts'
import type { KubeObject, Resource } from './object.ts'
import type { RestClient } from './rest-client.ts'

interface LeaseSpec {
  readonly holderIdentity?: string
  readonly leaseDurationSeconds?: number
  readonly acquireTime?: string
  readonly renewTime?: string
  readonly leaseTransitions?: number
}

interface Lease extends KubeObject {
  readonly spec?: LeaseSpec
}

const LEASES: Resource<Lease> = {
  apiVersion: 'coordination.k8s.io/v1',
  kind: 'Lease',
  plural: 'leases',
  namespaced: true,
}

export interface LeaderElectorOptions {
  /** One that waits for nobody's requests, with a request timeout of half the renew deadline. */
  readonly client: Pick<RestClient, 'request'>
  readonly clock: Clock
  readonly random: () => number
  readonly logger: Logger
  readonly namespace: string
  readonly name: string
  /** Of this process alone: one that comes back in the same pod is another. */
  readonly identity: string
  /** How long others leave a lease alone that is not renewed. Default 15 s. */
  readonly leaseMilliseconds?: number
  /** How long renewing is tried. Default 10 s; shorter than the lease. */
  readonly renewDeadlineMilliseconds?: number
  /** Between two tries. Default 2 s. */
  readonly retryMilliseconds?: number
}

/** The lease could not be renewed in time, or another holds it. `code` is `LEADERSHIP_LOST`. */
export class LeadershipLostError extends Error {
  readonly code = 'LEADERSHIP_LOST'
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'LeadershipLostError'
  }
}

type Attempt =
  | { readonly held: true }
  /** By whom it is held, as far as is known. */
  | { readonly held: false; readonly holder?: string; readonly error?: unknown }

/** client-go's JitterFactor: those who wait try after one to 2.2 periods, not all at once. */
const JITTER = 1.2
/** The process is ended by its probe when it did not get a turn to try for so long, beyond the lease. */
const STUCK_MILLISECONDS = 20_000

export class LeaderElector {
  readonly #options: Required<LeaderElectorOptions>
  /** The lease as last seen, and when it was first seen to be so (monotonic). */
  #seen: { readonly lease: Lease; readonly spec: string; readonly at: number } | undefined
  /** When the request that last renewed the lease was sent (monotonic): the lease is at least so young. */
  #renewedAt = -Infinity
  #leading = false
  #triedAt: number

  constructor(options: LeaderElectorOptions) {
    this.#options = {
      leaseMilliseconds: 15_000,
      renewDeadlineMilliseconds: 10_000,
      retryMilliseconds: 2000,
      ...options,
    }
    this.#triedAt = options.clock.monotonic()
  }

  get leading(): boolean {
    return this.#leading
  }

  /**
   * Whether nobody else can lead now. False also for a leader that stood still (a machine that slept, a stopped process)
   * for longer than its lease and does not know yet that it has lost it: client-go lets such a one write on.
   */
  mayWrite(): boolean {
    const { clock, leaseMilliseconds } = this.#options
    return this.#leading && clock.monotonic() - this.#renewedAt < leaseMilliseconds
  }

  /** Why this process should be started anew (client-go's `HealthzAdaptor`), or undefined. */
  problem(): string | undefined {
    const { clock, leaseMilliseconds } = this.#options
    const now = clock.monotonic()
    if (this.#leading && now - this.#renewedAt > leaseMilliseconds + STUCK_MILLISECONDS) {
      return `the lease was not renewed for ${Math.round(now - this.#renewedAt)} ms`
    }
    if (now - this.#triedAt > 2 * leaseMilliseconds + STUCK_MILLISECONDS) return 'the leader election stands still'
    return undefined
  }

  /** Waits until this process leads. @returns false when the signal was aborted before. */
  async acquire(signal: AbortSignal): Promise<boolean> {
    const { clock, random, retryMilliseconds, renewDeadlineMilliseconds, logger, identity } = this.#options
    let holder: string | undefined
    while (!signal.aborted) {
      // Bounded: an API server that always asks for more patience would make this look as if it stood still.
      const late = (): Error => new KubeError('Timeout', `the lease was not had in ${renewDeadlineMilliseconds} ms`)
      const attempt = await withTimeout(clock, renewDeadlineMilliseconds, late, signal, (own) => this.#try(own))
      if (attempt.held) {
        this.#leading = true
        logger.info({ identity }, 'leading')
        return true
      }
      if (signal.aborted) return false
      if (attempt.error !== undefined) logger.warn({ err: attempt.error }, 'the lease could not be read or written')
      else if (attempt.holder !== holder) logger.info({ holder: attempt.holder }, 'another leads')
      holder = attempt.holder ?? holder
      await pause(clock, retryMilliseconds * (1 + JITTER * random()), signal)
    }
    return false
  }

  /**
   * Renews the lease until the signal is aborted.
   * @throws LeadershipLostError: this process must end at once.
   */
  async hold(signal: AbortSignal): Promise<void> {
    const { clock, retryMilliseconds, renewDeadlineMilliseconds } = this.#options
    while (!signal.aborted) {
      await pause(clock, retryMilliseconds, signal)
      if (signal.aborted) return
      const late = (): Error => new KubeError('Timeout', `the lease was not renewed in ${renewDeadlineMilliseconds} ms`)
      try {
        await withTimeout(clock, renewDeadlineMilliseconds, late, signal, (own) => this.#renew(own))
      } catch (cause) {
        if (signal.aborted) return
        this.#leading = false
        throw new LeadershipLostError(`not leading any more: ${(cause as Error).message}`, { cause })
      }
    }
  }

  /** Lets another lead at once. To be called when this process does nothing any more; failures are only logged. */
  async release(): Promise<void> {
    const seen = this.#seen
    if (!this.#leading || seen === undefined) return
    this.#leading = false
    const now = microTime(this.#options.clock)
    const spec = { ...seen.lease.spec, holderIdentity: '', leaseDurationSeconds: 1, renewTime: now, acquireTime: now }
    try {
      await this.#update({ ...seen.lease, spec })
      this.#options.logger.info('gave the lease back')
    } catch (error) {
      this.#options.logger.warn({ err: error }, 'could not give the lease back: it runs out by itself')
    }
  }

  async #renew(signal: AbortSignal): Promise<void> {
    const { clock, logger, retryMilliseconds } = this.#options
    for (;;) {
      const attempt = await this.#try(signal)
      if (attempt.held) return
      signal.throwIfAborted()
      // client-go goes on asking until its deadline; nothing good can come of it.
      if (attempt.holder !== undefined) throw new LeadershipLostError(`${attempt.holder} leads`)
      logger.warn({ err: attempt.error }, 'the lease was not renewed; trying again')
      await pause(clock, retryMilliseconds, signal)
      signal.throwIfAborted()
    }
  }

  /** One try to get or to renew the lease (client-go's `tryAcquireOrRenew`). Never throws. */
  async #try(signal: AbortSignal): Promise<Attempt> {
    const sentAt = this.#options.clock.monotonic()
    try {
      const attempt = await this.#attempt(signal)
      if (attempt.held) this.#renewedAt = sentAt
      return attempt
    } catch (error) {
      return { held: false, error }
    } finally {
      this.#triedAt = this.#options.clock.monotonic()
    }
  }

  async #attempt(signal: AbortSignal): Promise<Attempt> {
    const { client, clock, identity, namespace, name } = this.#options
    const key = keyOf(namespace, name)
    if (this.mayWrite() && this.#seen !== undefined) {
      try {
        this.#see(await this.#update(this.#claimed(this.#seen.lease), signal))
        return { held: true }
      } catch (error) {
        if (!isKubeError(error, 'Conflict', 'NotFound')) throw error
        // Somebody wrote it: looked at below.
      }
    }
    let lease: Lease
    try {
      lease = (await client.request({ method: 'GET', path: objectPath(LEASES, key) }, signal)) as Lease
    } catch (error) {
      if (!isKubeError(error, 'NotFound')) throw error
      const { apiVersion, kind } = LEASES
      const body = this.#claimed({ apiVersion, kind, metadata: { namespace, name } })
      this.#see(
        (await client.request({ method: 'POST', path: collectionPath(LEASES, namespace), body }, signal)) as Lease,
      )
      return { held: true }
    }
    const at = this.#see(lease)
    const { holderIdentity: holder = '', leaseDurationSeconds = 0 } = lease.spec ?? {}
    // It was taken from this process, and may have been given back since.
    if (this.#leading && holder !== identity) return { held: false, holder: holder === '' ? 'nobody' : holder }
    const valid = at + leaseDurationSeconds * 1000 > clock.monotonic()
    if (holder !== '' && holder !== identity && valid) return { held: false, holder }
    this.#see(await this.#update(this.#claimed(lease), signal))
    return { held: true }
  }

  /** Keeps the lease as seen. @returns when it was first seen to be so. */
  #see(lease: Lease): number {
    const spec = JSON.stringify(lease.spec ?? {})
    const at = this.#seen?.spec === spec ? this.#seen.at : this.#options.clock.monotonic()
    this.#seen = { lease, spec, at }
    return at
  }

  /** The lease as it is when this process holds it from now on. */
  #claimed(lease: Lease): Lease {
    const { clock, identity, leaseMilliseconds } = this.#options
    const renewTime = microTime(clock)
    const { holderIdentity, acquireTime, leaseTransitions } = lease.spec ?? {}
    const mine = holderIdentity === identity
    const transitions = lease.spec === undefined ? 0 : mine ? (leaseTransitions ?? 0) : (leaseTransitions ?? 0) + 1
    return {
      ...lease,
      spec: {
        ...lease.spec,
        holderIdentity: identity,
        leaseDurationSeconds: Math.round(leaseMilliseconds / 1000),
        acquireTime: mine ? (acquireTime ?? renewTime) : renewTime,
        renewTime,
        leaseTransitions: transitions,
      },
    }
  }

  /** @throws KubeError Conflict when the lease is not as it was read. */
  async #update(lease: Lease, signal?: AbortSignal): Promise<Lease> {
    const path = objectPath(LEASES, keyOf(lease.metadata.namespace, lease.metadata.name))
    return (await this.#options.client.request({ method: 'PUT', path, body: lease }, signal)) as Lease
  }
}
