/** An HttpRelay in front of the API server, and what a busy API server answers. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { KubeAccess } from '../../../local/platform/kube-api.ts'
import { writeKubeconfig } from '../../../local/platform/kubeconfig.ts'
import { atEnd } from '../../integration/support/clean-up.ts'
import { makeAuthority, makeCertificate } from '../../integration/support/certificates.ts'
import type { Cluster } from './cluster.ts'
import { HttpRelay, type RelayTarget, type Reply } from './http-relay.ts'

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

export class ApiRelay extends HttpRelay {
  /** The administrator's access, through the relay. */
  readonly access: KubeAccess
  /** The same as a file. */
  readonly kubeconfig: string

  private constructor(access: KubeAccess, kubeconfig: string, target: RelayTarget, server: Server, t: TestContext) {
    super(access.url, target, server, t)
    this.access = access
    this.kubeconfig = kubeconfig
  }

  /** Gone when the test is. */
  static async start(t: TestContext, cluster: Cluster): Promise<ApiRelay> {
    const directory = mkdtempSync(join(tmpdir(), 'grpc-kafka-api-relay-'))
    atEnd(t, () => rmSync(directory, { recursive: true, force: true }))
    const authority = await makeAuthority(directory, 'authority')
    const { certFile, keyFile } = await makeCertificate(directory, 'relay', authority)
    const server = createServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) })
    const url = `https://${await HttpRelay.listen(server)}`
    const access = { url, authorityFile: authority.certFile, token: cluster.access.admin.token }
    const kubeconfig = join(directory, 'kubeconfig')
    await writeKubeconfig(kubeconfig, access)
    return new ApiRelay(access, kubeconfig, cluster.access.admin, server, t)
  }
}
