import type { CalculateService } from '../../crds/types.ts'
import { deadTopic, retryTopic } from '../../sidecar/kafka/topic-names.ts'

/** A topic as it should be. */
export interface DesiredTopic {
  readonly name: string
  readonly partitions: number
  readonly replicationFactor: number
  /** Kafka's own settings, as Kafka names and writes them. */
  readonly config: Readonly<Record<string, string>>
  /** Names of those of them that the resource itself names; the others are chosen here. */
  readonly declared: readonly string[]
  /** Milliseconds for which its records must stay, at least: so long may one be waited for. */
  readonly shortestRetention?: number
}

/** A resource asks for topic settings that would lose calls. `problems` has one line each, beginning with the path. */
export class TopicSettingsError extends Error {
  readonly code = 'TOPIC_SETTINGS_INVALID'
  readonly problems: readonly string[]
  constructor(problems: readonly string[]) {
    super(`the topic's settings cannot be used:\n${problems.map((line) => `  ${line}`).join('\n')}`)
    this.name = 'TopicSettingsError'
    this.problems = problems
  }
}

/** What a record holds beside the message: its key, the packed header, trace context and passed-on metadata. */
const HEADERS_BYTES = 65_536

/** Kafka's is a 32-bit integer, and the failure topic's is larger by the headers. */
const LARGEST_MESSAGE_BYTES = 2 ** 31 - 1 - HEADERS_BYTES

/** The broker writes a topic anew in the compression that it asks for; what workers cannot read would never run. */
const READABLE_COMPRESSION: readonly string[] = ['producer', 'uncompressed', 'gzip']

const HOUR_MILLISECONDS = 3_600_000

/**
 * The topics of a service: that of its calls, those on which calls wait for their next attempt, and the failure topic.
 *
 * The resource's `topic.config` wins over what is chosen here, except where it would lose calls.
 *
 * @param options.retrySteps how many retry topics.
 * @param options.brokers how many brokers there are to hold copies; fewer than `replicationFactor` lower it, and
 *   `min.insync.replicas` with it. For a development machine: without it the resource is taken at its word.
 * @throws TopicSettingsError naming every setting that would lose calls.
 */
export function desiredTopics(
  service: CalculateService,
  { retrySteps = 0, brokers = Infinity }: { readonly retrySteps?: number; readonly brokers?: number } = {},
): readonly DesiredTopic[] {
  const { topic, proxy, methods } = service.spec
  const replicationFactor = Math.min(topic.replicationFactor, brokers)
  const messageBytes = proxy.maxMessageBytes + HEADERS_BYTES
  const longestWait = Math.max(...methods.map(({ timeoutMilliseconds }) => timeoutMilliseconds))
  const problems: string[] = []

  const setting = (name: string, fallback: number, accepts: (value: number) => string | undefined): number => {
    const text = topic.config[name]
    if (text === undefined) return fallback
    const value = Number(text)
    const problem = /^-?\d{1,15}$/.test(text) ? accepts(value) : 'must be an integer'
    if (problem !== undefined) problems.push(`spec.topic.config["${name}"]: ${problem}`)
    return value
  }

  const maxMessageBytes = setting('max.message.bytes', messageBytes, (value) =>
    value >= messageBytes && value <= LARGEST_MESSAGE_BYTES
      ? undefined
      : `must be ${messageBytes} (spec.proxy.maxMessageBytes and ${HEADERS_BYTES} for headers) to ${LARGEST_MESSAGE_BYTES}`,
  )
  // One copy may be lost without losing an acknowledged call, and one broker may be away without refusing any.
  const minInSync = setting('min.insync.replicas', topic.replicationFactor >= 3 ? 2 : 1, (value) =>
    value >= 1 && value <= topic.replicationFactor
      ? undefined
      : `must be 1 to ${topic.replicationFactor}, spec.topic.replicationFactor`,
  )
  setting('retention.ms', -1, (value) =>
    value === -1 || value >= longestWait
      ? undefined
      : `must be -1 or at least ${longestWait}, the longest timeout of a method: calls would be deleted unread`,
  )
  const policy = topic.config['cleanup.policy']
  if (policy !== undefined && policy !== 'delete') {
    problems.push('spec.topic.config["cleanup.policy"]: must be delete: compaction drops calls of the same key')
  }
  const compression = topic.config['compression.type']
  if (compression !== undefined && !READABLE_COMPRESSION.includes(compression)) {
    problems.push(
      `spec.topic.config["compression.type"]: must be ${READABLE_COMPRESSION.join(', ')}: workers read no other`,
    )
  }
  if (problems.length > 0) throw new TopicSettingsError(problems)

  const common = {
    'cleanup.policy': 'delete',
    'min.insync.replicas': String(Math.min(minInSync, replicationFactor)),
  }
  const calls = {
    partitions: topic.partitions,
    replicationFactor,
    config: { ...topic.config, ...common, 'max.message.bytes': String(maxMessageBytes) },
    declared: Object.keys(topic.config),
    shortestRetention: longestWait,
  }
  return [
    { name: topic.name, ...calls },
    // The same records, and as many workers to run them.
    ...Array.from({ length: retrySteps }, (_, index) => ({ name: retryTopic(topic.name, index + 1), ...calls })),
    {
      name: deadTopic(topic.name),
      // Dead letters are few, and one partition keeps them in the order in which the calls failed.
      partitions: 1,
      replicationFactor,
      config: {
        ...common,
        // A dead letter is the record as it was, with headers that say whence it came and why.
        'max.message.bytes': String(maxMessageBytes + HEADERS_BYTES),
        'retention.ms': String(topic.deadLetterRetentionHours * HOUR_MILLISECONDS),
      },
      declared: [],
    },
  ]
}
