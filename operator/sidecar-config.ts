import type { CalculateService } from '../crds/types.ts'
import type { SidecarConfigInput } from '../sidecar/config.ts'
import type { Placement } from './placement.ts'

type Common = Pick<SidecarConfigInput, 'instance' | 'service' | 'kafka' | 'redis' | 'admin' | 'log'>

/** What a proxy and a worker of one service are told alike. */
export function commonConfig({ spec }: CalculateService, placement: Placement): Common {
  return {
    instance: placement.instance,
    service: {
      name: spec.service,
      topic: spec.topic.name,
      maxMessageBytes: spec.proxy.maxMessageBytes,
      resultRetentionSeconds: spec.results.retentionSeconds,
    },
    kafka: { brokers: [...placement.kafkaBrokers] },
    redis: { url: placement.redisUrl },
    admin: { ...placement.admin },
    ...(placement.logLevel === undefined ? {} : { log: { level: placement.logLevel } }),
  }
}

/** The methods of a service as a sidecar is told them. */
export const methodConfigs = ({ spec }: CalculateService) =>
  spec.methods.map(({ name, timeoutMilliseconds, metadata }) => ({
    name,
    timeoutMilliseconds,
    metadata: [...metadata],
  }))
