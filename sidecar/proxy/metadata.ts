/** gRPC metadata between grpc-js and the form in which it travels. */
import { Metadata } from '@grpc/grpc-js'
import { NO_METADATA, isMetadata } from '../metadata.ts'
import type { MetadataPairs } from '../metadata.ts'

export const MAX_METADATA_BYTES = 32_768
/** What HTTP/2 counts for a header field beside its name and value (RFC 9113, section 10.5.1). */
const FIELD_BYTES = 32

/** The declared part of a request's metadata; undefined: it is larger than `MAX_METADATA_BYTES`. */
export function declaredMetadata(metadata: Metadata, names: readonly string[]): MetadataPairs | undefined {
  if (names.length === 0) return NO_METADATA
  const pairs: [string, Buffer][] = []
  let bytes = 0
  for (const name of names) {
    for (const value of metadata.get(name)) {
      const held = typeof value === 'string' ? Buffer.from(value, 'latin1') : value
      bytes += name.length + held.length + FIELD_BYTES
      if (bytes > MAX_METADATA_BYTES) return undefined
      pairs.push([name, held])
    }
  }
  return pairs.length === 0 ? NO_METADATA : pairs
}

/** An answer's metadata as grpc-js sends it. What no header may hold is left out: it must not cost the caller the answer. */
export function toGrpcMetadata(pairs: MetadataPairs): Metadata {
  const metadata = new Metadata()
  for (const [name, value] of pairs)
    if (isMetadata(name, value)) metadata.add(name, name.endsWith('-bin') ? value : value.toString('latin1'))
  return metadata
}
