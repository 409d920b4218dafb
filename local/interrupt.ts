/** Thrown, as the reason of an aborted signal, when a person or a supervisor asked this program to end. */
export class Interrupted extends Error {
  readonly code = 'INTERRUPTED'
  constructor(signal: NodeJS.Signals) {
    super(`${signal} received`)
    this.name = 'Interrupted'
  }
}

/** npm passes Ctrl-C on to a process that the terminal has already told: that close together it is one key press. */
const SAME_KEY_PRESS_MILLISECONDS = 500

/**
 * Runs `work` with a signal that SIGINT, SIGTERM or SIGHUP abort, so that it can stop things in order; a second press
 * of Ctrl-C ends this process at once (what it started is ended by the system).
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  let first: number | undefined
  const onSignal = (signal: NodeJS.Signals): void => {
    if (first === undefined) {
      first = performance.now()
      controller.abort(new Interrupted(signal))
    } else if (signal === 'SIGINT' && performance.now() - first > SAME_KEY_PRESS_MILLISECONDS) {
      process.exit(130)
    }
  }
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const signal of signals) process.on(signal, onSignal)
  try {
    return await work(controller.signal)
  } finally {
    for (const signal of signals) process.off(signal, onSignal)
  }
}
