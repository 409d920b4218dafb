/** Stands between a client and the API server and does to requests and watches what networks and busy servers do. */
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Agent, createServer, request as httpsRequest } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { KubeAccess } from '../../../local/platform/kube-api.ts'
import { atEnd } from '../../integration/support/clean-up.ts'
import { makeAuthority, makeCertificate } from '../../integration/support/certificates.ts'
import type { Cluster } from './cluster.ts'

export type RelayedRequest = {
  readonly method: string
  /** With its query. */
  readonly path: string
  readonly isWatch: boolean
}

export type Reply =
  /** The API server does not see the request; the client gets this. */
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body: object }
  /** The API server does not see the request, and the connection breaks. */
  | 'cut'
  /** The API server does not see the request, and nobody ever answers. */
  | 'hang'
  /** The API server does it; its answer is lost and the connection breaks. */
  | 'lose the answer'
  /** The API server does it; its answer never comes. */
  | 'hold the answer'
  /** The client gets what was last given for the same path, as from an API server that lags behind. */
  | 'stale'

/** Below the 90 s after which the API server closes a connection. */
const IDLE_MILLISECONDS = 30_000

const status = (code: number, reason: string, message: string): object => ({
  kind: 'Status',
  apiVersion: 'v1',
  status: 'Failure',
  code,
  reason,
  message,
})

/** The resourceVersion asked for is too old: what a list or the begin of a watch gets. */
export const GONE: Reply = { status: 410, body: status(410, 'Expired', 'too old resource version') }
/** The same as it comes when the watch is open. */
export const EXPIRED_WATCH: Reply = { status: 200, body: { type: 'ERROR', object: status(410, 'Expired', 'too old') } }
export const UNAVAILABLE: Reply = { status: 503, body: status(503, 'ServiceUnavailable', 'not now') }
export const throttled = (seconds: number): Reply => ({
  status: 429,
  headers: { 'retry-after': String(seconds) },
  body: status(429, 'TooManyRequests', 'too many requests'),
})

/** One thing that is done to requests, until it has been done so many times or is taken back. */
export class Rule {
  readonly matches: (request: RelayedRequest) => boolean
  readonly reply: Reply
  /** Resolves when it was done for the first time (with `hold the answer`: when the API server has done its part). */
  readonly met: Promise<void>
  /** How often it was done. */
  used = 0
  #left: number
  readonly #meet: () => void

  constructor(matches: (request: RelayedRequest) => boolean, reply: Reply, times: number) {
    this.matches = matches
    this.reply = reply
    this.#left = times
    const { promise, resolve } = Promise.withResolvers<void>()
    this.met = promise
    this.#meet = resolve
  }

  takes(request: RelayedRequest): boolean {
    if (this.#left === 0 || !this.matches(request)) return false
    this.#left -= 1
    return true
  }

  done(): void {
    this.used += 1
    this.#meet()
  }

  takeBack(): void {
    this.#left = 0
  }
}

type Given = { readonly status: number; readonly headers: IncomingMessage['headers']; readonly body: Buffer }
type Watch = { readonly client: ServerResponse; isSilent: boolean }

export class ApiRelay {
  /** To be called instead of the API server's, with any token that the API server takes. */
  readonly url: string
  readonly authorityFile: string
  /** Every request so far, in order. */
  readonly requests: RelayedRequest[] = []
  readonly #target: KubeAccess
  readonly #agent = new Agent({ keepAlive: true, timeout: IDLE_MILLISECONDS })
  readonly #rules: Rule[] = []
  readonly #watches = new Set<Watch>()
  readonly #given = new Map<string, Given>()

  private constructor(url: string, authorityFile: string, target: KubeAccess) {
    this.url = url
    this.authorityFile = authorityFile
    this.#target = target
  }

