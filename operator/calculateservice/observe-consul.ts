import type { CalculateService } from '../../crds/types.ts'
import { missingSecrets } from '../kafka/kafka-access.ts'
import type { ReadSecret } from '../kafka/kafka-access.ts'
import type {
  ConsulAccess,
  ConsulCatalog,
  ConsulScope,
  FoundInstances,
  ObservedCatalog,
} from '../registry/consul-client.ts'
import { ConsulProblem } from '../registry/consul-problem.ts'
import { consulSecrets } from '../secret-references.ts'
import { formerPlaces, instanceMeta, placeOf, registersItself } from './instances.ts'
import type { ConsulPlace } from './instances.ts'
import type { Problem } from './plan.ts'

/** One Consul that matters to a service. */
export interface ConsulView {
  readonly place: ConsulPlace
  /** Whether it is the one that the spec names; all others are to be left. */
  readonly isCurrent: boolean
  readonly registry:
    | { readonly state: 'Seen'; readonly access: ConsulAccess; readonly catalog: ObservedCatalog }
    | ({ readonly state: 'Failed' } & Problem<'Registered'>)
}

/** What Consul has of proxies that register themselves. */
export type FoundView =
  ({ readonly state: 'Seen' } & FoundInstances) | ({ readonly state: 'Failed' } & Problem<'Registered'>)

/** @returns undefined where the spec does not ask proxies to register themselves. */
export async function findRegistered(
  service: CalculateService,
  read: ReadSecret,
  catalog: Pick<ConsulCatalog, 'find'>,
  signal: AbortSignal,
): Promise<FoundView | undefined> {
  const { metadata, spec } = service
  const { consul } = spec.registration
  if (consul === undefined || !registersItself(service)) return undefined
  const missing = missingSecrets(consulSecrets(consul), read)
  if (missing.length > 0) return { state: 'Failed', reason: 'SecretMissing', message: missing.join('; ') }
  try {
    const name = consul.name ?? metadata.name
    const found = await catalog.find(accessOf(consul, read), name, instanceMeta(metadata), signal)
    return { state: 'Seen', ...found }
  } catch (error) {
    if (!(error instanceof ConsulProblem)) throw error
    return { state: 'Failed', reason: error.reason, message: error.message }
  }
}

/** All at once: the one that the spec names, then those that the status remembers beside it. */
export function observeConsul(
  service: CalculateService,
  scope: ConsulScope,
  read: ReadSecret,
  catalog: Pick<ConsulCatalog, 'observe'>,
  signal: AbortSignal,
): Promise<readonly ConsulView[]> {
  const current = placeOf(service)
  const places = [...(current === undefined ? [] : [current]), ...formerPlaces(service)]
  return Promise.all(
    places.map(async (place): Promise<ConsulView> => {
      const isCurrent = place === current
      const path = isCurrent ? 'spec.registration.consul' : `status.consul of ${place.address}`
      const missing = missingSecrets(consulSecrets(place, path), read)
      if (missing.length > 0) {
        return { place, isCurrent, registry: { state: 'Failed', reason: 'SecretMissing', message: missing.join('; ') } }
      }
      const access = accessOf(place, read)
      try {
        return {
          place,
          isCurrent,
          registry: { state: 'Seen', access, catalog: await catalog.observe(access, scope, signal) },
        }
      } catch (error) {
        if (!(error instanceof ConsulProblem)) throw error
        return { place, isCurrent, registry: { state: 'Failed', reason: error.reason, message: error.message } }
      }
    }),
  )
}

function accessOf({ address, datacenter, tokenSecretRef, caSecretRef }: ConsulPlace, read: ReadSecret): ConsulAccess {
  const token = tokenSecretRef && read({ ...tokenSecretRef, path: '' })
  const ca = caSecretRef && read({ ...caSecretRef, path: '' })
  return {
    address,
    ...(datacenter === undefined ? {} : { datacenter }),
    // A newline at the end of a file is no part of a token.
    ...(token === undefined ? {} : { token: token.trim() }),
    ...(ca === undefined ? {} : { ca }),
  }
}
