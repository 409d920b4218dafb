import type { CalculateService } from '../crds/types.ts'
import type { SidecarConfigInput } from '../sidecar/config.ts'
import { kafkaConfig } from './calculateservice/kafka-config.ts'
import { redisConfig } from './calculateservice/redis-config.ts'
import type { Placement } from './placement.ts'

type Common = Pick<SidecarConfigInput, 'instance' | 'service' | 'kafka' | 'redis' | 'log'>

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
    kafka: kafkaConfig(spec, placement),
    redis: redisConfig(spec, placement),
    ...(placement.logLevel === undefined ? {} : { log: { level: placement.logLevel } }),
  }
}

/** What both are told of a method. */
export const methodConfig = ({ name, timeoutMilliseconds, metadata }: CalculateService['spec']['methods'][number]) => ({
  name,
  timeoutMilliseconds,
  metadata: [...metadata],
})
