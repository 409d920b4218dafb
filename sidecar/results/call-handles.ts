import { setImmediate as nextTurn } from 'node:timers/promises'
import { isKeyed } from '../call-id.ts'
import type { CallId } from '../call-id.ts'
import type { RecordOrigin } from '../kafka/record.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Counter, Metrics } from '../telemetry/metrics.ts'
import { encodeEnqueued } from './call-state.ts'
import { CommandFailures } from './command-failures.ts'
import { callKey, handleKey } from './keys.ts'
import type { Argument, RedisClient } from './redis.ts'

/** Whoever waits for a handle waits no longer than this: Redis may stand still. */
const PATIENCE_MILLISECONDS = 250
const RETRY_MILLISECONDS = 250
/** A handle that Redis did not take is given up then, and the earliest where too many wait. */
const GIVE_UP_MILLISECONDS = 10_000
const MOST_WAITING = 10_000
const LARGEST_BATCH = 256
/** An outcome is stored a moment after the call's time is over. */
const SPARE_MILLISECONDS = 60_000

/** What a call is known by to whoever has its id. */
export interface CallHandle {
  readonly id: CallId
  /** `package.Service/Method` */
  readonly method: string
  /** Who called; empty: anonymous. */
  readonly caller: string
  /** The record's or a later one, in milliseconds since 1970 on the shared clock. */
  readonly deadline: number
  /** Undefined: not known. */
  readonly place: RecordOrigin | undefined
}

export interface CallHandlesOptions {
  readonly redis: RedisClient
  /** Whose calls they are: proxies of another topic do not find them. */
  readonly topic: string
  readonly retentionSeconds: () => number
  /** Milliseconds since 1970 on the shared clock. */
  readonly now: () => number
  readonly monotonicNow: () => number
  readonly logger: Logger
  readonly metrics: Metrics
}

interface Waiting {
  readonly handle: CallHandle
  onKept: (() => void) | undefined
  /** Ends the patience of whoever waits. */
  timer: NodeJS.Timeout | undefined
  readonly since: number
}

/**
 * Keeps calls known by their ids (`call-results.ts` finds them). A call without an idempotency key has no state before its outcome, so
 * that it is `Enqueued` is written here as well; what stands already, stays.
 */
export class CallHandles {
  readonly #options: CallHandlesOptions
  readonly #failures: CommandFailures
  readonly #lost: Counter
  readonly #waiting: Waiting[] = []
  #closed = false
  #flushing = false
  #flushed: Promise<void> = Promise.resolve()

  constructor(options: CallHandlesOptions) {
    this.#options = options
    this.#failures = new CommandFailures(options.metrics)
    this.#lost = options.metrics.counter('grpc_kafka_call_handles_lost_total')
  }

  /** @param onKept is called once: when Redis has it, has refused it, or is silent for too long. */
  keep(handle: CallHandle, onKept?: () => void): void {
    const one: Waiting = { handle, onKept, timer: undefined, since: this.#options.monotonicNow() }
    if (onKept !== undefined) one.timer = setTimeout(() => release([one]), PATIENCE_MILLISECONDS)
    this.#waiting.push(one)
    this.#loseTooMany()
    if (this.#flushing) return
    this.#flushing = true
    this.#flushed = nextTurn().then(() => this.#flush())
  }

  /** Resolves when Redis has what was to be kept, or has not taken it. */
  close(): Promise<void> {
    this.#closed = true
    return this.#flushed
  }

  async #flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, LARGEST_BATCH)
      try {
        await this.#options.redis.each(
          'set',
          batch.flatMap((one) => this.#rows(one.handle)),
        )
      } catch (error) {
        this.#failures.add(error)
        this.#options.logger.debug({ reason: (error as Error).message }, 'Redis did not take what calls are known by')
        const now = this.#options.monotonicNow()
        const young = batch.filter(({ since }) => !this.#closed && now - since < GIVE_UP_MILLISECONDS)
        this.#lose(batch.filter((one) => !young.includes(one)))
        // Those that came meanwhile must not wait for them.
        release([...batch, ...this.#waiting])
        this.#waiting.unshift(...young)
        this.#loseTooMany()
        if (!this.#closed) await new Promise((resolve) => setTimeout(resolve, RETRY_MILLISECONDS))
      } finally {
        release(batch)
      }
    }
    this.#flushing = false
  }

  #rows({ id, method, caller, deadline, place }: CallHandle): [key: string, ...Argument[]][] {
    const { topic, now, retentionSeconds } = this.#options
    const retention = retentionSeconds() * 1000
    // A call may go on beyond its deadline for as long as its result is kept, and that is kept as long again.
    const pending = Math.ceil(Math.max(deadline - now(), 0)) + retention + SPARE_MILLISECONDS
    const handle = JSON.stringify({ method, caller, deadline, ...place })
    const known: [string, ...Argument[]] = [handleKey(id, topic), handle, 'PX', pending + retention, 'NX']
    return isKeyed(id) ? [known] : [[callKey(id), encodeEnqueued(deadline), 'PX', pending, 'NX'], known]
  }

  #loseTooMany(): void {
    const tooMany = this.#waiting.length - MOST_WAITING
    if (tooMany > 0) this.#lose(this.#waiting.splice(0, tooMany))
  }

  #lose(lost: readonly Waiting[]): void {
    release(lost)
    this.#lost.inc(lost.length)
  }
}

function release(waiting: readonly Waiting[]): void {
  for (const one of waiting) {
    const { onKept } = one
    one.onKept = undefined
    clearTimeout(one.timer)
    onKept?.()
  }
}
