/**
 * The queue between what changes and who reconciles, with the semantics of client-go's `workqueue`
 * (`TypedRateLimitingInterface`):
 * - a key waits at most once, however often it is added;
 * - a key that is added while it is worked on waits again once that work is done: one key is never worked on twice at once;
 * - a key that is to be added later is added at the earliest of the times that were asked for;
 * - a key that failed comes back after the rate limiter's pause, until it is forgotten.
 * At shutdown it differs: client-go still hands out what waits, this queue does not. Nothing is lost: whoever leads next
 * begins with every object.
 */
import type { Clock } from './clock.ts'
import type { ObjectKey } from './object.ts'
import type { RateLimiter } from './rate-limiter.ts'

/** What a queue tells of itself; times in milliseconds. */
export interface QueueMetrics {
  added(): void
  retried(): void
  /** A key was taken out after it waited so long. */
  taken(waitedMilliseconds: number): void
  done(workedMilliseconds: number): void
}

const NO_METRICS: QueueMetrics = { added() {}, retried() {}, taken() {}, done() {} }

interface Delayed {
  readonly at: number
  readonly cancel: () => void
}

export class WorkQueue {
  readonly #clock: Clock
  readonly #limiter: RateLimiter
  readonly #metrics: QueueMetrics
  /** What waits, in order, and since when: a Map keeps the order in which its keys came. */
  readonly #waiting = new Map<ObjectKey, number>()
  /** What is worked on, and since when. */
  readonly #processing = new Map<ObjectKey, number>()
  /** What came again while it was worked on, and when first. */
  readonly #again = new Map<ObjectKey, number>()
  readonly #delayed = new Map<ObjectKey, Delayed>()
  readonly #takers: ((key: ObjectKey | undefined) => void)[] = []
  readonly #drained: (() => void)[] = []
  #shutDown = false

  constructor(clock: Clock, limiter: RateLimiter, metrics: QueueMetrics = NO_METRICS) {
    this.#clock = clock
    this.#limiter = limiter
    this.#metrics = metrics
  }

  /** Keys that wait to be taken now. */
  get depth(): number {
    return this.#waiting.size
  }

  /** For how long each key that is worked on has been worked on, in milliseconds. */
  get processingMilliseconds(): readonly number[] {
    const now = this.#clock.monotonic()
    return Array.from(this.#processing.values(), (since) => now - since)
  }

  add(key: ObjectKey): void {
    if (this.#shutDown || this.#waiting.has(key) || this.#again.has(key)) return
    this.#metrics.added()
    const now = this.#clock.monotonic()
    if (this.#processing.has(key)) {
      this.#again.set(key, now)
      return
    }
    this.#waiting.set(key, now)
    this.#handOut()
  }

  /** Adds the key after so many milliseconds; when it is to be added earlier already, that stands. */
  addAfter(key: ObjectKey, milliseconds: number): void {
    if (this.#shutDown) return
    if (milliseconds <= 0) {
      this.add(key)
      return
    }
    const at = this.#clock.monotonic() + milliseconds
    const earlier = this.#delayed.get(key)
    if (earlier !== undefined && earlier.at <= at) return
    earlier?.cancel()
    const cancel = this.#clock.after(milliseconds, () => {
      this.#delayed.delete(key)
      this.add(key)
    })
    this.#delayed.set(key, { at, cancel })
  }

  /** Adds the key after the pause that its failures ask for. */
  addRateLimited(key: ObjectKey): void {
    if (this.#shutDown) return
    this.#metrics.retried()
    this.addAfter(key, this.#limiter.when(key))
  }

  /** The key's failures count no more. Does not take the key out. */
  forget(key: ObjectKey): void {
    this.#limiter.forget(key)
  }

  failures(key: ObjectKey): number {
    return this.#limiter.failures(key)
  }

  /** The next key, which must be given to `done` afterwards; undefined once the queue is shut down. */
  take(): Promise<ObjectKey | undefined> {
    return new Promise((resolve) => {
      if (this.#shutDown) {
        resolve(undefined)
        return
      }
      this.#takers.push(resolve)
      this.#handOut()
    })
  }

  /** The work on a key that was taken has ended. */
  done(key: ObjectKey): void {
    const since = this.#processing.get(key)
    if (since === undefined) return
    this.#processing.delete(key)
    this.#metrics.done(this.#clock.monotonic() - since)
    const again = this.#again.get(key)
    this.#again.delete(key)
    if (again !== undefined && !this.#shutDown) {
      this.#waiting.set(key, again)
      this.#handOut()
    }
    if (this.#processing.size === 0) for (const resolve of this.#drained.splice(0)) resolve()
  }

  /** Nothing is taken in or handed out any more. Resolves when nothing is worked on either. */
  shutDown(): Promise<void> {
    this.#shutDown = true
    for (const { cancel } of this.#delayed.values()) cancel()
    this.#delayed.clear()
    this.#waiting.clear()
    this.#again.clear()
    for (const resolve of this.#takers.splice(0)) resolve(undefined)
    return new Promise((resolve) => {
      if (this.#processing.size === 0) resolve()
      else this.#drained.push(resolve)
    })
  }

  #handOut(): void {
    while (this.#takers.length > 0) {
      const next = this.#waiting.entries().next()
      if (next.done === true) return
      const [key, since] = next.value
      const now = this.#clock.monotonic()
      this.#waiting.delete(key)
      this.#processing.set(key, now)
      this.#metrics.taken(now - since)
      this.#takers.shift()!(key)
    }
  }
}
