import { pino } from 'pino'
import type { Logger } from 'pino'

export type { Logger }

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
