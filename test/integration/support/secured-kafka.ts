/** Kafka as people run it: TLS, SCRAM-SHA-512 and client certificates, one broker or several. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { KafkaListener } from '../../../local/platform/kafka-broker.ts'
import type { SidecarConfigInput } from '../../../sidecar/config.ts'
import { makeAuthority, makeCertificate } from './certificates.ts'
import type { KeyPair } from './certificates.ts'

export const USER = 'team'
export const PASSWORD = 'correct-horse-kafka'

/** Files that brokers and sidecars read; a test replaces what they hold. */
export interface SecurityFiles {
  readonly directory: string
  readonly authority: KeyPair
  /** What the sidecars trust. */
  readonly caFile: string
  readonly passwordFile: string
  /** What the brokers show: key and certificate. */
  readonly keyStore: string
  /** Whom the brokers trust. */
  readonly trustStore: string
  /** A certificate of the same authority, for a sidecar. */
  readonly client: KeyPair
}

export async function makeSecurityFiles(parent: string): Promise<SecurityFiles> {
  const directory = join(parent, 'security')
  mkdirSync(directory)
  const authority = await makeAuthority(directory, 'authority')
  const [broker, client] = await Promise.all([
    makeCertificate(directory, 'broker', authority),
    makeCertificate(directory, 'client', authority),
  ])
  const caFile = join(directory, 'trusted.pem')
  copyFileSync(authority.certFile, caFile)
  const trustStore = join(directory, 'clients.pem')
  copyFileSync(authority.certFile, trustStore)
  const passwordFile = join(directory, 'password')
  writeFileSync(passwordFile, `${PASSWORD}\n`)
  return {
    directory,
    authority,
    caFile,
    passwordFile,
    keyStore: keyStore(join(directory, 'broker.pem'), broker),
    trustStore,
    client,
  }
}

/** Key and certificate in one file, as Kafka wants them. */
export function keyStore(file: string, { certFile, keyFile }: KeyPair): string {
  writeFileSync(file, `${readFileSync(keyFile, 'utf8')}${readFileSync(certFile, 'utf8')}`)
  return file
}

export interface DoorOptions {
  /** How long a sign-in holds: who has not signed in again by then is cut off. For good when not given. */
  readonly signInMilliseconds?: number
}

/** `SCRAM`: TLS and a password. `MUTUAL`: TLS and a certificate of the client's. */
export function securedListeners(
  files: SecurityFiles,
  { signInMilliseconds = 0 }: DoorOptions = {},
): readonly KafkaListener[] {
  const tls = {
    'ssl.keystore.type': 'PEM',
    'ssl.keystore.location': files.keyStore,
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.location': files.trustStore,
  }
  const login = 'org.apache.kafka.common.security.scram.ScramLoginModule required;'
  return [
    {
      name: 'SCRAM',
      protocol: 'SASL_SSL',
      properties: {
        ...tls,
        'sasl.enabled.mechanisms': 'SCRAM-SHA-512',
        'scram-sha-512.sasl.jaas.config': login,
        'connections.max.reauth.ms': String(signInMilliseconds),
      },
    },
    { name: 'MUTUAL', protocol: 'SSL', properties: { ...tls, 'ssl.client.auth': 'required' } },
  ]
}

/** What a sidecar is told to sign in at the listener `SCRAM`. */
export const byScram = (
  brokers: readonly string[],
  { caFile, passwordFile }: Pick<SecurityFiles, 'caFile' | 'passwordFile'>,
  username = USER,
): SidecarConfigInput['kafka'] => ({
  brokers: [...brokers],
  tls: { caFile },
  sasl: { mechanism: 'SCRAM-SHA-512', username, password: { file: passwordFile } },
})
