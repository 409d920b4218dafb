/** The gRPC side of the proxy: raw bytes in, raw bytes out, and nothing of Kafka or Redis. */
import { isDeepStrictEqual } from 'node:util'
import { Metadata, Server, ServerCredentials, logVerbosity, setLogVerbosity } from '@grpc/grpc-js'
import type { ServerUnaryCall, handleUnaryCall, sendUnaryData } from '@grpc/grpc-js'
import { HealthImplementation } from 'grpc-health-check'
import { formatCallId } from '../call-id.ts'
import type { CallId } from '../call-id.ts'
import type { ProxyMethodConfig, ProxyConfig } from '../config.ts'
import { GRPC_STATUS_NAMES, GrpcStatus } from '../errors.ts'
import type { LiveConfig } from '../live-config.ts'
import { FailureLog } from '../telemetry/failure-log.ts'
import type { FailedCall } from '../telemetry/failure-log.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Call, End, Pipeline } from './call.ts'
import { MethodMetrics, refusalCounters } from './call-metrics.ts'
import type { CallsService } from './calls-service.ts'
import { compress, usesGzip } from './compression.ts'
import type { CompressedMessage } from './compression.ts'
import { ConcurrentStreams } from './concurrent-streams.ts'
import { shortenLongTimeouts } from './long-timeouts.ts'
import { servedMethod } from './method.ts'
import { isUndecided } from './pipeline.ts'
import { loadReflection } from './reflection.ts'
import { replyTo } from './respond.ts'
import type { Reply } from './respond.ts'
import { encodeStatus, requestInfo } from './status-details.ts'
import { traceContext } from './trace-context.ts'
import { CALL_ID, countUnservedRequests } from './unserved-requests.ts'

export interface ProxyServerOptions {
  readonly live: LiveConfig<ProxyConfig>
  readonly pipeline: Pipeline
  readonly calls: CallsService
  readonly nextCallId: () => CallId
  /** Milliseconds since 1970 on this machine. */
  readonly localNow: () => number
  /** Milliseconds that never go back. */
  readonly monotonicNow: () => number
  readonly logger: Logger
  readonly metrics: Metrics
}

const KEEPALIVE_MILLISECONDS = 60_000
const KEEPALIVE_TIMEOUT_MILLISECONDS = 20_000
/** Streams of one connection above what may be in flight: those are refused with a reason and do not hang in the client. */
const SPARE_STREAMS = 1024

const raw = (bytes: Buffer): Buffer => bytes
/** A compressed message is written as it is (compression.ts). */
const sent = (message: Sent): Buffer => message as Buffer

export class ProxyServer {
  readonly #options: ProxyServerOptions
  readonly #server: Server
  readonly #health: HealthImplementation
  readonly #failures: FailureLog
  readonly #refusals: ReturnType<typeof refusalCounters>

