/**
 * HTTP to the API server with the addresses, certificates and credentials of @kubernetes/client-node's KubeConfig. Its own
 * clients are not used: version 2.0.1 makes a new pool of connections for every request, and its watch drops lines that it
 * cannot parse.
 */
import { createHash } from 'node:crypto'
import { Agent as HttpAgent, request as httpRequest } from 'node:http'
import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import type { RequestOptions } from 'node:https'
import type { KubeConfig } from '@kubernetes/client-node'
import { KubeError } from './kube-error.ts'

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

export interface TransportRequest {
  readonly method: Method
  /** With its query. */
  readonly path: string
  readonly body?: string
  readonly contentType?: string
}

export interface Transport {
  /**
   * Resolves with the head of the answer; its body is still to be read. When the signal is aborted, reading it fails too.
   * @throws KubeError Unreachable; Unauthorized when there are no credentials; what the signal was aborted with.
   */
  send(request: TransportRequest, signal: AbortSignal): Promise<IncomingMessage>
  /** Ends the connections that nobody uses. */
  close(): void
}

/** Tokens and certificates that are rotated are valid for longer than this beyond the rotation. */
const CREDENTIALS_MILLISECONDS = 1000

const USER_AGENT = 'grpc-kafka-operator'
/** As client-go: connections through a load balancer that forgets them after a minute are found dead. */
const TCP_KEEP_ALIVE_MILLISECONDS = 30_000

export class HttpTransport implements Transport {
  readonly #config: KubeConfig
  /** For the certificates in use; files may be rotated. */
  #agent: HttpAgent | HttpsAgent | undefined
  #agentFor = ''
  /** The credentials as they were read last, and when, in monotonic milliseconds. */
  #read: RequestOptions | undefined
  #readAt = 0

  constructor(config: KubeConfig) {
    this.#config = config
  }

  async send(request: TransportRequest, signal: AbortSignal): Promise<IncomingMessage> {
    const cluster = this.#config.getCurrentCluster()
    if (cluster === null) throw new KubeError('Unreachable', 'the kubeconfig names no current cluster')
    const options = { ...(await this.#credentials()) }
    signal.throwIfAborted()
    const url = new URL(cluster.server.replace(/\/$/, '') + request.path)
    if (cluster.proxyUrl === undefined) options.agent = this.#ownAgent(url, options)
    options.method = request.method
    options.headers = { ...(options.headers as OutgoingHttpHeaders), ...headersOf(request) }
    try {
      return await sendOnce(url, options, request.body, signal)
    } catch (error) {
      // The server closed a connection that lay idle just when it was used again; nothing of the request was taken.
      if (!(error instanceof StaleConnectionError) || request.method === 'POST') throw error
      return sendOnce(url, options, request.body, signal)
    }
  }

  close(): void {
    this.#agent?.destroy()
  }

  /** Each reads files anew, or may start a program: a burst of requests does so once. */
  async #credentials(): Promise<RequestOptions> {
    const now = performance.now()
    if (this.#read !== undefined && now - this.#readAt < CREDENTIALS_MILLISECONDS) return this.#read
    const options: RequestOptions = {}
    try {
      await this.#config.applyToHTTPSOptions(options)
    } catch (cause) {
      throw new KubeError('Unauthorized', `no credentials: ${(cause as Error).message}`, { cause })
    }
    this.#read = options
    this.#readAt = now
    return options
  }

  #ownAgent(url: URL, { ca, cert, key, servername, rejectUnauthorized }: RequestOptions): HttpAgent | HttpsAgent {
    const tls = { ca, cert, key, servername, rejectUnauthorized }
    const hash = createHash('sha256').update(`${servername} ${rejectUnauthorized}`)
    for (const part of [ca, cert, key]) hash.update(' ').update((part ?? '') as string | Buffer)
    const fingerprint = hash.digest('base64')
    if (this.#agent === undefined || this.#agentFor !== fingerprint) {
      // What runs on the old connections goes on; they end when they are idle for long.
      const common = { keepAlive: true, keepAliveMsecs: TCP_KEEP_ALIVE_MILLISECONDS, scheduling: 'lifo' as const }
      this.#agent = url.protocol === 'http:' ? new HttpAgent(common) : new HttpsAgent({ ...common, ...defined(tls) })
      this.#agentFor = fingerprint
    }
    return this.#agent
  }
}

class StaleConnectionError extends KubeError {}

function sendOnce(
  url: URL,
  options: RequestOptions,
  body: string | undefined,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const open = url.protocol === 'http:' ? httpRequest : httpsRequest
    const sent = open(url, { ...options, signal })
    sent.once('response', resolve)
    sent.on('error', (cause: NodeJS.ErrnoException) => {
      if (signal.aborted) {
        reject(signal.reason as Error)
        return
      }
      const stale = sent.reusedSocket && (cause.code === 'ECONNRESET' || cause.code === 'EPIPE')
      const Kind = stale ? StaleConnectionError : KubeError
      reject(new Kind('Unreachable', `${options.method} ${url.origin}: ${cause.message || cause.code}`, { cause }))
    })
    sent.end(body)
  })
}

function headersOf({ body, contentType }: TransportRequest): OutgoingHttpHeaders {
  const common = { accept: 'application/json', 'user-agent': USER_AGENT }
  if (body === undefined) return common
  return {
    ...common,
    'content-type': contentType ?? 'application/json',
    'content-length': Buffer.byteLength(body),
  }
}

const defined = <T extends object>(fields: T): Partial<T> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>
