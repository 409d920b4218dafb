/**
 * The Kafka record of a call, written and read here and nowhere else.
 *
 * key     the partition key, or the call id (16 bytes)
 * value   the bytes of the gRPC request message
 * headers `grpc-kafka`: one packed binary header (below)
 *         `traceparent`, `tracestate`: as the client sent them (W3C Trace Context)
 *         `m:<name>`: a metadata value that the resource passes on; several values are several headers
 *         `grpc-kafka-callback`: the URL at which the caller wants to be told; readers that do not know it pass it over
 *
 * The packed header, integers big-endian, times in milliseconds since 1970 on the shared clock:
 *
 *   version-stable prefix       0  u8   version
 *                               1  16 B call id
 *                              17  u48  absolute deadline
 *                              23  u8   length of the reply channel's name, then its bytes (0: nobody waits)
 *   version 1                      u8   flags (1: produced again, a copy may stand before it)
 *                                  u8   attempt, from 1
 *                                  u48  when it was enqueued
 *                                  u48  first failure (0: none)
 *                                  u16  length of the method, then `package.Service/Method`
 *                                  u16  length of the caller's identity, then its bytes (0: anonymous)
 *   version 2                      the fields of version 1, and
 *                                  u32  revision of the redrive that produced it (0: none)
 *                                  u48  not to be started before this time (0: at once)
 *                                  u16  length of the extensions, then each: u8 tag, u16 length, its bytes.
 *                                       A reader skips the tags that it does not know (docs/adr/0011)
 *   extensions             tag 1  10 B  the record that the proxy wrote: u32 partition, u48 offset
 *                          tag 2        attempts that failed, in order: each u8 its number, u48 when, u8 gRPC status,
 *                                       u8 length of the worker's name, then its bytes
 */
import type { CallId } from '../call-id.ts'
import { isMetadata, isPrintable } from '../metadata.ts'
import type { MetadataPairs } from '../metadata.ts'
import { UNREADABLE_BATCH } from './record-batch.ts'

export const HEADER = 'grpc-kafka'
/** The newest version that is read here. */
export const VERSION = 2
/** What may be written. Readers are upgraded first, so the older one stays writable. */
export type RecordVersion = 1 | 2
const CALLBACK = 'grpc-kafka-callback'
const METADATA_PREFIX = 'm:'
const TRACE_HEADERS = ['traceparent', 'tracestate'] as const

/** More headers than any proxy of ours writes: metadata of at most 32 KiB, each value counted with 32 bytes, and three of our own. */
const MAX_HEADERS = 1024
/** Room for headers that the topic's `max.message.bytes` allows above the message (64 KiB). */
export const MAX_HEADER_BYTES = 65_536

const FLAG_PRODUCED_AGAIN = 1
const PREFIX_BYTES = 24
const BODY_BYTES = 18
const VERSION_2_BYTES = 12
const EXTENSION_HEAD_BYTES = 3

/** What every version of the header begins with. */
export interface RecordPrefix {
  readonly id: CallId
  /** Milliseconds since 1970 on the shared clock. */
  readonly deadline: number
  /** Instance of the proxy replica that waits; empty: nobody. */
  readonly replyTo: string
}

export interface CallRecord extends RecordPrefix {
  /** `package.Service/Method` */
  readonly method: string
  readonly attempt: number
  readonly producedAgain: boolean
  readonly enqueuedAt: number
  /** 0: none yet. */
  readonly firstFailureAt: number
  /** Of the redrive that produced it; 0: none. Travels from version 2 on. */
  readonly redriveRevision?: number
  /** Milliseconds since 1970 on the shared clock; 0: it may start at once. Travels from version 2 on. */
  readonly notBefore?: number
  /** The record that the proxy wrote, where this one was written by a worker. Travels from version 2 on, as do the failures. */
  readonly origin?: RecordOrigin
  /** In order, as far as they are known. */
  readonly failures?: readonly AttemptFailure[]
  /** Extensions that are not known here, as they were read: they go on where the record is written again. */
  readonly unknownExtensions?: Buffer
  /** Empty: anonymous. */
  readonly caller: string
  readonly metadata: MetadataPairs
  readonly traceparent?: string
  readonly tracestate?: string
  readonly message: Buffer
}

export interface RecordOrigin {
  readonly partition: number
  readonly offset: number
}

/** An attempt that had no answer, or one that is tried again. */
export interface AttemptFailure {
  readonly attempt: number
  /** Milliseconds since 1970 on the shared clock. */
  readonly at: number
  /** gRPC status code. */
  readonly status: number
  /** The worker's instance. */
  readonly worker: string
}

/** A record as Kafka's client hands it over. */
export interface RawRecord {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Readonly<Record<string, HeaderValue | readonly HeaderValue[] | undefined>>
}

/** Kafka knows headers without a value. */
type HeaderValue = Buffer | string | null

