import type { ConsulRegistrationConfig } from '../config.ts'
import { SecretError } from '../secret.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Counter, Gauge, Metrics } from '../telemetry/metrics.ts'
import { AgentProblem } from './consul-agent.ts'
import type { AgentAccess, AgentProblemReason, AgentService, CheckResult, ConsulAgent } from './consul-agent.ts'

export interface KeeperOptions {
  readonly agent: ConsulAgent
  /** Asked each time: some of it may change while the replica runs. */
  readonly config: () => ConsulRegistrationConfig
  /** Of this replica at its agent. */
  readonly id: string
  readonly ready: () => { readonly ready: boolean; readonly reason: string }
  /** Milliseconds that never go back. */
  readonly monotonicNow: () => number
  /** @returns what takes it back */
  readonly after: (milliseconds: number, run: () => void) => () => void
  readonly logger: Logger
  readonly metrics: Metrics
}

/** How soon a change of readiness is told. */
const LOOK_MILLISECONDS = 500
/** An agent that does not answer in this time, or in one interval, is away. */
const REQUEST_MILLISECONDS = 5_000
/** Of an interval: so soon what failed is tried again, so that one that is lost does not let the check run out. */
const RETRY_PART = 1 / 4
/** How long the drain waits until the replica is out of the agent; and, at its end, for what could not be told then. */
const LEAVE_MILLISECONDS = 2_000
const LEAVE_AGAIN_MILLISECONDS = 1_000
/** Of it: how long what is on its way may take before it is given up. */
const SETTLE_PART = 1 / 2

/** What the agent took last. */
interface Told {
  /** All that a registration depends on: where it differs the replica is registered anew. */
  readonly registration: string
  readonly status: CheckResult['status']
  readonly output: string
}

/**
 * Keeps this replica registered at its Consul agent: from the time when it is ready first, with a TTL check that says
 * whether it is ready now, until it leaves. One request at a time, so that what was told last is what the agent has. No
 * trouble with the agent is trouble of the replica.
 */
export class ConsulKeeper {
  readonly #options: KeeperOptions
  readonly #registered: Gauge
  readonly #errors: (reason: AgentProblemReason) => Counter
  readonly #stopping = new AbortController()
  #cancel: (() => void) | undefined
  #underWay: Promise<void> | undefined
  #isLeaving = false
  #told: Told | undefined
  /** A registration that the agent may have taken, or may still take: nobody heard. */
  #isUncertain = false
  /** Whether there may be anything to take away. */
  #mayBeThere = false
  #due = 0
  /** Of the trouble that was told of. */
  #trouble: AgentProblemReason | undefined

  constructor(options: KeeperOptions) {
    const { metrics } = options
    this.#options = options
    this.#registered = metrics.gauge('grpc_kafka_registered')
    this.#errors = (reason) => metrics.counter('grpc_kafka_registration_errors_total', { reason })
    for (const reason of ['Unknown', 'NotAuthorized', 'Unavailable', 'Refused'] as const) this.#errors(reason)
  }

  start(): void {
    this.#cancel = this.#options.after(LOOK_MILLISECONDS, () => this.start())
    this.#look()
  }

