/**
 * What a refusal tells a client that can wait: `grpc-retry-pushback-ms` (gRFC A6) for gRPC libraries, and a google.rpc.Status
 * with google.rpc.RetryInfo (google/rpc/error_details.proto) for programs.
 */
import { Metadata } from '@grpc/grpc-js'

const RETRY_INFO = Buffer.from('type.googleapis.com/google.rpc.RetryInfo', 'latin1')

export function pushback(status: number, message: string, retryAfterMilliseconds: number): Metadata {
  const metadata = new Metadata()
  metadata.set('grpc-retry-pushback-ms', String(retryAfterMilliseconds))
  metadata.set('grpc-status-details-bin', encodeStatus(status, message, retryAfterMilliseconds))
  return metadata
}

/** Three nested messages of known shape: written by hand, so that a refusal stays cheap. */
export function encodeStatus(status: number, message: string, retryAfterMilliseconds: number): Buffer {
  // Duration { int64 seconds = 1; int32 nanos = 2 } in RetryInfo { Duration retry_delay = 1 }
  const seconds = Math.floor(retryAfterMilliseconds / 1000)
  const nanos = (retryAfterMilliseconds % 1000) * 1_000_000
  const duration = [...(seconds > 0 ? [0x08, ...varint(seconds)] : []), ...(nanos > 0 ? [0x10, ...varint(nanos)] : [])]
  const retryInfo = [0x0a, ...varint(duration.length), ...duration]
  // Any { string type_url = 1; bytes value = 2 }
  const any = Buffer.concat([
    Buffer.from([0x0a, ...varint(RETRY_INFO.length)]),
    RETRY_INFO,
    Buffer.from([0x12, ...varint(retryInfo.length), ...retryInfo]),
  ])
  // Status { int32 code = 1; string message = 2; repeated Any details = 3 }
  const text = Buffer.from(message)
  return Buffer.concat([
    Buffer.from([0x08, ...varint(status), 0x12, ...varint(text.length)]),
    text,
    Buffer.from([0x1a, ...varint(any.length)]),
    any,
  ])
}

function varint(value: number): number[] {
  const bytes: number[] = []
  for (; value > 0x7f; value = Math.floor(value / 128)) bytes.push((value & 0x7f) | 0x80)
  bytes.push(value)
  return bytes
}
