import type { CalculateService } from '../../crds/types.ts'
import type { SidecarConfigInput } from '../../sidecar/config.ts'
import type { Placement } from '../placement.ts'
import { secretFile } from '../secret-file.ts'
import type { SecretKey } from '../secret-file.ts'
import { tlsConfig } from '../tls-config.ts'

type RedisInput = SidecarConfigInput['redis']

/** The Redis of a service as a sidecar is told it; secrets are files. */
export function redisConfig(
  { redis }: CalculateService['spec'],
  { redisUrl, secretsDirectory }: Pick<Placement, 'redisUrl' | 'secretsDirectory'>,
): RedisInput {
  const { commandTimeoutMilliseconds, url, urlSecretRef, sentinel, cluster, username, passwordSecretRef, tls } = redis
  if (redisUrl !== undefined) return { url: redisUrl, commandTimeoutMilliseconds }
  const file = (key: SecretKey) => ({ file: secretFile(key, secretsDirectory) })
  return {
    ...(url === undefined ? {} : { url }),
    ...(urlSecretRef === undefined ? {} : { url: file(urlSecretRef) }),
    ...(sentinel === undefined
      ? {}
      : {
          sentinel: {
            nodes: [...sentinel.nodes],
            master: sentinel.master,
            ...(sentinel.username === undefined ? {} : { username: sentinel.username }),
            ...(sentinel.passwordSecretRef === undefined ? {} : { password: file(sentinel.passwordSecretRef) }),
          },
        }),
    ...(cluster === undefined ? {} : { cluster: { nodes: [...cluster.nodes] } }),
    ...(username === undefined ? {} : { username }),
    ...(passwordSecretRef === undefined ? {} : { password: file(passwordSecretRef) }),
    ...(tls === undefined ? {} : { tls: tlsConfig(tls, secretsDirectory) }),
    commandTimeoutMilliseconds,
  }
}