  /** Gone when the test is. */
  static async start(t: TestContext, cluster: Cluster): Promise<ApiRelay> {
    const directory = mkdtempSync(join(tmpdir(), 'grpc-kafka-api-relay-'))
    atEnd(t, () => rmSync(directory, { recursive: true, force: true }))
    const authority = await makeAuthority(directory, 'authority')
    const { certFile, keyFile } = await makeCertificate(directory, 'relay', authority)
    const server = createServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
    const relay = new ApiRelay(url, authority.certFile, cluster.access.admin)
    server.on('request', (request: IncomingMessage, response: ServerResponse) => relay.#handle(request, response))
    atEnd(t, async () => {
      relay.#agent.destroy()
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    })
    return relay
  }

  /** The administrator's access, through the relay. */
  get access(): KubeAccess {
    return { url: this.url, authorityFile: this.authorityFile, token: this.#target.token }
  }

  /** Does this to the next requests that match, so many times. The rule that was made last is asked first. */
  reply(matches: (request: RelayedRequest) => boolean, reply: Reply, times = Infinity): Rule {
    const rule = new Rule(matches, reply, times)
    this.#rules.unshift(rule)
    return rule
  }

  /** Breaks the connection of every watch that is open; new ones work. Answers how many there were. */
  cutWatches(): number {
    const open = [...this.#watches]
    for (const { client } of open) client.destroy()
    return open.length
  }

  /** From now on nothing comes on the watches that are open, and none breaks; new ones work. Answers how many there were. */
  silenceWatches(): number {
    for (const watch of this.#watches) watch.isSilent = true
    return this.#watches.size
  }

  #handle(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const path = incoming.url ?? '/'
    const isWatch = /[?&]watch=(?:true|1)\b/.test(path)
    const request = { method: incoming.method ?? 'GET', path, isWatch }
    this.requests.push(request)
    const rule = this.#rules.find((one) => one.takes(request))
    const reply = rule?.reply
    if (reply === 'cut') outgoing.destroy()
    else if (reply === 'stale' && this.#given.has(path)) give(outgoing, this.#given.get(path)!)
    else if (typeof reply === 'object') {
      const headers = { 'content-type': 'application/json', ...reply.headers }
      give(outgoing, { status: reply.status, headers, body: Buffer.from(`${JSON.stringify(reply.body)}\n`) })
    } else if (reply !== 'hang') {
      this.#forward(request, incoming, outgoing, rule)
      return
    }
    rule?.done()
  }

  #forward(request: RelayedRequest, incoming: IncomingMessage, outgoing: ServerResponse, rule: Rule | undefined): void {
    const call = httpsRequest(new URL(request.path, this.#target.url), {
      method: request.method,
      headers: { ...incoming.headers, host: new URL(this.#target.url).host },
      ca: readFileSync(this.#target.authorityFile),
      agent: this.#agent,
    })
    // The one side's end is the other's.
    call.on('error', () => outgoing.destroy())
    outgoing.on('close', () => call.destroy())
    incoming.pipe(call)
    call.on('response', (answer) => {
      answer.on('error', () => outgoing.destroy())
      if (rule !== undefined && (rule.reply === 'lose the answer' || rule.reply === 'hold the answer')) {
        answer.resume()
        answer.on('end', () => {
          if (rule.reply === 'lose the answer') outgoing.destroy()
          rule.done()
        })
        return
      }
      rule?.done()
      if (request.isWatch) this.#watch(answer, outgoing)
      else this.#pass(request, answer, outgoing)
    })
  }

  #watch(answer: IncomingMessage, outgoing: ServerResponse): void {
    const watch: Watch = { client: outgoing, isSilent: false }
    this.#watches.add(watch)
    outgoing.on('close', () => this.#watches.delete(watch))
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
    // A watch without events is open all the same.
    outgoing.flushHeaders()
    answer.on('data', (chunk: Buffer) => {
      if (!watch.isSilent) outgoing.write(chunk)
    })
    answer.on('end', () => {
      if (!watch.isSilent) outgoing.end()
    })
  }

  #pass(request: RelayedRequest, answer: IncomingMessage, outgoing: ServerResponse): void {
    const chunks: Buffer[] = []
    answer.on('data', (chunk: Buffer) => chunks.push(chunk))
    answer.on('end', () => {
      const given = { status: answer.statusCode ?? 502, headers: answer.headers, body: Buffer.concat(chunks) }
      if (request.method === 'GET' && given.status === 200) this.#given.set(request.path, given)
      give(outgoing, given)
    })
  }
}

/** What has its length in its headers needs no chunks. */
function give(outgoing: ServerResponse, { status, headers, body }: Given): void {
  const kept = Object.entries(headers).filter(([name]) => name !== 'transfer-encoding' && name !== 'content-length')
  outgoing.writeHead(status, { ...Object.fromEntries(kept), 'content-length': body.length })
  outgoing.end(body)
}
