import http2 from 'node:http2'
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2'
import { gunzip } from 'node:zlib'
import { GrpcStatus } from '../errors.ts'
import { MAX_METADATA_VALUES, isMetadata } from '../metadata.ts'
import type { MetadataPairs } from '../metadata.ts'
import type { Answer } from '../results/outcome.ts'

/**
 * One unary call to the handler over loopback, written on node:http2 with the five-byte frame by hand: half of what a
 * general gRPC client costs (docs/performance.md), and the message stays bytes. Source of the wire format: the gRPC
 * project's PROTOCOL-HTTP2.md.
 */
export interface HandlerRequest {
  /** `/package.Service/Method` */
  readonly path: string
  readonly message: Buffer
  readonly metadata: MetadataPairs
  /** Metadata of our own, text only. */
  readonly extra: Readonly<Record<string, string>>
  readonly timeoutMilliseconds: number
}

export type AttemptResult =
  | { readonly kind: 'Answered'; readonly answer: Answer }
  /** The handler surely never saw the call. */
  | { readonly kind: 'NotReached'; readonly reason: string }
  /** HTTP/2 cannot carry this request, whatever the handler does. */
  | { readonly kind: 'Unsendable'; readonly reason: string }
  /** The handler may have seen the call, and its answer is lost. */
  | { readonly kind: 'Broken'; readonly reason: string }
  | { readonly kind: 'TimedOut' }
  | { readonly kind: 'TooLarge' }
  /** By `call`'s own cancel; the handler is told. */
  | { readonly kind: 'Cancelled' }
  /** What came back is not gRPC. */
  | { readonly kind: 'NotGrpc'; readonly reason: string }

export interface HandlerAddress {
  readonly host: string
  readonly port: number
}

const FRAME_BYTES = 5
const WINDOW_BYTES = 8 * 1024 * 1024
const RESERVED_BYTES_PER_SESSION_MEGABYTES = 1000
const { NGHTTP2_CANCEL, NGHTTP2_REFUSED_STREAM } = http2.constants
/** Node's types know the last field for servers only. */
const SESSION_OPTIONS: http2.ClientSessionOptions & { readonly strictSingleValueFields: boolean } = {
  settings: { enablePush: false, initialWindowSize: WINDOW_BYTES },
  maxSessionMemory: RESERVED_BYTES_PER_SESSION_MEGABYTES,
  // Metadata may stand twice whatever its name; Node would refuse a second `etag`.
  strictSingleValueFields: false,
}
const OF_THE_SESSION: ReadonlySet<string> = new Set([
  'ERR_HTTP2_INVALID_SESSION',
  'ERR_HTTP2_GOAWAY_SESSION',
  'ERR_HTTP2_OUT_OF_STREAMS',
])

/** Whether the connection, and not the call, is at its end: thrown, or, when the stream numbers are used up, told by the stream. */
const isOfTheSession = (error: unknown): boolean => OF_THE_SESSION.has((error as NodeJS.ErrnoException).code ?? '')

/** One connection, made when first needed and again after it broke. */
export class HandlerClient {
  readonly #maxMessageBytes: number
  #address: HandlerAddress
  #session: ClientHttp2Session | undefined

  constructor(address: HandlerAddress, maxMessageBytes: number) {
    this.#address = address
    this.#maxMessageBytes = maxMessageBytes
  }

  /** Calls that run stay on the old connection until they end. */
  moveTo(address: HandlerAddress): void {
    this.#address = address
    this.#session?.close()
    this.#session = undefined
  }

  close(): void {
    this.#session?.close()
    this.#session = undefined
  }

