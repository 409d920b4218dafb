/**
 * Kafka's Fetch request and its reply, version 11 (kafka.apache.org/protocol), written and read in one pass, in the shapes
 * that kafkajs' consumer takes. Records are views of the reply's bytes.
 */
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { crc32c } from './crc32c.ts'
import { UNREADABLE_BATCH } from './record-batch.ts'
import type { RecordHeaders } from './record-batch.ts'

export const FETCH = 1
export const FETCH_VERSION = 11
const NONE = -1
const NO_SESSION = 0

export interface FetchRequest {
  readonly replicaId?: number
  readonly isolationLevel: number
  readonly maxWaitTime: number
  readonly minBytes: number
  readonly maxBytes: number
  readonly rackId?: string
  readonly topics: readonly {
    readonly topic: string
    readonly partitions: readonly {
      readonly partition: number
      readonly fetchOffset: string
      readonly maxBytes: number
    }[]
  }[]
}

/**
 * replica_id => INT32, max_wait_time => INT32, min_bytes => INT32, max_bytes => INT32, isolation_level => INT8,
 * session_id => INT32, session_epoch => INT32, [topic => STRING, [partition => INT32, current_leader_epoch => INT32,
 * fetch_offset => INT64, log_start_offset => INT64, partition_max_bytes => INT32]], [forgotten], rack_id => STRING.
 *
 * @param headerBytes left free for the request's header.
 * @param turn which partition of each topic stands first: where a reply is full, the last ones get nothing.
 */
export function encodeFetch(request: FetchRequest, headerBytes: number, turn: number): Buffer {
  const { topics, rackId = '' } = request
  let size = headerBytes + 25 + 4 + 4 + 2 + Buffer.byteLength(rackId)
  for (const { topic, partitions } of topics) size += 6 + Buffer.byteLength(topic) + 28 * partitions.length
  const bytes = Buffer.allocUnsafe(size)
  let at = bytes.writeInt32BE(request.replicaId ?? NONE, headerBytes)
  at = bytes.writeInt32BE(request.maxWaitTime, at)
  at = bytes.writeInt32BE(request.minBytes, at)
  at = bytes.writeInt32BE(request.maxBytes, at)
  at = bytes.writeInt8(request.isolationLevel, at)
  at = bytes.writeInt32BE(NO_SESSION, at)
  at = bytes.writeInt32BE(NONE, at)
  at = bytes.writeInt32BE(topics.length, at)
  for (const { topic, partitions } of topics) {
    at = bytes.writeInt16BE(Buffer.byteLength(topic), at)
    at += bytes.write(topic, at)
    at = bytes.writeInt32BE(partitions.length, at)
    for (let index = 0; index < partitions.length; index++) {
      const { partition, fetchOffset, maxBytes } = partitions[(index + turn) % partitions.length]!
      at = bytes.writeInt32BE(partition, at)
      at = bytes.writeInt32BE(NONE, at)
      at = bytes.writeBigInt64BE(BigInt(fetchOffset), at)
      at = bytes.writeBigInt64BE(BigInt(NONE), at)
      at = bytes.writeInt32BE(maxBytes, at)
    }
  }
  at = bytes.writeInt32BE(0, at)
  at = bytes.writeInt16BE(Buffer.byteLength(rackId), at)
  bytes.write(rackId, at)
  return bytes
}

export interface FetchedMessage {
  readonly offset: string
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: RecordHeaders
  readonly isControlRecord: boolean
  readonly batchContext: { readonly producerId: string; readonly inTransaction: boolean }
}

export interface FetchReply {
  readonly clientSideThrottleTime: number
  readonly errorCode: number
  readonly sessionId: number
  readonly responses: readonly {
    readonly topicName: string
    readonly partitions: readonly {
      readonly partition: number
      readonly errorCode: number
      readonly highWatermark: string
      readonly abortedTransactions: readonly { readonly producerId: string; readonly firstOffset: string }[]
      readonly preferredReadReplica: number
      readonly messages: readonly FetchedMessage[]
    }[]
  }[]
}