/** A record that is written again as it was read: key and value may be missing. */
export interface RawOutgoingRecord {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: OutgoingRecord['headers']
}

/** What is produced. */
export interface OutgoingRecord {
  readonly key: Buffer
  readonly value: Buffer
  readonly headers: Record<string, Buffer | string | (Buffer | string)[]>
}

export type Decoded =
  | { readonly kind: 'Call'; readonly record: CallRecord }
  /** Written by a newer version; only the prefix is known. */
  | { readonly kind: 'Newer'; readonly version: number; readonly prefix: RecordPrefix }
  | { readonly kind: 'Unreadable'; readonly reason: string; readonly prefix?: RecordPrefix }

/** Bytes that the record takes beside its message, an upper estimate for batching. */
export function headerBytes(record: OutgoingRecord): number {
  let bytes = 48 + record.key.length
  for (const name in record.headers) {
    const value = record.headers[name]
    for (const one of Array.isArray(value) ? value : [value ?? '']) bytes += name.length + one.length + 8
  }
  return bytes
}

/**
 * @param version what its readers know.
 * @param key that the caller gave, where calls have an order.
 */
export function encodeRecord(record: CallRecord, version: RecordVersion = 1, key: Buffer = record.id): OutgoingRecord {
  const headers: OutgoingRecord['headers'] = { [HEADER]: encodeHeader(record, version) }
  for (const name of TRACE_HEADERS) {
    const value = record[name]
    if (value !== undefined) headers[name] = value
  }
  for (const [name, value] of record.metadata) {
    const key = METADATA_PREFIX + name
    const before = headers[key]
    headers[key] = before === undefined ? value : [...(Array.isArray(before) ? before : [before]), value]
  }
  return { key, value: record.message, headers }
}

/** What stands on the record beside the call. A header by itself, so that it goes along wherever the record is written again. */
export const callbackHeader = (url: string): Readonly<Record<string, string>> => ({ [CALLBACK]: url })

/** Of any record, also one whose packed header cannot be read; whoever wrote it may have written anything. */
export function callbackIn({ headers }: RawRecord): string | undefined {
  const value = headers[CALLBACK]
  return Buffer.isBuffer(value) || typeof value === 'string' ? String(value) : undefined
}

/** The same call before anybody tried it, as a record of its own. */
export function beforeAttempts(record: CallRecord): CallRecord {
  const before: { -readonly [Field in keyof CallRecord]: CallRecord[Field] } = {
    ...record,
    attempt: 1,
    producedAgain: false,
    firstFailureAt: 0,
    notBefore: 0,
  }
  delete before.origin
  delete before.failures
  return before
}

/** The record as it was read, but for its packed header, which says what `record` says. */
export const rewriteRecord = (raw: RawRecord, record: CallRecord): RawOutgoingRecord => ({
  key: raw.key,
  value: raw.value,
  headers: { ...writableHeaders(raw), [HEADER]: encodeHeader(record, 2) },
})

/** kafkajs reads headers without a value and cannot write them: here they are empty. */
export function writableHeaders({ headers }: RawRecord): OutgoingRecord['headers'] {
  const writable = (value: HeaderValue): Buffer | string => value ?? Buffer.alloc(0)
  const result: OutgoingRecord['headers'] = {}
  for (const [name, value = null] of Object.entries(headers)) {
    result[name] = isList(value) ? value.map(writable) : writable(value)
  }
  return result
}

const isList = (value: HeaderValue | readonly HeaderValue[]): value is readonly HeaderValue[] => Array.isArray(value)

function encodeHeader(record: CallRecord, version: RecordVersion): Buffer {
  const extensions = version === 1 ? NOTHING : encodeExtensions(record)
  const header = Buffer.allocUnsafe(
    PREFIX_BYTES +
      record.replyTo.length +
      BODY_BYTES +
      record.method.length +
      Buffer.byteLength(record.caller) +
      (version === 1 ? 0 : VERSION_2_BYTES + extensions.length),
  )
  header[0] = version
  record.id.copy(header, 1)
  header.writeUIntBE(record.deadline, 17, 6)
  header[23] = record.replyTo.length
  let at = PREFIX_BYTES + header.write(record.replyTo, PREFIX_BYTES, 'latin1')
  header[at] = record.producedAgain ? FLAG_PRODUCED_AGAIN : 0
  header[at + 1] = record.attempt
  header.writeUIntBE(record.enqueuedAt, at + 2, 6)
  header.writeUIntBE(record.firstFailureAt, at + 8, 6)
  header.writeUInt16BE(record.method.length, at + 14)
  at += 16
  at += header.write(record.method, at, 'latin1')
  const caller = header.write(record.caller, at + 2)
  header.writeUInt16BE(caller, at)
  if (version > 1) {
    at += 2 + caller
    header.writeUInt32BE(record.redriveRevision ?? 0, at)
    header.writeUIntBE(record.notBefore ?? 0, at + 4, 6)
    header.writeUInt16BE(extensions.length, at + 10)
    extensions.copy(header, at + VERSION_2_BYTES)
  }
  return header
}

