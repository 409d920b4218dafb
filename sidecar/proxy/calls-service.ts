/** The service `grpckafka.v1.Calls` (calls.proto): calls by their ids. */
import { fileURLToPath } from 'node:url'
import { Metadata } from '@grpc/grpc-js'
import type { MethodDefinition, Server, ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { formatCallId, parseCallId } from '../call-id.ts'
import type { CallId } from '../call-id.ts'
import { ERRORS, GrpcStatus } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import type { MetadataPairs } from '../metadata.ts'
import type { CallResults, KnownCall } from '../results/call-results.ts'
import { OutcomeFormatError } from '../results/outcome.ts'
import type { Answer } from '../results/outcome.ts'
import type { Gauge, Metrics } from '../telemetry/metrics.ts'
import { MethodMetrics } from './call-metrics.ts'
import type { Gate } from './gate.ts'
import { replyTo } from './respond.ts'

export const CALLS_SERVICE = 'grpckafka.v1.Calls'

/** Requests of this service that one replica holds, nearly all of them waiting. */
const MOST_LOOKUPS = 1024
const SHORTEST_PAUSE_MILLISECONDS = 25
const LONGEST_PAUSE_MILLISECONDS = 200
const LONGEST_WAIT_MILLISECONDS = 600_000

export interface CallsServiceOptions {
  readonly results: Pick<CallResults, 'find' | 'isPending' | 'cancel'>
  readonly gate: Pick<Gate, 'state'>
  /** The user's own service: only its calls are told of. */
  readonly service: string
  readonly maxMessageBytes: number
  /** Milliseconds that never go back. */
  readonly monotonicNow: () => number
  readonly metrics: Metrics
}

interface Request {
  readonly id: string
  readonly timeout?: { readonly seconds: number; readonly nanos: number } | null
}

/** As calls.proto has it. */
interface CallMessage {
  readonly id: string
  readonly metadata: {
    readonly state: string
    readonly method: string
    readonly partition?: number
    readonly offset?: number
    readonly attempts: number
    readonly initialMetadata: readonly { readonly name: string; readonly value: Buffer }[]
    readonly trailingMetadata: readonly { readonly name: string; readonly value: Buffer }[]
  }
  readonly done: boolean
  readonly error?: { readonly code: number; readonly message: string; readonly details: readonly Detail[] }
  readonly response?: Buffer
}

interface Detail {
  readonly type_url: string
  readonly value: Uint8Array
}

/** Ends one request with a row of `ERRORS`. */
class LookupError extends Error {
  readonly code: ErrorCode
  constructor(code: ErrorCode) {
    super(ERRORS[code].message)
    this.code = code
  }
}

export class CallsService {
  readonly #options: CallsServiceOptions
  readonly #gauge: Gauge
  readonly #draining = new AbortController()
  #lookups = 0

  constructor(options: CallsServiceOptions) {
    this.#options = options
    this.#gauge = options.metrics.gauge('grpc_kafka_result_lookups')
  }

  addTo(server: Server): void {
    const register = (name: string, work: (request: Request, gone: AbortSignal) => Promise<KnownCall>): void => {
      const method = CALLS[name]
      if (method === undefined) throw new Error(`calls.proto has no ${name}`)
      const metrics = new MethodMetrics(this.#options.metrics, CALLS_SERVICE, name)
      server.register(
        method.path,
        (call: ServerUnaryCall<Request, CallMessage>, callback: sendUnaryData<CallMessage>) =>
          void this.#serve(call, callback, metrics, work),
        method.responseSerialize,
        method.requestDeserialize,
        'unary',
      )
    }
    register('Get', ({ id }) => this.#find(idIn(id)))
    register('Wait', (request, gone) => this.#wait(request, gone))
    register('Cancel', ({ id }) => this.#cancel(idIn(id)))
  }

  /** What waits is sent to another replica, which knows as much. */
  drain(): void {
    this.#draining.abort()
  }

  /** Resolves, and never rejects, when the request has its answer. */
  async #serve(
    call: ServerUnaryCall<Request, CallMessage>,
    callback: sendUnaryData<CallMessage>,
    metrics: MethodMetrics,
    work: (request: Request, gone: AbortSignal) => Promise<KnownCall>,
  ): Promise<void> {
    const { monotonicNow } = this.#options
    const startedAt = monotonicNow()
    const gone = new AbortController()
    call.once('cancelled', () => gone.abort())
    metrics.started.inc()
    this.#gauge.set(++this.#lookups)
    let status: number = GrpcStatus.OK
    try {
      if (this.#options.gate.state !== 'Open')
        throw new LookupError(this.#options.gate.state === 'Draining' ? 'DRAINING' : 'NOT_READY')
      if (this.#lookups > MOST_LOOKUPS) throw new LookupError('TOO_MANY_LOOKUPS')
      callback(null, this.#message(await work(call.request, gone.signal)))
    } catch (error) {
      const code = error instanceof LookupError ? error.code : codeOf(error)
      status = GrpcStatus[ERRORS[code].status]
      callback({ code: status, details: ERRORS[code].message, metadata: new Metadata() })
    }
    this.#gauge.set(--this.#lookups)
    metrics.handled(gone.signal.aborted ? GrpcStatus.CANCELLED : status, monotonicNow() - startedAt, undefined)
  }

  async #find(id: CallId): Promise<KnownCall> {
    const { results, service } = this.#options
    const known = await results.find(id)
    // A topic belongs to one service at a time; one that was there before may have had it.
    if (known === undefined || !known.method.startsWith(`${service}/`)) throw new LookupError('CALL_NOT_FOUND')
    return known
  }

  async #wait({ id: text, timeout }: Request, gone: AbortSignal): Promise<KnownCall> {
    const { monotonicNow } = this.#options
    const id = idIn(text)
    const given = timeout == null ? LONGEST_WAIT_MILLISECONDS : timeout.seconds * 1000 + timeout.nanos / 1_000_000
    const endsAt = monotonicNow() + Math.min(Math.max(given, 0), LONGEST_WAIT_MILLISECONDS)
    const enough = AbortSignal.any([gone, this.#draining.signal])
    let known = await this.#find(id)
    let pause = SHORTEST_PAUSE_MILLISECONDS
    while (isPending(known)) {
      const remaining = endsAt - monotonicNow()
      if (remaining <= 0 || gone.aborted) return known
      await sleep(Math.min(pause, remaining), enough)
      if (this.#draining.signal.aborted) throw new LookupError('DRAINING')
      pause = Math.min(2 * pause, LONGEST_PAUSE_MILLISECONDS)
      known = await this.#look(known)
    }
    return known
  }

  /** While Redis is away the call has no outcome that anybody could read: whoever waits goes on. */
  async #look(known: KnownCall): Promise<KnownCall> {
    try {
      return (await this.#options.results.isPending(known.id)) ? known : await this.#find(known.id)
    } catch (error) {
      if (error instanceof LookupError || error instanceof OutcomeFormatError) throw error
      return known
    }
  }

  async #cancel(id: CallId): Promise<KnownCall> {
    const known = await this.#find(id)
    // Of one that is cancelled workers may not have been told: Redis may have gone away in between.
    if (!isPending(known) && known.state.state !== 'Cancelled') return known
    await this.#options.results.cancel(known)
    return this.#find(id)
  }

  #message({ id, method, place, state }: KnownCall): CallMessage {
    const about = { id: formatCallId(id), metadata: { method, ...place, attempts: 0, ...NO_METADATA } }
    switch (state.state) {
      case 'Claimed':
      case 'Enqueued':
        return { ...about, metadata: { ...about.metadata, state: 'PENDING' }, done: false }
      case 'Expired':
      case 'Cancelled': {
        const { status, details } = replyTo({ kind: 'Outcome', outcome: state }, this.#options.maxMessageBytes)
        const metadata = { ...about.metadata, state: state.state.toUpperCase() }
        return { ...about, metadata, done: true, error: { code: status, message: details, details: [] } }
      }
      case 'Answered':
      case 'DeadLettered': {
        const { status, details, message } = replyTo({ kind: 'Outcome', outcome: state }, this.#options.maxMessageBytes)
        const metadata = {
          ...about.metadata,
          ...state.place,
          state: state.state === 'Answered' ? 'ANSWERED' : 'DEAD_LETTERED',
          initialMetadata: values(state.initialMetadata),
          trailingMetadata: values(state.trailingMetadata),
        }
        if (status === GrpcStatus.OK && message !== undefined)
          return { ...about, metadata, done: true, response: message }
        return { ...about, metadata, done: true, error: { code: status, message: details, details: detailsOf(state) } }
      }
    }
  }
}

const NO_METADATA = { initialMetadata: [], trailingMetadata: [] }
const isPending = ({ state: { state } }: KnownCall): boolean => state === 'Claimed' || state === 'Enqueued'

const values = (pairs: MetadataPairs) => pairs.map(([name, value]) => ({ name, value }))

function idIn(text: string): CallId {
  const id = parseCallId(text)
  if (id === undefined) throw new LookupError('CALL_ID_INVALID')
  return id
}

const codeOf = (error: unknown): ErrorCode =>
  error instanceof OutcomeFormatError ? 'RESULT_UNREADABLE' : 'RESULTS_UNAVAILABLE'

/** Resolves early when the signal is aborted. */
function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const done = (): void => {
    clearTimeout(timer)
    signal.removeEventListener('abort', done)
    resolve()
  }
  const timer = setTimeout(done, milliseconds)
  signal.addEventListener('abort', done)
  if (signal.aborted) done()
  return promise
}

/** What calls.proto says. It is a part of ours: where it does not load, the installation is broken. */
export const CALLS_PROTO = loadSync(fileURLToPath(new URL('calls.proto', import.meta.url)), {
  longs: Number,
  enums: String,
  defaults: true,
})
const CALLS = CALLS_PROTO[CALLS_SERVICE] as unknown as Readonly<Record<string, MethodDefinition<Request, CallMessage>>>
const STATUS = CALLS_PROTO['grpckafka.v1.Status'] as unknown as {
  deserialize(bytes: Buffer): { readonly details: readonly Detail[] }
}

/** The handler's own, where they can be read: nobody has looked at them before. */
function detailsOf({ trailingMetadata }: Answer): readonly Detail[] {
  const bytes = trailingMetadata.find(([name]) => name === 'grpc-status-details-bin')?.[1]
  if (bytes === undefined) return []
  try {
    return STATUS.deserialize(bytes).details
  } catch {
    return []
  }
}
