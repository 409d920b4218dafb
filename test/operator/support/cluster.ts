/** A cluster for tests: the one that all share, or one of a test's own that it may break. */
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { promisify } from 'node:util'
import { readAuditLog, type AuditLog } from '../../../local/platform/audit-log.ts'
import {
  startControlPlane,
  type ControlPlane,
  type ControlPlaneAccess,
  type ControlPlaneOptions,
} from '../../../local/platform/control-plane.ts'
import { installDefinitions } from '../../../local/platform/definitions.ts'
import { connectToKube, type KubeApi } from '../../../local/platform/kube-api.ts'
import { writeKubeconfig } from '../../../local/platform/kubeconfig.ts'
import { atEnd } from '../../integration/support/clean-up.ts'

export class Cluster {
  readonly access: ControlPlaneAccess
  /** As administrator. */
  readonly api: KubeApi
  readonly audit: AuditLog

  /** It may be broken, and ends with its test: nobody needs to tidy it up. */
  readonly isOwn: boolean

  constructor(access: ControlPlaneAccess, isOwn: boolean) {
    this.access = access
    this.isOwn = isOwn
    this.api = connectToKube(access.admin)
    this.audit = readAuditLog(access.auditLogFile, this.api)
  }

  /** What kubectl prints on standard output. @throws with what it prints on standard error when it refuses */
  async kubectl(...args: readonly string[]): Promise<string> {
    const { kubectl, adminKubeconfig, directory } = this.access
    const given = [`--kubeconfig=${adminKubeconfig}`, `--cache-dir=${join(directory, 'kubectl-cache')}`, ...args]
    return (await promisify(execFile)(kubectl, given, { maxBuffer: 64 * 1024 * 1024 })).stdout
  }

  /** A kubeconfig of this ServiceAccount, which may do what RBAC lets it. Answers the file. */
  async kubeconfigOf(namespace: string, serviceAccount: string): Promise<string> {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${serviceAccount}/token`
    const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { expirationSeconds: 86_400 } }
    const answer = await this.api.request<{ readonly status: { readonly token: string } }>('POST', path, { body })
    const file = join(this.access.directory, `${namespace}-${serviceAccount}-${randomUUID().slice(0, 8)}.kubeconfig`)
    await writeKubeconfig(file, { ...this.access.admin, token: answer.body.status.token }, namespace)
    return file
  }
}

let shared: Cluster | undefined

/** The cluster of `npm run test:operator`, for whoever keeps to a namespace of its own. */
export function sharedCluster(): Cluster {
  const access = process.env['CONTROL_PLANE']
  if (access === undefined) throw new Error('CONTROL_PLANE is not set: run npm run test:operator')
  shared ??= new Cluster(JSON.parse(access) as ControlPlaneAccess, false)
  return shared
}

/** A control plane with our definitions that a test may break. Gone when the test is. */
export async function ownCluster(
  t: TestContext,
  options: Pick<ControlPlaneOptions, 'apiServerArgs'> = {},
): Promise<{ readonly cluster: Cluster; readonly plane: ControlPlane }> {
  const directory = mkdtempSync(join(tmpdir(), 'grpc-kafka-own-cluster-'))
  atEnd(t, () => rmSync(directory, { recursive: true, force: true }))
  const plane = await startControlPlane({ directory, report: () => undefined, ...options })
  atEnd(t, () => plane.stop())
  const cluster = new Cluster(plane.access, true)
  atEnd(t, () => cluster.api.close())
  await installDefinitions(cluster.api, AbortSignal.timeout(120_000))
  return { cluster, plane }
}