  /**
   * Nothing is registered from now on. Resolves when the replica is out of the agent, or after 2 s; never rejects.
   * To be called before calls are refused: who looks for a replica should sooner find one less.
   */
  async leave(): Promise<void> {
    this.#isLeaving = true
    this.#cancel?.()
    const timer = this.#inTime(LEAVE_MILLISECONDS)
    // What is on its way comes first: the agent could take a registration after the deregistration.
    if (this.#underWay !== undefined) await this.#atMost(LEAVE_MILLISECONDS * SETTLE_PART, this.#underWay)
    this.#stopping.abort()
    await this.#underWay
    if (this.#mayBeThere) await this.#deregister(timer.signal)
    timer.end()
  }

  /**
   * What could not be told when it left is tried once more, for a second: the agent was away, or may have taken a registration
   * after all. What is left then runs out, and Consul collects it.
   */
  async end(): Promise<void> {
    if (!this.#mayBeThere && !this.#isUncertain) return
    this.#isUncertain = false
    const timer = this.#inTime(LEAVE_AGAIN_MILLISECONDS)
    await this.#deregister(timer.signal)
    timer.end()
  }

  #look(): void {
    if (this.#underWay !== undefined || this.#isLeaving) return
    const { ready, reason } = this.#options.ready()
    if (!ready && !this.#mayBeThere) return
    const result: CheckResult = { status: ready ? 'passing' : 'critical', output: ready ? 'ready' : reason }
    const isNew = this.#told !== undefined && this.#told.status !== result.status
    if (!isNew && this.#options.monotonicNow() < this.#due) return
    this.#underWay = this.#tell(result).finally(() => (this.#underWay = undefined))
  }

  async #tell(result: CheckResult): Promise<void> {
    const { id, monotonicNow } = this.#options
    const config = this.#options.config()
    const interval = config.intervalSeconds * 1000
    const began = monotonicNow()
    const timer = this.#inTime(Math.min(interval, REQUEST_MILLISECONDS))
    const signal = AbortSignal.any([this.#stopping.signal, timer.signal])
    try {
      const access = accessOf(config)
      const service = serviceOf(id, config)
      const registration = JSON.stringify([service, access.token])
      if (this.#told?.registration !== registration || !(await this.#renew(access, result, signal))) {
        // It may have been told to leave while the agent thought about it.
        if (this.#isLeaving) return
        await this.#register(access, service, result, signal)
      }
      this.#told = { registration, ...result }
      this.#due = began + interval
      this.#well()
    } catch (error) {
      if (this.#stopping.signal.aborted) return
      this.#due = monotonicNow() + interval * RETRY_PART
      this.#ill(problemOf(error, config.address, timer.signal))
    } finally {
      timer.end()
    }
  }

  /** @returns whether the agent has the check. */
  async #renew(access: AgentAccess, result: CheckResult, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#options.agent.update(access, this.#options.id, result, signal)
      return true
    } catch (error) {
      if (!(error instanceof AgentProblem && error.reason === 'Unknown')) throw error
      this.#told = undefined
      this.#errors('Unknown').inc()
      this.#options.logger.warn({ problem: error.message }, 'the Consul agent knows this replica no more')
      return false
    }
  }

  async #register(access: AgentAccess, service: AgentService, result: CheckResult, signal: AbortSignal): Promise<void> {
    this.#mayBeThere = true
    this.#isUncertain = true
    try {
      await this.#options.agent.register(access, service, result, signal)
      this.#isUncertain = false
    } catch (error) {
      // An agent that says no took nothing.
      if (error instanceof AgentProblem && error.reason !== 'Unavailable') this.#isUncertain = false
      throw error
    }
    this.#options.logger.info({ agent: access.address, name: service.name }, 'registered at the Consul agent')
  }

  async #deregister(signal: AbortSignal): Promise<void> {
    const { agent, id, logger } = this.#options
    const config = this.#options.config()
    try {
      await agent.deregister(accessOf(config), id, signal)
      this.#mayBeThere = false
      logger.info('deregistered from the Consul agent')
    } catch (error) {
      const { reason, message } = problemOf(error, config.address, signal)
      this.#errors(reason).inc()
      logger.warn({ problem: message }, 'not deregistered from the Consul agent: its check will run out')
    }
    this.#registered.set(0)
  }

  #well(): void {
    this.#registered.set(1)
    if (this.#trouble !== undefined) this.#options.logger.info('the Consul agent takes what it is told again')
    this.#trouble = undefined
  }

  #ill({ reason, message }: AgentProblem): void {
    this.#registered.set(0)
    this.#errors(reason).inc()
    if (this.#trouble === reason) return
    this.#trouble = reason
    this.#options.logger.warn({ problem: message }, 'the Consul agent does not take what it is told; it is tried again')
  }

  #inTime(milliseconds: number): { readonly signal: AbortSignal; end(): void } {
    const late = new AbortController()
    const cancel = this.#options.after(milliseconds, () => late.abort())
    return { signal: late.signal, end: cancel }
  }

  async #atMost(milliseconds: number, work: Promise<void>): Promise<void> {
    let cancel = (): void => undefined
    const passed = new Promise<void>((resolve) => (cancel = this.#options.after(milliseconds, resolve)))
    await Promise.race([work, passed])
    cancel()
  }
}

const accessOf = ({ address, token, caFile }: ConsulRegistrationConfig): AgentAccess => ({
  address,
  // Whitespace at the end of a file is no part of a token.
  token: token?.read().trim(),
  caFile,
})

const serviceOf = (
  id: string,
  { name, tags, meta, advertise, ttlSeconds }: ConsulRegistrationConfig,
): AgentService => ({ id, name, tags, meta, ...advertise, ttlSeconds })

function problemOf(error: unknown, address: string, late: AbortSignal): AgentProblem {
  if (error instanceof AgentProblem) return error
  if (late.aborted) return new AgentProblem('Unavailable', `${address}: no answer in time`, { cause: error })
  if (error instanceof SecretError) return new AgentProblem('NotAuthorized', error.message, { cause: error })
  return new AgentProblem('Unavailable', `${address}: ${(error as Error).message}`, { cause: error })
}
