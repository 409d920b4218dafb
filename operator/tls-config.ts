import type { SidecarConfigInput } from '../sidecar/config.ts'
import { secretFile } from './secret-file.ts'
import type { SecretKey } from './secret-file.ts'

/** TLS as a resource says it, for Kafka and Redis alike. */
interface TlsSpec {
  readonly caSecretRef?: SecretKey
  readonly clientCertificateSecretRef?: {
    readonly name: string
    readonly certificateKey: string
    readonly privateKeyKey: string
  }
  readonly serverName?: string
}

/** TLS as a sidecar is told it; certificates are files. */
export const tlsConfig = (
  { caSecretRef, clientCertificateSecretRef: client, serverName }: TlsSpec,
  secretsDirectory?: string,
): NonNullable<SidecarConfigInput['redis']['tls']> => ({
  ...(caSecretRef === undefined ? {} : { caFile: secretFile(caSecretRef, secretsDirectory) }),
  ...(client === undefined
    ? {}
    : {
        certFile: secretFile({ name: client.name, key: client.certificateKey }, secretsDirectory),
        keyFile: secretFile({ name: client.name, key: client.privateKeyKey }, secretsDirectory),
      }),
  ...(serverName === undefined ? {} : { serverName }),
})
