import { createHash } from 'node:crypto'
import type { MetadataPairs } from '../metadata.ts'

/** Everything that a handler's answer may depend on. */
export interface CacheKeyParts {
  /** `package.Service/Method` */
  readonly method: string
  /** Who calls; empty: anonymous. */
  readonly caller: string
  /** The request metadata that travels to the handler. */
  readonly metadata: MetadataPairs
  /** The request. */
  readonly message: Buffer
}

/**
 * Names calls that get the same answer: SHA-256 over all parts, each after its length, so that no two differ only in where one
 * part ends and the next begins.
 */
export function cacheKey({ method, caller, metadata, message }: CacheKeyParts): string {
  const hash = createHash('sha256')
  const lengths = Buffer.allocUnsafe(12 + 8 * metadata.length)
  lengths.writeUInt32BE(Buffer.byteLength(method), 0)
  lengths.writeUInt32BE(Buffer.byteLength(caller), 4)
  lengths.writeUInt32BE(metadata.length, 8)
  metadata.forEach(([name, value], index) => {
    lengths.writeUInt32BE(Buffer.byteLength(name), 12 + 8 * index)
    lengths.writeUInt32BE(value.length, 16 + 8 * index)
  })
  hash.update(lengths).update(method).update(caller)
  for (const [name, value] of metadata) hash.update(name).update(value)
  return hash.update(message).digest('base64')
}