  /**
   * `onResult` is called exactly once, later.
   * @returns what cancels the call, as long as it has no result.
   */
  call(request: HandlerRequest, onResult: (result: AttemptResult) => void): () => void {
    if (request.metadata.length > MAX_METADATA_VALUES) {
      queueMicrotask(() => onResult({ kind: 'Unsendable', reason: `more than ${MAX_METADATA_VALUES} metadata values` }))
      return notOnItsWay
    }
    const session = this.#connected()
    let stream: ClientHttp2Stream
    try {
      stream = session.request(requestHeaders(request))
    } catch (error) {
      // The session was closed under us between two turns, and the next call makes a new one; or it is the request's fault.
      const kind = isOfTheSession(error) ? 'NotReached' : 'Unsendable'
      if (kind === 'NotReached') this.#leave(session)
      queueMicrotask(() => onResult({ kind, reason: (error as Error).message }))
      return notOnItsWay
    }
    stream.on('error', (error) => {
      if (isOfTheSession(error)) this.#leave(session)
    })
    const exchange = new Exchange(session, stream, this.#maxMessageBytes, request.timeoutMilliseconds, onResult)
    stream.end(frame(request.message))
    return () => exchange.cancel()
  }

  #connected(): ClientHttp2Session {
    const present = this.#session
    if (present !== undefined && !present.closed && !present.destroyed) return present
    const { host, port } = this.#address
    const session = http2.connect(`http://${host.includes(':') ? `[${host}]` : host}:${port}`, SESSION_OPTIONS)
    session.on('connect', () => session.setLocalWindowSize(WINDOW_BYTES))
    // Each stream reports its own failure.
    session.on('error', () => undefined)
    session.on('close', () => this.#forget(session))
    session.on('goaway', () => this.#forget(session))
    session.unref()
    this.#session = session
    return session
  }

  /** Takes no new calls; those that run on it end there. */
  #leave(session: ClientHttp2Session): void {
    this.#forget(session)
    session.close()
  }

  #forget(session: ClientHttp2Session): void {
    if (this.#session === session) this.#session = undefined
  }
}

const notOnItsWay = (): void => undefined

function requestHeaders({ path, metadata, extra, timeoutMilliseconds }: HandlerRequest): OutgoingHttpHeaders {
  // Without a prototype `constructor` is a name like any other.
  const headers: OutgoingHttpHeaders = Object.assign(Object.create(null) as OutgoingHttpHeaders, extra, {
    ':method': 'POST',
    ':path': path,
    te: 'trailers',
    'content-type': 'application/grpc',
    'grpc-timeout': grpcTimeout(timeoutMilliseconds),
    'user-agent': 'grpc-kafka-sidecar',
  })
  for (const [name, value] of metadata) {
    const text = name.endsWith('-bin') ? value.toString('base64') : value.toString('latin1')
    const before = headers[name]
    if (before === undefined) headers[name] = text
    else headers[name] = [...(Array.isArray(before) ? before : [String(before)]), text]
  }
  return headers
}

/** At most eight digits (PROTOCOL-HTTP2.md), so long times go out in seconds. */
function grpcTimeout(milliseconds: number): string {
  const whole = Math.max(1, Math.ceil(milliseconds))
  return whole < 100_000_000 ? `${whole}m` : `${Math.ceil(whole / 1000)}S`
}

function frame(message: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(FRAME_BYTES + message.length)
  bytes[0] = 0
  bytes.writeUInt32BE(message.length, 1)
  message.copy(bytes, FRAME_BYTES)
  return bytes
}

class Exchange {
  readonly #stream: ClientHttp2Stream
  readonly #maxMessageBytes: number
  readonly #timer: NodeJS.Timeout
  #onResult: ((result: AttemptResult) => void) | undefined
  #headers: IncomingHttpHeaders | undefined
  #trailers: IncomingHttpHeaders | undefined
  readonly #chunks: Buffer[] = []
  #bytes = 0
  #unpacking = false
  #failure: { readonly reason: string; readonly reached: boolean } | undefined

