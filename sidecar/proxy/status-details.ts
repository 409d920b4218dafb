/**
 * A google.rpc.Status with one detail (google/rpc/status.proto, error_details.proto), as `grpc-status-details-bin` has it. Nested messages
 * of known shape: written by hand, so that a refusal stays cheap.
 */

export interface Detail {
  readonly type: 'RetryInfo' | 'RequestInfo'
  readonly value: Buffer
}

/** RetryInfo { Duration retry_delay = 1 }, Duration { int64 seconds = 1; int32 nanos = 2 } */
export function retryInfo(milliseconds: number): Detail {
  const seconds = Math.floor(milliseconds / 1000)
  const nanos = (milliseconds % 1000) * 1_000_000
  const duration = [...(seconds > 0 ? [0x08, ...varint(seconds)] : []), ...(nanos > 0 ? [0x10, ...varint(nanos)] : [])]
  return { type: 'RetryInfo', value: field(1, Buffer.from(duration)) }
}

/** RequestInfo { string request_id = 1 } */
export const requestInfo = (id: string): Detail => ({ type: 'RequestInfo', value: field(1, Buffer.from(id)) })

/** Status { int32 code = 1; string message = 2; repeated Any details = 3 }, Any { string type_url = 1; bytes value = 2 } */
export function encodeStatus(status: number, message: string, { type, value }: Detail): Buffer {
  const any = Buffer.concat([field(1, Buffer.from(`type.googleapis.com/google.rpc.${type}`)), field(2, value)])
  return Buffer.concat([Buffer.from([0x08, ...varint(status)]), field(2, Buffer.from(message)), field(3, any)])
}

/** A field that has its length before it. */
const field = (number: number, bytes: Buffer): Buffer =>
  Buffer.concat([Buffer.from([(number << 3) | 2, ...varint(bytes.length)]), bytes])

function varint(value: number): number[] {
  const bytes: number[] = []
  for (; value > 0x7f; value = Math.floor(value / 128)) bytes.push((value & 0x7f) | 0x80)
  bytes.push(value)
  return bytes
}