/**
 * throttle_time => INT32, error_code => INT16, session_id => INT32, [topic => STRING, [partition => INT32, error_code =>
 * INT16, high_watermark => INT64, last_stable_offset => INT64, log_start_offset => INT64, [producer_id => INT64,
 * first_offset => INT64], preferred_read_replica => INT32, records => BYTES]].
 *
 * A batch of another producer that is whole and still cannot be read (LZ4, Snappy) stands as one message at its last offset:
 * without a key, its value the batch as it is, and the reason in the header `unreadable-batch`.
 *
 * @returns undefined where a batch is of an older format: that is left to kafkajs.
 * @throws RangeError when it ends too early or a batch is not what its producer wrote.
 */
export function decodeFetchReply(bytes: Buffer): FetchReply | undefined {
  const reader = new Reader(bytes)
  const clientSideThrottleTime = reader.int32()
  const errorCode = reader.int16()
  const sessionId = reader.int32()
  const responses: FetchReply['responses'][number][] = []
  for (let topics = reader.int32(); topics > 0; topics--) {
    const topicName = reader.text(reader.int16())
    const partitions: FetchReply['responses'][number]['partitions'][number][] = []
    for (let count = reader.int32(); count > 0; count--) {
      const partition = reader.int32()
      const partitionError = reader.int16()
      const highWatermark = String(reader.int64())
      reader.skip(16)
      const abortedTransactions: { producerId: string; firstOffset: string }[] = []
      for (let aborted = reader.int32(); aborted > 0; aborted--) {
        abortedTransactions.push({ producerId: String(reader.int64()), firstOffset: String(reader.int64()) })
      }
      const preferredReadReplica = reader.int32()
      const length = Math.max(0, reader.int32())
      const messages = readBatches(reader.part(length), topicName, partition)
      if (messages === undefined) return undefined
      partitions.push({
        partition,
        errorCode: partitionError,
        highWatermark,
        abortedTransactions,
        preferredReadReplica,
        messages,
      })
    }
    responses.push({ topicName, partitions })
  }
  return { clientSideThrottleTime, errorCode, sessionId, responses }
}

const BATCH_HEADER_BYTES = 61
const BEFORE_LENGTH_ENDS = 12
const CRC_AT = 17
const ATTRIBUTES_AT = 21
const LAST_OFFSET_DELTA_AT = 23
const RECORDS_AT = BATCH_HEADER_BYTES
const MAGIC = 2
const COMPRESSION = 0x07
const TRANSACTIONAL = 0x10
const CONTROL = 0x20
/** What the records of one batch may take: a few bytes can say that they are a million times as many. */
const MAX_DECOMPRESSED_BYTES = 256 * 1024 * 1024

/** By the number that the attributes have for it. Node has none for the others. */
const COMPRESSIONS: readonly { readonly name: string; readonly decompress?: (bytes: Buffer) => Buffer }[] = [
  { name: 'none', decompress: (bytes) => bytes },
  { name: 'gzip', decompress: (bytes) => gunzipSync(bytes, { maxOutputLength: MAX_DECOMPRESSED_BYTES }) },
  { name: 'Snappy' },
  { name: 'LZ4' },
  { name: 'Zstandard', decompress: (bytes) => zstdDecompressSync(bytes, { maxOutputLength: MAX_DECOMPRESSED_BYTES }) },
]

/** A batch that is cut off at the end, as a reply that is full has one, is left for the next fetch. */
function readBatches(bytes: Buffer, topic: string, partition: number): FetchedMessage[] | undefined {
  const messages: FetchedMessage[] = []
  for (let at = 0; at + BATCH_HEADER_BYTES <= bytes.length;) {
    const end = at + BEFORE_LENGTH_ENDS + bytes.readInt32BE(at + 8)
    if (bytes[at + 16] !== MAGIC) return undefined
    if (end < at + BATCH_HEADER_BYTES) throw new RangeError('a batch is shorter than its header')
    if (end > bytes.length) break
    const batch = bytes.subarray(at, end)
    const before = messages.length
    try {
      readBatch(batch, messages)
    } catch (error) {
      const reason = (error as Error).message
      if (crc32c(batch, ATTRIBUTES_AT) !== batch.readUInt32BE(CRC_AT)) {
        const where = `${topic}/${partition} at offset ${int64(batch, 0)}`
        throw new RangeError(`the batch of ${where} is not what its producer wrote: ${reason}`, { cause: error })
      }
      messages.length = before
      messages.push(unreadableBatch(batch, reason))
    }
    at = end
  }
  return messages
}

