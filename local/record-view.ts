/** A record of a topic as people read it: one object, and one line. */
import { formatCallId } from '../sidecar/call-id.ts'
import { GRPC_STATUS_NAMES } from '../sidecar/errors.ts'
import { HEADER, decodeRecord } from '../sidecar/kafka/record.ts'
import type { AttemptFailure, RawRecord } from '../sidecar/kafka/record.ts'
import { isPrintable } from '../sidecar/metadata.ts'
import type { MetadataPairs } from '../sidecar/metadata.ts'
import type { TopicRecord } from './kafka/topic-reader.ts'

export interface RecordView {
  readonly partition: number
  readonly offset: number
  /** ISO 8601, as all times here. */
  readonly timestamp: string
  readonly kind: 'Call' | 'Newer' | 'Unreadable'
  /** Of the packed header; absent: there is none. */
  readonly version?: number
  /** Why it is unreadable. */
  readonly reason?: string
  readonly id?: string
  readonly deadline?: string
  /** The proxy that waits for it; empty: nobody. */
  readonly replyTo?: string
  readonly method?: string
  readonly attempt?: number
  /** A copy may stand before it. */
  readonly producedAgain?: boolean
  readonly enqueuedAt?: string
  readonly firstFailureAt?: string
  /** Empty: anonymous. */
  readonly caller?: string
  readonly traceparent?: string
  /** Of the redrive that produced it. */
  readonly redriveRevision?: number
  readonly failures?: readonly FailureView[]
  readonly metadata?: readonly MetadataView[]
  /** On a failure topic: whence it came and why. */
  readonly dead?: Readonly<Record<string, string>>
  readonly messageBytes: number
}

/** An attempt that failed. */
interface FailureView {
  readonly attempt: number
  readonly at: string
  /** gRPC status by name. */
  readonly status: string
  readonly worker: string
}

interface MetadataView {
  readonly name: string
  readonly bytes: number
  /** Where values are asked for; of a `-bin` name in base64. */
  readonly value?: string
}

const DEAD_PREFIX = 'dead-'

/** @param showValues whether the values of metadata are told: they may be somebody's data. */
export function viewRecord(raw: TopicRecord, showValues: boolean): RecordView {
  const decoded = decodeRecord(raw)
  const at = { partition: raw.partition, offset: raw.offset, timestamp: isoTime(raw.timestamp) }
  const packed = raw.headers[HEADER]
  const version = Buffer.isBuffer(packed) ? packed[0] : undefined
  const dead = deadHeaders(raw)
  const prefix = decoded.kind === 'Call' ? decoded.record : decoded.prefix
  return {
    ...at,
    kind: decoded.kind,
    ...(version !== undefined && { version }),
    ...(decoded.kind === 'Unreadable' && { reason: decoded.reason }),
    ...(prefix !== undefined && {
      id: formatCallId(prefix.id),
      deadline: isoTime(prefix.deadline),
      replyTo: prefix.replyTo,
    }),
    ...(decoded.kind === 'Call' && {
      method: decoded.record.method,
      attempt: decoded.record.attempt,
      producedAgain: decoded.record.producedAgain,
      enqueuedAt: isoTime(decoded.record.enqueuedAt),
      ...(decoded.record.firstFailureAt > 0 && { firstFailureAt: isoTime(decoded.record.firstFailureAt) }),
      caller: decoded.record.caller,
      ...(decoded.record.traceparent !== undefined && { traceparent: decoded.record.traceparent }),
      ...((decoded.record.redriveRevision ?? 0) > 0 && { redriveRevision: decoded.record.redriveRevision }),
      ...(decoded.record.failures !== undefined && { failures: decoded.record.failures.map(viewFailure) }),
      metadata: viewMetadata(decoded.record.metadata, showValues),
    }),
    ...(dead !== undefined && { dead }),
    messageBytes: raw.value?.length ?? 0,
  }
}

const viewFailure = ({ attempt, at, status, worker }: AttemptFailure): FailureView => ({
  attempt,
  at: isoTime(at),
  status: GRPC_STATUS_NAMES[status] ?? String(status),
  worker: printable(worker),
})

const viewMetadata = (metadata: MetadataPairs, showValues: boolean): readonly MetadataView[] =>
  metadata.map(([name, value]) => ({
    name,
    bytes: value.length,
    ...(showValues && { value: value.toString(name.endsWith('-bin') ? 'base64' : 'latin1') }),
  }))

/** `dead-reason` and its like, without the prefix; undefined: the record was never on its way to a failure topic. */
function deadHeaders({ headers }: RawRecord): Readonly<Record<string, string>> | undefined {
  const found = Object.entries(headers).flatMap(([name, value]): [string, string][] => {
    if (!name.startsWith(DEAD_PREFIX)) return []
    const last = (Array.isArray(value) ? value.at(-1) : value) as Buffer | string | null | undefined
    return [[name.slice(DEAD_PREFIX.length), printable(last?.toString() ?? '')]]
  })
  return found.length === 0 ? undefined : Object.fromEntries(found)
}

/** One line, without a character that a terminal would obey. */
export function recordLine(view: RecordView): string {
  const parts = [`${view.partition}/${view.offset}`, view.timestamp]
  if (view.kind === 'Unreadable') parts.push(`unreadable: ${view.reason ?? ''}`)
  if (view.kind === 'Newer') parts.push(`written by version ${view.version}, which is not known here`)
  if (view.id !== undefined) parts.push(view.id)
  if (view.method !== undefined) {
    parts.push(printable(view.method), `v${view.version} attempt ${view.attempt}`)
    if (view.redriveRevision !== undefined) parts.push(`redrive ${view.redriveRevision}`)
    if (view.producedAgain === true) parts.push('produced again')
    if (view.firstFailureAt !== undefined) parts.push(`first failure ${view.firstFailureAt}`)
  }
  if (view.deadline !== undefined) parts.push(`deadline ${view.deadline}`)
  if (view.replyTo !== undefined && view.replyTo !== '') parts.push(`reply to ${view.replyTo}`)
  if (view.caller !== undefined && view.caller !== '') parts.push(`caller ${printable(view.caller)}`)
  if (view.traceparent !== undefined) parts.push(`trace ${printable(view.traceparent)}`)
  if (view.metadata !== undefined && view.metadata.length > 0) {
    const values = view.metadata.map(
      ({ name, bytes, value }) => `${name}${value === undefined ? '' : `=${value}`} (${bytes} B)`,
    )
    parts.push(`metadata ${printable(values.join(', '))}`)
  }
  parts.push(`message ${view.messageBytes} B`)
  if (view.dead !== undefined) {
    parts.push(
      `dead: ${Object.entries(view.dead)
        .map(([name, value]) => `${name} ${value}`)
        .join(', ')}`,
    )
  }
  return parts.join('  ')
}

const printable = (text: string): string =>
  isPrintable(text)
    ? text
    : text.replaceAll(/[^\x20-\x7e]/g, (one) =>
        JSON.stringify(one)
          .slice(1, -1)
          .replace(/^[^\\]/, '?'),
      )

/** The largest time that a header can hold is beyond what a Date can. */
const isoTime = (milliseconds: number): string => {
  const date = new Date(milliseconds)
  return Number.isNaN(date.getTime()) ? `${milliseconds} ms` : date.toISOString()
}
