/**
 * The API server over HTTP: JSON, lists, watches and the verbs, with the habits of client-go's `rest` package: a bucket for
 * all requests of one client, a timeout for each, and what the server says by Retry-After waited out (at most ten times).
 */
import type { IncomingMessage } from 'node:http'
import { pause } from './clock.ts'
import type { Clock } from './clock.ts'
import type { KubeReader, ListOptions, ListPage, WatchEvent, WatchOptions } from './kube-client.ts'
import { KubeError, errorOfAnswer, isKubeError } from './kube-error.ts'
import { withTimeout } from './linked-abort.ts'
import { collectionPath, objectPath, resourceName } from './object.ts'
import type { KubeObject, ObjectKey, Resource } from './object.ts'
import type { TokenBucket } from './rate-limiter.ts'
import type { Method, Transport, TransportRequest } from './transport.ts'

export interface RestClientOptions {
  readonly transport: Transport
  readonly clock: Clock
  /** Without: requests are begun at once. */
  readonly bucket?: TokenBucket
  readonly requestTimeoutMilliseconds?: number
  /** @param code HTTP's status, or `<error>` where there was no answer. */
  readonly onRequest?: (code: string, method: Method) => void
}

type Query = Readonly<Record<string, string | undefined>>

export interface RestRequest {
  readonly method: Method
  readonly path: string
  readonly query?: Query
  readonly body?: unknown
  readonly contentType?: string
}

const REQUEST_MILLISECONDS = 30_000
const MOST_RETRIES = 10
const LONGEST_RETRY_AFTER_MILLISECONDS = 60_000

export class RestClient implements KubeReader {
  readonly #options: RestClientOptions
  readonly #timeout: number

  constructor(options: RestClientOptions) {
    this.#options = options
    this.#timeout = options.requestTimeoutMilliseconds ?? REQUEST_MILLISECONDS
  }

  /**
   * One request and its answer, parsed.
   * @throws KubeError
   */
  async request(request: RestRequest, signal?: AbortSignal): Promise<unknown> {
    const what = `${request.method} ${request.path}`
    for (let retries = 0; ; retries++) {
      const { status, retryAfterMilliseconds, text } = await this.#once(what, request, signal)
      if (status >= 200 && status < 300) return parse(what, text)
      if (retryAfterMilliseconds === undefined || retries === MOST_RETRIES) throw errorOfAnswer(what, status, text)
      await this.#pause(what, retryAfterMilliseconds, signal)
    }
  }

  async get<T extends KubeObject>(resource: Resource<T>, key: ObjectKey, signal?: AbortSignal): Promise<T> {
    return (await this.request({ method: 'GET', path: objectPath(resource, key) }, signal)) as T
  }

  async list<T extends KubeObject>(
    resource: Resource<T>,
    { namespace, labelSelector, fieldSelector, limit, continueToken }: ListOptions,
    signal?: AbortSignal,
  ): Promise<ListPage<T>> {
    const path = collectionPath(resource, namespace)
    const query = { labelSelector, fieldSelector, limit: limit?.toString(), continue: continueToken }
    const list = (await this.request({ method: 'GET', path, query }, signal)) as {
      readonly metadata?: { readonly resourceVersion?: string; readonly continue?: string }
      readonly items?: readonly T[] | null
    }
    const { resourceVersion, continue: next } = list.metadata ?? {}
    if (resourceVersion === undefined) throw new KubeError('Malformed', `GET ${path}: the answer is no list`)
    // Items of a list of a built-in kind do not say what they are.
    const { apiVersion, kind } = resource
    const items = (list.items ?? []).map((item) => ({ ...item, apiVersion, kind }))
    return { items, resourceVersion, ...(next !== undefined && next !== '' && { continueToken: next }) }
  }

  async *watch<T extends KubeObject>(
    resource: Resource<T>,
    { namespace, labelSelector, fieldSelector, resourceVersion, timeoutSeconds, silenceMilliseconds }: WatchOptions,
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent<T>, void, undefined> {
    const path = collectionPath(resource, namespace)
    const what = `watch ${path}`
    const query = {
      watch: 'true',
      allowWatchBookmarks: 'true',
      labelSelector,
      fieldSelector,
      resourceVersion,
      timeoutSeconds: timeoutSeconds.toString(),
    }
    await this.#token(what, signal)
    const silence = new SilenceGuard(this.#options.clock, silenceMilliseconds, what, signal)
    try {
      const response = await this.#send({ method: 'GET', path: withQuery(path, query) }, silence.signal)
      silence.heard()
      const status = response.statusCode ?? 0
      if (status !== 200) throw errorOfAnswer(what, status, await readText(response))
      for await (const line of lines(response, () => silence.heard())) yield watchEvent<T>(what, resource, line)
    } catch (error) {
      throw asKubeError(what, error, silence.signal)
    } finally {
      silence.end()
    }
  }

  async #once(
    what: string,
    { method, path, query, body, contentType }: RestRequest,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly status: number; readonly retryAfterMilliseconds?: number; readonly text: string }> {
    await this.#token(what, signal)
    const late = (): Error => new KubeError('Timeout', `${what}: no answer in ${this.#timeout} ms`)
    const request: TransportRequest = {
      method,
      path: withQuery(path, query),
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(contentType !== undefined && { contentType }),
    }
    try {
      return await withTimeout(this.#options.clock, this.#timeout, late, signal, async (own) => {
        try {
          const response = await this.#send(request, own)
          const text = await readText(response)
          const status = response.statusCode ?? 0
          const after = status === 429 || status >= 500 ? retryAfter(response) : undefined
          return { status, text, ...(after !== undefined && { retryAfterMilliseconds: after }) }
        } catch (error) {
          throw asKubeError(what, error, own)
        }
      })
    } catch (error) {
      throw asKubeError(what, error, signal)
    }
  }

