/** The service of the benchmark: raw bytes, and a reply that proves that it answers this very request. */
import { hash } from 'node:crypto'
import type { ServiceDefinition } from '@grpc/grpc-js'

export const SERVICE_NAME = 'bench.Echo'
export const METHOD_NAME = 'Call'
export const PATH = `/${SERVICE_NAME}/${METHOD_NAME}`

const DIGEST_BYTES = 32
const raw = (bytes: Buffer): Buffer => bytes

export const SERVICE: ServiceDefinition = {
  [METHOD_NAME]: {
    path: PATH,
    requestStream: false,
    responseStream: false,
    requestSerialize: raw,
    requestDeserialize: raw,
    responseSerialize: raw,
    responseDeserialize: raw,
  },
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
