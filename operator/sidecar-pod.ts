/** What a pod needs for a sidecar in it, alike for proxies and workers. */
import type { SidecarConfigInput } from '../sidecar/config.ts'
import { settingsForGood } from '../sidecar/hot-settings.ts'
import { hashOf } from './applied.ts'
import { SECRETS_DIRECTORY } from './secret-file.ts'
import type { SecretKey } from './secret-file.ts'

const CONFIG_DIRECTORY = '/etc/grpc-kafka'
export const CONFIG_KEY = 'sidecar.json'
const CONFIG_VOLUME = 'grpc-kafka-config'
const SECRETS_VOLUME = 'grpc-kafka-secrets'

/** The variable in which a sidecar finds its instance's name. */
export const POD_NAME = 'POD_NAME'

/** The variable in which a sidecar finds its pod's address, where it has to tell it somebody. */
export const POD_IP = 'POD_IP'

/** Of what a running sidecar does not take over: the pods are replaced when it changes, and for nothing else. */
export const RESTART_HASH = 'grpckafka.dev/restart-hash'

/** `nonroot` in the images that are used most. */
export const USER = 65532

/** What the operator's own configuration decides of a sidecar. */
export interface SidecarImage {
  readonly sidecarImage: string
  readonly logLevel?: 'debug' | 'info' | 'warn' | 'error'
}

export const configText = (config: SidecarConfigInput): string => `${JSON.stringify(config, null, 2)}\n`

export const restartHash = (config: SidecarConfigInput): string => hashOf(settingsForGood(config))

export interface SidecarContainer {
  readonly name: string
  readonly image: string
  readonly adminPort: number
  /** Whether any Secret is mounted. */
  readonly hasSecrets: boolean
  /** Whether it is told the pod's address. */
  readonly hasAddress?: boolean
}

/** The part of a sidecar's container that does not depend on its role. */
export const sidecarContainer = ({ name, image, adminPort, hasSecrets, hasAddress }: SidecarContainer) => ({
  name,
  image,
  args: ['--config', `${CONFIG_DIRECTORY}/${CONFIG_KEY}`],
  env: [
    { name: POD_NAME, valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
    ...(hasAddress === true ? [{ name: POD_IP, valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }] : []),
  ],
  startupProbe: { httpGet: { path: '/healthz', port: adminPort }, periodSeconds: 1, failureThreshold: 120 },
  livenessProbe: { httpGet: { path: '/healthz', port: adminPort }, timeoutSeconds: 5, failureThreshold: 6 },
  securityContext: {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    runAsNonRoot: true,
    capabilities: { drop: ['ALL'] },
    seccompProfile: { type: 'RuntimeDefault' },
  },
  volumeMounts: [
    { name: CONFIG_VOLUME, mountPath: CONFIG_DIRECTORY, readOnly: true },
    ...(hasSecrets ? [{ name: SECRETS_VOLUME, mountPath: SECRETS_DIRECTORY, readOnly: true }] : []),
  ],
})

/**
 * The volumes of a sidecar: its configuration, and each key of a Secret as the file `<Secret>/<key>`. Whole directories are
 * mounted, for only they follow a change of the ConfigMap or Secret.
 *
 * @param mode of the Secrets' files: 0o440 where the pod's fsGroup is the sidecar's.
 */
export const sidecarVolumes = (configMap: string, secrets: readonly SecretKey[], mode: number) => [
  { name: CONFIG_VOLUME, configMap: { name: configMap, items: [{ key: CONFIG_KEY, path: CONFIG_KEY }] } },
  ...(secrets.length === 0
    ? []
    : [{ name: SECRETS_VOLUME, projected: { defaultMode: mode, sources: secretSources(secrets) } }]),
]

function secretSources(secrets: readonly SecretKey[]) {
  const keys = Map.groupBy(secrets, ({ name }) => name)
  return [...keys].map(([name, ofIt]) => ({
    secret: { name, items: [...new Set(ofIt.map(({ key }) => key))].map((key) => ({ key, path: `${name}/${key}` })) },
  }))
}
