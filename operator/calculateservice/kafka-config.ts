import type { CalculateService } from '../../crds/types.ts'
import type { SidecarConfigInput } from '../../sidecar/config.ts'
import type { Placement } from '../placement.ts'
import { secretFile } from '../secret-file.ts'
import { tlsConfig } from '../tls-config.ts'

/** The Kafka of a service as a sidecar is told it; secrets are files. */
export function kafkaConfig(
  { kafka }: CalculateService['spec'],
  { kafkaBrokers, secretsDirectory }: Pick<Placement, 'kafkaBrokers' | 'secretsDirectory'>,
): SidecarConfigInput['kafka'] {
  if (kafkaBrokers !== undefined) return { brokers: [...kafkaBrokers] }
  const { bootstrapServers, tls, sasl } = kafka
  return {
    brokers: [...bootstrapServers],
    ...(tls === undefined ? {} : { tls: tlsConfig(tls, secretsDirectory) }),
    ...(sasl === undefined
      ? {}
      : {
          sasl: {
            mechanism: sasl.mechanism,
            username: sasl.username,
            password: { file: secretFile(sasl.passwordSecretRef, secretsDirectory) },
          },
        }),
  }
}
