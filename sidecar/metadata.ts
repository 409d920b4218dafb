/**
 * gRPC metadata as it travels through Kafka and Redis: names in lower case, values as bytes. A name that ends in
 * `-bin` holds any bytes (decoded from base64), any other holds printable ASCII. A name may stand several times.
 */
export type MetadataPairs = readonly (readonly [name: string, value: Buffer])[]

export const NO_METADATA: MetadataPairs = []

/** Metadata values of one call. A Node server refuses a request of more than 128 header fields; some are gRPC's own and ours. */
export const MAX_METADATA_VALUES = 100

const NAME = /^[a-z0-9._-]{1,128}$/
const PRINTABLE = /^[\x20-\x7e]*$/

/** Whether text is printable ASCII, which is all that a header may hold. */
export const isPrintable = (text: string): boolean => PRINTABLE.test(text)

/** Fields of one hop: HTTP/2 forbids most of them in a message (RFC 9113, section 8.2.2), each side writes the others itself. */
export const OF_THE_HOP: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'content-type',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
  'user-agent',
])

/** gRPC's own rule for metadata (PROTOCOL-HTTP2.md, "Custom-Metadata"); `grpc-` names are the protocol's own. */
export function isMetadata(name: string, value: Buffer): boolean {
  if (!NAME.test(name) || OF_THE_HOP.has(name) || (name.startsWith('grpc-') && name !== 'grpc-status-details-bin'))
    return false
  return name.endsWith('-bin') || PRINTABLE.test(value.toString('latin1'))
}
