import type { CalculateService } from '../../crds/types.ts'
import { kafkaSecrets } from '../secret-references.ts'
import type { SecretReference } from '../secret-references.ts'

/** How the operator reaches the Kafka of a service: the resource's own words with the secrets read. */
export interface KafkaAccess {
  readonly servers: readonly string[]
  readonly tls?: {
    readonly ca?: string
    readonly cert?: string
    readonly key?: string
    readonly serverName?: string
  }
  readonly sasl?: {
    readonly mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'
    readonly username: string
    readonly password: string
  }
}

/** Reads one key of a Secret; undefined where it is not there. */
export type ReadSecret = (reference: SecretReference) => string | undefined

/** Those of the references that lead nowhere, each as a line that names field, Secret and key. */
export const missingSecrets = (references: readonly SecretReference[], read: ReadSecret): readonly string[] =>
  references
    .filter((reference) => read(reference) === undefined)
    .map(({ path, name, key }) => `${path}: there is no key ${key} in a Secret ${name}`)

/** @returns undefined where a Secret is missing: see missingSecrets */
export function kafkaAccess(service: CalculateService, read: ReadSecret): KafkaAccess | undefined {
  if (missingSecrets(kafkaSecrets(service), read).length > 0) return undefined
  const { bootstrapServers, tls, sasl } = service.spec.kafka
  const at = (name: string, key: string): string => read({ path: '', name, key }) ?? ''
  const client = tls?.clientCertificateSecretRef
  return {
    servers: bootstrapServers,
    ...(tls === undefined
      ? {}
      : {
          tls: {
            ...(tls.caSecretRef === undefined ? {} : { ca: at(tls.caSecretRef.name, tls.caSecretRef.key) }),
            ...(client === undefined
              ? {}
              : { cert: at(client.name, client.certificateKey), key: at(client.name, client.privateKeyKey) }),
            ...(tls.serverName === undefined ? {} : { serverName: tls.serverName }),
          },
        }),
    ...(sasl === undefined
      ? {}
      : {
          sasl: {
            mechanism: sasl.mechanism,
            username: sasl.username,
            // As the sidecar reads it: a newline at the end of a file is no part of a password.
            password: at(sasl.passwordSecretRef.name, sasl.passwordSecretRef.key).replace(/\r?\n$/, ''),
          },
        }),
  }
}
