/** The HTTP side door: metrics, probes, profiles where they are enabled and, for a worker, quiesce. */
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { CONTENT_TYPES, formatFor } from './exposition.ts'
import type { Logger } from './log.ts'
import type { Metrics } from './metrics.ts'
import { Profiler, ProfilerBusyError } from './profiler.ts'
import type { ProfileKind } from './profiler.ts'

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
  /** Whether there are profiles; asked at each request. Default: there are none. */
  readonly profiling?: () => boolean
}

export interface AdminServer {
  readonly port: number
  /** Ends open connections too. */
  close(): Promise<void>
}

const MAX_HEADER_BYTES = 8192
const REQUEST_MILLISECONDS = 10_000
const DEFAULT_PROFILE_SECONDS = 10
const LONGEST_PROFILE_SECONDS = 60

interface Page {
  readonly status: number
  readonly text: string
  readonly type?: string
}

/**
 * GET /metrics (OpenMetrics for who accepts it), /healthz, /readyz (503 with the reason while not ready), /profile/cpu and
 * /profile/heap with `?seconds=1..60` (one at a time), GET or POST /quiesce (200 when done).
 * @throws when the address cannot be listened on.
 */
export async function startAdminServer(options: AdminServerOptions): Promise<AdminServer> {
  const profiler = new Profiler()
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
      const gone = new AbortController()
      response.once('close', () => gone.abort(new Error('the client went away')))
      page(options, profiler, request, gone.signal).then(
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

async function page(
  { metrics, live, ready, quiesce, profiling }: AdminServerOptions,
  profiler: Profiler,
  request: IncomingMessage,
  signal: AbortSignal,
): Promise<Page> {
  const [path = '', query] = (request.url ?? '').split('?', 2)
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
    case '/profile/cpu':
    case '/profile/heap':
      return profiling?.() === true
        ? profile(profiler, path === '/profile/cpu' ? 'cpu' : 'heap', query, signal)
        : { status: 404, text: 'profiles are not enabled (profiling: Enabled)' }
    default:
      return NOT_FOUND
  }
}

async function profile(
  profiler: Profiler,
  kind: ProfileKind,
  query: string | undefined,
  signal: AbortSignal,
): Promise<Page> {
  const asked = new URLSearchParams(query).get('seconds') ?? String(DEFAULT_PROFILE_SECONDS)
  const seconds = /^[0-9]{1,3}$/.test(asked) ? Number(asked) : 0
  if (seconds < 1 || seconds > LONGEST_PROFILE_SECONDS) {
    return { status: 400, text: `seconds must be 1 to ${LONGEST_PROFILE_SECONDS}` }
  }
  try {
    return { status: 200, text: await profiler.take(kind, seconds, signal), type: 'application/json' }
  } catch (error) {
    if (error instanceof ProfilerBusyError) return { status: 409, text: error.message }
    if (signal.aborted) return { status: 400, text: 'the client went away' }
    throw error
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
