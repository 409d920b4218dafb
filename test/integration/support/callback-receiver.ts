/** A receiver of callbacks: an HTTP server of this process, and how anybody verifies what it gets. */
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import type { IncomingHttpHeaders, IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { TestContext } from 'node:test'
import type { KeyPair } from './certificates.ts'
import { atEnd } from './clean-up.ts'
import { until } from './route.ts'

interface ReceivedCallback {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
  readonly data: {
    readonly id: string
    readonly method: string
    readonly state: string
    readonly status: { readonly code: number; readonly name: string; readonly message: string }
    readonly attempts?: number
    readonly responseBytes?: number
    readonly response?: string
  }
}

/** The status to answer with, now or later. @param received how many came about the call so far, this one among them. */
export type Reaction = (received: number) => number | Promise<number>

export class CallbackReceiver {
  readonly received: ReceivedCallback[] = []
  readonly #server: Server
  readonly #scheme: string
  #reaction: Reaction = () => 204

  constructor(certificate: KeyPair | undefined) {
    const listener: RequestListener = (request, response) => void this.#receive(request, response)
    this.#scheme = certificate === undefined ? 'http' : 'https'
    this.#server =
      certificate === undefined
        ? createHttpServer(listener)
        : createHttpsServer(
            { cert: readFileSync(certificate.certFile), key: readFileSync(certificate.keyFile) },
            listener,
          )
  }

  static async start(t: TestContext, certificate?: KeyPair): Promise<CallbackReceiver> {
    const receiver = new CallbackReceiver(certificate)
    receiver.#server.listen(0, '127.0.0.1')
    await once(receiver.#server, 'listening')
    atEnd(t, () => {
      receiver.#server.closeAllConnections()
      receiver.#server.close()
    })
    return receiver
  }

  async #receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // What a worker that was killed did not send to its end is no message.
    const body = await text(request).catch(() => undefined)
    if (body === undefined) return
    const { data } = JSON.parse(body) as Pick<ReceivedCallback, 'data'>
    this.received.push({ path: request.url ?? '', headers: request.headers, body, data })
    response.writeHead(await this.#reaction(this.of(data.id).length)).end()
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  url(path: string): string {
    return `${this.#scheme}://localhost:${this.port}${path}`
  }

  react(reaction: Reaction): void {
    this.#reaction = reaction
  }

  /** Those about a call, in the order in which they came. */
  of(id: string): readonly ReceivedCallback[] {
    return this.received.filter(({ data }) => data.id === id)
  }

  /** Waits for so many about a call. */
  async hears(id: string, count = 1): Promise<readonly ReceivedCallback[]> {
    await until(`${count} callbacks about ${id}`, () => this.of(id).length >= count)
    return this.of(id)
  }
}

/** Verifies as the Standard Webhooks' text says, with a key of 24 bytes or more. Fails where no signature is this key's. */
export function assertSigned({ headers, body }: ReceivedCallback, key: Buffer): void {
  const header = (name: string): string => String(headers[name])
  const age = Date.now() / 1000 - Number(header('webhook-timestamp'))
  assert.ok(Math.abs(age) < 300, `it is ${age} s old`)
  const content = `${header('webhook-id')}.${header('webhook-timestamp')}.${body}`
  const signature = `v1,${createHmac('sha256', key).update(content).digest('base64')}`
  assert.ok(header('webhook-signature').split(' ').includes(signature), 'no signature is of this key')
}
