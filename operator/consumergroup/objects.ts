/**
 * Everything that is made in Kubernetes for a ConsumerGroup: the user's pod template with the worker beside the handler.
 * Pure: the same resources give the same objects.
 */
import type { CalculateService, ConsumerGroup, RetryPolicy } from '../../crds/types.ts'
import type { SidecarConfigInput } from '../../sidecar/config.ts'
import { withAppliedHash } from '../applied.ts'
import type { Rendered } from '../applied.ts'
import { CONFIG_MAPS, DEPLOYMENTS, SERVICE_ACCOUNTS } from '../kinds.ts'
import { labelsOf, ownedBy } from '../labels.ts'
import { workerSecrets } from '../secret-references.ts'
import {
  CONFIG_KEY,
  configText,
  POD_NAME,
  RESTART_HASH,
  restartHash,
  sidecarContainer,
  sidecarVolumes,
  USER,
} from '../sidecar-pod.ts'
import type { SidecarImage } from '../sidecar-pod.ts'
import { graceSeconds, workerConfig } from './worker-config.ts'

export interface GroupObjects {
  /** Absent where the template names a ServiceAccount of its own. */
  readonly serviceAccount?: Rendered
  readonly configMap: Rendered
  readonly deployment: Rendered
}

export interface GroupParts {
  readonly group: ConsumerGroup
  readonly service: CalculateService
  readonly policy?: RetryPolicy | undefined
  /** Absent: the number is somebody else's, and not named. */
  readonly replicas?: number | undefined
}

type Template = ConsumerGroup['spec']['template']
type Container = Template['spec']['containers'][number]
type Fields = Readonly<Record<string, unknown>>

const SIDECAR = 'grpc-kafka-worker'
const STATE_VOLUME = 'grpc-kafka-state'
const STATE_DIRECTORY = '/var/lib/grpc-kafka'
/** The worker shares its ports with whatever runs in the user's pod. */
const FIRST_ADMIN_PORT = 9090

/** The name of everything that is made for a group. */
export const workerName = ({ metadata }: ConsumerGroup): string => `${metadata.name}-worker`

/** Selects the workers of a group. Deployments keep the selector that they began with. */
export const workerSelector = ({ metadata }: ConsumerGroup): Readonly<Record<string, string>> => ({
  'app.kubernetes.io/component': 'worker',
  'grpckafka.dev/group': metadata.name,
})

/** The handler: the container of that name, else the first. */
const handlerOf = ({ containers }: Template['spec']): Container =>
  containers.find(({ name }) => name === 'handler') ?? containers[0]!

/** Whether the handler's container has a preStop hook already. It is kept, and nothing hands the worker's calls back. */
export const hasOwnPreStop = ({ spec }: ConsumerGroup): boolean =>
  fieldsOf(fieldsOf(handlerOf(spec.template.spec)['lifecycle'])['preStop']) !== NONE

/** The objects of a group, each with the hash of itself (see applied.ts). */
export function renderGroup(parts: GroupParts, image: SidecarImage): GroupObjects {
  const { group } = parts
  const config = configOf(parts, image)
  const ownAccount = group.spec.template.spec['serviceAccountName']
  const labels = labelsOf('worker', group.metadata.name, {
    'grpckafka.dev/group': group.metadata.name,
    'grpckafka.dev/service': parts.service.metadata.name,
  })
  const object = ({ apiVersion, kind }: { readonly apiVersion: string; readonly kind: string }, fields: Fields) =>
    withAppliedHash<Rendered>({ apiVersion, kind, metadata: ownedBy(group, workerName(group), labels), ...fields })
  return {
    ...(ownAccount === undefined
      ? { serviceAccount: object(SERVICE_ACCOUNTS, { automountServiceAccountToken: false }) }
      : {}),
    configMap: object(CONFIG_MAPS, { data: { [CONFIG_KEY]: configText(config) } }),
    deployment: object(DEPLOYMENTS, { spec: deploymentSpec(parts, image, config, labels) }),
  }
}

type WorkerConfig = Extract<SidecarConfigInput, { readonly role: 'worker' }>

