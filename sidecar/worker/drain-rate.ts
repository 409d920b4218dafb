/** A handler without an answer for so long is slow, however long its calls took before. */
const LONGEST_SAMPLE_MILLISECONDS = 10_000
/** Nor is a sample over before the handler could have answered this many times over, one after the other. */
const ROUNDS = 3
const SHORTEST_FIRST_SAMPLE_MILLISECONDS = 250
/** What was measured so long ago counts for 1/e. */
const MEMORY_MILLISECONDS = 3000
/** A rate is known for this long after every place was last taken. */
const KNOWN_MILLISECONDS = 30_000
/**
 * It is looked at each second, and at each answer. After longer than this the process stood still, or waits for a Redis that does:
 * that says nothing of the handler.
 */
const LONGEST_LOOK_MILLISECONDS = 2500
/** The part of a newly answered call in the mean of how long calls take. */
const SERVICE_WEIGHT = 0.05

/**
 * How fast a worker's handler answers when it has all the work that it may have. Only the time in which every place is
 * taken counts: with places free the rate tells how fast calls came. Only answers count, so that calls cut off by their
 * deadlines, which free their places fast, do not look like capacity.
 */
export class DrainRate {
  readonly #now: () => number
  readonly #service = new Map<string, number>()
  #full = false
  #since = 0
  #fullMilliseconds = 0
  #answers = 0
  #rate: number | undefined
  #lastFull = -Infinity
  #places: number | undefined

  /** @param now monotonic milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** Whether every place is taken. Called whenever that may have changed. */
  setFull(full: boolean): void {
    if (full === this.#full) return
    this.#count()
    this.#full = full
  }

  /** The handler has answered a call. @param method `package.Service/Method` */
  answered(method: string, milliseconds: number): void {
    if (this.#full) {
      this.#count()
      this.#answers += 1
    }
    const mean = this.#service.get(method)
    this.#service.set(method, mean === undefined ? milliseconds : mean + SERVICE_WEIGHT * (milliseconds - mean))
  }

  /** Mean milliseconds that calls take in the handler, by `package.Service/Method`. */
  get serviceMilliseconds(): ReadonlyMap<string, number> {
    return this.#service
  }

  /**
   * Answers per second with every place taken; undefined: not known.
   * @param places how many there are: a sample has an answer from each, because calls that began together end together.
   */
  perSecond(places: number): number | undefined {
    this.#count()
    if (places !== this.#places) this.#forget()
    this.#places = places
    const measured = this.#fullMilliseconds
    const over =
      this.#answers >= places
        ? measured >= (this.#rate === undefined ? SHORTEST_FIRST_SAMPLE_MILLISECONDS : 0)
        : measured >= Math.max(LONGEST_SAMPLE_MILLISECONDS, ROUNDS * Math.max(0, ...this.#service.values()))
    if (over && measured > 0) {
      const rate = (this.#answers * 1000) / measured
      const weight = this.#rate === undefined ? 1 : 1 - Math.exp(-measured / MEMORY_MILLISECONDS)
      this.#rate = (this.#rate ?? 0) + weight * (rate - (this.#rate ?? 0))
      this.#answers = 0
      this.#fullMilliseconds = 0
    }
    return this.#now() - this.#lastFull <= KNOWN_MILLISECONDS ? this.#rate : undefined
  }

  /** What was measured with another number of places says nothing of this one. */
  #forget(): void {
    if (this.#places === undefined) return
    this.#rate = undefined
    this.#answers = 0
    this.#fullMilliseconds = 0
  }

  #count(): void {
    const now = this.#now()
    if (this.#full && now - this.#since <= LONGEST_LOOK_MILLISECONDS) {
      this.#fullMilliseconds += now - this.#since
      this.#lastFull = now
    }
    this.#since = now
  }
}
