/** A client of raw HTTP/2, which can do what no gRPC library does. */
import http2 from 'node:http2'
import type { ClientHttp2Session, IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2'
import { METHOD } from './service.ts'

export interface WireRequest {
  readonly path?: string
  /** Added to those of a proper unary call, or replacing them; undefined takes one away. */
  readonly headers?: OutgoingHttpHeaders
  /** Pieces of the body; each is written when the last one was taken. */
  readonly body?: Iterable<Buffer> | AsyncIterable<Buffer>
  /** How long the answer may take. */
  readonly milliseconds?: number
}

export interface WireAnswer {
  readonly httpStatus: number | undefined
  readonly grpcStatus: number | undefined
  readonly message: string
  readonly body: Buffer
  /** Code with which the stream was reset; 0: it ended in order. */
  readonly reset: number
  /** The server left the stream open until the time was over. */
  readonly timedOut: boolean
}

/** A message with the five bytes that gRPC puts before it. */
export function grpcRequest(message: Buffer, flag = 0, length = message.length): Buffer {
  const prefix = Buffer.alloc(5)
  prefix[0] = flag
  prefix.writeUInt32BE(length, 1)
  return Buffer.concat([prefix, message])
}

/** More than any server takes; node:http2 alone would refuse to send it. */
const LARGEST_HEADERS_BYTES = 16_777_216

/** Connects for as long as `use` takes. What breaks on the connection shows in the calls' answers. */
export async function withSession<Result>(
  port: number,
  use: (session: ClientHttp2Session) => Promise<Result>,
): Promise<Result> {
  const session = http2.connect(`http://127.0.0.1:${port}`, { maxSendHeaderBlockLength: LARGEST_HEADERS_BYTES })
  session.on('error', () => undefined)
  try {
    return await use(session)
  } finally {
    session.destroy()
  }
}

/** One request; resolves with whatever the server made of it. */
export async function wireCall(session: ClientHttp2Session, request: WireRequest): Promise<WireAnswer> {
  const { path = METHOD, headers = {}, body = [], milliseconds = 10_000 } = request
  const wanted: OutgoingHttpHeaders = {
    ':method': 'POST',
    ':path': path,
    te: 'trailers',
    'content-type': 'application/grpc',
    ...headers,
  }
  const stream = session.request(Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== undefined)))
  let timedOut = false
  const timer = setTimeout(() => {
    timedOut = true
    stream.close(http2.constants.NGHTTP2_CANCEL)
  }, milliseconds)
  let answered: IncomingHttpHeaders = {}
  let trailers: IncomingHttpHeaders = {}
  const chunks: Buffer[] = []
  stream.on('response', (value) => (answered = value))
  stream.on('trailers', (value) => (trailers = value))
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  stream.on('error', () => undefined)
  // An answer is whole at its end, also while this side still has something to say.
  const ended = new Promise<void>((resolve) => {
    stream.on('end', resolve)
    stream.on('close', resolve)
  })
  await Promise.race([write(stream, body), ended])
  await ended
  clearTimeout(timer)
  const reset = stream.rstCode ?? 0
  if (!stream.closed) stream.close(http2.constants.NGHTTP2_CANCEL)
  const grpcStatus = trailers['grpc-status'] ?? answered['grpc-status']
  const message = trailers['grpc-message'] ?? answered['grpc-message']
  return {
    httpStatus: answered[':status'] === undefined ? undefined : Number(answered[':status']),
    grpcStatus: grpcStatus === undefined ? undefined : Number(grpcStatus),
    message: decodeURIComponent(String(message ?? '')),
    body: Buffer.concat(chunks),
    reset,
    timedOut,
  }
}

async function write(stream: http2.ClientHttp2Stream, body: Iterable<Buffer> | AsyncIterable<Buffer>): Promise<void> {
  for await (const piece of body) {
    if (stream.closed || stream.destroyed) return
    await new Promise<void>((resolve) => stream.write(piece, () => resolve()))
  }
  if (!stream.closed && !stream.destroyed) stream.end()
}
