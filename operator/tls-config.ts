import type { SidecarConfigInput } from '../sidecar/config.ts'
import { secretFile } from './secret-file.ts'
import type { SecretKey } from './secret-file.ts'

/** TLS as a resource says it, for Kafka and Redis alike. */
interface TlsSpec {
  readonly caSecretRef?: SecretKey
  /** A Secret of type kubernetes.io/tls. */
  readonly clientCertificateSecretRef?: { readonly name: string }
  readonly serverName?: string
}

/** TLS as a sidecar is told it; certificates are files. */
export const tlsConfig = (
  { caSecretRef, clientCertificateSecretRef, serverName }: TlsSpec,
  secretsDirectory?: string,
): NonNullable<SidecarConfigInput['redis']['tls']> => ({
  ...(caSecretRef === undefined ? {} : { caFile: secretFile(caSecretRef, secretsDirectory) }),
  ...(clientCertificateSecretRef === undefined
    ? {}
    : {
        certFile: secretFile({ ...clientCertificateSecretRef, key: 'tls.crt' }, secretsDirectory),
        keyFile: secretFile({ ...clientCertificateSecretRef, key: 'tls.key' }, secretsDirectory),
      }),
  ...(serverName === undefined ? {} : { serverName }),
})
