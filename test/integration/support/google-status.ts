/** google.rpc.Status with RetryInfo or RequestInfo, read by somebody else's code (google/rpc/status.proto, error_details.proto). */
import protobuf from 'protobufjs'

const { root } = protobuf.parse(`
  syntax = "proto3";
  message Duration { int64 seconds = 1; int32 nanos = 2; }
  message RetryInfo { Duration retry_delay = 1; }
  message RequestInfo { string request_id = 1; string serving_data = 2; }
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
`)

interface Status {
  readonly code: number
  readonly message: string
  readonly details: readonly { readonly typeUrl: string; readonly value: Uint8Array }[]
}

interface RetryInfo {
  readonly retryDelay: { readonly seconds?: string; readonly nanos?: number }
}

export interface RefusalStatus {
  readonly code: number
  readonly message: string
  /** One for each RetryInfo among the details. */
  readonly retryDelayMilliseconds: readonly number[]
  /** One for each RequestInfo. */
  readonly requestIds: readonly string[]
}

export function decodeStatus(bytes: Uint8Array): RefusalStatus {
  const { code, message, details } = read<Status>('Status', bytes)
  const delays = details
    .filter(({ typeUrl }) => typeUrl === 'type.googleapis.com/google.rpc.RetryInfo')
    .map(({ value }) => read<RetryInfo>('RetryInfo', value).retryDelay)
  const requestIds = details
    .filter(({ typeUrl }) => typeUrl === 'type.googleapis.com/google.rpc.RequestInfo')
    .map(({ value }) => read<{ readonly requestId: string }>('RequestInfo', value).requestId)
  return {
    code,
    message,
    requestIds,
    retryDelayMilliseconds: delays.map(({ seconds = '0', nanos = 0 }) => Number(seconds) * 1000 + nanos / 1_000_000),
  }
}

function read<Message>(name: string, bytes: Uint8Array): Message {
  const type = root.lookupType(name)
  return type.toObject(type.decode(bytes), { longs: String, arrays: true }) as Message
}
