import type { Kafka } from 'kafkajs'
import { createCluster } from './cluster.ts'

const NAME = 'KafkaJSGroupCoordinatorNotFound'
const OF_GROUPS = 0

/**
 * Why a group was not joined, for people. kafkajs says of a coordinator only that it found none, whatever the brokers have
 * answered: then one of them is asked again.
 */
export async function whyNotJoined(kafka: Kafka, groupId: string, error: Error): Promise<string> {
  if (error.name !== NAME) return error.message
  const cluster = createCluster(kafka)
  try {
    await cluster.connect()
    await cluster.brokerPool.seedBroker.findGroupCoordinator({ groupId, coordinatorType: OF_GROUPS })
    return error.message
  } catch (reason) {
    return (reason as Error).message
  } finally {
    await cluster.disconnect().catch(() => undefined)
  }
}
