/** Everything that is made in Kubernetes for a CalculateService. Pure: the same service gives the same objects. */
import type { CalculateService } from '../../crds/types.ts'
import type { SidecarConfigInput } from '../../sidecar/config.ts'
import { withAppliedHash } from '../applied.ts'
import type { Rendered } from '../applied.ts'
import { CONFIG_MAPS, DEPLOYMENTS, POD_DISRUPTION_BUDGETS, SERVICE_ACCOUNTS, SERVICES } from '../kinds.ts'
import { labelsOf, ownedBy } from '../labels.ts'
import { proxySecrets } from '../secret-references.ts'
import {
  CONFIG_KEY,
  configText,
  POD_IP,
  POD_NAME,
  RESTART_HASH,
  restartHash,
  sidecarContainer,
  sidecarVolumes,
  USER,
} from '../sidecar-pod.ts'
import type { SidecarImage } from '../sidecar-pod.ts'
import { drainSeconds } from './drain.ts'
import { registersItself } from './instances.ts'
import { proxyConfig } from './proxy-config.ts'

export interface ServiceObjects {
  readonly serviceAccount: Rendered
  readonly configMap: Rendered
  readonly deployment: Rendered
  readonly podDisruptionBudget: Rendered
  /** Absent where spec.registration.kubernetes is None. */
  readonly service?: Rendered
}

const ADMIN_PORT = 9090
/** Below it a process without privileges may not listen, unless the pod's network says so. */
const FIRST_UNPRIVILEGED_PORT = 1024

/** The name of everything that is made for a service. */
export const proxyName = ({ metadata }: CalculateService): string => `${metadata.name}-proxy`

/** Selects the proxies of a service. Deployments keep the selector that they began with. */
const proxySelector = ({ metadata }: CalculateService): Readonly<Record<string, string>> => ({
  'app.kubernetes.io/component': 'proxy',
  'grpckafka.dev/service': metadata.name,
})

/** Where clients in the cluster call a service, `host:port`; undefined where there is no Service. */
export const serviceAddress = (service: CalculateService): string | undefined =>
  service.spec.registration.kubernetes === 'None'
    ? undefined
    : `${proxyName(service)}.${service.metadata.namespace ?? 'default'}.svc:${service.spec.proxy.port}`

/** The objects of a service, each with the hash of itself (see applied.ts). */
export function renderService(service: CalculateService, image: SidecarImage): ServiceObjects {
  const { registration } = service.spec
  const config = configOf(service, image)
  return {
    serviceAccount: object(service, SERVICE_ACCOUNTS, { automountServiceAccountToken: false }),
    configMap: object(service, CONFIG_MAPS, { data: { [CONFIG_KEY]: configText(config) } }),
    deployment: object(service, DEPLOYMENTS, { spec: deploymentSpec(service, image, config) }),
    podDisruptionBudget: object(service, POD_DISRUPTION_BUDGETS, {
      spec: {
        maxUnavailable: 1,
        // A proxy that does not work must not keep a node from being emptied.
        unhealthyPodEvictionPolicy: 'AlwaysAllow',
        selector: { matchLabels: proxySelector(service) },
      },
    }),
    ...(registration.kubernetes === 'None'
      ? {}
      : { service: object(service, SERVICES, { spec: serviceSpec(service) }) }),
  }
}

const object = (
  service: CalculateService,
  { apiVersion, kind }: { readonly apiVersion: string; readonly kind: string },
  fields: Readonly<Record<string, unknown>>,
): Rendered =>
  withAppliedHash({ apiVersion, kind, metadata: ownedBy(service, proxyName(service), labels(service)), ...fields })

const labels = ({ metadata }: CalculateService): Readonly<Record<string, string>> =>
  labelsOf('proxy', metadata.name, { 'grpckafka.dev/service': metadata.name })

const adminPort = ({ spec }: CalculateService): number => (spec.proxy.port === ADMIN_PORT ? ADMIN_PORT + 1 : ADMIN_PORT)

type ProxyConfig = Extract<SidecarConfigInput, { readonly role: 'proxy' }>

const configOf = (service: CalculateService, { logLevel }: SidecarImage): ProxyConfig =>
  proxyConfig(service, {
    instance: { env: POD_NAME },
    admin: { port: adminPort(service) },
    listen: { port: service.spec.proxy.port },
    registration: { host: { env: POD_IP } },
    ...(logLevel === undefined ? {} : { logLevel }),
  })

const serviceSpec = (service: CalculateService) => ({
  type: 'ClusterIP',
  ...(service.spec.registration.kubernetes === 'Headless' ? { clusterIP: 'None' } : {}),
  selector: proxySelector(service),
  ports: [
    {
      name: 'grpc',
      port: service.spec.proxy.port,
      targetPort: 'grpc',
      protocol: 'TCP',
      appProtocol: 'kubernetes.io/h2c',
    },
  ],
})

function deploymentSpec(service: CalculateService, image: SidecarImage, config: ProxyConfig) {
  const { proxy } = service.spec
  return {
    replicas: proxy.replicas,
    revisionHistoryLimit: 3,
    // No proxy goes before another one takes calls in its place.
    strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: '25%' } },
    selector: { matchLabels: proxySelector(service) },
    template: {
      metadata: {
        labels: { ...proxy.template.metadata.labels, ...labels(service) },
        annotations: { ...proxy.template.metadata.annotations, [RESTART_HASH]: restartHash(config) },
      },
      spec: podSpec(service, image),
    },
  }
}

function podSpec(service: CalculateService, { sidecarImage }: SidecarImage) {
  const { proxy } = service.spec
  const { spec: own } = proxy.template
  const secrets = proxySecrets(service)
  const port = adminPort(service)
  return {
    serviceAccountName: proxyName(service),
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: drainSeconds(service),
    securityContext: {
      runAsNonRoot: true,
      runAsUser: USER,
      runAsGroup: USER,
      fsGroup: USER,
      seccompProfile: { type: 'RuntimeDefault' },
      ...(proxy.port < FIRST_UNPRIVILEGED_PORT
        ? { sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '0' }] }
        : {}),
    },
    containers: [
      {
        ...sidecarContainer({
          name: 'proxy',
          image: sidecarImage,
          adminPort: port,
          hasSecrets: secrets.length > 0,
          // Where nothing asks for it the pods are as they were.
          hasAddress: registersItself(service),
        }),
        ports: [
          { name: 'grpc', containerPort: proxy.port, protocol: 'TCP' },
          { name: 'admin', containerPort: port, protocol: 'TCP' },
        ],
        readinessProbe: {
          httpGet: { path: '/readyz', port },
          periodSeconds: 2,
          timeoutSeconds: 2,
          failureThreshold: 2,
        },
        resources: proxy.resources,
      },
    ],
    volumes: sidecarVolumes(proxyName(service), secrets, 0o440),
    nodeSelector: own.nodeSelector ?? {},
    tolerations: own.tolerations ?? [],
    ...(own.affinity === undefined ? {} : { affinity: own.affinity }),
    topologySpreadConstraints: (own.topologySpreadConstraints ?? [OVER_NODES]).map((constraint) => ({
      labelSelector: { matchLabels: proxySelector(service) },
      ...constraint,
    })),
    imagePullSecrets: own.imagePullSecrets ?? [],
    ...(own.priorityClassName === undefined ? {} : { priorityClassName: own.priorityClassName }),
  }
}

/** One node that is lost takes no more proxies along than it must. */
const OVER_NODES = { maxSkew: 1, topologyKey: 'kubernetes.io/hostname', whenUnsatisfiable: 'ScheduleAnyway' }