  async #send(request: TransportRequest, signal: AbortSignal): Promise<IncomingMessage> {
    const { transport, onRequest } = this.#options
    try {
      const response = await transport.send(request, signal)
      onRequest?.(String(response.statusCode), request.method)
      return response
    } catch (error) {
      onRequest?.('<error>', request.method)
      throw error
    }
  }

  /** Waits for this client's turn. */
  async #token(what: string, signal: AbortSignal | undefined): Promise<void> {
    const wait = this.#options.bucket?.reserve() ?? 0
    if (wait > 0) await this.#pause(what, wait, signal)
  }

  async #pause(what: string, milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
    await pause(this.#options.clock, milliseconds, signal ?? NEVER)
    if (signal?.aborted === true) throw asKubeError(what, signal.reason, signal)
  }
}

const NEVER = new AbortController().signal

/** Aborts its signal when nothing was heard for too long, or the caller's is aborted. */
class SilenceGuard {
  readonly #clock: Clock
  readonly #milliseconds: number
  readonly #what: string
  readonly #caller: AbortSignal
  readonly #own = new AbortController()
  #cancel: () => void = () => undefined
  readonly #abort = (): void => this.#own.abort(this.#caller.reason)

  constructor(clock: Clock, milliseconds: number, what: string, caller: AbortSignal) {
    this.#clock = clock
    this.#milliseconds = milliseconds
    this.#what = what
    this.#caller = caller
    if (caller.aborted) this.#abort()
    else caller.addEventListener('abort', this.#abort)
    this.heard()
  }

  get signal(): AbortSignal {
    return this.#own.signal
  }

  heard(): void {
    this.#cancel()
    const late = (): void =>
      this.#own.abort(new KubeError('Timeout', `${this.#what}: silent for ${this.#milliseconds} ms`))
    this.#cancel = this.#clock.after(this.#milliseconds, late)
  }

  /** Nobody reads any more: the connection is ended, too. */
  end(): void {
    this.#cancel()
    this.#caller.removeEventListener('abort', this.#abort)
    this.#own.abort(new KubeError('Aborted', `${this.#what}: no longer wanted`))
  }
}

/** Whatever was thrown, as a KubeError: of the signal's reason, where that is why. */
function asKubeError(what: string, error: unknown, signal: AbortSignal | undefined): KubeError {
  const reason: unknown = signal?.aborted === true ? signal.reason : error
  if (isKubeError(reason)) return reason
  const aborted = signal?.aborted === true
  const words = reason instanceof Error ? reason.message : String(reason)
  return new KubeError(aborted ? 'Aborted' : 'Unreachable', `${what}: ${words}`, { cause: reason })
}

async function readText(response: IncomingMessage): Promise<string> {
  response.setEncoding('utf8')
  let text = ''
  for await (const chunk of response) text += chunk as string
  return text
}

async function* lines(response: IncomingMessage, heard: () => void): AsyncGenerator<string, void, undefined> {
  response.setEncoding('utf8')
  let rest = ''
  for await (const chunk of response) {
    heard()
    const parts = (rest + (chunk as string)).split('\n')
    rest = parts.pop() ?? ''
    for (const line of parts) if (line !== '') yield line
  }
  // What a cut left half is no event; the watch that follows tells it again.
}

function watchEvent<T extends KubeObject>(what: string, resource: Resource<T>, line: string): WatchEvent<T> {
  const { type, object } = parse(what, line) as { readonly type?: string; readonly object?: T & { code?: number } }
  if (object === undefined) throw new KubeError('Malformed', `${what}: an event without an object`)
  switch (type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED':
      return { type, object }
    case 'BOOKMARK':
      return { type, resourceVersion: object.metadata.resourceVersion ?? '' }
    case 'ERROR':
      throw errorOfAnswer(what, object.code ?? 500, JSON.stringify(object))
    default:
      throw new KubeError('Malformed', `${what}: an event of type ${type} for ${resourceName(resource)}`)
  }
}

function parse(what: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new KubeError('Malformed', `${what}: the answer is not JSON`, { cause })
  }
}

function withQuery(path: string, query: Query = {}): string {
  const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given).toString()}`
}

/** Retry-After as the API server writes it: whole seconds (client-go reads no dates either). */
function retryAfter({ headers }: IncomingMessage): number | undefined {
  const value = headers['retry-after']
  if (value === undefined || !/^[0-9]{1,6}$/.test(value)) return undefined
  return Math.min(Number(value) * 1000, LONGEST_RETRY_AFTER_MILLISECONDS)
}
