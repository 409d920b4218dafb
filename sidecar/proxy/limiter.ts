import type { ErrorCode } from '../errors.ts'

export interface RateLimit {
  /** Tokens that come in each second. */
  readonly requestsPerSecond: number
  /** Tokens that the bucket holds. */
  readonly burst: number
  readonly maxWaiting: number
}

export type Verdict =
  | { readonly kind: 'Granted' }
  /** `grant` is called when its turn comes. */
  | { readonly kind: 'Waiting' }
  | { readonly kind: 'Refused'; readonly code: ErrorCode; readonly retryAfterMilliseconds: number }

const TOKEN = 1000
const GRANTED: Verdict = { kind: 'Granted' }
const WAITING: Verdict = { kind: 'Waiting' }

export interface RateLimiterOptions<Waiter> {
  readonly limit: RateLimit
  /** Monotonic milliseconds. */
  readonly now: () => number
  /** Called for a waiter that gets its token. */
  readonly grant: (waiter: Waiter) => void
  /** What the bucket begins with. Default: it is full. */
  readonly tokens?: number
}

/** A token bucket with a bounded queue before it. Tokens go to waiters in the order in which they came. */
export class RateLimiter<Waiter> {
  readonly #limit: RateLimit
  readonly #now: () => number
  readonly #grant: (waiter: Waiter) => void
  readonly #waiting = new Set<Waiter>()
  /** In thousandths of a token: what comes in each millisecond is then a whole number, and whole numbers add up exactly. */
  #credit: number
  #filledAt: number
  #timer: NodeJS.Timeout | undefined = undefined

  constructor({ limit, now, grant, tokens = limit.burst }: RateLimiterOptions<Waiter>) {
    this.#limit = limit
    this.#now = now
    this.#grant = grant
    this.#credit = Math.min(tokens, limit.burst) * TOKEN
    this.#filledAt = now()
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /** What a call that came now would find, in tokens. */
  get tokens(): number {
    this.#fill()
    return this.#credit / TOKEN
  }

  /** @param patience milliseconds that the waiter could wait; one that would wait longer is refused at once. */
  take(waiter: Waiter, patience: number): Verdict {
    this.#fill()
    if (this.#waiting.size === 0 && this.#credit >= TOKEN) {
      this.#credit -= TOKEN
      return GRANTED
    }
    const wait = this.#untilTokens(this.#waiting.size + 1)
    const retryAfterMilliseconds = Math.max(1, Math.ceil(wait))
    if (this.#limit.maxWaiting === 0) return { kind: 'Refused', code: 'RATE_LIMITED', retryAfterMilliseconds }
    if (this.#waiting.size >= this.#limit.maxWaiting)
      return { kind: 'Refused', code: 'TOO_MANY_WAITING', retryAfterMilliseconds }
    if (wait >= patience) return { kind: 'Refused', code: 'RATE_LIMITED', retryAfterMilliseconds }
    this.#waiting.add(waiter)
    this.#schedule()
    return WAITING
  }

  /** A waiter that waits no more; those behind it move up. */
  forget(waiter: Waiter): void {
    if (this.#waiting.delete(waiter) && this.#waiting.size === 0) this.#stop()
  }

  #fill(): void {
    const now = this.#now()
    this.#credit = Math.min(
      this.#limit.burst * TOKEN,
      this.#credit + (now - this.#filledAt) * this.#limit.requestsPerSecond,
    )
    this.#filledAt = now
  }

  #untilTokens(count: number): number {
    return (count * TOKEN - this.#credit) / this.#limit.requestsPerSecond
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#waiting.size === 0) return
    this.#timer = setTimeout(() => this.#serve(), Math.max(1, Math.ceil(this.#untilTokens(1))))
  }

  #stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #serve(): void {
    this.#timer = undefined
    this.#fill()
    for (const waiter of this.#waiting) {
      if (this.#credit < TOKEN) break
      this.#credit -= TOKEN
      this.#waiting.delete(waiter)
      this.#grant(waiter)
    }
    this.#schedule()
  }
}
