const TICK_MILLISECONDS = 10
/** Shorter ones are a timer's own. */
const SHORTEST_MILLISECONDS = 5
/** Longer ago nobody asks. */
const KEPT_MILLISECONDS = 120_000

/** How much too late the timers of this process fire. */
export class LoopDelay {
  readonly #late: { readonly at: number; readonly milliseconds: number }[] = []
  readonly #onDelay: (milliseconds: number) => void
  #due = 0
  #mayEnd = false
  #timer: NodeJS.Timeout | undefined

  /** @param onDelay told of each, by how much. */
  constructor(onDelay: (milliseconds: number) => void = () => undefined) {
    this.#onDelay = onDelay
    this.#wait()
  }

  /** All delays together of which something fell into the time since then (monotonic milliseconds). */
  since(start: number): number {
    const now = performance.now()
    const pending = Math.max(0, now - this.#due)
    const past = this.#late.filter(({ at }) => at >= start).reduce((sum, { milliseconds }) => sum + milliseconds, 0)
    return past + pending
  }

  /** From now on the process may end. */
  unref(): void {
    this.#mayEnd = true
    this.#timer?.unref()
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  #wait(): void {
    this.#due = performance.now() + TICK_MILLISECONDS
    this.#timer = setTimeout(() => {
      const now = performance.now()
      const milliseconds = now - this.#due
      if (milliseconds > SHORTEST_MILLISECONDS) {
        this.#late.push({ at: now, milliseconds })
        this.#onDelay(milliseconds)
      }
      while ((this.#late[0]?.at ?? now) < now - KEPT_MILLISECONDS) this.#late.shift()
      this.#wait()
    }, TICK_MILLISECONDS)
    if (this.#mayEnd) this.#timer.unref()
  }
}
