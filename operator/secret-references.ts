import type { CalculateService, ConsumerGroup } from '../crds/types.ts'
import type { SecretKey } from './secret-file.ts'

/** A key of a Secret that a resource names. */
export interface SecretReference extends SecretKey {
  /** The field that names it: `spec.kafka.sasl.passwordSecretRef`. */
  readonly path: string
}

interface Tls {
  readonly caSecretRef?: SecretKey
  readonly clientCertificateSecretRef?: {
    readonly name: string
    readonly certificateKey: string
    readonly privateKeyKey: string
  }
}

/** The keys of Secrets with which one signs in at a service's Kafka. */
export const kafkaSecrets = ({ spec: { kafka } }: CalculateService): readonly SecretReference[] => [
  ...tlsSecrets('spec.kafka.tls', kafka.tls),
  ...at('spec.kafka.sasl.passwordSecretRef', kafka.sasl?.passwordSecretRef),
]

/** The keys of Secrets that all sidecars of a service need: those of its Kafka and of its Redis. */
const sidecarSecrets = (service: CalculateService): readonly SecretReference[] => {
  const { redis } = service.spec
  return [
    ...kafkaSecrets(service),
    ...at('spec.redis.urlSecretRef', redis.urlSecretRef),
    ...at('spec.redis.sentinel.passwordSecretRef', redis.sentinel?.passwordSecretRef),
    ...at('spec.redis.passwordSecretRef', redis.passwordSecretRef),
    ...tlsSecrets('spec.redis.tls', redis.tls),
  ]
}

/** The keys of Secrets with which receivers are told of outcomes. */
export const callbackSecrets = ({ spec }: CalculateService): readonly SecretReference[] =>
  (spec.callbacks?.receivers ?? []).flatMap(({ secretRef, caSecretRef }, index) => {
    const path = `spec.callbacks.receivers[${index}]`
    return [...at(`${path}.secretRef`, secretRef), ...at(`${path}.caSecretRef`, caSecretRef)]
  })

/** Those of a group's workers, of which a Responder's tell receivers of outcomes. */
export const workerSecrets = (service: CalculateService, { spec }: ConsumerGroup): readonly SecretReference[] => [
  ...sidecarSecrets(service),
  ...(spec.role === 'Responder' ? callbackSecrets(service) : []),
]

/** Those of its proxies, which may have to sign in at a Consul agent too. */
export const proxySecrets = (service: CalculateService): readonly SecretReference[] => {
  const { consul } = service.spec.registration
  return [...sidecarSecrets(service), ...(consul?.check === 'TTL' ? consulSecrets(consul) : [])]
}

/** The keys of Secrets with which one reaches a Consul that `path` names. */
export const consulSecrets = (
  { tokenSecretRef, caSecretRef }: { readonly tokenSecretRef?: SecretKey; readonly caSecretRef?: SecretKey },
  path = 'spec.registration.consul',
): readonly SecretReference[] => [
  ...at(`${path}.tokenSecretRef`, tokenSecretRef),
  ...at(`${path}.caSecretRef`, caSecretRef),
]

function tlsSecrets(path: string, tls: Tls | undefined): readonly SecretReference[] {
  const client = tls?.clientCertificateSecretRef
  return [
    ...at(`${path}.caSecretRef`, tls?.caSecretRef),
    ...(client === undefined
      ? []
      : [client.certificateKey, client.privateKeyKey].flatMap((key) =>
          at(`${path}.clientCertificateSecretRef`, { name: client.name, key }),
        )),
  ]
}

const at = (path: string, key: SecretKey | undefined): readonly SecretReference[] =>
  key === undefined ? [] : [{ path, name: key.name, key: key.key }]
