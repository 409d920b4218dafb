/**
 * A call's outcome and its bytes in Redis and on the reply channel (SEMANTICS 1). Written and read here only.
 *
 *   0 u8 format (odd; the even one after it: with an idempotency key)   1 u8 state
 *   even formats             the request's hash (16 bytes, see call-state.ts)
 *   formats 3 and 4          u32 partition, u48 offset, u8 number of the last start: the record that it came of
 *   then
 *   Answered, DeadLettered   u8 gRPC status, u32 revision (0 when Answered), u16 length + status message (UTF-8),
 *                            u16 count + pairs of initial metadata, u16 count + pairs of trailing metadata,
 *                            u8 has a message, the message's bytes to the end
 *   Expired                  u8 started (0 No, 1 Unknown)
 *   Cancelled                nothing
 *   a pair                   u8 length + name, u32 length + value
 */
import type { MetadataPairs } from '../metadata.ts'

/** The handler's word: OK, or a status that is not retried. */
export interface Answer {
  /** A gRPC status code, 0 to 16. */
  readonly status: number
  /** The status message; empty when there is none. */
  readonly details: string
  readonly initialMetadata: MetadataPairs
  /** With `grpc-status-details-bin` where the handler sent it. */
  readonly trailingMetadata: MetadataPairs
  /** The response message's bytes; null when none came (always with a status other than OK). */
  readonly message: Buffer | null
}

/** The record that an outcome came of. */
export interface RecordPlace {
  readonly partition: number
  readonly offset: number
  /** Starts until then, 1 to 255. */
  readonly attempts: number
}

export type Outcome =
  | ({ readonly state: 'Answered'; readonly place?: RecordPlace | undefined } & Answer)
  | ({ readonly state: 'DeadLettered'; readonly revision: number; readonly place?: RecordPlace | undefined } & Answer)
  | { readonly state: 'Expired'; readonly started: 'No' | 'Unknown' }
  | { readonly state: 'Cancelled' }

/** Byte 1 of a call's bytes, in every format. Those from `Claimed` on are no outcomes. */
export const STATES = { Answered: 1, DeadLettered: 2, Expired: 3, Cancelled: 4, Claimed: 5, Enqueued: 6 } as const

const FORMAT = 1
const PLACED_FORMAT = 3
const LAST_FORMAT = 4
export const HEAD_BYTES = 2
const HASH_BYTES = 16
export const PLACE_BYTES = 11
const LARGEST_STATUS_MESSAGE_BYTES = 8192

/** Thrown for bytes that are no outcome of a format known here. */
export class OutcomeFormatError extends Error {
  readonly code = 'OUTCOME_UNREADABLE'
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'OutcomeFormatError'
  }
}

export function encodeOutcome(outcome: Outcome): Buffer {
  switch (outcome.state) {
    case 'Answered':
    case 'DeadLettered':
      return encodeAnswer(outcome)
    case 'Expired':
      return Buffer.from([FORMAT, STATES.Expired, outcome.started === 'No' ? 0 : 1])
    case 'Cancelled':
      return Buffer.from([FORMAT, STATES.Cancelled])
  }
}

/** @throws OutcomeFormatError */
export function decodeOutcome(bytes: Buffer): Outcome {
  if (bytes.length < 2) throw new OutcomeFormatError('an outcome has at least two bytes')
  const format = bytes[0] ?? 0
  if (format < FORMAT || format > LAST_FORMAT)
    throw new OutcomeFormatError(`outcome format ${format} is not known here`)
  const body = bodyOf(bytes)
  need(bytes, body)
  const place = format < PLACED_FORMAT ? {} : { place: readPlace(bytes, body - PLACE_BYTES) }
  switch (bytes[1]) {
    case STATES.Answered:
      return { state: 'Answered', ...place, ...decodeAnswer(bytes, body) }
    case STATES.DeadLettered:
      return { state: 'DeadLettered', revision: readRevision(bytes, body), ...place, ...decodeAnswer(bytes, body) }
    case STATES.Expired:
      if (bytes.length !== body + 1) throw new OutcomeFormatError('an expired outcome has one byte after its head')
      return { state: 'Expired', started: bytes[body] === 0 ? 'No' : 'Unknown' }
    case STATES.Cancelled:
      return { state: 'Cancelled' }
    default:
      throw new OutcomeFormatError(`outcome state ${bytes[1]} is not known here`)
  }
}

/** Whether two outcomes say the same, with or without an idempotency key, whatever record they came of. */
export const isSameOutcome = (one: Buffer, other: Buffer): boolean =>
  one[1] === other[1] && one.subarray(bodyOf(one)).equals(other.subarray(bodyOf(other)))

/** Where what is the same in all formats begins. */
const bodyOf = ([format = 0]: Buffer): number =>
  HEAD_BYTES + (format % 2 === 0 ? HASH_BYTES : 0) + (format < PLACED_FORMAT ? 0 : PLACE_BYTES)

