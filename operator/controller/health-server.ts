/** The HTTP side doors of the operator: probes, and metrics. */
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Logger } from 'pino'

export interface Page {
  readonly status: number
  readonly text: string
  readonly type?: string
}

export interface PageServer {
  readonly port: number
  /** Ends open connections too. */
  close(): Promise<void>
}

/**
 * Answers GET of the named paths with what each function answers then. One that throws is a 500 and a line in the log.
 * @param port 0: any free one.
 * @throws when the address cannot be listened on.
 */
export async function servePages(
  host: string,
  port: number,
  pages: Readonly<Record<string, () => Page | Promise<Page>>>,
  logger: Logger,
): Promise<PageServer> {
  const server = createServer(
    { maxHeaderSize: 8192, headersTimeout: 10_000, requestTimeout: 10_000 },
    (request, response) => {
      // No page takes a body; what is sent all the same is thrown away.
      request.resume()
      answer(request, response, pages).catch((error: unknown) => {
        logger.error({ err: error, path: request.url }, 'a page failed')
        send(response, { status: 500, text: 'failed; the reason is in the log' })
      })
    },
  )
  await listen(server, host, port)
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** Pages of probes: each gives the reason why not, or undefined. */
export const probe =
  (problem: () => string | undefined): (() => Page) =>
  () => {
    const found = problem()
    return found === undefined ? { status: 200, text: 'ok' } : { status: 503, text: found }
  }

async function answer(
  { method, url = '' }: IncomingMessage,
  response: ServerResponse,
  pages: Readonly<Record<string, () => Page | Promise<Page>>>,
): Promise<void> {
  const path = url.split('?', 1)[0]!
  const page = method === 'GET' && Object.hasOwn(pages, path) ? pages[path] : undefined
  send(response, page === undefined ? { status: 404, text: 'not found' } : await page())
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

function send(response: ServerResponse, { status, text, type = 'text/plain; charset=utf-8' }: Page): void {
  const last = text.endsWith('\n') ? text : `${text}\n`
  response
    .writeHead(status, {
      'content-type': type,
      'content-length': Buffer.byteLength(last),
      'x-content-type-options': 'nosniff',
    })
    .end(last)
}
