/** gRPC metadata between grpc-js and the form in which it travels. */
import http2 from 'node:http2'
import { Metadata } from '@grpc/grpc-js'
import { MAX_METADATA_VALUES, NO_METADATA, isMetadata } from '../metadata.ts'
import type { MetadataPairs } from '../metadata.ts'

export const MAX_METADATA_BYTES = 32_768
/** What HTTP/2 counts for a header field beside its name and value (RFC 9113, section 10.5.1). */
const FIELD_BYTES = 32

/** The declared part of a request's metadata; undefined: it is larger than `MAX_METADATA_BYTES` or `MAX_METADATA_VALUES`. */
export function declaredMetadata(metadata: Metadata, names: readonly string[]): MetadataPairs | undefined {
  if (names.length === 0) return NO_METADATA
  const pairs: [string, Buffer][] = []
  let bytes = 0
  for (const name of names) {
    for (const value of metadata.get(name)) {
      const held = typeof value === 'string' ? Buffer.from(value, 'latin1') : value
      bytes += name.length + held.length + FIELD_BYTES
      if (bytes > MAX_METADATA_BYTES || pairs.length === MAX_METADATA_VALUES) return undefined
      pairs.push([name, held])
    }
  }
  return pairs.length === 0 ? NO_METADATA : pairs
}

/** The first value of a name, as bytes; undefined where there is none, or an empty one. */
export function firstValue(metadata: Metadata, name: string): Buffer | undefined {
  const [value = ''] = metadata.get(name)
  if (value.length === 0) return undefined
  return typeof value === 'string' ? Buffer.from(value, 'latin1') : value
}

/** Names that HTTP itself knows; node:http2 throws when some of them stand twice. */
const OF_HTTP: ReadonlySet<unknown> = new Set([...Object.values(http2.constants), 'x-content-type-options'])

/**
 * An answer's metadata as grpc-js sends it. What no header may hold is left out: it must not cost the caller the answer,
 * nor this process its life.
 */
export function toGrpcMetadata(pairs: MetadataPairs): Metadata {
  const metadata = new Metadata()
  for (const [name, value] of pairs) {
    if (!isMetadata(name, value)) continue
    if (name.endsWith('-bin')) metadata.add(name, value)
    else if (OF_HTTP.has(name)) metadata.set(name, [...metadata.get(name), value.toString('latin1')].join(', '))
    else metadata.add(name, value.toString('latin1'))
  }
  return metadata
}
