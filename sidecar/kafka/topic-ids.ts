/**
 * What tells a topic from an earlier one of the same name: Kafka's topic id. Kafka's Metadata request and its reply, version 10
 * (kafka.apache.org/protocol), which kafkajs does not know; of the reply only ids are taken.
 */
import { exchange, requestHeaderBytes } from './cluster.ts'
import type { ClusterBroker } from './cluster.ts'

const METADATA = 3
const FIRST_VERSION_WITH_IDS = 10
const NO_ID = '0'.repeat(32)
/** Of the two connections that kafkajs keeps to a broker: that for everything but fetches. */
const CONNECTION = 0

/** Thrown where a broker does not tell topics by their ids. */
export class TopicIdError extends Error {
  readonly code = 'TOPIC_IDS_UNKNOWN'
}

/**
 * Asks a broker for the ids of topics.
 * @returns 32 hexadecimal digits by name; a topic that the broker does not know is missing.
 * @throws TopicIdError where it has none to tell: Kafka before 2.8, or a topic made before; kafkajs' errors of connection and timeout.
 */
export async function topicIds(broker: ClusterBroker, topics: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const connection = await broker.connectionPool.getConnection(CONNECTION)
  if ((broker.versions?.[METADATA]?.maxVersion ?? 0) < FIRST_VERSION_WITH_IDS)
    throw new TopicIdError('Kafka tells no topic ids: it has to be 2.8 or later')
  const api = { apiKey: METADATA, apiName: 'Metadata', apiVersion: FIRST_VERSION_WITH_IDS }
  const request = encodeTopicsRequest(topics, requestHeaderBytes(connection))
  const ids = decodeTopicIds(await exchange(connection, api, request, () => undefined))
  const without = [...ids].find(([, id]) => id === NO_ID)
  if (without !== undefined) throw new TopicIdError(`topic ${without[0]} has no id: its metadata is not KRaft's`)
  return ids
}

/**
 * tags of the header, [topic => topic_id UUID, name COMPACT_STRING, tags], allow_auto_topic_creation, include_cluster_authorized_operations,
 * include_topic_authorized_operations => BOOLEAN, tags.
 *
 * @param headerBytes left free for the request's header.
 */
export function encodeTopicsRequest(topics: readonly string[], headerBytes: number): Buffer {
  const noTags = Buffer.of(0)
  const anyId = Buffer.alloc(16)
  return Buffer.concat([
    Buffer.alloc(headerBytes),
    noTags,
    varint(topics.length + 1),
    ...topics.flatMap((topic) => [anyId, varint(Buffer.byteLength(topic) + 1), Buffer.from(topic), noTags]),
    Buffer.of(0, 0, 0),
    noTags,
  ])
}

/**
 * The reply after its correlation id: tags of the header, throttle_time_ms INT32, [broker => node_id INT32, host, port INT32, rack, tags],
 * cluster_id, controller_id INT32, [topic => error_code INT16, name, topic_id UUID, is_internal BOOLEAN, [partition => error_code INT16,
 * partition, leader, leader_epoch INT32, [replica], [in sync], [offline] INT32, tags], authorized_operations INT32, tags], ...
 *
 * @returns by name; those with an error are missing.
 * @throws RangeError when it ends too early.
 */
export function decodeTopicIds(bytes: Buffer): ReadonlyMap<string, string> {
  const reader = new CompactReader(bytes)
  const ids = new Map<string, string>()
  reader.tags()
  reader.skip(4)
  for (let brokers = reader.length(); brokers > 0; brokers--) {
    reader.skip(4)
    reader.text()
    reader.skip(4)
    reader.text()
    reader.tags()
  }
  reader.text()
  reader.skip(4)
  for (let topics = reader.length(); topics > 0; topics--) {
    const error = reader.take(2).readInt16BE()
    const name = reader.text()
    const id = reader.take(16).toString('hex')
    reader.skip(1)
    for (let partitions = reader.length(); partitions > 0; partitions--) {
      reader.skip(14)
      for (let lists = 0; lists < 3; lists++) reader.skip(4 * reader.length())
      reader.tags()
    }
    reader.skip(4)
    reader.tags()
    if (error === 0) ids.set(name, id)
  }
  return ids
}

/** Kafka's "compact" types: lengths are one more than they are, as unsigned varints; 0 is null. */
class CompactReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  take(bytes: number): Buffer {
    const end = this.#at + bytes
    if (end > this.#bytes.length) throw new RangeError('the reply ends too early')
    const taken = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return taken
  }

  skip(bytes: number): void {
    this.take(bytes)
  }

  /** Items of an array, bytes of a string; null has none. */
  length(): number {
    return Math.max(0, this.#varint() - 1)
  }

  text(): string {
    return this.take(this.length()).toString()
  }

  tags(): void {
    for (let tags = this.#varint(); tags > 0; tags--) {
      this.#varint()
      this.skip(this.#varint())
    }
  }

  #varint(): number {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = this.take(1)[0]!
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
  }
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) + 0x80)
  return Buffer.from([...bytes, rest])
}
