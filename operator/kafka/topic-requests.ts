/**
 * Kafka's requests about topics, and their replies (kafka.apache.org/protocol), in versions that have what kafkajs' own have
 * not: the topic's id, which tells a topic from another one of its name; the error's words; and settings that are changed one
 * by one, where the older request puts back all that it does not name.
 */
import { MalformedMessage, Reader, Writer } from './wire.ts'

/** A request and how its reply is read; both have the flexible form, tagged fields after their header. */
export interface TopicRequest<Reply> {
  readonly apiKey: number
  readonly apiName: string
  readonly apiVersion: number
  /** After the header. */
  readonly body: Buffer
  readonly read: (reply: Reader) => Reply
}

/** What became of one thing that was asked for. 0 is success. */
export interface Result {
  readonly errorCode: number
  /** Kafka's words, where it had any. */
  readonly errorMessage: string | null
}

/** @throws MalformedMessage */
export function readReply<Reply>({ read }: TopicRequest<Reply>, bytes: Buffer): Reply {
  const reader = new Reader(bytes)
  try {
    // The tagged fields of the reply's header.
    reader.tags()
    return read(reader)
  } catch (cause) {
    throw new MalformedMessage({ cause })
  }
}

const request = <Reply>(
  apiName: string,
  apiKey: number,
  apiVersion: number,
  write: (writer: Writer) => Writer,
  read: (reply: Reader) => Reply,
): TopicRequest<Reply> => ({
  apiKey,
  apiName,
  apiVersion,
  // The tagged fields of the header stand first.
  body: write(new Writer().tags()).tags().bytes(),
  read,
})

export interface TopicMetadata extends Result {
  readonly name: string
  readonly id: string
  readonly partitions: readonly { readonly errorCode: number; readonly leader: number; readonly replicas: number }[]
}

export interface ClusterMetadata {
  readonly clusterId: string
  readonly brokers: number
  readonly topics: readonly TopicMetadata[]
}

/** Metadata v10: [topic_id, name], allow_auto_topic_creation, two flags for authorized operations. */
export const metadataOf = (topics: readonly string[]): TopicRequest<ClusterMetadata> =>
  request(
    'Metadata',
    3,
    10,
    (writer) =>
      writer
        .array(topics, (name) => writer.uuid('0'.repeat(32)).text(name))
        .boolean(false)
        .boolean(false)
        .boolean(false),
    (reply) => {
      reply.int32()
      const brokers = reply.array(() => {
        reply.int32()
        reply.text()
        reply.int32()
        reply.text()
      }).length
      const clusterId = reply.text() ?? ''
      reply.int32()
      const topics = reply.array((): TopicMetadata => {
        const errorCode = reply.int16()
        const name = reply.text() ?? ''
        const id = reply.uuid()
        reply.boolean()
        const partitions = reply.array(() => {
          const partitionError = reply.int16()
          reply.int32()
          const leader = reply.int32()
          reply.int32()
          const replicas = reply.plainArray(() => reply.int32()).length
          reply.plainArray(() => reply.int32())
          reply.plainArray(() => reply.int32())
          return { errorCode: partitionError, leader, replicas }
        })
        reply.int32()
        return { errorCode, errorMessage: null, name, id, partitions }
      })
      return { clusterId, brokers, topics }
    },
  )

export interface NewTopic {
  readonly name: string
  readonly partitions: number
  readonly replicationFactor: number
  readonly config: Readonly<Record<string, string>>
}

export interface CreatedTopic extends Result {
  readonly id: string
  readonly partitions: number
  readonly replicationFactor: number
  /** Undefined where whoever asks may not see them. */
  readonly config: TopicSettings['config'] | undefined
}

/** CreateTopics v7: [name, num_partitions, replication_factor, [assignment], [name, value]], timeout_ms, validate_only. */
export const createTopic = (topic: NewTopic, timeoutMilliseconds: number): TopicRequest<CreatedTopic> =>
  request(
    'CreateTopics',
    19,
    7,
    (writer) =>
      writer
        .array([topic], ({ name, partitions, replicationFactor, config }) =>
          writer
            .text(name)
            .int32(partitions)
            .int16(replicationFactor)
            .array([], () => undefined)
            .array(Object.entries(config), ([key, value]) => writer.text(key).text(value)),
        )
        .int32(timeoutMilliseconds)
        .boolean(false),
    (reply) => {
      reply.int32()
      return first(
        reply.array(() => {
          reply.text()
          const id = reply.uuid()
          const result = readResult(reply)
          const partitions = reply.int32()
          const replicationFactor = reply.int16()
          const entries = reply.array(() => {
            const key = reply.text() ?? ''
            const value = reply.text() ?? ''
            reply.boolean()
            const isSet = reply.int8() === OF_THE_TOPIC
            reply.boolean()
            return [key, { value, isSet }] as const
          })
          const config = entries.length === 0 ? undefined : Object.fromEntries(entries)
          return { ...result, id, partitions, replicationFactor, config }
        }),
      )
    },
  )

