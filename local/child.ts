import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { findOnPath } from './bootstrap/which.mjs'

/** How a process ended: one of the two is set, or neither when it could not be started. */
export type Exit = { readonly code: number | null; readonly signal: NodeJS.Signals | null }

export type ChildOptions = {
  /** What people call it: "Kafka", "worker-0". */
  readonly name: string
  /** A path, or a name that is looked for on PATH. */
  readonly command: string
  readonly args: readonly string[]
  readonly directory: string
  readonly environment?: NodeJS.ProcessEnv
  /** Standard output and error are appended to this file, or given line by line to a function. */
  readonly output: { readonly file: string } | { readonly line: (text: string) => void }
}

export type Child = {
  readonly name: string
  readonly pid: number
  /** Set once it has ended. */
  readonly exit: Exit | undefined
  readonly exited: Promise<Exit>
  /** Sends a signal to the process alone; nothing happens when it has ended. */
  kill(signal: NodeJS.Signals): void
  /** SIGTERM, then SIGKILL after the grace period; resolves when it has ended. */
  stop(graceMilliseconds: number): Promise<Exit>
}

/** A process could not be started. `code` is `NOT_STARTED`. */
export class StartError extends Error {
  readonly code = 'NOT_STARTED'
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'StartError'
  }
}

const setpriv = findOnPath('setpriv')

/**
 * Starts a process in a group of its own: the terminal's Ctrl-C does not reach it, so that whoever started it can stop
 * things in order; it is killed when this process dies without doing so (where `setpriv` exists); and what it leaves
 * behind in its group ends with it.
 *
 * @throws StartError when the program is not there or the system refuses to start it
 */
export async function startChild(options: ChildOptions): Promise<Child> {
  const { name, args, directory, output } = options
  const environment = options.environment ?? process.env
  const program = options.command.includes('/') ? options.command : findOnPath(options.command, environment['PATH'])
  if (program === undefined) throw new StartError(`${name}: the program "${options.command}" is not on PATH`)
  const [file, fileArgs] = setpriv ? [setpriv, ['--pdeathsig', 'KILL', '--', program, ...args]] : [program, [...args]]

  const log = 'file' in output ? openSync(output.file, 'a') : undefined
  let child: ChildProcess
  try {
    child = spawn(file, fileArgs, {
      cwd: directory,
      env: environment,
      detached: true,
      stdio: log === undefined ? ['ignore', 'pipe', 'pipe'] : ['ignore', log, log],
    })
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve)
      child.once('error', reject)
    })
  } catch (cause) {
    throw new StartError(`${name}: ${program} cannot be started in ${directory}: ${(cause as Error).message}`, {
      cause,
    })
  } finally {
    if (log !== undefined) closeSync(log)
  }
  child.on('error', () => {
    // A signal that could not be delivered: the process has ended, and `exited` says so.
  })
  if ('line' in output) {
    for (const stream of [child.stdout, child.stderr]) if (stream) createInterface(stream).on('line', output.line)
  }

  const pid = child.pid
  if (pid === undefined) throw new StartError(`${name}: ${program} was started without a process id`)
  let exit: Exit | undefined
  const exited = new Promise<Exit>((resolve) => {
    // `close` comes after the last line of output; `exit` alone could lose the reason it died of.
    child.once('exit', (code, signal) => {
      exit = { code, signal }
      signalGroup(pid, 'SIGKILL')
    })
    child.once('close', (code, signal) => {
      exit ??= { code, signal }
      resolve(exit)
    })
  })
  return {
    name,
    pid,
    exited,
    get exit() {
      return exit
    },
    kill: (signal) => {
      if (!exit) child.kill(signal)
    },
    stop: async (graceMilliseconds) => {
      if (exit) return exited
      child.kill('SIGTERM')
      const kill = setTimeout(() => child.kill('SIGKILL'), graceMilliseconds)
      try {
        return await exited
      } finally {
        clearTimeout(kill)
      }
    },
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal)
  } catch {
    // Nobody is left in the group, which is the usual case.
  }
}

/** "exit code 1" or "SIGKILL". */
export const describeExit = ({ code, signal }: Exit): string => signal ?? `exit code ${code ?? 'unknown'}`

/** The last lines of a log file, for an error message; empty when there is none. */
export async function tail(file: string, lines: number): Promise<string> {
  try {
    const handle = await open(file)
    try {
      const { size } = await handle.stat()
      const length = Math.min(size, 16_384)
      const { buffer } = await handle.read(Buffer.alloc(length), 0, length, size - length)
      return buffer.toString('utf8').trimEnd().split('\n').slice(-lines).join('\n')
    } finally {
      await handle.close()
    }
  } catch {
    return ''
  }
}