const NOTHING = Buffer.alloc(0)
const TAG_ORIGIN = 1
const TAG_FAILURES = 2
const ORIGIN_BYTES = 10
const FAILURE_HEAD_BYTES = 9
/** The newest ones are kept: a policy allows 20 attempts, and redrives begin anew. */
const MOST_FAILURES = 32
const LONGEST_WORKER_NAME = 128

function encodeExtensions({ origin, failures = [], unknownExtensions = NOTHING }: CallRecord): Buffer {
  const parts: Buffer[] = []
  if (origin !== undefined) {
    const bytes = Buffer.allocUnsafe(ORIGIN_BYTES)
    bytes.writeUInt32BE(origin.partition, 0)
    bytes.writeUIntBE(origin.offset, 4, 6)
    parts.push(extension(TAG_ORIGIN, bytes))
  }
  if (failures.length > 0)
    parts.push(extension(TAG_FAILURES, Buffer.concat(failures.slice(-MOST_FAILURES).map(encodeFailure))))
  return Buffer.concat([...parts, unknownExtensions])
}

function extension(tag: number, bytes: Buffer): Buffer {
  const head = Buffer.allocUnsafe(EXTENSION_HEAD_BYTES)
  head[0] = tag
  head.writeUInt16BE(bytes.length, 1)
  return Buffer.concat([head, bytes])
}

function encodeFailure({ attempt, at, status, worker }: AttemptFailure): Buffer {
  const name = Buffer.from(worker, 'latin1').subarray(0, LONGEST_WORKER_NAME)
  const head = Buffer.allocUnsafe(FAILURE_HEAD_BYTES)
  head[0] = attempt
  head.writeUIntBE(at, 1, 6)
  head[7] = status
  head[8] = name.length
  return Buffer.concat([head, name])
}

/** The same record as a copy that may stand beside an earlier one: its reader asks before it runs it. */
export function markProducedAgain(record: OutgoingRecord): OutgoingRecord {
  const header = Buffer.from(record.headers[HEADER] as Buffer)
  const flags = PREFIX_BYTES + (header[23] ?? 0)
  header[flags] = (header[flags] ?? 0) | FLAG_PRODUCED_AGAIN
  return { ...record, headers: { ...record.headers, [HEADER]: header } }
}

const unreadable = (reason: string, prefix?: RecordPrefix): Decoded =>
  prefix === undefined ? { kind: 'Unreadable', reason } : { kind: 'Unreadable', reason, prefix }

