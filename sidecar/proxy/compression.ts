/**
 * gzip for answers. grpc-js reads compressed requests and never compresses what a server sends, so what it leaves out is done
 * here, on what version 1.14 exposes: a request's encoding, and the copying of a serialized message behind its five-byte prefix.
 * The rule is that of grpc-go: an answer is compressed as its request was.
 */
import { gzip } from 'node:zlib'
import type { ServerUnaryCall } from '@grpc/grpc-js'

/** Smaller messages grow by gzip's own 20 bytes, or hardly shrink. */
const SMALLEST_BYTES = 256
const COMPRESSED = 1

/** The part of a Buffer that grpc-js uses of a serialized message; copying it also sets the prefix' flag. */
export class CompressedMessage {
  readonly byteLength: number
  readonly #bytes: Buffer

  constructor(bytes: Buffer) {
    this.#bytes = bytes
    this.byteLength = bytes.length
  }

  copy(target: Buffer, at: number): number {
    target[at - 5] = COMPRESSED
    return this.#bytes.copy(target, at)
  }
}

/** Whether the client sent this request with gzip, and so reads it. */
export function usesGzip(request: ServerUnaryCall<Buffer, unknown>): boolean {
  const { call } = request as unknown as { readonly call?: { readonly incomingEncoding?: string } }
  return call?.incomingEncoding === 'gzip'
}

/** Calls back with what to send: compressed where that makes it smaller. */
export function compress(message: Buffer, done: (message: Buffer | CompressedMessage) => void): void {
  if (message.length < SMALLEST_BYTES) {
    done(message)
    return
  }
  gzip(message, (error, bytes) =>
    done(error !== null || bytes.length >= message.length ? message : new CompressedMessage(bytes)),
  )
}
