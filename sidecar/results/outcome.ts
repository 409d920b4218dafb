/**
 * A call's outcome and its bytes in Redis and on the reply channel (SEMANTICS 1). Written and read here only.
 *
 *   0 u8 format (1; 2: with an idempotency key)   1 u8 state   format 2: the request's hash (16 bytes, see call-state.ts), then
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

export type Outcome =
  | ({ readonly state: 'Answered' } & Answer)
  | ({ readonly state: 'DeadLettered'; readonly revision: number } & Answer)
  | { readonly state: 'Expired'; readonly started: 'No' | 'Unknown' }
  | { readonly state: 'Cancelled' }

/** Byte 1 of a call's bytes, in every format. Those from `Claimed` on are no outcomes. */
export const STATES = { Answered: 1, DeadLettered: 2, Expired: 3, Cancelled: 4, Claimed: 5, Enqueued: 6 } as const

const FORMAT = 1
const KEYED_FORMAT = 2
/** Where the body of an outcome begins. */
const BODY = 2
const KEYED_BODY = 18
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
  if (bytes[0] !== FORMAT && bytes[0] !== KEYED_FORMAT)
    throw new OutcomeFormatError(`outcome format ${bytes[0]} is not known here`)
  const body = bytes[0] === FORMAT ? BODY : KEYED_BODY
  need(bytes, body)
  switch (bytes[1]) {
    case STATES.Answered:
      return { state: 'Answered', ...decodeAnswer(bytes, body) }
    case STATES.DeadLettered:
      return { state: 'DeadLettered', revision: readRevision(bytes, body), ...decodeAnswer(bytes, body) }
    case STATES.Expired:
      if (bytes.length !== body + 1) throw new OutcomeFormatError('an expired outcome has one byte after its head')
      return { state: 'Expired', started: bytes[body] === 0 ? 'No' : 'Unknown' }
    case STATES.Cancelled:
      return { state: 'Cancelled' }
    default:
      throw new OutcomeFormatError(`outcome state ${bytes[1]} is not known here`)
  }
}

/** Whether two outcomes say the same, with or without an idempotency key. */
export const isSameOutcome = (one: Buffer, other: Buffer): boolean =>
  one[1] === other[1] && bodyOf(one).equals(bodyOf(other))

const bodyOf = (bytes: Buffer): Buffer => bytes.subarray(bytes[0] === KEYED_FORMAT ? KEYED_BODY : BODY)

function encodeAnswer(outcome: Extract<Outcome, Answer>): Buffer {
  const details = statusMessage(outcome.details)
  const body = outcome.message
  const bytes = Buffer.allocUnsafe(
    9 +
      details.length +
      pairsBytes(outcome.initialMetadata) +
      pairsBytes(outcome.trailingMetadata) +
      1 +
      (body?.length ?? 0),
  )
  bytes[0] = FORMAT
  bytes[1] = STATES[outcome.state]
  bytes[2] = outcome.status
  bytes.writeUInt32BE(outcome.state === 'Answered' ? 0 : outcome.revision, 3)
  bytes.writeUInt16BE(details.length, 7)
  details.copy(bytes, 9)
  let at = writePairs(bytes, 9 + details.length, outcome.initialMetadata)
  at = writePairs(bytes, at, outcome.trailingMetadata)
  bytes[at] = body === null ? 0 : 1
  body?.copy(bytes, at + 1)
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
