import type { Redis } from 'ioredis'
import { isKeyed } from '../call-id.ts'
import type { CallId } from '../call-id.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Counter, Metrics } from '../telemetry/metrics.ts'
import { isFinal, isOutcome } from './call-state.ts'
import { CommandFailures } from './command-failures.ts'
import { callKey, replyChannel } from './keys.ts'
import { decodeOutcome } from './outcome.ts'
import type { Outcome } from './outcome.ts'
import type { RedisClient } from './redis.ts'
import { Subscription } from './subscription.ts'

const READ_IT = 0xffffffff
const ENTRY_BYTES = 20
/** An outcome may have several MiB, and a read must end before the limit of a command's time. */
const LARGEST_READ = 16
/**
 * A waiter is looked up again when it has waited this long, then after twice that, and so on: a notification can be
 * lost on a connection that is half open, where nobody sees a disconnect.
 */
const FIRST_LOOK_MILLISECONDS = 1000
const LOOK_INTERVAL_MILLISECONDS = 500

type OnOutcome = (outcome: Outcome | undefined) => void

interface Waiter {
  readonly id: CallId
  onOutcome: OnOutcome
  /** Others of the same id: calls with one idempotency key, where the later one took the claim of the earlier over. */
  others: OnOutcome[] | undefined
  nextLook: number
  pause: number
}

export interface OutcomeWaitersOptions {
  /** For reading outcomes. */
  readonly redis: RedisClient
  /** A connection of its own, for the subscription. */
  readonly subscriber: Redis
  readonly instance: string
  readonly logger: Logger
  readonly metrics: Metrics
}

/**
 * The calls of this replica that wait for their outcome, and its one reply channel. After every (re)subscription, and now
 * and then for those that wait long, outcomes are read from Redis itself, so a lost notification loses no answer.
 */
export class OutcomeWaiters {
  readonly #redis: RedisClient
  readonly #subscription: Subscription
  readonly #logger: Logger
  readonly #rereads: Counter
  readonly #failures: CommandFailures
  readonly #waiters = new Map<string, Waiter>()
  readonly #closed = new AbortController()

  constructor({ redis, subscriber, instance, logger, metrics }: OutcomeWaitersOptions) {
    this.#redis = redis
    this.#subscription = new Subscription({
      connection: subscriber,
      redis,
      channel: replyChannel(instance),
      logger,
      onSubscribed: () => this.#read([...this.#waiters.values()]),
      onMessage: (message) => this.#receive(message),
    })
    this.#logger = logger
    metrics.gaugeFrom('grpc_kafka_calls_awaiting_outcome', {}, () => this.#waiters.size)
    this.#rereads = metrics.counter('grpc_kafka_reply_rereads_total')
    this.#failures = new CommandFailures(metrics)
  }

  /** Resolves when the channel is subscribed. */
  async start(): Promise<void> {
    const timer = setInterval(() => this.#lookAgain(performance.now()), LOOK_INTERVAL_MILLISECONDS)
    timer.unref()
    this.#closed.signal.addEventListener('abort', () => clearInterval(timer))
    await this.#subscription.start()
    await this.#redis.whenReady(this.#closed.signal)
  }

  get subscribed(): boolean {
    return this.#subscription.subscribed
  }

  get size(): number {
    return this.#waiters.size
  }

  /**
   * Waits for a call's outcome. `onOutcome` is called at most once, after the id was forgotten; with `undefined` when
   * an outcome stands that cannot be read.
   */
  add(id: CallId, onOutcome: OnOutcome): void {
    const key = id.toString('latin1')
    const first = this.#waiters.get(key)
    if (first !== undefined) {
      first.others = [...(first.others ?? []), onOutcome]
      return
    }
    this.#waiters.set(key, {
      id,
      onOutcome,
      others: undefined,
      nextLook: performance.now() + FIRST_LOOK_MILLISECONDS,
      pause: FIRST_LOOK_MILLISECONDS,
    })
  }

  remove(id: CallId, onOutcome: OnOutcome): void {
    const key = id.toString('latin1')
    const waiter = this.#waiters.get(key)
    if (waiter === undefined) return
    // It stays the same waiter for the others: a read of its outcome may be on its way.
    const [first, ...others] = [waiter.onOutcome, ...(waiter.others ?? [])].filter((one) => one !== onOutcome)
    if (first === undefined) this.#waiters.delete(key)
    else {
      waiter.onOutcome = first
      waiter.others = others.length > 0 ? others : undefined
    }
  }

  close(): void {
    this.#closed.abort()
    this.#subscription.close()
  }

  #receive(message: Buffer): void {
    const toBeRead: Waiter[] = []
    for (let at = 0; at + ENTRY_BYTES <= message.length;) {
      const key = message.toString('latin1', at, at + 16)
      const length = message.readUInt32BE(at + 16)
      at += ENTRY_BYTES
      const waiter = this.#waiters.get(key)
      // A message that ends too early holds no whole outcome.
      if (length === READ_IT || at + length > message.length) {
        if (waiter !== undefined) toBeRead.push(waiter)
        if (length === READ_IT) continue
        break
      }
      const bytes = message.subarray(at, at + length)
      at += length
      if (waiter === undefined) continue
      // A message may be older than the call that waits now under the same idempotency key.
      if (isKeyed(waiter.id) && !isFinal(bytes)) toBeRead.push(waiter)
      else this.#answer(key, waiter, bytes)
    }
    if (toBeRead.length > 0) void this.#read(toBeRead)
  }

  #answer(key: string, waiter: Waiter, bytes: Buffer): void {
    this.#waiters.delete(key)
    let outcome: Outcome | undefined
    try {
      outcome = decodeOutcome(bytes)
    } catch (error) {
      this.#logger.error({ callId: waiter.id.toString('hex'), err: error }, 'an outcome cannot be read')
    }
    waiter.onOutcome(outcome)
    for (const onOutcome of waiter.others ?? []) onOutcome(outcome)
  }

  #lookAgain(now: number): void {
    if (this.#waiters.size === 0 || !this.#redis.ready) return
    const due: Waiter[] = []
    for (const waiter of this.#waiters.values()) {
      if (waiter.nextLook > now) continue
      waiter.pause *= 2
      waiter.nextLook = now + waiter.pause
      due.push(waiter)
    }
    if (due.length > 0) void this.#read(due)
  }

  async #read(waiters: readonly Waiter[]): Promise<void> {
    for (let at = 0; at < waiters.length; at += LARGEST_READ) {
      const part = waiters.slice(at, at + LARGEST_READ)
      this.#rereads.inc(part.length)
      let values: readonly (Buffer | null)[]
      try {
        values = await this.#redis.getAll(part.map(({ id }) => callKey(id)))
      } catch (error) {
        // What was not read stays, and is due at the next look: what was lost meanwhile is not told again.
        for (const waiter of waiters.slice(at)) {
          waiter.nextLook = 0
          waiter.pause = FIRST_LOOK_MILLISECONDS
        }
        this.#failures.add(error)
        this.#logger.warn({ reason: (error as Error).message }, 'outcomes cannot be read; looking again later')
        return
      }
      part.forEach((waiter, index) => {
        const bytes = values[index]
        const key = waiter.id.toString('latin1')
        if (bytes != null && isOutcome(bytes) && this.#waiters.get(key) === waiter) this.#answer(key, waiter, bytes)
      })
    }
  }
}
