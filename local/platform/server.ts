import { describeExit, startChild, tail, type Child, type ChildOptions } from '../child.ts'
import { PartFailedError } from './part-failed.ts'

export type ServerOptions = {
  /** What people call it: "Kafka". */
  readonly name: string
  /** Where it answers, for messages: "127.0.0.1:9092". */
  readonly address: string
  /** How it is started, each time anew. */
  readonly process: Pick<ChildOptions, 'command' | 'args' | 'directory' | 'environment'>
  /** Gets its output; the end of it is the reason when it does not come up. */
  readonly logFile: string
  readonly startMilliseconds: number
  /** Resolves when it does its work. @throws the signal's reason */
  readonly untilAnswers: (signal: AbortSignal) => Promise<void>
}

/** A server as a process of its own, which whoever tests it may kill and start again. */
export type Server = {
  /** Of the process that runs, or ran last. */
  readonly pid: number
  /** Resolves when the process that runs now has ended, whoever ended it. */
  readonly exited: Promise<unknown>
  /** Sends a signal and, where it ends the process, waits for the end. */
  kill(signal: NodeJS.Signals): Promise<void>
  /** Starts it again as it was, after `kill` or `stop`; resolves when it answers. */
  start(signal?: AbortSignal): Promise<void>
  /** Ends it in order, or by force after the grace period (10 s when not given). May be called twice. */
  stop(graceMilliseconds?: number): Promise<void>
}

const STOP_MILLISECONDS = 10_000

/**
 * Starts a server and waits until it answers.
 *
 * @param signal  gives the start up; its reason is thrown and nothing is left running
 * @throws PartFailedError with the end of its log when it does not come up
 */
export async function startServer(options: ServerOptions, signal?: AbortSignal): Promise<Server> {
  let child = await launch(options, signal)
  return {
    get pid() {
      return child.pid
    },
    get exited() {
      return child.exited
    },
    kill: async (name) => {
      child.kill(name)
      if (name === 'SIGKILL' || name === 'SIGTERM' || name === 'SIGINT') await child.exited
    },
    start: async (given) => {
      if (!child.exit) throw new PartFailedError(options.name, 'it runs already', '')
      child = await launch(options, given)
    },
    stop: async (graceMilliseconds = STOP_MILLISECONDS) => {
      await child.stop(graceMilliseconds)
    },
  }
}

async function launch(options: ServerOptions, given?: AbortSignal): Promise<Child> {
  const { name, address, logFile, startMilliseconds } = options
  const child = await startChild({ ...options.process, name, output: { file: logFile } })
  const ended = new AbortController()
  void child.exited.then(() => ended.abort())
  const late = AbortSignal.timeout(startMilliseconds)
  try {
    await options.untilAnswers(AbortSignal.any([ended.signal, late, ...(given ? [given] : [])]))
    return child
  } catch (cause) {
    const exit = child.exit
    await child.stop(0)
    if (given?.aborted) throw given.reason
    const reason = exit
      ? `it ended with ${describeExit(exit)} while starting`
      : `it did not answer on ${address} within ${startMilliseconds / 1000} s`
    throw new PartFailedError(name, reason, await tail(logFile, 20), { cause })
  }
}
