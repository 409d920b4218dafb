import { GRPC_STATUS_NAMES } from '../../sidecar/errors.ts'
import type { DeadLetter } from './dead-letter.ts'

/** Which dead letters are meant. What is absent chooses nothing. */
export interface LetterFilter {
  /** `package.Service/Method`, or the method's short name. */
  readonly method?: string
  /** gRPC status by name. */
  readonly status?: string
  readonly callId?: Buffer
  /** Milliseconds since 1970: died then or later, and before. */
  readonly since?: number
  readonly until?: number
  /** A part of the reason. */
  readonly reason?: string
}

export function matches({ decoded, status, at, reason }: DeadLetter, filter: LetterFilter): boolean {
  const method = decoded.kind === 'Call' ? decoded.record.method : undefined
  const id = decoded.kind === 'Call' ? decoded.record.id : decoded.prefix?.id
  return (
    (filter.method === undefined || filter.method === method || filter.method === shortName(method)) &&
    (filter.status === undefined || filter.status === status) &&
    (filter.callId === undefined || (id !== undefined && filter.callId.equals(id))) &&
    (filter.since === undefined || at >= filter.since) &&
    (filter.until === undefined || at < filter.until) &&
    (filter.reason === undefined || reason.includes(filter.reason))
  )
}

const shortName = (method: string | undefined): string | undefined => method?.slice(method.lastIndexOf('/') + 1)

/** @param text a name in any case, or a number. @returns undefined for what is no gRPC status. */
export function statusName(text: string): string | undefined {
  const names: readonly string[] = GRPC_STATUS_NAMES
  return /^\d+$/.test(text) ? names[Number(text)] : names.find((name) => name === text.toUpperCase())
}

const UNITS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/**
 * @param text a time (ISO 8601), or so long ago: `90s`, `15m`, `2h`, `3d`.
 * @param now milliseconds since 1970.
 * @returns milliseconds since 1970; undefined for what is neither.
 */
export function timeOf(text: string, now: number): number | undefined {
  const ago = /^(\d{1,9})([smhd])$/.exec(text)
  if (ago !== null) return now - Number(ago[1]) * UNITS[ago[2] as keyof typeof UNITS]
  const time = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : NaN
  return Number.isNaN(time) ? undefined : time
}
