import { setTimeout as pause } from 'node:timers/promises'
import kafkajs, { type Admin } from 'kafkajs'
import { KafkaTopicAdmin } from '../../operator/kafka/topic-admin.ts'
import { planTopics, type TopicAction } from '../../operator/kafka/topic-plan.ts'
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
 * Makes the topics as they should be, by the operator's own plan: creates, lets grow, sets what is declared.
 *
 * @param plan  the topics as they should be where there are that many brokers
 * @returns one line for each thing done
 * @throws TopicError for a topic with more partitions than asked for: records of a key would move; and for one whose
 *   settings would lose calls; KafkaProblem
 */
export async function ensureTopics(
  brokers: readonly string[],
  plan: (brokerCount: number) => readonly DesiredTopic[],
): Promise<readonly string[]> {
  const admin = new KafkaTopicAdmin({ servers: brokers })
  try {
    const desired = plan((await admin.observe([])).brokers)
    const cluster = await admin.observe(desired.map(({ name }) => name))
    const { actions, problems } = planTopics({ desired, cluster, remembered: [], announced: new Set() })
    const shrinking = problems.find(({ reason }) => reason === 'PartitionsWouldShrink')
    if (shrinking !== undefined) throw new TopicError(`${shrinking.message}: partitions only grow`)
    const losing = problems.find(({ reason }) => reason === 'TopicSettingsRefused')
    if (losing !== undefined) throw new TopicError(losing.message)
    for (const action of actions) await admin.execute(action)
    return actions.map(describeAction)
  } finally {
    await admin.close()
  }
}

function describeAction(action: TopicAction): string {
  switch (action.type) {
    case 'CreateTopic': {
      const { name, partitions, replicationFactor } = action.topic
      return `topic ${name}: created, partitions ${partitions}, copies of each ${replicationFactor}`
    }
    case 'GrowTopic':
      return `topic ${action.name}: grown from ${action.from} to ${action.to} partitions`
    case 'AlterTopic':
      return `topic ${action.name}: set ${Object.keys(action.set).join(', ')}`
    case 'DeleteTopic':
      return `topic ${action.name}: deleted`
  }
}

/** How many records a topic ever gained: the sum of its partitions' log end offsets. */
export function countRecords(brokers: readonly string[], topic: string): Promise<number> {
  return withAdmin(brokers, 8, async (admin) => {
    const partitions = await admin.fetchTopicOffsets(topic)
    return partitions.reduce((sum, { high }) => sum + Number(high), 0)
  })
}