/** Reads any record whatever. Never throws: what is wrong with it is part of the answer. */
export function decodeRecord(raw: RawRecord): Decoded {
  const names = Object.keys(raw.headers)
  const packed = raw.headers[HEADER]
  if (packed === undefined) {
    const batch = raw.headers[UNREADABLE_BATCH]
    return unreadable(batch == null ? `no ${HEADER} header` : `the whole batch: ${String(batch)}`)
  }
  if (Array.isArray(packed)) return unreadable(`several ${HEADER} headers`)
  if (!Buffer.isBuffer(packed)) return unreadable(`the ${HEADER} header is not bytes`)
  const header = packed
  if (header.length < PREFIX_BYTES) return unreadable('header ends inside its prefix')
  const version = header[0] ?? 0
  const replyLength = header[23] ?? 0
  if (header.length < PREFIX_BYTES + replyLength) return unreadable('header ends inside its prefix')
  const replyTo = header.toString('latin1', PREFIX_BYTES, PREFIX_BYTES + replyLength)
  if (replyTo !== '' && !REPLY_CHANNEL.test(replyTo))
    return unreadable('reply channel has characters that no instance name has')
  const prefix: RecordPrefix = { id: Buffer.from(header.subarray(1, 17)), deadline: header.readUIntBE(17, 6), replyTo }
  if (version === 0) return unreadable('header has version 0', prefix)
  if (version > VERSION) return { kind: 'Newer', version, prefix }

  let at = PREFIX_BYTES + replyLength
  if (header.length < at + 16) return unreadable('header ends before its method', prefix)
  const flags = header[at] ?? 0
  const attempt = header[at + 1] ?? 0
  if (attempt === 0) return unreadable('attempt is 0', prefix)
  const enqueuedAt = header.readUIntBE(at + 2, 6)
  const firstFailureAt = header.readUIntBE(at + 8, 6)
  const methodLength = header.readUInt16BE(at + 14)
  at += 16
  if (header.length < at + methodLength + 2) return unreadable('header ends inside its method', prefix)
  const method = header.toString('latin1', at, at + methodLength)
  at += methodLength
  const callerLength = header.readUInt16BE(at)
  at += 2
  if (version === 1 && header.length !== at + callerLength)
    return unreadable('header has another length than its parts', prefix)
  const caller = header.toString('utf8', at, at + callerLength)
  let ofVersion2: Partial<CallRecord> | undefined
  if (version > 1) {
    at += callerLength
    if (header.length < at + VERSION_2_BYTES) return unreadable('header ends before its extensions', prefix)
    ofVersion2 = { redriveRevision: header.readUInt32BE(at), notBefore: header.readUIntBE(at + 4, 6) }
    at += VERSION_2_BYTES
    if (header.length !== at + header.readUInt16BE(at - 2))
      return unreadable('header has another length than its parts', prefix)
    const extensions = readExtensions(header, at)
    if (typeof extensions === 'string') return unreadable(extensions, prefix)
    ofVersion2 = { ...ofVersion2, ...extensions }
  }

  if (raw.value === null) return unreadable('no value', prefix)
  const metadata: [string, Buffer][] = []
  const trace: { traceparent?: string; tracestate?: string } = {}
  let count = 0
  for (const name of names) {
    const value = raw.headers[name]
    if (value === undefined || name === HEADER) continue
    const values = (Array.isArray(value) ? value : [value]) as readonly HeaderValue[]
    count += values.length
    if (count > MAX_HEADERS) return unreadable(`more than ${MAX_HEADERS} headers`, prefix)
    if (name.startsWith(METADATA_PREFIX)) {
      const key = name.slice(METADATA_PREFIX.length)
      for (const one of values) {
        const bytes = typeof one === 'string' ? Buffer.from(one) : one
        if (bytes === null || !isMetadata(key, bytes))
          return unreadable('a metadata header is not gRPC metadata', prefix)
        metadata.push([key, bytes])
      }
    } else if (name === 'traceparent' || name === 'tracestate') {
      // Two are no trace context (W3C Trace Context, section 3.2); the call is good without.
      const text = values.length === 1 && values[0] !== null ? String(values[0]) : ''
      if (text !== '' && isPrintable(text)) trace[name] = text
    }
  }
  return {
    kind: 'Call',
    record: {
      ...prefix,
      method,
      attempt,
      producedAgain: (flags & FLAG_PRODUCED_AGAIN) !== 0,
      enqueuedAt,
      firstFailureAt,
      ...ofVersion2,
      caller,
      metadata,
      ...trace,
      message: raw.value,
    },
  }
}

type Extensions = Pick<CallRecord, 'origin' | 'failures' | 'unknownExtensions'>

/** The rest of the header. Answers what is wrong with it, as text. */
function readExtensions(header: Buffer, from: number): Extensions | string {
  let origin: RecordOrigin | undefined
  let failures: readonly AttemptFailure[] | undefined
  const unknown: Buffer[] = []
  let at = from
  while (at + EXTENSION_HEAD_BYTES <= header.length) {
    const end = at + EXTENSION_HEAD_BYTES + header.readUInt16BE(at + 1)
    if (end > header.length) return 'an extension is longer than all of them'
    const bytes = header.subarray(at + EXTENSION_HEAD_BYTES, end)
    switch (header[at]) {
      case TAG_ORIGIN:
        if (bytes.length !== ORIGIN_BYTES) return 'the origin has another length than its parts'
        origin = { partition: bytes.readUInt32BE(0), offset: bytes.readUIntBE(4, 6) }
        break
      case TAG_FAILURES:
        failures = readFailures(bytes)
        if (failures === undefined) return 'a failed attempt ends too early'
        break
      default:
        unknown.push(header.subarray(at, end))
    }
    at = end
  }
  if (at !== header.length) return 'an extension is longer than all of them'
  // A copy: the header is a view of what was fetched.
  return {
    ...(origin !== undefined && { origin }),
    ...(failures !== undefined && { failures }),
    ...(unknown.length > 0 && { unknownExtensions: Buffer.concat(unknown) }),
  }
}

function readFailures(bytes: Buffer): readonly AttemptFailure[] | undefined {
  const failures: AttemptFailure[] = []
  for (let at = 0; at < bytes.length;) {
    if (at + FAILURE_HEAD_BYTES > bytes.length) return undefined
    const end = at + FAILURE_HEAD_BYTES + (bytes[at + 8] ?? 0)
    if (end > bytes.length) return undefined
    failures.push({
      attempt: bytes[at] ?? 0,
      at: bytes.readUIntBE(at + 1, 6),
      status: bytes[at + 7] ?? 0,
      worker: bytes.toString('latin1', at + FAILURE_HEAD_BYTES, end),
    })
    at = end
  }
  return failures
}

const REPLY_CHANNEL = /^[a-zA-Z0-9._-]{1,128}$/
