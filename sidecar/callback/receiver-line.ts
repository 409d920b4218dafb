/** Callbacks to one receiver at once: so many that a slow one takes few of a worker's connections, and none of the others' places. */
const MOST_AT_ONCE = 16

/**
 * The places of one receiver. While it is away nobody waits for a place or tries twice: what waits holds an offset, and so, in the end,
 * the calls of those whose receivers answer.
 */
export class ReceiverLine {
  readonly #waiting = new Set<(entered: boolean) => void>()
  #taken = 0
  #isAway = false
  #answers = 0

  /** How many times the receiver answered for good. */
  get answers(): number {
    return this.#answers
  }

  /** It did not answer in all the time that a callback has, nor since. */
  get isAway(): boolean {
    return this.#isAway
  }

  set isAway(isAway: boolean) {
    this.#isAway = isAway
    if (isAway) for (const end of this.#waiting) end(false)
  }

  answered(): void {
    this.#answers += 1
    this.isAway = false
  }

  /** Resolves with whether a place was got before the signal was aborted; it is to be given back. */
  enter(signal: AbortSignal): Promise<boolean> {
    if (this.#taken < MOST_AT_ONCE) {
      this.#taken += 1
      return Promise.resolve(true)
    }
    if (this.#isAway || signal.aborted) return Promise.resolve(false)
    return new Promise((resolve) => {
      const late = (): void => end(false)
      const end = (entered: boolean): void => {
        this.#waiting.delete(end)
        signal.removeEventListener('abort', late)
        resolve(entered)
      }
      this.#waiting.add(end)
      signal.addEventListener('abort', late)
    })
  }

  leave(): void {
    const [next] = this.#waiting
    if (next === undefined) this.#taken -= 1
    else next(true)
  }
}
