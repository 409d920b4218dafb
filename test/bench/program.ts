/**
 * The programs of the benchmark's own processes, and how the main process talks to them: it forks a file, sends one
 * message at a time and gets one reply for each.
 */
import { fork } from 'node:child_process'
import { PerformanceObserver } from 'node:perf_hooks'

/** A child of the benchmark did something that it must not. `code` is `BENCH_CHILD`. */
export class ChildError extends Error {
  readonly code = 'BENCH_CHILD'
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'ChildError'
  }
}

export interface Program<Request, Reply> {
  readonly name: string
  readonly pid: number
  /** @throws ChildError when the program ends, or says that it failed. */
  ask(request: Request): Promise<Reply>
  /** Milliseconds spent in garbage collection since it began. */
  gcMilliseconds(): Promise<number>
  /** Resolves when it has ended. */
  stop(): Promise<void>
}

const GC = 'gc'
type Envelope = { readonly reply: unknown } | { readonly error: string }

/** @param file of this folder; it calls `serve`. */
export function startProgram<Request extends object, Reply>(
  name: string,
  file: string,
  nodeFlags: readonly string[],
): Program<Request, Reply> {
  const child = fork(new URL(file, import.meta.url).pathname, [], {
    execArgv: [...nodeFlags],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const { pid } = child
  if (pid === undefined) throw new ChildError(`${name} cannot be started`)
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  let last: Promise<unknown> = Promise.resolve()

  const exchange = (request: unknown): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const onExit = (): void => reject(new ChildError(`${name} ended`))
      child.once('exit', onExit)
      child.once('message', (message: Envelope) => {
        child.off('exit', onExit)
        if ('error' in message) reject(new ChildError(`${name}: ${message.error}`))
        else resolve(message.reply)
      })
      child.send(request as object, (error) => error && reject(new ChildError(`${name} is gone`, { cause: error })))
    })
  const inTurn = (request: unknown): Promise<unknown> => {
    const answer = last.then(() => exchange(request))
    last = answer.catch(() => undefined)
    return answer
  }
  return {
    name,
    pid,
    ask: (request) => inTurn(request) as Promise<Reply>,
    gcMilliseconds: () => inTurn(GC) as Promise<number>,
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
      await ended
    },
  }
}

/** Answers the main process' messages in this process, which ends when the main process does. */
export function serve<Request, Reply>(answer: (request: Request) => Promise<Reply>): void {
  let gcMilliseconds = 0
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) gcMilliseconds += duration
  }).observe({ entryTypes: ['gc'] })
  process.on('disconnect', () => process.exit())
  process.on('message', (request: Request | typeof GC) => {
    const reply = (envelope: Envelope): boolean => process.send?.(envelope) ?? false
    if (request === GC) {
      reply({ reply: gcMilliseconds })
      return
    }
    answer(request).then(
      (value) => reply({ reply: value }),
      (error: unknown) => reply({ error: String(error) }),
    )
  })
}