  constructor(
    session: ClientHttp2Session,
    stream: ClientHttp2Stream,
    maxMessageBytes: number,
    timeoutMilliseconds: number,
    onResult: (result: AttemptResult) => void,
  ) {
    this.#stream = stream
    this.#maxMessageBytes = maxMessageBytes
    this.#onResult = onResult
    // A session that never connected carried nothing to the handler.
    let connected = !session.connecting
    if (!connected) session.once('connect', () => (connected = true))
    this.#timer = setTimeout(() => this.#abandon({ kind: 'TimedOut' }), timeoutMilliseconds)
    stream.on('response', (headers) => (this.#headers = headers))
    stream.on('trailers', (trailers) => (this.#trailers = trailers))
    stream.on('data', (chunk: Buffer) => this.#receive(chunk))
    stream.on('end', () => {
      if (this.#trailers !== undefined || this.#headers?.['grpc-status'] !== undefined) this.#complete()
    })
    stream.on('error', (error) => {
      const refused = stream.rstCode === NGHTTP2_REFUSED_STREAM || isOfTheSession(error)
      this.#failure = { reason: error.message, reached: connected && !refused }
    })
    // Headers that no frame holds: node:http2 closes the stream as if the handler had refused it, and would so each time.
    stream.on('frameError', (_type, code) =>
      this.#settle({ kind: 'Unsendable', reason: `headers too large (HTTP/2 error ${code})` }),
    )
    stream.on('close', () => this.#closed(connected))
  }

  cancel(): void {
    if (this.#onResult !== undefined) this.#abandon({ kind: 'Cancelled' })
  }

  #receive(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    if (this.#bytes > this.#maxMessageBytes + FRAME_BYTES) this.#abandon({ kind: 'TooLarge' })
  }

  #abandon(result: AttemptResult): void {
    this.#settle(result)
    this.#stream.close(NGHTTP2_CANCEL)
  }

  #closed(connected: boolean): void {
    if (this.#onResult === undefined) return
    if (this.#trailers !== undefined || this.#headers !== undefined) {
      this.#complete()
      return
    }
    const { reason, reached } = this.#failure ?? { reason: 'the stream was closed', reached: connected }
    this.#settle(reached ? { kind: 'Broken', reason } : { kind: 'NotReached', reason })
  }

  #complete(): void {
    const headers = this.#headers ?? {}
    const trailersOnly = this.#trailers === undefined
    const trailers = this.#trailers ?? headers
    const text = trailers['grpc-status']
    if (text === undefined) {
      // RFC 9110 has no word for a lost trailer: the answer broke off after its headers.
      const http = Number(headers[':status'] ?? 0)
      if (http === 200 && !isGrpc(first(headers['content-type'])))
        this.#settle({ kind: 'NotGrpc', reason: 'its content-type is not application/grpc' })
      else if (http === 200)
        this.#settle({ kind: 'Broken', reason: this.#failure?.reason ?? 'the answer ended without a status' })
      else this.#settle({ kind: 'Answered', answer: answerOfHttpStatus(http) })
      return
    }
    const status = STATUS.test(String(text)) ? Number(text) : NaN
    if (!(status <= LAST_STATUS)) {
      this.#settle({ kind: 'NotGrpc', reason: 'grpc-status is no status' })
      return
    }
    const answer = {
      status,
      details: decodeMessage(first(trailers['grpc-message']) ?? ''),
      initialMetadata: trailersOnly ? [] : pairs(headers),
      trailingMetadata: pairs(trailers),
    }
    const bytes = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks)
    if (status !== GrpcStatus.OK) {
      this.#settle({ kind: 'Answered', answer: { ...answer, message: null } })
      return
    }
    if (bytes.length < FRAME_BYTES || bytes.readUInt32BE(1) !== bytes.length - FRAME_BYTES) {
      this.#settle({ kind: 'NotGrpc', reason: 'a unary answer is exactly one message' })
      return
    }
    const message = bytes.subarray(FRAME_BYTES)
    if (bytes[0] === 0) {
      this.#settle({ kind: 'Answered', answer: { ...answer, message } })
      return
    }
    if (bytes[0] !== 1 || first(headers['grpc-encoding']) !== 'gzip') {
      this.#settle({ kind: 'NotGrpc', reason: 'the message is compressed in a way that was not offered' })
      return
    }
    if (this.#unpacking) return
    this.#unpacking = true
    gunzip(message, { maxOutputLength: this.#maxMessageBytes }, (error, plain) => {
      if (error === null) this.#settle({ kind: 'Answered', answer: { ...answer, message: plain } })
      else if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') this.#settle({ kind: 'TooLarge' })
      else this.#settle({ kind: 'NotGrpc', reason: 'the message is not gzip' })
    })
  }

  #settle(result: AttemptResult): void {
    const onResult = this.#onResult
    if (onResult === undefined) return
    this.#onResult = undefined
    clearTimeout(this.#timer)
    onResult(result)
  }
}

const STATUS = /^[0-9]{1,2}$/
const LAST_STATUS = GrpcStatus.UNAUTHENTICATED

const isGrpc = (contentType = ''): boolean => /^application\/grpc([+;]|$)/.test(contentType)

const first = (value: string | string[] | undefined): string | undefined => (Array.isArray(value) ? value[0] : value)

/** What belongs to HTTP/2 or to this hop and is no metadata of the handler's. */
const NOT_METADATA: ReadonlySet<string> = new Set([
  'content-type',
  'grpc-status',
  'grpc-message',
  'grpc-encoding',
  'grpc-accept-encoding',
  'te',
  'user-agent',
  'date',
  'connection',
  'content-length',
  'transfer-encoding',
])

function pairs(headers: IncomingHttpHeaders): MetadataPairs {
  const found: [string, Buffer][] = []
  for (const name in headers) {
    if (name.charCodeAt(0) === 58 /* a pseudo-header's colon */ || NOT_METADATA.has(name) || name.length > 255) continue
    const value = headers[name]
    for (const one of Array.isArray(value) ? value : [value ?? '']) {
      if (!name.endsWith('-bin')) found.push([name, Buffer.from(one, 'latin1')])
      // Several values of one binary header may come joined by commas.
      else for (const part of one.split(',')) found.push([name, Buffer.from(part.trim(), 'base64')])
    }
  }
  return found.filter(([name, value]) => isMetadata(name, value))
}

/** Percent-decoding that never fails (PROTOCOL-HTTP2.md, "Status-Message"). */
function decodeMessage(text: string): string {
  if (!text.includes('%')) return text
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md */
function answerOfHttpStatus(http: number): Answer {
  const statuses: Readonly<Record<number, number>> = {
    400: GrpcStatus.INTERNAL,
    401: GrpcStatus.UNAUTHENTICATED,
    403: GrpcStatus.PERMISSION_DENIED,
    404: GrpcStatus.UNIMPLEMENTED,
    429: GrpcStatus.UNAVAILABLE,
    502: GrpcStatus.UNAVAILABLE,
    503: GrpcStatus.UNAVAILABLE,
    504: GrpcStatus.UNAVAILABLE,
  }
  return {
    status: statuses[http] ?? GrpcStatus.UNKNOWN,
    details: `the handler answered HTTP status ${http}`,
    initialMetadata: [],
    trailingMetadata: [],
    message: null,
  }
}
