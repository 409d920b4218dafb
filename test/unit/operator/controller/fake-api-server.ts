/**
 * A small strict API server over HTTP for tests of the runtime: objects of any resource in memory, lists in pages, watches,
 * creations, replacements with optimistic locking, apply, merge patches and deletions with preconditions. It knows what
 * clients get wrong (a wrong content type, a missing query) and can fail in all the ways in which an API server fails.
 * It merges by top-level fields only, knows no field managers, and takes its objects as they are.
 */
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { KubeConfig } from '@kubernetes/client-node'
import { HttpTransport } from '../../../../operator/controller/transport.ts'
import type { Transport } from '../../../../operator/controller/transport.ts'

export interface Stored {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly uid: string
    readonly resourceVersion: string
    readonly [field: string]: unknown
  }
  readonly [field: string]: unknown
}

export interface SeenRequest {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly contentType: string | undefined
  readonly authorization: string | undefined
  readonly body: unknown
}

/** What becomes of a request that would have been answered otherwise. */
export type Fault =
  | { readonly kind: 'Status'; readonly status: number; readonly retryAfter?: string; readonly body?: string }
  /** The connection ends without an answer. */
  | { readonly kind: 'Reset' }
  /** There is never an answer. */
  | { readonly kind: 'Hang' }

interface Change {
  readonly version: number
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly path: string
  readonly object: Stored
}

interface OpenWatch {
  readonly collection: string
  readonly response: ServerResponse
}

class Refusal extends Error {
  readonly status: number
  readonly reason: string
  constructor(status: number, reason: string, message: string) {
    super(message)
    this.status = status
    this.reason = reason
  }
}

export class FakeApiServer {
  readonly requests: SeenRequest[] = []
  readonly #server: Server
  readonly #objects = new Map<string, Stored>()
  #changes: Change[] = []
  readonly #watches = new Set<OpenWatch>()
  readonly #faults: { readonly of: (request: SeenRequest) => boolean; readonly fault: Fault; left: number }[] = []
  #version = 100
  #forgotten = 0
  #uids = 0
  #onTheirWay = 0
  #hanging = 0

