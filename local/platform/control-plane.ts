/**
 * A Kubernetes control plane of one's own on loopback: etcd, API server and controller-manager. There is no scheduler
 * and no kubelet: Pods are made, and whoever needs them to run says so in their status.
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { reportToTerminal, type Report } from '../report.ts'
import { AUDIT_POLICY } from './audit-log.ts'
import { freePort } from './free-port.ts'
import { connectToKube, type KubeAccess } from './kube-api.ts'
import { writeKubeconfig } from './kubeconfig.ts'
import { ensureKubernetes, type KubernetesPrograms } from './kubernetes-program.ts'
import { startServer, type Server } from './server.ts'

const HOST = '127.0.0.1'
const START_MILLISECONDS = 120_000
const RETRY_MILLISECONDS = 50
const ISSUER = 'https://kubernetes.default.svc'

/** What they do here; the others (nodes, volumes, quotas, jobs) would only cost time. */
const CONTROLLERS = [
  'clusterrole-aggregation-controller',
  'deployment-controller',
  'disruption-controller',
  'endpointslice-controller',
  'garbage-collector-controller',
  'namespace-controller',
  'replicaset-controller',
  'root-ca-certificate-publisher-controller',
  'serviceaccount-controller',
]

/** How to reach a control plane: plain data, to be handed to another process. */
export type ControlPlaneAccess = {
  /** As a member of `system:masters`. */
  readonly admin: KubeAccess
  readonly adminKubeconfig: string
  readonly auditLogFile: string
  readonly kubectl: string
  /** For kubeconfigs and caches of those who use it. */
  readonly directory: string
}

export type ControlPlaneOptions = {
  /** Data, keys and logs go here; made when it is not there. */
  readonly directory: string
  /** Added to the API server's command line. */
  readonly apiServerArgs?: readonly string[]
  readonly report?: Report
}

export type ControlPlane = {
  readonly access: ControlPlaneAccess
  readonly etcd: Server
  /** `kill('SIGKILL')`, then `start()`: it comes back on its port with its data. */
  readonly apiServer: Server
  readonly controllerManager: Server
  /** Ends all of it, at once: nothing here is worth a slow end. May be called twice. */
  stop(): Promise<void>
}

/**
 * Gets what is missing (the programs), starts the parts and waits until they work.
 *
 * @param signal  gives the start up; its reason is thrown and nothing is left running
 * @throws PartMissingError when a part cannot be had, PartFailedError with the end of the log when one does not come up
 */
