/** The least of a client of Kubernetes' API: one request, one answer. It stands apart from the operator's on purpose. */
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { setTimeout as pause } from 'node:timers/promises'

/** Where an API server is and who calls it. */
export type KubeAccess = {
  /** `https://127.0.0.1:16443` */
  readonly url: string
  /** PEM. Read at each new connection: a server writes it when it starts for the first time. */
  readonly authorityFile: string
  readonly token: string
}

export type KubeRequest = {
  readonly body?: unknown
  /** `application/json` when not given; a patch needs its own. */
  readonly contentType?: string
  readonly signal?: AbortSignal
}

export type KubeAnswer<T> = {
  readonly body: T
  /** The texts of its Warning headers. */
  readonly warnings: readonly string[]
}

/** The API server refused. `code` is `KUBE_REFUSED`; the message is its own. */
export class KubeRefusedError extends Error {
  readonly code = 'KUBE_REFUSED'
  /** HTTP */
  readonly status: number
  /** "NotFound", "Invalid", "AlreadyExists"; empty where it gave none. */
  readonly reason: string
  /** What is wrong where, for "Invalid". */
  readonly causes: readonly { readonly field?: string; readonly message?: string }[]

  constructor(status: number, text: string) {
    const answer = parseStatus(text)
    super(answer?.message ?? `HTTP ${status}: ${text}`)
    this.name = 'KubeRefusedError'
    this.status = status
    this.reason = answer?.reason ?? ''
    this.causes = answer?.details?.causes ?? []
  }
}

export type KubeApi = {
  /**
   * Asks again where the API server says "not now" (429 with `Retry-After`), as every client of it does.
   *
   * @param path  from the root, with its query: `/api/v1/namespaces/default/pods?limit=1`
   * @throws KubeRefusedError, and what the connection failed of
   */
  request<T>(method: string, path: string, options?: KubeRequest): Promise<KubeAnswer<T>>
  /** Closes the idle connections. */
  close(): void
}

/** The API server closes what was idle for 90 s: it must not do so while a request is on its way to it. */
const IDLE_MILLISECONDS = 30_000
/** client-go's number. */
const MOST_REPEATS = 10

export function connectToKube(access: KubeAccess): KubeApi {
  const agent = new Agent({ keepAlive: true, timeout: IDLE_MILLISECONDS })
  const { url, authorityFile, token } = access
  return {
    async request<T>(method: string, path: string, options: KubeRequest = {}): Promise<KubeAnswer<T>> {
      const { contentType = 'application/json', signal } = options
      const payload = options.body === undefined ? undefined : JSON.stringify(options.body)
      const ask = () =>
        send(new URL(path, url), {
          method,
          agent,
          ca: readFileSync(authorityFile),
          headers: {
            authorization: `Bearer ${token}`,
            accept: 'application/json',
            ...(payload === undefined
              ? {}
              : { 'content-type': contentType, 'content-length': Buffer.byteLength(payload) }),
          },
          payload,
          signal,
        })
      let answer = await ask()
      for (
        let again = 0;
        answer.status === 429 && answer.retryAfterSeconds !== undefined && again < MOST_REPEATS;
        again += 1
      ) {
        await pause(answer.retryAfterSeconds * 1000, undefined, signal === undefined ? {} : { signal })
        answer = await ask()
      }
      const { status, text, warnings } = answer
      if (status >= 300) throw new KubeRefusedError(status, text)
      return { body: (text.startsWith('{') ? JSON.parse(text) : text) as T, warnings }
    },
    close: () => agent.destroy(),
  }
}

type Answer = {
  readonly status: number
  readonly text: string
  readonly warnings: readonly string[]
  readonly retryAfterSeconds: number | undefined
}

function send(
  url: URL,
  options: {
    readonly method: string
    readonly agent: Agent
    readonly ca: Buffer
    readonly headers: Readonly<Record<string, string | number>>
    readonly payload: string | undefined
    readonly signal: AbortSignal | undefined
  },
): Promise<Answer> {
  const { payload, signal, ...rest } = options
  return new Promise((resolve, reject) => {
    const call = request(url, { ...rest, ...(signal === undefined ? {} : { signal }) }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.once('error', reject)
      response.once('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          text: Buffer.concat(chunks).toString('utf8'),
          warnings: warningTexts(response.headers['warning']),
          retryAfterSeconds: Number(response.headers['retry-after']) || undefined,
        }),
      )
    })
    call.once('error', reject)
    call.end(payload)
  })
}

/** `299 - "text", 299 - "another"`; quotes within are escaped. */
export function warningTexts(header: string | undefined): readonly string[] {
  return [...(header ?? '').matchAll(/\d{3} \S+ "((?:[^"\\]|\\.)*)"/g)].map(([, text = '']) =>
    text.replace(/\\(.)/g, '$1'),
  )
}

type Status = {
  readonly message?: string
  readonly reason?: string
  readonly details?: { readonly causes?: readonly { readonly field?: string; readonly message?: string }[] }
}

function parseStatus(text: string): Status | undefined {
  try {
    return JSON.parse(text) as Status
  } catch {
    return undefined
  }
}
