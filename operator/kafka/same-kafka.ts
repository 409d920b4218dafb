/** Where a Kafka is, as a resource says it. */
export interface KafkaAddress {
  readonly bootstrapServers: readonly string[]
  /** Kafka's own id of the cluster, where it was seen. */
  readonly clusterId?: string | undefined
}

/** One Kafka may be written in many ways: it is the same where an address is the same, or where Kafka said so. */
export const isSameKafka = (a: KafkaAddress, b: KafkaAddress): boolean =>
  (a.clusterId !== undefined && a.clusterId === b.clusterId) ||
  a.bootstrapServers.some((server) => b.bootstrapServers.includes(server))
