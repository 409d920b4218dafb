import { spawn } from 'node:child_process'

/** A program of the setup ended badly. `code` is `TOOL_FAILED`; the message holds the end of its output. */
export class ToolError extends Error {
  readonly code = 'TOOL_FAILED'
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'ToolError'
  }
}

/**
 * Runs a program to its end.
 *
 * @param onLine  gets each line of its output as it comes
 * @throws ToolError when it cannot be started or its exit code is not 0
 */
export function runTool(
  command: string,
  args: readonly string[],
  options: {
    readonly environment?: NodeJS.ProcessEnv
    readonly directory?: string
    readonly onLine?: (line: string) => void
  } = {},
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: options.environment ?? process.env,
      ...(options.directory === undefined ? {} : { cwd: options.directory }),
    })
    const last: string[] = []
    const take = (text: string): void => {
      for (const line of text.split('\n')) {
        if (line.trim() === '') continue
        options.onLine?.(line)
        last.push(line)
        if (last.length > 15) last.shift()
      }
    }
    child.stdout.setEncoding('utf8').on('data', take)
    child.stderr.setEncoding('utf8').on('data', take)
    child.on('error', (cause) => reject(new ToolError(`${command} cannot be started: ${cause.message}`, { cause })))
    child.on('close', (code, signal) => {
      if (code === 0) resolve()
      else
        reject(
          new ToolError(
            `${command} ended with ${signal ?? `exit code ${code}`}:\n${last.map((line) => `    ${line}`).join('\n')}`,
          ),
        )
    })
  })
}