/** CreatePartitions v2: [name, count, [assignment]], timeout_ms, validate_only. */
export const growTopic = (topic: string, partitions: number, timeoutMilliseconds: number): TopicRequest<Result> =>
  request(
    'CreatePartitions',
    37,
    2,
    (writer) =>
      writer
        .array([topic], (name) =>
          writer
            .text(name)
            .int32(partitions)
            .array(null, () => undefined),
        )
        .int32(timeoutMilliseconds)
        .boolean(false),
    (reply) => {
      reply.int32()
      return first(
        reply.array(() => {
          reply.text()
          return readResult(reply)
        }),
      )
    },
  )

/** DeleteTopics v6, by the topic's id: another one that was made under its name meanwhile stays. */
export const deleteTopic = (topicId: string, timeoutMilliseconds: number): TopicRequest<Result> =>
  request(
    'DeleteTopics',
    20,
    6,
    (writer) => writer.array([topicId], (id) => writer.text(null).uuid(id)).int32(timeoutMilliseconds),
    (reply) => {
      reply.int32()
      return first(
        reply.array(() => {
          reply.text()
          reply.uuid()
          return readResult(reply)
        }),
      )
    },
  )

const TOPIC = 2
/** DYNAMIC_TOPIC_CONFIG: set on the topic itself. */
const OF_THE_TOPIC = 1

export interface TopicSettings extends Result {
  readonly name: string
  readonly config: Readonly<Record<string, { readonly value: string; readonly isSet: boolean }>>
}

/** DescribeConfigs v4: [resource_type, resource_name, [key]], include_synonyms, include_documentation. */
export const settingsOf = (topics: readonly string[]): TopicRequest<readonly TopicSettings[]> =>
  request(
    'DescribeConfigs',
    32,
    4,
    (writer) =>
      writer
        .array(topics, (name) =>
          writer
            .int8(TOPIC)
            .text(name)
            .array(null, () => undefined),
        )
        .boolean(false)
        .boolean(false),
    (reply) => {
      reply.int32()
      return reply.array((): TopicSettings => {
        const result = readResult(reply)
        reply.int8()
        const name = reply.text() ?? ''
        const entries = reply.array(() => {
          const key = reply.text() ?? ''
          const value = reply.text() ?? ''
          reply.boolean()
          const isSet = reply.int8() === OF_THE_TOPIC
          reply.boolean()
          reply.array(() => {
            reply.text()
            reply.text()
            reply.int8()
          })
          reply.int8()
          reply.text()
          return [key, { value, isSet }] as const
        })
        return { ...result, name, config: Object.fromEntries(entries) }
      })
    },
  )

const SET = 0
const DELETE = 1

/** IncrementalAlterConfigs v1: [resource_type, resource_name, [name, operation, value]], validate_only. */
export const alterTopic = (
  topic: string,
  set: Readonly<Record<string, string>>,
  unset: readonly string[],
): TopicRequest<Result> => {
  const changes = [
    ...Object.entries(set).map(([name, value]) => ({ name, operation: SET, value })),
    ...unset.map((name) => ({ name, operation: DELETE, value: null })),
  ]
  return request(
    'IncrementalAlterConfigs',
    44,
    1,
    (writer) =>
      writer
        .array([topic], (resource) =>
          writer
            .int8(TOPIC)
            .text(resource)
            .array(changes, ({ name, operation, value }) => writer.text(name).int8(operation).text(value)),
        )
        .boolean(false),
    (reply) => {
      reply.int32()
      return first(
        reply.array(() => {
          const result = readResult(reply)
          reply.int8()
          reply.text()
          return result
        }),
      )
    },
  )
}

const readResult = (reply: Reader): Result => ({ errorCode: reply.int16(), errorMessage: reply.text() })

function first<T>(results: readonly T[]): T {
  const [result] = results
  if (result === undefined) throw new RangeError('the reply says nothing')
  return result
}
