/** The HTTP side door: metrics, probes and, for a worker, quiesce. */
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { CONTENT_TYPES, formatFor } from './exposition.ts'
import type { Logger } from './log.ts'
import type { Metrics } from './metrics.ts'

export interface AdminServerOptions {
  readonly host: string
  /** 0: any free one. */
  readonly port: number
  readonly metrics: Pick<Metrics, 'expose'>
  readonly logger: Logger
  /** Whether the process does its work at all. */
  readonly live: () => boolean
  readonly ready: () => { readonly ready: boolean; readonly reason: string }
  /** Absent: there is no /quiesce. Called anew for each request. */
  readonly quiesce?: () => Promise<void>
}

export interface AdminServer {
  readonly port: number
  /** Ends open connections too. */
  close(): Promise<void>
}

const MAX_HEADER_BYTES = 8192
const REQUEST_MILLISECONDS = 10_000

interface Page {
  readonly status: number
  readonly text: string
  readonly type?: string
}

/**
 * GET /metrics (OpenMetrics for who accepts it), /healthz, /readyz (503 with the reason while not ready), GET or POST /quiesce (200 when done).
 * @throws when the address cannot be listened on.
 */
export async function startAdminServer(options: AdminServerOptions): Promise<AdminServer> {
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: REQUEST_MILLISECONDS,
      requestTimeout: REQUEST_MILLISECONDS,
      keepAliveTimeout: REQUEST_MILLISECONDS,
    },
    (request, response) => {
      // No page takes a body; what is sent all the same is thrown away.
      request.resume()
      page(options, request).then(
        (found) => send(response, found),
        (error: unknown) => {
          options.logger.error({ err: error, path: request.url }, 'a page of the admin server failed')
          send(response, { status: 500, text: 'failed; the reason is in the log' })
        },
      )
    },
  )
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, options.host, () => {
      server.off('error', reject)
      resolve()
    })
  })
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function page({ metrics, live, ready, quiesce }: AdminServerOptions, request: IncomingMessage): Promise<Page> {
  const path = (request.url ?? '').split('?', 1)[0]
  if (path === '/quiesce' && quiesce !== undefined && (request.method === 'GET' || request.method === 'POST')) {
    await quiesce()
    return { status: 200, text: 'quiesced' }
  }
  if (request.method !== 'GET') return NOT_FOUND
  switch (path) {
    case '/metrics': {
      const format = formatFor(request.headers.accept)
      return { status: 200, text: await metrics.expose(format), type: CONTENT_TYPES[format] }
    }
    case '/healthz':
      return live() ? { status: 200, text: 'ok' } : { status: 503, text: 'not live' }
    case '/readyz': {
      const state = ready()
      return state.ready ? { status: 200, text: 'ok' } : { status: 503, text: state.reason }
    }
    default:
      return NOT_FOUND
  }
}

const NOT_FOUND: Page = { status: 404, text: 'not found' }

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
