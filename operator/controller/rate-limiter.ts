/** How long something that failed waits before it is tried again, and how many things are begun per second. */

/**
 * A token bucket in which one may take tokens that will only be there later (golang.org/x/time/rate, `Reserve`).
 */
export class TokenBucket {
  readonly #perMillisecond: number
  readonly #burst: number
  readonly #monotonic: () => number
  #tokens: number
  #at: number

  /**
   * @param perSecond tokens that come back.
   * @param burst tokens that lie there at most, and at the start.
   * @param monotonic milliseconds.
   */
  constructor(perSecond: number, burst: number, monotonic: () => number) {
    this.#perMillisecond = perSecond / 1000
    this.#burst = burst
    this.#monotonic = monotonic
    this.#tokens = burst
    this.#at = monotonic()
  }

  /** Takes a token, and answers in how many milliseconds it is there: 0 for now. */
  reserve(): number {
    this.#refill()
    this.#tokens -= 1
    return this.#tokens >= 0 ? 0 : -this.#tokens / this.#perMillisecond
  }

  /** Takes a token if one is there now. */
  tryTake(): boolean {
    this.#refill()
    if (this.#tokens < 1) return false
    this.#tokens -= 1
    return true
  }

  #refill(): void {
    const now = this.#monotonic()
    this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#at) * this.#perMillisecond)
    this.#at = now
  }
}

/** Says how long a key waits before it is tried again. */
export interface RateLimiter {
  /** Counts one more failure of the key. Milliseconds to wait. */
  when(key: string): number
  /** The key succeeded: its failures count no more. */
  forget(key: string): void
  failures(key: string): number
}

/** Doubles with each failure of the same key (client-go's `ItemExponentialFailureRateLimiter`). */
export class ItemBackoff implements RateLimiter {
  readonly #base: number
  readonly #longest: number
  readonly #failures = new Map<string, number>()

  /** Both in milliseconds. */
  constructor(base: number, longest: number) {
    this.#base = base
    this.#longest = longest
  }

  when(key: string): number {
    const failures = this.failures(key)
    this.#failures.set(key, failures + 1)
    return Math.min(this.#base * 2 ** failures, this.#longest)
  }

  forget(key: string): void {
    this.#failures.delete(key)
  }

  failures(key: string): number {
    return this.#failures.get(key) ?? 0
  }
}

/**
 * What client-go calls `DefaultTypedControllerRateLimiter`: the longer of 5 ms doubling to 1000 s for each key and of ten a
 * second (a hundred at once) for all keys together.
 * @param monotonic milliseconds.
 */
export function defaultRateLimiter(monotonic: () => number): RateLimiter {
  const item = new ItemBackoff(5, 1_000_000)
  const overall = new TokenBucket(10, 100, monotonic)
  return {
    when: (key) => Math.max(item.when(key), overall.reserve()),
    forget: (key) => item.forget(key),
    failures: (key) => item.failures(key),
  }
}
