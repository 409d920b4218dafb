/** What an API server did, from its audit log. */
import { randomUUID } from 'node:crypto'
import { open, stat } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import type { KubeApi } from './kube-api.ts'

/** One request, when it began to be answered (a watch only) or was answered. audit.k8s.io/v1. */
export type AuditEvent = {
  readonly auditID: string
  readonly stage: 'ResponseStarted' | 'ResponseComplete' | 'Panic'
  /** `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection` */
  readonly verb: string
  readonly requestURI: string
  readonly user: { readonly username: string; readonly groups?: readonly string[] }
  readonly userAgent?: string
  readonly objectRef?: {
    readonly apiGroup?: string
    readonly resource?: string
    readonly subresource?: string
    readonly namespace?: string
    readonly name?: string
  }
  readonly responseStatus?: { readonly code?: number; readonly reason?: string }
  /** Of writes that are not the control plane's own. */
  readonly requestObject?: unknown
  /** RFC 3339 */
  readonly requestReceivedTimestamp: string
}

/** A place in the log. */
export type AuditMark = { readonly byte: number }

export type AuditLog = {
  /** The end of the log now: what was answered before this call lies before it. */
  mark(): Promise<AuditMark>
  /** The events from the mark on (from the beginning when not given), of all that was answered before this call. */
  events(since?: AuditMark): Promise<readonly AuditEvent[]>
}

/** Everything a client asked for goes here; what the API server asks of itself does not. */
export const AUDIT_POLICY = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived'],
  rules: [
    { level: 'None', users: ['system:apiserver'] },
    { level: 'Metadata', userGroups: ['system:serviceaccounts:kube-system'] },
    { level: 'Request', verbs: ['create', 'update', 'patch', 'delete', 'deletecollection'] },
    { level: 'Metadata' },
  ],
}

const WRITES: ReadonlySet<string> = new Set(['create', 'update', 'patch', 'delete', 'deletecollection'])

/** Whether the request changed, or tried to change, something. Dry runs and reviews of access change nothing. */
export const isWrite = ({ verb, requestURI, objectRef }: AuditEvent): boolean =>
  WRITES.has(verb) &&
  !requestURI.includes('dryRun=') &&
  objectRef?.apiGroup !== 'authorization.k8s.io' &&
  objectRef?.apiGroup !== 'authentication.k8s.io'

/** How long the API server may take to write down what it has answered. */
const WRITTEN_MILLISECONDS = 30_000

export function readAuditLog(file: string, api: KubeApi): AuditLog {
  /** The API server writes an event after its answer is sent: a request of our own tells that the earlier ones are there. */
  const readTo = async (from: number): Promise<{ readonly lines: string; readonly end: number }> => {
    const fence = `${FENCE}${randomUUID()}`
    await api.request('GET', fence)
    const late = performance.now() + WRITTEN_MILLISECONDS
    for (;;) {
      const bytes = await readFrom(file, from)
      const at = bytes.indexOf(fence)
      const lineEnd = at === -1 ? -1 : bytes.indexOf('\n', at)
      if (lineEnd !== -1) {
        const complete = bytes.subarray(0, bytes.lastIndexOf('\n', at) + 1)
        return { lines: complete.toString('utf8'), end: from + lineEnd + 1 }
      }
      if (performance.now() > late) throw new Error(`${file} does not show ${fence}`)
      await pause(20)
    }
  }
  return {
    mark: async () => ({ byte: (await readTo((await stat(file)).size)).end }),
    events: async (since) =>
      (await readTo(since?.byte ?? 0)).lines
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as AuditEvent)
        .filter(({ requestURI }) => !requestURI.startsWith(FENCE)),
  }
}

const FENCE = '/version?fence='

async function readFrom(file: string, from: number): Promise<Buffer> {
  const handle = await open(file)
  try {
    const { size } = await handle.stat()
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(Math.max(0, size - from)), 0, size - from, from)
    return buffer.subarray(0, bytesRead)
  } finally {
    await handle.close()
  }
}
