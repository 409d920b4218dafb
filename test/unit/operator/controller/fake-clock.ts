import { setImmediate as turn, setTimeout as pause } from 'node:timers/promises'
import type { Clock } from '../../../../operator/controller/clock.ts'

interface Timer {
  readonly at: number
  readonly run: () => void
}

/** Stands still unless it is told to go on. */
export class FakeClock implements Clock {
  /** While true, no time passes in passUntil: something is on its way that takes real time only. */
  busy: () => boolean = () => false
  #milliseconds = 0
  readonly #timers = new Set<Timer>()
  readonly now = (): number => Date.UTC(2026, 0, 1) + this.#milliseconds
  readonly monotonic = (): number => this.#milliseconds
  readonly after = (milliseconds: number, run: () => void): (() => void) => {
    const timer = { at: this.#milliseconds + milliseconds, run }
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }

  /** Timers that were set and neither went off nor were taken back. */
  get pending(): number {
    return this.#timers.size
  }

  /** Lets so much time pass; timers go off in their order, each at its time. */
  advance(milliseconds: number): void {
    const end = this.#milliseconds + milliseconds
    for (;;) {
      const [next] = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)
      if (next === undefined) break
      this.#timers.delete(next)
      this.#milliseconds = next.at
      next.run()
    }
    this.#milliseconds = end
  }
}

/** Lets everything go on that waits for nothing but promises and sockets of this process. */
export async function settle(): Promise<void> {
  for (let turns = 0; turns < 20; turns++) await turn()
  await pause(1)
}

/**
 * Lets time pass in small steps until the condition holds.
 * @throws when it does not within so many milliseconds of the fake clock, or a minute of the real one.
 */
export async function passUntil(
  clock: FakeClock,
  condition: () => boolean,
  { step = 100, most = 3_600_000 }: { readonly step?: number; readonly most?: number } = {},
): Promise<void> {
  const end = clock.monotonic() + most
  const realEnd = performance.now() + 60_000
  for (;;) {
    await settle()
    if (condition()) return
    if (clock.monotonic() >= end) throw new Error(`it did not happen within ${most} ms`)
    if (performance.now() >= realEnd) throw new Error('it did not happen within a minute of real time')
    if (!clock.busy()) clock.advance(step)
  }
}
