import { spawn } from 'node:child_process'
import { dirname, resolve } from 'node:path'
import type { Exit } from '../child.ts'

/** Exit code of a command that found no way to do its work here, and says so (as Automake's tests have it). */
export const SKIPPED = 77

/** The project's folder. */
const root = resolve(dirname(import.meta.filename), '..', '..')

/** Arguments beginning with `-` are for `node --test`, the others name test files. */
export function splitArguments(args: readonly string[]): {
  readonly flags: readonly string[]
  readonly files: readonly string[]
} {
  return { flags: args.filter((arg) => arg.startsWith('-')), files: args.filter((arg) => !arg.startsWith('-')) }
}

/** Runs this Node in the project's folder on this terminal; SIGINT and SIGTERM are passed on. Answers how it ended. */
export function runNode(args: readonly string[], environment: NodeJS.ProcessEnv): Promise<Exit> {
  return new Promise((resolveExit, reject) => {
    const child = spawn(process.execPath, args, { cwd: root, env: environment, stdio: 'inherit' })
    const forward = (signal: NodeJS.Signals): void => {
      child.kill(signal)
    }
    const stop = (): void => {
      process.off('SIGINT', forward)
      process.off('SIGTERM', forward)
    }
    process.on('SIGINT', forward)
    process.on('SIGTERM', forward)
    child.once('error', (error) => {
      stop()
      reject(error)
    })
    child.once('exit', (code, signal) => {
      stop()
      resolveExit({ code, signal })
    })
  })
}

/** Makes this process end with the exit code of another; one that a signal ended counts as failed. */
export function endWith({ code }: Exit): void {
  process.exitCode = code ?? 1
}
