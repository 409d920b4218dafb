import { setTimeout as pause } from 'node:timers/promises'
import kafkajs, { type Admin } from 'kafkajs'
import type { DesiredTopic } from '../../operator/kafka/topics.ts'

const POLL_MILLISECONDS = 50

/** A topic exists in a form that cannot be made into the wanted one. `code` is `TOPIC_CONFLICT`. */
export class TopicError extends Error {
  readonly code = 'TOPIC_CONFLICT'
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'TopicError'
  }
}

/**
 * Runs `work` with a connected admin client.
 *
 * @param brokers  `host:port`
 * @param retries  how often a request, and the first connection, is tried again
 */
async function withAdmin<T>(
  brokers: readonly string[],
  retries: number,
  work: (admin: Admin) => Promise<T>,
): Promise<T> {
  const client = new kafkajs.Kafka({
    clientId: 'grpc-kafka-local',
    brokers: [...brokers],
    connectionTimeout: 3000,
    retry: { retries, initialRetryTime: 50, maxRetryTime: 500 },
    // A broker that is still coming up makes kafkajs log errors that are none; what fails for good is thrown.
    logLevel: kafkajs.logLevel.NOTHING,
  })
  const admin = client.admin()
  try {
    await admin.connect()
    return await work(admin)
  } finally {
    await admin.disconnect()
  }
}

/**
 * Asks until Kafka answers for its metadata and for a group's coordinator, so that the first topic and the first group
 * find it ready.
 *
 * @param signal  ends the asking; its reason is thrown
 */
export async function untilKafkaAnswers(brokers: readonly string[], signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted()
    try {
      await withAdmin(brokers, 3, async (admin) => {
        await admin.describeCluster()
        await admin.describeGroups(['grpc-kafka-local-warm-up'])
      })
      return
    } catch {
      // Not yet: kafkajs has waited between its own tries. The caller's signal ends it.
    }
  }
}

/**
 * Asks a broker until it knows itself as one of its cluster's.
 *
 * @param address  of that broker, `host:port`
 * @param signal  ends the asking; its reason is thrown
 */
export async function untilListed(address: string, id: number, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted()
    try {
      const found = await withAdmin([address], 3, async (admin) => {
        const { brokers } = await admin.describeCluster()
        return brokers.some(({ nodeId }) => nodeId === id)
      })
      if (found) return
    } catch {
      // Not yet.
    }
    await pause(POLL_MILLISECONDS)
  }
}

/**
 * Creates the topics that are missing and lets those grow that have too few partitions.
 *
 * @param plan  the topics as they should be where there are that many brokers
 * @returns one line for each thing done
 * @throws TopicError for a topic with more partitions than asked for: records of a key would move
 */
export function ensureTopics(
  brokers: readonly string[],
  plan: (brokerCount: number) => readonly DesiredTopic[],
): Promise<readonly string[]> {
  return withAdmin(brokers, 8, async (admin) => {
    const done: string[] = []
    const [present, cluster] = await Promise.all([admin.listTopics(), admin.describeCluster()])
    const topics = plan(cluster.brokers.length)
    const missing = topics.filter((topic) => !present.includes(topic.name))
    const existing = topics.filter((topic) => present.includes(topic.name))
    if (missing.length > 0) {
      await admin.createTopics({
        waitForLeaders: true,
        topics: missing.map((topic) => ({
          topic: topic.name,
          numPartitions: topic.partitions,
          replicationFactor: topic.replicationFactor,
          configEntries: Object.entries(topic.config).map(([name, value]) => ({ name, value })),
        })),
      })
      for (const { name, partitions, replicationFactor } of missing) {
        done.push(`topic ${name}: created, partitions ${partitions}, copies of each ${replicationFactor}`)
      }
    }
    if (existing.length > 0) {
      const { topics: metadata } = await admin.fetchTopicMetadata({ topics: existing.map((topic) => topic.name) })
      for (const topic of existing) {
        const count = metadata.find((one) => one.name === topic.name)?.partitions.length ?? 0
        if (count > topic.partitions) {
          throw new TopicError(
            `topic ${topic.name} has ${count} partitions, more than the ${topic.partitions} of spec.topic.partitions: partitions only grow`,
          )
        }
        if (count < topic.partitions) {
          await admin.createPartitions({ topicPartitions: [{ topic: topic.name, count: topic.partitions }] })
          done.push(`topic ${topic.name}: grown from ${count} to ${topic.partitions} partitions`)
        }
      }
    }
    return done
  })
}

/** How many records a topic ever gained: the sum of its partitions' log end offsets. */
export function countRecords(brokers: readonly string[], topic: string): Promise<number> {
  return withAdmin(brokers, 8, async (admin) => {
    const partitions = await admin.fetchTopicOffsets(topic)
    return partitions.reduce((sum, { high }) => sum + Number(high), 0)
  })
}
