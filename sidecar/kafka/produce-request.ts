/** Kafka's Produce request and its reply (kafka.apache.org/protocol), for one batch of one partition. */
import { encodeRecordBatch } from './record-batch.ts'
import type { BatchRecord } from './record-batch.ts'

export const PRODUCE = 0
/** The last one whose fields are of the lengths that stand here; the request is the same from 3 on. */
export const LAST_PRODUCE_VERSION = 7
/** From this one on a broker answers at once and asks its client to wait, where it held the answer back before. */
export const FIRST_THROTTLING_VERSION = 6
const ALL_IN_SYNC_REPLICAS = -1

export interface ProduceTarget {
  readonly topic: string
  readonly partition: number
}

/**
 * transactional_id => NULLABLE_STRING, acks => INT16, timeout => INT32, [topic => STRING, [partition => INT32, record_set
 * => BYTES]].
 *
 * @param headerBytes left free for the request's header.
 * @param timeoutMilliseconds that the leader waits for its replicas.
 * @param timestamp of the records, milliseconds since 1970.
 */
export function encodeProduce(
  { topic, partition }: ProduceTarget,
  records: readonly BatchRecord[],
  headerBytes: number,
  timeoutMilliseconds: number,
  timestamp: number,
): Buffer {
  const topicBytes = Buffer.byteLength(topic)
  const before = headerBytes + 26 + topicBytes
  const bytes = encodeRecordBatch(records, timestamp, before)
  let at = bytes.writeInt16BE(-1, headerBytes)
  at = bytes.writeInt16BE(ALL_IN_SYNC_REPLICAS, at)
  at = bytes.writeInt32BE(timeoutMilliseconds, at)
  at = bytes.writeInt32BE(1, at)
  at = bytes.writeInt16BE(topicBytes, at)
  at += bytes.write(topic, at)
  at = bytes.writeInt32BE(1, at)
  at = bytes.writeInt32BE(partition, at)
  bytes.writeInt32BE(bytes.length - before, at)
  return bytes
}

export interface ProduceReply {
  /** 0: written. */
  readonly errorCode: number
  /** Of the first record. */
  readonly baseOffset: number
  readonly throttleMilliseconds: number
}

/**
 * [topic => STRING, [partition => INT32, error_code => INT16, base_offset => INT64, ...]], throttle_time => INT32.
 * @throws RangeError when it ends too early.
 */
export function decodeProduceReply(bytes: Buffer): ProduceReply {
  const afterName = 6 + bytes.readInt16BE(4)
  return {
    errorCode: bytes.readInt16BE(afterName + 8),
    baseOffset: Number(bytes.readBigInt64BE(afterName + 10)),
    throttleMilliseconds: bytes.readInt32BE(bytes.length - 4),
  }
}
