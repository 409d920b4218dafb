/** Records of a failure topic. */
import { encodeRecord } from '../../../../sidecar/kafka/record.ts'
import type { CallRecord } from '../../../../sidecar/kafka/record.ts'
import { markOf, readDeadTopicRecord } from '../../../../local/dead-letters/dead-letter.ts'
import type { DeadLetter, DeadLetterMark } from '../../../../local/dead-letters/dead-letter.ts'
import type { TopicRecord } from '../../../../local/kafka/topic-reader.ts'

export const AT = 1_800_000_000_000

const CALL: CallRecord = {
  id: Buffer.alloc(16, 7),
  deadline: AT + 3000,
  replyTo: 'proxy-1',
  method: 'a.B/C',
  attempt: 3,
  producedAgain: true,
  enqueuedAt: AT,
  firstFailureAt: AT + 1,
  notBefore: AT + 2,
  origin: { partition: 4, offset: 9 },
  failures: [{ attempt: 1, at: AT + 1, status: 14, worker: 'w' }],
  caller: 'me',
  metadata: [['x-tenant', Buffer.from('one')]],
  traceparent: '00-a-b-01',
  message: Buffer.from('request'),
}

type Headers = TopicRecord['headers']

const DEAD = {
  'dead-reason': 'attempts used up',
  'dead-status': 'UNAVAILABLE',
  'dead-at': String(AT),
  'dead-group': 'g',
}

function letterOf(record: TopicRecord): DeadLetter {
  const read = readDeadTopicRecord(record)
  if (read.kind !== 'Letter') throw new Error('it is a mark')
  return read
}

export function letter(offset: number, changes: Partial<CallRecord> = {}, headers: Headers = {}): DeadLetter {
  const { key, value, headers: own } = encodeRecord({ ...CALL, ...changes }, 2)
  const at = { partition: 0, offset, timestamp: AT + 5 }
  return letterOf({ ...at, key, value, headers: { ...own, ...DEAD, ...headers } })
}

/** A record that is no call. */
export const raw = (offset: number, headers: Headers = DEAD): DeadLetter =>
  letterOf({ partition: 0, offset, timestamp: AT + 5, key: null, value: Buffer.from('raw'), headers })

export function mark(of: string): DeadLetterMark {
  const at = { partition: 0, offset: 99, timestamp: AT, key: null, value: null }
  const read = readDeadTopicRecord({ ...at, ...markOf(of, 'redriven', AT) })
  if (read.kind !== 'Mark') throw new Error('it is no mark')
  return read
}
