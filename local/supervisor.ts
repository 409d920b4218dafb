import { describeExit, type Child, type Exit } from './child.ts'
import type { Report } from './report.ts'

const FIRST_PAUSE_MILLISECONDS = 200
const LONGEST_PAUSE_MILLISECONDS = 10_000
/** A process that lived this long has not failed at the start: its next pause is the first one again. */
const SETTLED_MILLISECONDS = 10_000

export type Supervised = {
  readonly name: string
  /** The process that runs; undefined in the pause before the next. */
  readonly child: Child | undefined
  /** Starts that ended within a short time, in a row. */
  readonly failures: number
  /** Ends it for good: SIGTERM, and SIGKILL after the grace period. Resolves when nothing runs. */
  stop(graceMilliseconds: number): Promise<void>
}

export type SupervisorOptions = {
  readonly name: string
  readonly start: () => Promise<Child>
  readonly report: Report
  /** Told of each end that nobody asked for. `failures` counts those in a row that came early. */
  readonly onExit?: (exit: Exit, failures: number) => void
  readonly now?: () => number
}

/** The pause before a process is started again: 200 ms after the first early end, doubled by each, at most 10 s. */
export const restartPause = (failures: number): number =>
  failures <= 0 ? 0 : Math.min(FIRST_PAUSE_MILLISECONDS * 2 ** (failures - 1), LONGEST_PAUSE_MILLISECONDS)

/**
 * Starts a process and starts it again whenever it ends, with growing pauses, until stopped.
 * @throws what `start` throws at its first use; later failures count as an end
 */
export async function supervise(options: SupervisorOptions): Promise<Supervised> {
  const { name, start, report, onExit } = options
  const now = options.now ?? (() => performance.now())
  const stopping = new AbortController()
  let child: Child | undefined = await start()
  let failures = 0

  const pause = (milliseconds: number): Promise<void> =>
    new Promise((resolve) => {
      if (stopping.signal.aborted) return resolve()
      const done = (): void => {
        clearTimeout(timer)
        stopping.signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, milliseconds)
      stopping.signal.addEventListener('abort', done)
    })

  const watch = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      const started = now()
      const exit: Exit = child ? await child.exited : { code: null, signal: null }
      child = undefined
      if (stopping.signal.aborted) return
      failures = now() - started >= SETTLED_MILLISECONDS ? 0 : failures + 1
      onExit?.(exit, failures)
      const wait = restartPause(failures)
      report(`${name}: ended with ${describeExit(exit)}, starting it again${wait > 0 ? ` in ${wait} ms` : ''}`)
      await pause(wait)
      if (stopping.signal.aborted) return
      try {
        child = await start()
      } catch (error) {
        report(`${name}: ${(error as Error).message}`)
      }
      // Asked to stop in the middle of the start: `stop` could not see this process.
      if (stopping.signal.aborted) await child?.stop(0)
    }
  }
  const watched = watch()

  return {
    name,
    get child() {
      return child
    },
    get failures() {
      return failures
    },
    stop: async (graceMilliseconds) => {
      stopping.abort()
      await child?.stop(graceMilliseconds)
      await watched
    },
  }
}