export async function startControlPlane(options: ControlPlaneOptions, signal?: AbortSignal): Promise<ControlPlane> {
  const { directory, apiServerArgs = [], report = reportToTerminal } = options
  const programs = await ensureKubernetes(report, signal)
  await mkdir(directory, { recursive: true })
  const started: Server[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(started.map((server) => server.stop(0)))
  }
  try {
    const etcd = await startEtcd(programs, directory, signal)
    started.unshift(etcd.server)
    const api = await startApiServer(programs, directory, etcd.url, apiServerArgs, signal)
    started.unshift(api.server)
    const controllerManager = await startControllerManager(programs, directory, api, signal)
    started.unshift(controllerManager)
    return { access: api.access, etcd: etcd.server, apiServer: api.server, controllerManager, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function startEtcd(
  programs: KubernetesPrograms,
  directory: string,
  signal: AbortSignal | undefined,
): Promise<{ readonly server: Server; readonly url: string }> {
  const url = `http://${HOST}:${await freePort()}`
  const peerUrl = `http://${HOST}:${await freePort()}`
  const server = await startServer(
    {
      name: 'etcd',
      address: url,
      process: {
        command: programs.etcd,
        args: [
          `--data-dir=${join(directory, 'etcd')}`,
          `--listen-client-urls=${url}`,
          `--advertise-client-urls=${url}`,
          `--listen-peer-urls=${peerUrl}`,
          `--initial-advertise-peer-urls=${peerUrl}`,
          `--initial-cluster=default=${peerUrl}`,
          // It must outlive a killed process, not a lost machine.
          '--unsafe-no-fsync',
          '--log-level=warn',
        ],
        directory,
      },
      logFile: join(directory, 'etcd.log'),
      startMilliseconds: START_MILLISECONDS,
      untilAnswers: (given) => untilTrue(given, async () => (await fetch(`${url}/health`, { signal: given })).ok),
    },
    signal,
  )
  return { server, url }
}

type ApiServer = {
  readonly server: Server
  readonly access: ControlPlaneAccess
  readonly controllerManagerKubeconfig: string
  readonly serviceAccountKeyFile: string
}

async function startApiServer(
  programs: KubernetesPrograms,
  directory: string,
  etcdUrl: string,
  args: readonly string[],
  signal: AbortSignal | undefined,
): Promise<ApiServer> {
  const certificates = join(directory, 'certificates')
  const files = {
    serviceAccountKey: join(directory, 'service-account.key'),
    serviceAccountPublicKey: join(directory, 'service-account.pub'),
    tokens: join(directory, 'tokens.csv'),
    auditPolicy: join(directory, 'audit-policy.json'),
    auditLog: join(directory, 'audit.log'),
  }
  await mkdir(certificates, { recursive: true })
  const { privateKey, publicKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  })
  await writeFile(files.serviceAccountKey, privateKey, { mode: 0o600 })
  await writeFile(files.serviceAccountPublicKey, publicKey)
  const [adminToken, managerToken] = [newToken(), newToken()]
  const tokens = [`${adminToken},admin,admin,system:masters`, `${managerToken},system:kube-controller-manager,manager`]
  await writeFile(files.tokens, tokens.map((line) => `${line}\n`).join(''), { mode: 0o600 })
  await writeFile(files.auditPolicy, JSON.stringify(AUDIT_POLICY))

  const port = await freePort()
  const admin = {
    url: `https://${HOST}:${port}`,
    // The API server makes a certificate for its address when it finds none, and adds the authority that signed it.
    authorityFile: join(certificates, 'apiserver.crt'),
    token: adminToken,
  }
  const server = await startServer(
    {
      name: 'the API server',
      address: admin.url,
      process: {
        command: programs['kube-apiserver'],
        args: [
          `--etcd-servers=${etcdUrl}`,
          `--bind-address=${HOST}`,
          `--advertise-address=${HOST}`,
          // The kubernetes Service has no endpoint: no Pod here could call it.
          '--endpoint-reconciler-type=none',
          `--secure-port=${port}`,
          `--cert-dir=${certificates}`,
          '--service-cluster-ip-range=10.96.0.0/16',
          `--service-account-issuer=${ISSUER}`,
          `--service-account-key-file=${files.serviceAccountPublicKey}`,
          `--service-account-signing-key-file=${files.serviceAccountKey}`,
          `--token-auth-file=${files.tokens}`,
          '--authorization-mode=Node,RBAC',
          '--allow-privileged=true',
          `--audit-policy-file=${files.auditPolicy}`,
          `--audit-log-path=${files.auditLog}`,
          // In megabytes: who reads it wants it whole.
          '--audit-log-maxsize=4000',
          '--profiling=false',
          ...args,
        ],
        directory,
      },
      logFile: join(directory, 'kube-apiserver.log'),
      startMilliseconds: START_MILLISECONDS,
      untilAnswers: (given) => untilServes(admin, '/readyz', given),
    },
    signal,
  )
  const adminKubeconfig = join(directory, 'admin.kubeconfig')
  await writeKubeconfig(adminKubeconfig, admin)
  const controllerManagerKubeconfig = join(directory, 'controller-manager.kubeconfig')
  await writeKubeconfig(controllerManagerKubeconfig, { ...admin, token: managerToken })
  return {
    server,
    access: { admin, adminKubeconfig, auditLogFile: files.auditLog, kubectl: programs.kubectl, directory },
    controllerManagerKubeconfig,
    serviceAccountKeyFile: files.serviceAccountKey,
  }
}

function startControllerManager(
  programs: KubernetesPrograms,
  directory: string,
  api: ApiServer,
  signal: AbortSignal | undefined,
): Promise<Server> {
  const { admin } = api.access
  return startServer(
    {
      name: 'the controller-manager',
      address: admin.url,
      process: {
        command: programs['kube-controller-manager'],
        args: [
          `--kubeconfig=${api.controllerManagerKubeconfig}`,
          `--controllers=${CONTROLLERS.join(',')}`,
          '--leader-elect=false',
          '--use-service-account-credentials',
          `--service-account-private-key-file=${api.serviceAccountKeyFile}`,
          `--root-ca-file=${admin.authorityFile}`,
          // It serves nothing itself, and what waits for it should not wait for its politeness.
          '--secure-port=0',
          '--kube-api-qps=500',
          '--kube-api-burst=1000',
        ],
        directory,
      },
      logFile: join(directory, 'kube-controller-manager.log'),
      startMilliseconds: START_MILLISECONDS,
      // Its work is the sign of its life.
      untilAnswers: (given) => untilServes(admin, '/api/v1/namespaces/default/serviceaccounts/default', given),
    },
    signal,
  )
}

const newToken = (): string => randomBytes(24).toString('hex')

async function untilServes(access: KubeAccess, path: string, signal: AbortSignal): Promise<void> {
  const api = connectToKube(access)
  try {
    await untilTrue(signal, async () => {
      await api.request('GET', path, { signal })
      return true
    })
  } finally {
    api.close()
  }
}

/** @throws the signal's reason; what the question throws means not yet */
async function untilTrue(signal: AbortSignal, ask: () => Promise<boolean>): Promise<void> {
  while (!(await ask().catch(() => false))) {
    signal.throwIfAborted()
    await pause(RETRY_MILLISECONDS, undefined, { signal })
  }
}