/** @throws Error when it cannot be read; some of its messages may have been added then. */
function readBatch(batch: Buffer, messages: FetchedMessage[]): void {
  const attributes = batch.readInt16BE(ATTRIBUTES_AT)
  const baseOffset = int64(batch, 0)
  const isControlRecord = (attributes & CONTROL) !== 0
  const batchContext = contextOf(batch)
  let records = batch
  let start = RECORDS_AT
  if ((attributes & COMPRESSION) !== 0) {
    const { name, decompress } = COMPRESSIONS[attributes & COMPRESSION] ?? { name: 'an unknown method' }
    if (decompress === undefined) throw new Error(`it is compressed with ${name}, which is not supported`)
    records = decompress(batch.subarray(RECORDS_AT))
    start = 0
  }
  const reader = new Reader(records, start)
  for (let count = batch.readInt32BE(57); count > 0; count--) {
    const recordEnd = reader.varint() + reader.at
    reader.skip(1)
    reader.skipVarint()
    const offset = String(baseOffset + reader.varint())
    const key = reader.field()
    const value = reader.field()
    const headers = reader.headers()
    if (reader.at !== recordEnd || recordEnd > records.length)
      throw new RangeError('a record has another length than its parts')
    messages.push({ offset, key, value, headers, isControlRecord, batchContext })
  }
}

const contextOf = (batch: Buffer): FetchedMessage['batchContext'] => ({
  producerId: String(int64(batch, 43)),
  inTransaction: (batch.readInt16BE(ATTRIBUTES_AT) & TRANSACTIONAL) !== 0,
})

const unreadableBatch = (batch: Buffer, reason: string): FetchedMessage => ({
  offset: String(int64(batch, 0) + batch.readInt32BE(LAST_OFFSET_DELTA_AT)),
  key: null,
  value: batch,
  headers: { [UNREADABLE_BATCH]: Buffer.from(reason) },
  isControlRecord: (batch.readInt16BE(ATTRIBUTES_AT) & CONTROL) !== 0,
  batchContext: contextOf(batch),
})

/** Offsets are below 2^53. */
const int64 = (bytes: Buffer, at: number): number => bytes.readInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4)

class Reader {
  readonly #bytes: Buffer
  at: number

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes
    this.at = at
  }

  int16(): number {
    this.at += 2
    return this.#bytes.readInt16BE(this.at - 2)
  }

  int32(): number {
    this.at += 4
    return this.#bytes.readInt32BE(this.at - 4)
  }

  int64(): number {
    this.at += 8
    return int64(this.#bytes, this.at - 8)
  }

  skip(bytes: number): void {
    this.at += bytes
  }

  text(length: number): string {
    this.at += length
    return this.#bytes.toString('utf8', this.at - length, this.at)
  }

  part(length: number): Buffer {
    this.at += length
    if (this.at > this.#bytes.length) throw new RangeError('the reply ends inside a field')
    return this.#bytes.subarray(this.at - length, this.at)
  }

  /** Zigzag, as protobuf's sint32. */
  varint(): number {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = this.#bytes[this.at++]
      if (byte === undefined || shift > 28) throw new RangeError('a number has no end')
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return (value >>> 1) ^ -(value & 1)
    }
  }

  skipVarint(): void {
    while ((this.#bytes[this.at++] ?? 0) >= 0x80);
  }

  field(): Buffer | null {
    const length = this.varint()
    return length < 0 ? null : this.part(length)
  }

  /** Headers of one name become a list; names like `__proto__` are names like any other. */
  headers(): RecordHeaders {
    const headers = Object.create(null) as Record<string, Buffer | null | (Buffer | null)[]>
    for (let count = this.varint(); count > 0; count--) {
      const length = this.varint()
      // Backwards it would read the same header as often as the count says.
      if (length < 0) throw new RangeError('a header has a name of negative length')
      const name = this.text(length)
      const value = this.field()
      const before = headers[name]
      if (before === undefined) headers[name] = value
      else if (Array.isArray(before)) before.push(value)
      else headers[name] = [before, value]
    }
    return headers
  }
}
