import { describeExit, startChild } from '../child.ts'

/** A program of the setup ended badly. `code` is `TOOL_FAILED`; the message holds the end of its output. */
export class ToolError extends Error {
  readonly code = 'TOOL_FAILED'
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'ToolError'
  }
}

export type ToolOptions = {
  readonly environment?: NodeJS.ProcessEnv
  readonly directory?: string
  /** Gets each line of its output as it comes. */
  readonly onLine?: (line: string) => void
  /** Ends the program; its reason is thrown. */
  readonly signal?: AbortSignal | undefined
}

const GRACE_MILLISECONDS = 5000
const LINES_KEPT = 15

/**
 * Runs a program to its end.
 * @throws ToolError when its exit code is not 0, StartError when it cannot be started
 */
export async function runTool(command: string, args: readonly string[], options: ToolOptions = {}): Promise<void> {
  const { environment, directory = process.cwd(), onLine, signal } = options
  signal?.throwIfAborted()
  const last: string[] = []
  const child = await startChild({
    name: command,
    command,
    args,
    directory,
    ...(environment === undefined ? {} : { environment }),
    output: {
      line: (text) => {
        if (text.trim() === '') return
        onLine?.(text)
        last.push(text)
        if (last.length > LINES_KEPT) last.shift()
      },
    },
  })
  const end = (): void => {
    void child.stop(GRACE_MILLISECONDS)
  }
  signal?.addEventListener('abort', end)
  const exit = await child.exited
  signal?.removeEventListener('abort', end)
  signal?.throwIfAborted()
  if (exit.code === 0) return
  throw new ToolError(`${command} ended with ${describeExit(exit)}:\n${last.map((line) => `    ${line}`).join('\n')}`)
}
