import { randomFillSync } from 'node:crypto'

/** A call's id: 16 bytes. Random ids are UUIDv7 (RFC 9562, section 5.7). */
export type CallId = Buffer

const POOL_CALLS = 256
const RANDOM_BYTES = 10

/**
 * Makes UUIDv7 ids. Random bytes are drawn for many ids at once: one system call per id costs more than the id.
 * @param now milliseconds since 1970 of the machine's own clock.
 */
export function callIdSource(now: () => number): () => CallId {
  const pool = Buffer.allocUnsafeSlow(POOL_CALLS * RANDOM_BYTES)
  let used = pool.length
  return () => {
    if (used === pool.length) {
      randomFillSync(pool)
      used = 0
    }
    const id = Buffer.allocUnsafe(16)
    id.writeUIntBE(now(), 0, 6)
    pool.copy(id, 6, used, used + RANDOM_BYTES)
    used += RANDOM_BYTES
    id[6] = 0x70 | ((id[6] ?? 0) & 0x0f)
    id[8] = 0x80 | ((id[8] ?? 0) & 0x3f)
    return id
  }
}

/** The canonical text form, `018f3c1e-....` (36 characters). */
export function formatCallId(id: CallId): string {
  const hex = id.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/** @returns undefined for text that is no UUID, with or without its dashes. */
export function parseCallId(text: string): CallId | undefined {
  return UUID.test(text) ? Buffer.from(text.replaceAll('-', ''), 'hex') : undefined
}

const UUID = /^(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/i
