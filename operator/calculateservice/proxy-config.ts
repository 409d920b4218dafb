import type { CalculateService } from '../../crds/types.ts'
import type { SidecarConfigInput } from '../../sidecar/config.ts'
import { callbackReceivers } from '../callbacks-config.ts'
import type { Placement } from '../placement.ts'
import { consulConfig } from './consul-config.ts'
import type { RegistrationPlacement } from './consul-config.ts'
import { commonConfig, methodConfig } from '../sidecar-config.ts'

type ProxyConfigInput = Extract<SidecarConfigInput, { readonly role: 'proxy' }>

/** What the environment decides about one proxy. */
export interface ProxyPlacement extends Placement {
  /** Where clients call it. `host` defaults to every address. */
  readonly listen: { readonly host?: string; readonly port: number }
  /** A FileDescriptorSet; given, the proxy serves reflection. */
  readonly descriptorSetFile?: string
  /** Absent: it does not register itself, whatever the resource says. */
  readonly registration?: RegistrationPlacement
}

/** Ten minutes: whoever stops a proxy does not wait longer, whatever its methods allow. */
const LONGEST_DRAIN_MILLISECONDS = 600_000

/** A call in flight is over by its deadline: with this long, none is cut off. */
export const drainMilliseconds = ({ spec: { methods } }: CalculateService): number =>
  Math.min(Math.max(...methods.map(({ timeoutMilliseconds }) => timeoutMilliseconds)), LONGEST_DRAIN_MILLISECONDS)

/** The configuration of one proxy of a service. */
export function proxyConfig(service: CalculateService, placement: ProxyPlacement): ProxyConfigInput {
  const { rateLimit, proxy, methods } = service.spec
  const { listen, registration: placed, secretsDirectory } = placement
  // What decides whether a caller may name one; the rest is the workers'.
  const receivers = callbackReceivers(service.spec, placement).map(({ host, port, scheme }) => ({
    host,
    scheme,
    ...(port === undefined ? {} : { port }),
  }))
  const registration = placed && consulConfig(service, listen.port, placed, secretsDirectory)
  return {
    role: 'proxy',
    ...commonConfig(service, placement),
    admin: { ...placement.admin, profiling: proxy.profiling },
    proxy: {
      ...placement.listen,
      methods: methods.map((method) => ({
        ...methodConfig(method),
        delivery: method.delivery,
        cacheSeconds: method.cacheSeconds,
        cloudEvents: method.cloudEvents,
        ...(method.partitionKey === undefined ? {} : { partitionKey: { ...method.partitionKey } }),
      })),
      ...(rateLimit === undefined ? {} : { rateLimit: { ...rateLimit } }),
      maxInFlight: proxy.maxInFlight,
      // The resource's bounds are the versions that there are.
      recordVersion: proxy.recordVersion === 2 ? 2 : 1,
      cacheMaxBytes: proxy.cacheMaxBytes,
      ...(placement.descriptorSetFile === undefined ? {} : { descriptorSetFile: placement.descriptorSetFile }),
      drainMilliseconds: drainMilliseconds(service),
      ...(receivers.length === 0 ? {} : { callbacks: { receivers } }),
      ...(registration === undefined ? {} : { registration }),
    },
  }
}
