import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { pino } from 'pino'
import type { Logger } from 'pino'

export type { Logger }

/** How long the last lines may wait for a reader of stdout that is slow, or gone. */
const LAST_LINES_MILLISECONDS = 1000

/**
 * JSON lines on stdout, times in ISO 8601. Fields named here are never written, wherever somebody puts them by mistake.
 */
export function createLogger(level: string, bindings: Readonly<Record<string, string>>): Logger {
  return pino({
    level,
    base: bindings,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    redact: { paths: ['url', '*.url', 'password', '*.password', 'authorization', '*.authorization'], remove: true },
  })
}

/**
 * Resolves when every line is written, or nobody took them for a second: then they are dropped. To be called last.
 * @param logger one of createLogger
 */
export async function endLog(logger: Logger): Promise<void> {
  const parts = logger as unknown as Readonly<Record<symbol, unknown>>
  const destination = parts[pino.symbols.streamSym] as ReturnType<typeof pino.destination>
  const ended = once(destination, 'close').catch(() => undefined)
  destination.end()
  await Promise.race([ended, pause(LAST_LINES_MILLISECONDS, undefined, { ref: false })])
  // pino would go on writing what is left while the process exits, until somebody reads it or kills the process.
  destination.flushSync = () => undefined
}
