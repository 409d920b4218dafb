import type { Clock } from '../controller/clock.ts'
import type { ConsulAccess, ConsulCatalog, ConsulScope, FoundInstances, ObservedCatalog } from './consul-client.ts'
import type { ConsulAction } from './consul-plan.ts'
import { ConsulProblem } from './consul-problem.ts'

/** A Consul that did not answer is asked again after so long, by one who asks; all others are told the same at once. */
const AWAY_MILLISECONDS = 5_000
/** One that nobody asks any more is forgotten. */
const FORGOTTEN_MILLISECONDS = 600_000

interface Away {
  readonly problem: ConsulProblem
  /** Monotonic milliseconds. */
  readonly since: number
  /** Somebody finds out whether it is back. */
  probed: boolean
}

/** A catalog of which a Consul that is away takes the time of one who asks: those of other Consuls wait behind them. */
export class PatientCatalog implements ConsulCatalog {
  readonly #catalog: ConsulCatalog
  readonly #clock: Pick<Clock, 'monotonic'>
  /** By address. */
  readonly #away = new Map<string, Away>()

  constructor(catalog: ConsulCatalog, clock: Pick<Clock, 'monotonic'>) {
    this.#catalog = catalog
    this.#clock = clock
  }

  observe(access: ConsulAccess, scope: ConsulScope, signal: AbortSignal): Promise<ObservedCatalog> {
    return this.#ask(access.address, () => this.#catalog.observe(access, scope, signal))
  }

  find(
    access: ConsulAccess,
    service: string,
    mark: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<FoundInstances> {
    return this.#ask(access.address, () => this.#catalog.find(access, service, mark, signal))
  }

  execute(access: ConsulAccess, node: string, action: ConsulAction, signal: AbortSignal): Promise<void> {
    return this.#ask(access.address, () => this.#catalog.execute(access, node, action, signal))
  }

  async #ask<T>(address: string, work: () => Promise<T>): Promise<T> {
    const away = this.#away.get(address)
    if (away !== undefined) {
      if (away.probed || this.#clock.monotonic() - away.since < AWAY_MILLISECONDS) throw away.problem
      away.probed = true
    }
    try {
      const result = await work()
      this.#away.delete(address)
      return result
    } catch (error) {
      if (error instanceof ConsulProblem && error.reason === 'ConsulUnavailable') this.#remember(address, error)
      else if (error instanceof ConsulProblem) this.#away.delete(address)
      throw error
    } finally {
      if (away !== undefined) away.probed = false
    }
  }

  #remember(address: string, problem: ConsulProblem): void {
    const now = this.#clock.monotonic()
    for (const [other, { since }] of this.#away) if (now - since > FORGOTTEN_MILLISECONDS) this.#away.delete(other)
    this.#away.set(address, { problem, since: now, probed: false })
  }
}