  /** @throws ConfigError when reflection is asked for and the descriptor set is unusable. */
  constructor(options: ProxyServerOptions) {
    const config = options.live.current
    // grpc-js writes headers that it cannot read to the console, values and all: somebody's token may be among them.
    setLogVerbosity(logVerbosity.NONE)
    this.#options = options
    this.#failures = new FailureLog(options)
    this.#server = new Server({
      'grpc.max_receive_message_length': config.service.maxMessageBytes,
      // What is too large is refused by `replyTo`, in the words of the error table.
      'grpc.max_send_message_length': -1,
      'grpc.max_concurrent_streams': concurrentStreams(config),
      'grpc.keepalive_time_ms': KEEPALIVE_MILLISECONDS,
      'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MILLISECONDS,
      'grpc.enable_channelz': 0,
    })
    this.#refusals = refusalCounters(options.metrics)
    for (const method of config.proxy.methods) this.#serve(method)
    options.calls.addTo(this.#server)
    const streams = new ConcurrentStreams(this.#server)
    options.live.subscribe((now, before) => {
      this.#changeMethods(before.proxy.methods, now.proxy.methods)
      if (concurrentStreams(now) !== concurrentStreams(before)) streams.change(concurrentStreams(now))
    })
    this.#health = new HealthImplementation({ '': 'NOT_SERVING', [config.service.name]: 'NOT_SERVING' })
    this.#health.addToServer(this.#server)
    if (config.proxy.descriptorSetFile !== undefined) {
      loadReflection(config.proxy.descriptorSetFile, config.service.name).addToServer(this.#server)
    }
  }

  /**
   * @returns the port, which the system chose where the configuration says 0.
   * @throws when the address cannot be listened on.
   */
  listen(): Promise<number> {
    const { host, port } = this.#options.live.current.proxy
    const address = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(address, ServerCredentials.createInsecure(), (error, bound) => {
        if (error !== null) {
          reject(error)
          return
        }
        shortenLongTimeouts(this.#server)
        countUnservedRequests(this.#server, this.#options.metrics)
        resolve(bound)
      })
    })
  }

  /** What the standard health service tells. */
  setServing(serving: boolean): void {
    const status = serving ? 'SERVING' : 'NOT_SERVING'
    this.#health.setStatus('', status)
    this.#health.setStatus(this.#options.live.current.service.name, status)
  }

  /**
   * Takes no new connection and tells connected clients to go elsewhere (GOAWAY); calls in flight go on. Resolves when
   * every connection is closed.
   */
  stopIntake(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.tryShutdown(() => resolve())
    })
  }

  /** Cuts every connection. */
  close(): void {
    this.#server.forceShutdown()
    this.#failures.flush()
  }

  /** Calls in flight go on as they began: a call keeps its method's settings. */
  #changeMethods(before: readonly ProxyMethodConfig[], now: readonly ProxyMethodConfig[]): void {
    for (const method of before) {
      if (!now.some((one) => isDeepStrictEqual(one, method))) this.#server.unregister(this.#path(method))
    }
    for (const method of now) {
      if (!before.some((one) => isDeepStrictEqual(one, method))) this.#serve(method)
    }
  }

  #path({ name }: ProxyMethodConfig): string {
    return `/${this.#options.live.current.service.name}/${name}`
  }

  #serve(method: ProxyMethodConfig): void {
    this.#server.register(this.#path(method), this.#handler(method), sent, raw, 'unary')
  }

  #handler(settings: ProxyMethodConfig): handleUnaryCall<Buffer, Sent> {
    const { live, metrics, pipeline, nextCallId, localNow, monotonicNow } = this.#options
    const { service } = live.current
    const { maxMessageBytes } = service
    const refusals = this.#refusals
    const failures = this.#failures
    const method = servedMethod(service.name, settings)
    const methodMetrics = new MethodMetrics(metrics, service.name, settings.name)
    return (request, callback) => {
      const startedAt = monotonicNow()
      const deadline = request.getDeadline()
      const clientDeadline = typeof deadline === 'number' ? deadline : deadline.getTime()
      methodMetrics.started.inc()

      const respond = (end: End, call: Call): void => {
        const milliseconds = monotonicNow() - startedAt
        if (end.kind === 'Abandoned') {
          // grpc-js tells of a passed deadline and of a client that went away in the same way.
          const passed = localNow() >= clientDeadline - DEADLINE_TOLERANCE_MILLISECONDS
          const status = passed ? GrpcStatus.DEADLINE_EXCEEDED : GrpcStatus.CANCELLED
          methodMetrics.handled(status, milliseconds, call.traceparent)
          failures.write('CALLER_GONE', 'the caller waits no more', () => failedCall(call, status, milliseconds))
          return
        }
        const reply = replyTo(end, maxMessageBytes)
        methodMetrics.handled(reply.status, milliseconds, call.traceparent)
        if (reply.code !== undefined) {
          refusals.get(reply.code)?.inc()
          failures.write(reply.code, reply.details, () => failedCall(call, reply.status, milliseconds))
        }
        if (end.kind === 'Accepted') reply.initialMetadata?.set(CALL_ID, formatCallId(call.id))
        send(request, withCallId(reply, call.id, isUndecided(call, end)), callback)
      }

      const call = pipeline.start({
        id: nextCallId(),
        method,
        message: request.request,
        metadata: request.metadata,
        clientDeadline,
        startedAt,
        respond,
      })
      // Emitted for every call, also after its answer; an ended call takes no notice.
      request.once('cancelled', () => call.end(ABANDONED))
    }
  }
}

function failedCall(call: Call, status: number, milliseconds: number): Omit<FailedCall, 'code'> {
  return {
    callId: formatCallId(call.id),
    method: call.method.name,
    status: GRPC_STATUS_NAMES[status] ?? String(status),
    milliseconds,
    deadline: call.deadline,
    // A call that was refused early has not been asked for it yet.
    traceparent: call.traceparent ?? traceContext(call.metadata).traceparent,
  }
}

/** @param inDetails whether its caller may ask for the outcome later: then the error's details say of what. */
function withCallId(reply: Reply, id: CallId, inDetails: boolean): Reply & { readonly trailingMetadata: Metadata } {
  const trailingMetadata = reply.trailingMetadata ?? new Metadata()
  const text = formatCallId(id)
  trailingMetadata.set(CALL_ID, text)
  if (inDetails)
    trailingMetadata.set('grpc-status-details-bin', encodeStatus(reply.status, reply.details, requestInfo(text)))
  return { ...reply, trailingMetadata }
}

type Sent = Buffer | CompressedMessage

function send(
  request: ServerUnaryCall<Buffer, Sent>,
  reply: Reply & { readonly trailingMetadata: Metadata },
  callback: sendUnaryData<Sent>,
): void {
  if (reply.message === undefined) {
    if (reply.initialMetadata !== undefined) request.sendMetadata(reply.initialMetadata)
    callback({ code: reply.status, details: reply.details, metadata: reply.trailingMetadata })
    return
  }
  if (!usesGzip(request)) {
    if (reply.initialMetadata !== undefined) request.sendMetadata(reply.initialMetadata)
    callback(null, reply.message, reply.trailingMetadata)
    return
  }
  compress(reply.message, (message) => {
    const headers = reply.initialMetadata ?? new Metadata()
    headers.set('grpc-encoding', 'gzip')
    request.sendMetadata(headers)
    callback(null, message, reply.trailingMetadata)
  })
}

/** Streams of one connection. */
const concurrentStreams = ({ proxy: { maxInFlight, rateLimit } }: ProxyConfig): number =>
  maxInFlight + (rateLimit?.maxWaiting ?? 0) + SPARE_STREAMS

/** A deadline travels as a span of time: the server's is late by as long as the request was on its way. */
const DEADLINE_TOLERANCE_MILLISECONDS = 100

const ABANDONED: End = { kind: 'Abandoned' }
