/** Stands between a client and a server that speaks HTTP, and does to requests and watches what networks and busy servers do. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { Agent as HttpAgent, createServer, request as httpRequest } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import { atEnd } from '../../integration/support/clean-up.ts'

export type RelayedRequest = {
  readonly method: string
  /** With its query. */
  readonly path: string
  readonly isWatch: boolean
  readonly userAgent: string
}

export type Reply =
  /** The server does not see the request; the client gets this. */
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body: object }
  /** The server does not see the request, and the connection breaks. */
  | 'cut'
  /** The server does not see the request, and nobody ever answers. */
  | 'hang'
  /** The server does it; its answer is lost and the connection breaks. */
  | 'lose the answer'
  /** The server does it; its answer never comes. */
  | 'hold the answer'
  /** The client gets what was last given for the same path, as from a server that lags behind. */
  | 'stale'

/** Below the 90 s after which the API server closes a connection. */
const IDLE_MILLISECONDS = 30_000

/** One thing that is done to requests, until it has been done so many times or is taken back. */
export class Rule {
  readonly matches: (request: RelayedRequest) => boolean
  readonly reply: Reply
  /** To what it was done first, when that was done (with `hold the answer`: when the server has done its part). */
  readonly met: Promise<RelayedRequest>
  /** Whether a client waits for an answer that is held. */
  isHeld = false
  /** How often it was done. */
  used = 0
  #left: number
  readonly #meet: (request: RelayedRequest) => void

  constructor(matches: (request: RelayedRequest) => boolean, reply: Reply, times: number) {
    this.matches = matches
    this.reply = reply
    this.#left = times
    const { promise, resolve } = Promise.withResolvers<RelayedRequest>()
    this.met = promise
    this.#meet = resolve
  }

  takes(request: RelayedRequest): boolean {
    if (this.#left === 0 || !this.matches(request)) return false
    this.#left -= 1
    return true
  }

  done(request: RelayedRequest): void {
    this.used += 1
    this.#meet(request)
  }

  takeBack(): void {
    this.#left = 0
  }
}

export type RelayTarget = {
  /** `https://127.0.0.1:16443` */
  readonly url: string
  /** PEM, for https. Read at each request: the server may be one that makes it when it starts. */
  readonly authorityFile?: string
}

type Given = { readonly status: number; readonly headers: IncomingMessage['headers']; readonly body: Buffer }
type Watch = { readonly client: ServerResponse; isSilent: boolean }

export class HttpRelay {
  /** To be called instead of the server's. */
  readonly url: string
  /** Every request so far, in order. */
  readonly requests: RelayedRequest[] = []
  /** From now on nobody is there: connections break, and new ones are refused. */
  readonly stop: () => Promise<void>
  readonly #target: RelayTarget
  readonly #agent: HttpAgent
  readonly #rules: Rule[] = []
  readonly #watches = new Set<Watch>()
  readonly #given = new Map<string, Given>()

  protected constructor(url: string, target: RelayTarget, server: Server, t: TestContext) {
    this.url = url
    this.#target = target
    const options = { keepAlive: true, timeout: IDLE_MILLISECONDS }
    this.#agent = target.url.startsWith('https:') ? new HttpsAgent(options) : new HttpAgent(options)
    server.on('request', (request: IncomingMessage, response: ServerResponse) => this.#handle(request, response))
    const closed = once(server, 'close')
    this.stop = async () => {
      this.#agent.destroy()
      server.close()
      server.closeAllConnections()
      await closed
    }
    atEnd(t, this.stop)
  }

  /** In front of a server that is called without TLS. Gone when the test is. */
  static async plain(t: TestContext, url: string): Promise<HttpRelay> {
    const server = createServer()
    return new HttpRelay(`http://${await HttpRelay.listen(server)}`, { url }, server, t)
  }

  /** Answers host and port. */
  protected static async listen(server: Server): Promise<string> {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return `127.0.0.1:${(server.address() as AddressInfo).port}`
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
    const userAgent = incoming.headers['user-agent'] ?? ''
    const request = { method: incoming.method ?? 'GET', path, isWatch, userAgent }
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
    rule?.done(request)
  }

  #forward(request: RelayedRequest, incoming: IncomingMessage, outgoing: ServerResponse, rule: Rule | undefined): void {
    const { url, authorityFile } = this.#target
    const options = {
      method: request.method,
      headers: { ...incoming.headers, host: new URL(url).host },
      agent: this.#agent,
    }
    const to = new URL(request.path, url)
    const call =
      authorityFile === undefined
        ? httpRequest(to, options)
        : httpsRequest(to, { ...options, ca: readFileSync(authorityFile) })
    // The one side's end is the other's.
    call.on('error', () => outgoing.destroy())
    outgoing.on('close', () => call.destroy())
    incoming.pipe(call)
    call.on('response', (answer) => {
      answer.on('error', () => outgoing.destroy())
      if (rule !== undefined && (rule.reply === 'lose the answer' || rule.reply === 'hold the answer')) {
        outgoing.on('close', () => (rule.isHeld = false))
        answer.resume()
        answer.on('end', () => {
          if (rule.reply === 'lose the answer') outgoing.destroy()
          else rule.isHeld = !outgoing.destroyed
          rule.done(request)
        })
        return
      }
      rule?.done(request)
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