const configOf = ({ group, service, policy }: GroupParts, { logLevel }: SidecarImage): WorkerConfig =>
  workerConfig(group, service, policy, {
    instance: { env: POD_NAME },
    admin: { port: adminPort(group) },
    handler: { port: group.spec.handler.port },
    uncleanEndMarker: `${STATE_DIRECTORY}/running`,
    ...(logLevel === undefined ? {} : { logLevel }),
  })

const deploymentSpec = (
  parts: GroupParts,
  image: SidecarImage,
  config: WorkerConfig,
  labels: Readonly<Record<string, string>>,
) => {
  const { group, replicas } = parts
  const { metadata } = group.spec.template
  return {
    ...(replicas === undefined ? {} : { replicas }),
    revisionHistoryLimit: 3,
    // A worker that comes takes partitions over at once; the one it replaces drains meanwhile.
    strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: '25%' } },
    selector: { matchLabels: workerSelector(group) },
    template: {
      ...group.spec.template,
      metadata: {
        ...metadata,
        labels: { ...fieldsOf(metadata?.['labels']), ...labels },
        annotations: { ...fieldsOf(metadata?.['annotations']), [RESTART_HASH]: restartHash(config) },
      },
      spec: podSpec(parts, image),
    },
  }
}

function podSpec({ group, service }: GroupParts, { sidecarImage }: SidecarImage) {
  const { spec } = group.spec.template
  const secrets = workerSecrets(service, group)
  const port = adminPort(group)
  const handler = handlerOf(spec)
  const base = sidecarContainer({ name: SIDECAR, image: sidecarImage, adminPort: port, hasSecrets: secrets.length > 0 })
  return {
    ...(spec['serviceAccountName'] === undefined ? { serviceAccountName: workerName(group) } : {}),
    ...spec,
    terminationGracePeriodSeconds: graceSeconds(group),
    containers: spec.containers.map((container) =>
      container === handler && !hasOwnPreStop(group) ? withQuiesce(container, port) : container,
    ),
    // The last to start and the first of the native sidecars to end: one of the user's may be its way to the network.
    initContainers: [
      ...listOf(spec['initContainers']),
      {
        ...base,
        restartPolicy: 'Always',
        ports: [{ name: 'worker-admin', containerPort: port, protocol: 'TCP' }],
        readinessProbe: { httpGet: { path: '/readyz', port }, periodSeconds: 2, timeoutSeconds: 2 },
        // The pod may have another user.
        securityContext: { ...base.securityContext, runAsUser: USER, runAsGroup: USER },
        volumeMounts: [...base.volumeMounts, { name: STATE_VOLUME, mountPath: STATE_DIRECTORY }],
        resources: group.spec.sidecar.resources,
      },
    ],
    volumes: [
      ...listOf(spec['volumes']),
      // Readable by whoever the sidecar is: the pod's fsGroup is the user's. Only the sidecar mounts them.
      ...sidecarVolumes(workerName(group), secrets, 0o444),
      // Goes with the pod: the marker that it keeps tells of an earlier life of the container in the same pod.
      { name: STATE_VOLUME, emptyDir: { sizeLimit: '1Mi' } },
    ],
  }
}

/** The handler is ended first: so it is kept until the worker has handed back its calls (SEMANTICS 8). */
const withQuiesce = (container: Container, port: number) => ({
  ...container,
  lifecycle: { ...fieldsOf(container['lifecycle']), preStop: { httpGet: { path: '/quiesce', port } } },
})

/** The first port from 9090 up that nothing in the pod says it uses. */
function adminPort({ spec }: ConsumerGroup): number {
  const pod = spec.template.spec
  const containers = [...pod.containers, ...listOf(pod['initContainers'])]
  const ports = containers.flatMap((container) => listOf(fieldsOf(container)['ports']))
  const taken = new Set<unknown>([spec.handler.port, ...ports.map((one) => fieldsOf(one)['containerPort'])])
  let port = FIRST_ADMIN_PORT
  while (taken.has(port)) port += 1
  return port
}

const NONE: Fields = {}

/** What the user wrote is checked by the API server; until then it may be anything. */
const fieldsOf = (value: unknown): Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : NONE

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])
