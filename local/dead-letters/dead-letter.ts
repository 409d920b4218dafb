/** What stands on a failure topic: dead letters, as workers write them (sidecar/worker/dead-letters.ts), and marks that say which are done with. */
import { decodeRecord } from '../../sidecar/kafka/record.ts'
import type { Decoded, OutgoingRecord } from '../../sidecar/kafka/record.ts'
import { isPrintable } from '../../sidecar/metadata.ts'
import type { TopicRecord } from '../kafka/topic-reader.ts'

/** What was done with a dead letter. */
export type Done = 'redriven' | 'discarded'

export interface DeadLetter {
  readonly kind: 'Letter'
  /** Its name: `partition/offset` on the failure topic. */
  readonly place: string
  readonly record: TopicRecord
  readonly decoded: Decoded
  /** Empty where none is given, as all texts here. */
  readonly reason: string
  /** By name. */
  readonly status: string
  /** Milliseconds since 1970. */
  readonly at: number
  /** An Observer gave it up; the call itself may have been answered. */
  readonly ofObserver: boolean
  readonly group: string
  /** Bytes that its value had, where only the beginning was kept. */
  readonly truncatedFrom: number | undefined
}

/** Says that a dead letter is done with. Headers: `dead-done`, `dead-of` (its place), `dead-at` (milliseconds since 1970). */
export interface DeadLetterMark {
  readonly kind: 'Mark'
  readonly of: string
}

export const placeOf = ({ partition, offset }: Pick<TopicRecord, 'partition' | 'offset'>): string =>
  `${partition}/${offset}`

/** Never throws: what is no mark is a letter, whoever wrote it. */
export function readDeadTopicRecord(record: TopicRecord): DeadLetter | DeadLetterMark {
  const text = (name: string): string => headerText(record, name)
  if (text('dead-done') !== '') return { kind: 'Mark', of: text('dead-of') }
  const at = Number(text('dead-at'))
  const truncated = text('dead-truncated')
  return {
    kind: 'Letter',
    place: placeOf(record),
    record,
    decoded: decodeRecord(record),
    reason: text('dead-reason'),
    status: text('dead-status'),
    at: at > 0 ? at : record.timestamp,
    ofObserver: text('dead-role') === 'Observer',
    group: text('dead-group'),
    truncatedFrom: truncated === '' ? undefined : Number(truncated),
  }
}

/** @param at milliseconds since 1970. */
export const markOf = (place: string, done: Done, at: number): Pick<OutgoingRecord, 'headers'> => ({
  headers: { 'dead-done': done, 'dead-of': place, 'dead-at': String(at) },
})

/** The last of several; without characters that a terminal would obey. */
function headerText({ headers }: TopicRecord, name: string): string {
  const value = headers[name]
  const last = (Array.isArray(value) ? value.at(-1) : value) as Buffer | string | null | undefined
  const text = last?.toString() ?? ''
  return isPrintable(text) ? text : text.replaceAll(/[^\x20-\x7e]/g, '?')
}
