import type { Entry, Partition } from './partition.ts'

const LONGEST_TIMER_MILLISECONDS = 2_147_483_647

/** Records that wait for a time: their next attempt, or the deadline until which a newer reader may come. */
export class Parking {
  readonly #timers = new Map<Entry, NodeJS.Timeout>()

  get size(): number {
    return this.#timers.size
  }

  /** `then` is called when the time is over, unless the record was released before. */
  park(entry: Entry, milliseconds: number, then: () => void): void {
    const timer = setTimeout(
      () => {
        this.#timers.delete(entry)
        then()
      },
      Math.min(Math.max(1, milliseconds), LONGEST_TIMER_MILLISECONDS),
    )
    this.#timers.set(entry, timer)
  }

  /** The records of a partition that went elsewhere wait here no more. */
  release(partition: Partition): void {
    for (const [entry, timer] of this.#timers) {
      if (entry.partition !== partition) continue
      clearTimeout(timer)
      this.#timers.delete(entry)
    }
  }

  clear(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer)
    this.#timers.clear()
  }
}