const readPlace = (bytes: Buffer, at: number): RecordPlace => ({
  partition: bytes.readUInt32BE(at),
  offset: bytes.readUIntBE(at + 4, 6),
  attempts: bytes[at + 10] ?? 0,
})

function writePlace(bytes: Buffer, { partition, offset, attempts }: RecordPlace): void {
  bytes.writeUInt32BE(partition, HEAD_BYTES)
  bytes.writeUIntBE(offset, HEAD_BYTES + 4, 6)
  bytes[HEAD_BYTES + 10] = Math.min(attempts, 255)
}

function encodeAnswer(outcome: Extract<Outcome, Answer>): Buffer {
  const details = statusMessage(outcome.details)
  const { message, place } = outcome
  const body = HEAD_BYTES + (place === undefined ? 0 : PLACE_BYTES)
  const bytes = Buffer.allocUnsafe(
    body +
      7 +
      details.length +
      pairsBytes(outcome.initialMetadata) +
      pairsBytes(outcome.trailingMetadata) +
      1 +
      (message?.length ?? 0),
  )
  bytes[0] = place === undefined ? FORMAT : PLACED_FORMAT
  bytes[1] = STATES[outcome.state]
  if (place !== undefined) writePlace(bytes, place)
  bytes[body] = outcome.status
  bytes.writeUInt32BE(outcome.state === 'Answered' ? 0 : outcome.revision, body + 1)
  bytes.writeUInt16BE(details.length, body + 5)
  details.copy(bytes, body + 7)
  let at = writePairs(bytes, body + 7 + details.length, outcome.initialMetadata)
  at = writePairs(bytes, at, outcome.trailingMetadata)
  bytes[at] = message === null ? 0 : 1
  message?.copy(bytes, at + 1)
  return bytes
}

/** At most 8 KiB in whole characters: HTTP/2 peers would refuse more anyway, and its length field ends at 64 KiB. */
function statusMessage(details: string): Buffer {
  const whole = Buffer.from(details)
  let end = Math.min(whole.length, LARGEST_STATUS_MESSAGE_BYTES)
  // Bytes 10xxxxxx continue a character of UTF-8.
  if (end < whole.length) while (((whole[end] ?? 0) & 0xc0) === 0x80) end -= 1
  return whole.subarray(0, end)
}

function pairsBytes(pairs: MetadataPairs): number {
  let bytes = 2
  for (const [name, value] of pairs) bytes += 5 + name.length + value.length
  return bytes
}

function writePairs(bytes: Buffer, start: number, pairs: MetadataPairs): number {
  bytes.writeUInt16BE(pairs.length, start)
  let at = start + 2
  for (const [name, value] of pairs) {
    bytes[at] = name.length
    at += 1 + bytes.write(name, at + 1, 'latin1')
    bytes.writeUInt32BE(value.length, at)
    at += 4 + value.copy(bytes, at + 4)
  }
  return at
}

function readRevision(bytes: Buffer, body: number): number {
  need(bytes, body + 7)
  return bytes.readUInt32BE(body + 1)
}

function decodeAnswer(bytes: Buffer, body: number): Answer {
  need(bytes, body + 7)
  const status = bytes[body] ?? 0
  if (status > 16) throw new OutcomeFormatError(`${status} is no gRPC status`)
  const end = body + 7 + bytes.readUInt16BE(body + 5)
  need(bytes, end)
  const details = bytes.toString('utf8', body + 7, end)
  const initial = readPairs(bytes, end)
  const trailing = readPairs(bytes, initial.end)
  need(bytes, trailing.end + 1)
  const message = bytes[trailing.end] === 0 ? null : bytes.subarray(trailing.end + 1)
  return { status, details, initialMetadata: initial.pairs, trailingMetadata: trailing.pairs, message }
}

function readPairs(bytes: Buffer, start: number): { readonly pairs: MetadataPairs; readonly end: number } {
  need(bytes, start + 2)
  const count = bytes.readUInt16BE(start)
  const pairs: [string, Buffer][] = []
  let at = start + 2
  for (let index = 0; index < count; index++) {
    need(bytes, at + 1)
    const nameEnd = at + 1 + (bytes[at] ?? 0)
    need(bytes, nameEnd + 4)
    const valueEnd = nameEnd + 4 + bytes.readUInt32BE(nameEnd)
    need(bytes, valueEnd)
    pairs.push([bytes.toString('latin1', at + 1, nameEnd), bytes.subarray(nameEnd + 4, valueEnd)])
    at = valueEnd
  }
  return { pairs, end: at }
}

function need(bytes: Buffer, length: number): void {
  if (bytes.length < length) throw new OutcomeFormatError('the outcome ends too early')
}
