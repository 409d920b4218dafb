/** The service of the benchmark: raw bytes, and a reply that proves that it answers this very request. */
import { hash } from 'node:crypto'
import type { ServiceDefinition } from '@grpc/grpc-js'

export const SERVICE_NAME = 'bench.Echo'
export const METHOD_NAME = 'Call'
/** The same with results kept in the proxy. */
export const CACHED_METHOD_NAME = 'CachedCall'
export type MethodName = typeof METHOD_NAME | typeof CACHED_METHOD_NAME
export const pathOf = (method: string): string => `/${SERVICE_NAME}/${method}`

const DIGEST_BYTES = 32
const raw = (bytes: Buffer): Buffer => bytes

const methodOf = (name: MethodName): ServiceDefinition[string] => ({
  path: pathOf(name),
  requestStream: false,
  responseStream: false,
  requestSerialize: raw,
  requestDeserialize: raw,
  responseSerialize: raw,
  responseDeserialize: raw,
})

export const SERVICE: ServiceDefinition = {
  [METHOD_NAME]: methodOf(METHOD_NAME),
  [CACHED_METHOD_NAME]: methodOf(CACHED_METHOD_NAME),
}

/** The SHA-256 of the request, then zeros: as long as the request (at least 32 bytes). */
export function replyTo(request: Buffer): Buffer {
  const reply = Buffer.alloc(Math.max(DIGEST_BYTES, request.length))
  hash('sha256', request, 'buffer').copy(reply)
  return reply
}

export function isReplyTo(request: Buffer, reply: Buffer): boolean {
  if (reply.length !== Math.max(DIGEST_BYTES, request.length)) return false
  return hash('sha256', request, 'buffer').equals(reply.subarray(0, DIGEST_BYTES))
}
