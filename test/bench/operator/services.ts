/** The CalculateServices of the benchmark, as their user writes them. */
import type { CalculateService } from '../../../crds/types.ts'

/** `Changed` has one partition more, and a method whose timeout is longer: the proxies' configuration and its ConfigMap. */
export type Version = 'First' | 'Changed'

const PARTITIONS = { First: 2, Changed: 3 } as const
const TIMEOUT_MILLISECONDS = { First: 20_000, Changed: 30_000 } as const

export interface ServiceOptions {
  readonly namespace: string
  readonly brokers: readonly string[]
  readonly replicas: number
}

/** Names are of one namespace, topics of one Kafka. */
export const serviceName = (index: number): string => `service-${index}`
export const topicName = (namespace: string, index: number): string => `bench-${namespace}-${index}`
export const partitionsOf = (version: Version): number => PARTITIONS[version]
/** As it stands in the proxies' configuration. */
export const timeoutOf = (version: Version): number => TIMEOUT_MILLISECONDS[version]

export function userService(
  index: number,
  version: Version,
  { namespace, brokers, replicas }: ServiceOptions,
): Pick<CalculateService, 'apiVersion' | 'kind' | 'metadata'> & { readonly spec: object } {
  return {
    apiVersion: 'grpckafka.dev/v1alpha1',
    kind: 'CalculateService',
    metadata: { name: serviceName(index), namespace },
    spec: {
      service: 'calculator.CalculateService',
      kafka: { bootstrapServers: brokers },
      redis: { url: 'redis://redis:6379' },
      topic: {
        name: topicName(namespace, index),
        partitions: PARTITIONS[version],
        replicationFactor: 1,
        deletionPolicy: 'Delete',
      },
      methods: [{ name: 'Calculate', timeoutMilliseconds: TIMEOUT_MILLISECONDS[version] }],
      proxy: { replicas },
    },
  }
}
