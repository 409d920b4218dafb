/** Time as everything in this folder takes it, so that tests can turn it by hand. */
export interface Clock {
  /** Milliseconds since 1970: for what others read. */
  readonly now: () => number
  /** Milliseconds since some start, never set back: for measuring. */
  readonly monotonic: () => number
  /** Calls `run` once after so many milliseconds, unless the answered function is called before. */
  readonly after: (milliseconds: number, run: () => void) => () => void
}

/** setTimeout takes no more; whatever should wait longer than 24 days is looked at after them. */
const LONGEST_TIMER_MILLISECONDS = 2 ** 31 - 1

export const systemClock: Clock = {
  now: Date.now,
  monotonic: () => performance.now(),
  after: (milliseconds, run) => {
    const timer = setTimeout(run, Math.min(milliseconds, LONGEST_TIMER_MILLISECONDS))
    return () => clearTimeout(timer)
  },
}

/** Resolves after so many milliseconds, or at once when the signal is aborted; never rejects. */
export function pause(clock: Clock, milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve()
      return
    }
    const end = (): void => {
      cancel()
      signal.removeEventListener('abort', end)
      resolve()
    }
    const cancel = clock.after(milliseconds, end)
    signal.addEventListener('abort', end)
  })
}

/** Now in RFC 3339 with six digits, as Kubernetes' MicroTime. */
export const microTime = (clock: Clock): string => new Date(clock.now()).toISOString().replace('Z', '000Z')
