/**
 * Kafka's record batch, magic 2 (kafka.apache.org/documentation, "Record Batch"), written in one pass into one buffer.
 * kafkajs' own code makes a buffer for every record and every header and copies each seven times: ten times the work.
 *
 *    0 i64 base offset   8 i32 bytes after this field   12 i32 leader epoch   16 i8 magic   17 u32 CRC-32C of what follows
 *   21 i16 attributes   23 i32 last offset's delta   27 i64 base timestamp   35 i64 largest timestamp
 *   43 i64 producer   51 i16 its epoch   53 i32 base sequence   57 i32 count, then the records:
 *   varint bytes after this field, i8 attributes, varlong timestamp delta, varint offset delta, varint length + key,
 *   varint length + value, varint count + headers, each varint length + name, varint length + value
 */
import { crc32c } from './crc32c.ts'

type HeaderValue = Buffer | string | null
export type RecordHeaders = Readonly<Record<string, HeaderValue | readonly HeaderValue[] | undefined>>

/** Header of what stands for a whole batch that could not be read: why. */
export const UNREADABLE_BATCH = 'unreadable-batch'

export interface BatchRecord {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: RecordHeaders
}

const RECORDS_AT = 61
const LENGTH_AT = 8
const CRC_AT = 17
const ATTRIBUTES_AT = 21
const MAGIC = 2
/** No transaction, no idempotence, and an epoch that the broker fills in. */
const NONE = 0xff

/**
 * @param timestamp of every record, milliseconds since 1970.
 * @param headroom bytes left free before the batch, for a request's header.
 */
export function encodeRecordBatch(records: readonly BatchRecord[], timestamp: number, headroom = 0): Buffer {
  const sizes: number[] = []
  let total = RECORDS_AT
  for (let index = 0; index < records.length; index++) {
    const size = recordBytes(records[index] as BatchRecord, index)
    sizes.push(size)
    total += varintBytes(size) + size
  }
  const whole = Buffer.allocUnsafe(headroom + total)
  const bytes = headroom === 0 ? whole : whole.subarray(headroom)
  bytes.fill(0, 0, LENGTH_AT)
  bytes.writeInt32BE(total - LENGTH_AT - 4, LENGTH_AT)
  bytes.fill(NONE, 12, 16)
  bytes[16] = MAGIC
  bytes.fill(0, ATTRIBUTES_AT, 23)
  bytes.writeInt32BE(records.length - 1, 23)
  writeInt64(bytes, timestamp, 27)
  writeInt64(bytes, timestamp, 35)
  bytes.fill(NONE, 43, 57)
  bytes.writeInt32BE(records.length, 57)
  let at = RECORDS_AT
  for (let index = 0; index < records.length; index++) {
    at = writeVarint(bytes, sizes[index] as number, at)
    at = writeRecord(bytes, records[index] as BatchRecord, index, at)
  }
  bytes.writeUInt32BE(crc32c(bytes, ATTRIBUTES_AT), CRC_AT)
  return whole
}

function recordBytes({ key, value, headers }: BatchRecord, offsetDelta: number): number {
  let size = 2 + varintBytes(offsetDelta) + fieldBytes(key) + fieldBytes(value)
  let count = 0
  for (const name in headers) {
    const held = headers[name]
    if (held === undefined) continue
    const nameBytes = fieldBytes(name)
    if (Array.isArray(held)) {
      for (const one of held as readonly HeaderValue[]) size += nameBytes + fieldBytes(one)
      count += held.length
    } else {
      size += nameBytes + fieldBytes(held as HeaderValue)
      count++
    }
  }
  return size + varintBytes(count)
}

function writeRecord(bytes: Buffer, { key, value, headers }: BatchRecord, offsetDelta: number, start: number): number {
  bytes[start] = 0
  bytes[start + 1] = 0
  let at = writeVarint(bytes, offsetDelta, start + 2)
  at = writeField(bytes, key, at)
  at = writeField(bytes, value, at)
  let count = 0
  for (const name in headers) {
    const held = headers[name]
    if (held !== undefined) count += Array.isArray(held) ? held.length : 1
  }
  at = writeVarint(bytes, count, at)
  for (const name in headers) {
    const held = headers[name]
    if (held === undefined) continue
    if (Array.isArray(held)) {
      for (const one of held as readonly HeaderValue[]) at = writeField(bytes, one, writeField(bytes, name, at))
    } else at = writeField(bytes, held as HeaderValue, writeField(bytes, name, at))
  }
  return at
}

function fieldBytes(field: HeaderValue): number {
  if (field === null) return 1
  const length = typeof field === 'string' ? Buffer.byteLength(field) : field.length
  return varintBytes(length) + length
}

function writeField(bytes: Buffer, field: HeaderValue, at: number): number {
  if (field === null) return writeVarint(bytes, -1, at)
  if (typeof field !== 'string') {
    const start = writeVarint(bytes, field.length, at)
    bytes.set(field, start)
    return start + field.length
  }
  const start = writeVarint(bytes, Buffer.byteLength(field), at)
  return start + bytes.write(field, start)
}

function writeInt64(bytes: Buffer, value: number, at: number): void {
  bytes.writeInt32BE(Math.floor(value / 2 ** 32), at)
  bytes.writeUInt32BE(value % 2 ** 32, at + 4)
}

/** Zigzag, as protobuf's sint32. */
function varintBytes(value: number): number {
  let rest = ((value << 1) ^ (value >> 31)) >>> 0
  let bytes = 1
  for (; rest > 0x7f; rest >>>= 7) bytes++
  return bytes
}

function writeVarint(bytes: Buffer, value: number, start: number): number {
  let at = start
  let rest = ((value << 1) ^ (value >> 31)) >>> 0
  for (; rest > 0x7f; rest >>>= 7) bytes[at++] = (rest & 0x7f) | 0x80
  bytes[at++] = rest
  return at
}