  static async start(): Promise<FakeApiServer> {
    const server = new FakeApiServer()
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve))
    return server
  }

  private constructor() {
    this.#server = createServer((request, response) => void this.#serve(request, response))
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** A transport to this server, which counts what is on its way (see `busy`). */
  transport(): Transport {
    const inner = new HttpTransport(this.kubeConfig())
    return {
      send: async (request, signal) => {
        this.#onTheirWay += 1
        try {
          const response = await inner.send(request, signal)
          if (request.path.includes('watch=true')) this.#onTheirWay -= 1
          else response.once('close', () => (this.#onTheirWay -= 1))
          return response
        } catch (error) {
          this.#onTheirWay -= 1
          throw error
        }
      },
      close: () => inner.close(),
    }
  }

  /** Whether a request or its answer is on its way. One that hangs is not. */
  get busy(): boolean {
    return this.#onTheirWay > this.#hanging
  }

  kubeConfig(): KubeConfig {
    const config = new KubeConfig()
    config.loadFromClusterAndUser(
      { name: 'fake', server: `http://127.0.0.1:${this.port}`, skipTLSVerify: true },
      { name: 'user', token: 'the-token' },
    )
    return config
  }

  get openWatches(): number {
    return this.#watches.size
  }

  /** The requests of a kind: `GET`, or `WATCH`. */
  seen(verb: string): readonly SeenRequest[] {
    return this.requests.filter(({ method, query }) => (query.get('watch') === 'true' ? 'WATCH' : method) === verb)
  }

  get(path: string): Stored | undefined {
    return this.#objects.get(path)
  }

  /** Creates or changes the object at a path, as another client would. */
  put(path: string, object: Readonly<Record<string, unknown>> & { readonly metadata?: object }): Stored {
    const [collection, name = ''] = split(path)
    const before = this.#objects.get(path)
    this.#version += 1
    const metadata = {
      ...object.metadata,
      name,
      ...namespaceOf(collection),
      uid: before?.metadata.uid ?? `uid-${++this.#uids}`,
      resourceVersion: String(this.#version),
    }
    const stored = { ...object, metadata } as unknown as Stored
    this.#objects.set(path, stored)
    this.#tell({ version: this.#version, type: before === undefined ? 'ADDED' : 'MODIFIED', path, object: stored })
    return stored
  }

  delete(path: string): void {
    const before = this.#objects.get(path)
    if (before === undefined) throw new Error(`there is no ${path}`)
    this.#objects.delete(path)
    this.#version += 1
    const object = { ...before, metadata: { ...before.metadata, resourceVersion: String(this.#version) } }
    this.#tell({ version: this.#version, type: 'DELETED', path, object })
  }

  /** Forgets all changes so far: who wants to go on from before gets 410. */
  compact(): void {
    this.#version += 1
    this.#forgotten = this.#version
    this.#changes = []
  }

  /** Ends all watches: as a server that has time does, or in the middle of a line. */
  endWatches(how: 'Orderly' | 'MidLine' | 'Reset'): void {
    for (const { response } of this.#watches) {
      if (how === 'Orderly') response.end()
      else if (how === 'MidLine') response.end('{"type":"MODIFIED","obj')
      else response.destroy()
    }
    this.#watches.clear()
  }

  /** Writes a line to all watches. Resolves when it is on its way. */
  async sendToWatches(event: unknown): Promise<void> {
    const line = `${JSON.stringify(event)}\n`
    const written = Array.from(this.#watches, ({ response }) => new Promise((resolve) => response.write(line, resolve)))
    await Promise.all(written)
  }

  /** Writes bytes to all watches, as they are. Resolves when they are on their way. */
  async sendBytes(bytes: Uint8Array): Promise<void> {
    await Promise.all(Array.from(this.#watches, ({ response }) => new Promise((done) => response.write(bytes, done))))
  }

  async sendBookmark(): Promise<void> {
    const metadata = { resourceVersion: String(this.#version) }
    await this.sendToWatches({ type: 'BOOKMARK', object: { apiVersion: 'v1', kind: 'Any', metadata } })
  }

  /** The next so many requests that the function picks fail. */
  fail(fault: Fault, times = 1, of: (request: SeenRequest) => boolean = () => true): void {
    this.#faults.push({ of, fault, left: times })
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeAllConnections()
    await closed
  }

  #tell(change: Change): void {
    this.#changes.push(change)
    for (const watch of this.#watches) {
      if (covers(watch.collection, change.path)) writeEvent(watch.response, change)
    }
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.setEncoding('utf8')
    let text = ''
    for await (const chunk of request) text += chunk as string
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://fake')
    const seen: SeenRequest = {
      method: request.method ?? '',
      path: pathname,
      query: searchParams,
      contentType: request.headers['content-type'],
      authorization: request.headers.authorization,
      body: text === '' ? undefined : JSON.parse(text),
    }
    this.requests.push(seen)
    const planned = this.#faults.find(({ left, of }) => left > 0 && of(seen))
    if (planned !== undefined) {
      planned.left -= 1
      this.#failNow(planned.fault, response)
      return
    }
    try {
      if (searchParams.get('watch') === 'true') this.#watch(seen, response)
      else answer(response, 200, this.#answer(seen))
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      const { status, reason, message } = error
      answer(response, status, { kind: 'Status', apiVersion: 'v1', status: 'Failure', code: status, reason, message })
    }
  }

  #failNow(fault: Fault, response: ServerResponse): void {
    if (fault.kind === 'Hang') {
      this.#hanging += 1
      response.once('close', () => (this.#hanging -= 1))
      return
    }
    if (fault.kind === 'Reset') {
      response.destroy()
      return
    }
    const { status, retryAfter, body = 'the fake was told to' } = fault
    response.writeHead(status, retryAfter === undefined ? {} : { 'retry-after': retryAfter }).end(body)
  }

  #watch({ path, query }: SeenRequest, response: ServerResponse): void {
    if (query.get('allowWatchBookmarks') !== 'true') throw new Refusal(400, 'BadRequest', 'no bookmarks')
    if (!/^[0-9]+$/.test(query.get('timeoutSeconds') ?? '')) throw new Refusal(400, 'BadRequest', 'no timeoutSeconds')
    const from = Number(query.get('resourceVersion') || NaN)
    if (Number.isNaN(from)) throw new Refusal(400, 'BadRequest', 'no resourceVersion')
    if (from < this.#forgotten) throw new Refusal(410, 'Expired', `too old resource version: ${from}`)
    response.writeHead(200, { 'content-type': 'application/json' })
    response.flushHeaders()
    const watch = { collection: path, response }
    this.#watches.add(watch)
    response.once('close', () => this.#watches.delete(watch))
    for (const change of this.#changes) {
      if (change.version > from && covers(path, change.path)) writeEvent(response, change)
    }
  }

  #answer(request: SeenRequest): unknown {
    const { method, path, query, body, contentType } = request
    const isCollection = split(path)[1] === undefined
    switch (method) {
      case 'GET':
        return isCollection ? this.#list(path, query) : this.#found(path)
      case 'POST': {
        const object = body as Stored
        const created = `${path}/${object.metadata.name}`
        if (this.#objects.has(created)) throw new Refusal(409, 'AlreadyExists', `${created} already exists`)
        return this.put(created, object)
      }
      case 'PUT': {
        const object = body as Stored
        if (object.metadata.resourceVersion !== this.#found(path).metadata.resourceVersion) {
          throw new Refusal(409, 'Conflict', 'the object has been modified')
        }
        return this.put(path, object)
      }
      case 'PATCH':
        return this.#patch(path, query, contentType, body as Stored)
      case 'DELETE': {
        const { uid } = (body as { readonly preconditions: { readonly uid: string } }).preconditions
        if (this.#found(path).metadata.uid !== uid) throw new Refusal(409, 'Conflict', 'the UID is another')
        this.delete(path)
        return { kind: 'Status', apiVersion: 'v1', status: 'Success' }
      }
      default:
        throw new Refusal(405, 'MethodNotAllowed', method)
    }
  }

  #patch(path: string, query: URLSearchParams, contentType: string | undefined, body: Stored): Stored {
    const target = path.replace(/\/status$/, '')
    const before = this.#objects.get(target)
    if (contentType === 'application/merge-patch+json') {
      const { metadata, ...fields } = body
      const { metadata: old, ...rest } = this.#found(target)
      const version = metadata?.resourceVersion
      if (version !== undefined && version !== old.resourceVersion) throw new Refusal(409, 'Conflict', 'modified')
      return this.put(target, { ...rest, ...fields, metadata: { ...old, ...metadata } })
    }
    if (contentType !== 'application/apply-patch+yaml') throw new Refusal(415, 'UnsupportedMediaType', `${contentType}`)
    if (query.get('fieldManager') === null) throw new Refusal(400, 'BadRequest', 'fieldManager is required')
    if (query.get('force') !== 'true') throw new Refusal(409, 'Conflict', 'another manager has it')
    if (path !== target && before === undefined) throw new Refusal(404, 'NotFound', `${target} not found`)
    const merged = { ...before, ...body, metadata: { ...before?.metadata, ...body.metadata } }
    // What changes nothing makes no new version.
    return before !== undefined && JSON.stringify(before) === JSON.stringify(merged) ? before : this.put(target, merged)
  }

  #list(path: string, query: URLSearchParams): unknown {
    const all = [...this.#objects].filter(([key]) => covers(path, key)).sort(([a], [b]) => (a < b ? -1 : 1))
    const [version = String(this.#version), offset = '0'] = (query.get('continue') ?? '').split(':').filter(Boolean)
    if (Number(version) < this.#forgotten) throw new Refusal(410, 'Expired', 'the continue token is too old')
    const end = Number(offset) + Number(query.get('limit') ?? Infinity)
    const more = end < all.length ? { continue: `${version}:${end}` } : {}
    // Items of a list do not say what they are.
    const items = all.slice(Number(offset), end).map(([, { apiVersion: _a, kind: _k, ...item }]) => item)
    return { apiVersion: 'v1', kind: 'List', metadata: { resourceVersion: version, ...more }, items }
  }

  #found(path: string): Stored {
    const object = this.#objects.get(path)
    if (object === undefined) throw new Refusal(404, 'NotFound', `${path} not found`)
    return object
  }
}

/** The collection's path, and the object's name where it names one. */
function split(path: string): readonly [collection: string, name?: string] {
  const [, collection, name] =
    /^((?:\/api\/[^/]+|\/apis\/[^/]+\/[^/]+)(?:\/namespaces\/[^/]+)?\/[^/]+)(?:\/([^/]+))?(?:\/status)?$/.exec(path) ??
    []
  if (collection === undefined) throw new Refusal(404, 'NotFound', `no such path: ${path}`)
  return name === undefined ? [collection] : [collection, name]
}

const namespaceOf = (path: string): { readonly namespace?: string } => {
  const namespace = /\/namespaces\/([^/]+)\//.exec(path)?.[1]
  return namespace === undefined ? {} : { namespace }
}

/** Whether the object at that path is in the collection: of a namespace, or of all. */
function covers(collection: string, path: string): boolean {
  const own = split(path)[0]
  return own === collection || own.replace(/\/namespaces\/[^/]+/, '') === collection
}

const writeEvent = (response: ServerResponse, { type, object }: Change): void => {
  response.write(`${JSON.stringify({ type, object })}\n`)
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
