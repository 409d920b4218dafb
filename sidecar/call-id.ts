import { createHash, randomFillSync } from 'node:crypto'

/**
 * A call's id: 16 bytes. Without an idempotency key it is random, a UUIDv7 (RFC 9562, section 5.7), else made of the key, a UUIDv8
 * (section 5.8).
 */
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

/**
 * The id of a call with an idempotency key: SHA-256 over its parts, each with its length before it, so that no two calls give the
 * same bytes.
 * @param client the caller's identity; empty: anonymous.
 */
export function keyedCallId(service: string, client: string, method: string, key: string): CallId {
  const hash = createHash('sha256')
  for (const part of [service, client, method, key]) hash.update(`${Buffer.byteLength(part)}:${part}`)
  const id = hash.digest().subarray(0, 16)
  id[6] = 0x80 | ((id[6] ?? 0) & 0x0f)
  id[8] = 0x80 | ((id[8] ?? 0) & 0x3f)
  return id
}

/** Whether the call has an idempotency key. */
export const isKeyed = (id: CallId): boolean => (id[6] ?? 0) >> 4 === 8

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
