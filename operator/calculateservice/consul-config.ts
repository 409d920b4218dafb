import type { CalculateService } from '../../crds/types.ts'
import type { SidecarConfigInput } from '../../sidecar/config.ts'
import { secretFile } from '../secret-file.ts'
import { instanceMeta, registersItself } from './instances.ts'

type ProxyInput = Extract<SidecarConfigInput, { readonly role: 'proxy' }>['proxy']
type Registration = NonNullable<ProxyInput['registration']>
type Consul = Registration['consul']

/** How a proxy that registers itself is found, and signs in at its agent. */
export interface RegistrationPlacement {
  /** Where clients reach the proxy. */
  readonly host: Consul['advertise']['host']
  /** Given, it is used and not the resource's Secrets. */
  readonly access?: Pick<Consul, 'token' | 'caFile'>
}

/** @returns undefined where the resource does not ask proxies to register themselves. */
export function consulConfig(
  service: CalculateService,
  port: number,
  { host, access }: RegistrationPlacement,
  secretsDirectory: string | undefined,
): Registration | undefined {
  const { metadata, spec } = service
  const { consul } = spec.registration
  if (consul === undefined || !registersItself(service)) return undefined
  const { address, name, tags, tokenSecretRef, caSecretRef, ttlSeconds, intervalSeconds } = consul
  return {
    consul: {
      address,
      name: name ?? metadata.name,
      tags: [...tags],
      meta: instanceMeta(metadata),
      ttlSeconds,
      intervalSeconds,
      advertise: { host, port },
      ...(access ?? {
        ...(tokenSecretRef === undefined ? {} : { token: { file: secretFile(tokenSecretRef, secretsDirectory) } }),
        ...(caSecretRef === undefined ? {} : { caFile: secretFile(caSecretRef, secretsDirectory) }),
      }),
    },
  }
}
