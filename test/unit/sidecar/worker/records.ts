/** Records as a worker fetches them. */
import type { FetchedRecord } from '../../../../sidecar/kafka/consumer.ts'
import { encodeRecord, type CallRecord } from '../../../../sidecar/kafka/record.ts'
import type { TopicPartition } from '../../../../sidecar/kafka/topic-partition.ts'

/** The shared clock's time in these tests, unless one moves it. */
export const NOW = 1_800_000_000_000

/** The call at an offset of partition 0 has this id; other partitions differ in the first byte. */
export function idAt(offset: number, partition = 0): Buffer {
  const id = Buffer.alloc(16)
  id[0] = partition
  id.writeUInt32BE(offset, 12)
  return id
}

/** The same where the call has an idempotency key: a UUIDv8. */
export function keyedAt(offset: number): Buffer {
  const id = idAt(offset)
  id[6] = 0x80
  return id
}

function callRecord(offset: number, changes: Partial<CallRecord> = {}): CallRecord {
  return {
    id: idAt(offset),
    deadline: NOW + 10_000,
    replyTo: 'proxy-1',
    method: 'test.Service/Do',
    attempt: 1,
    producedAgain: false,
    enqueuedAt: NOW - 5,
    firstFailureAt: 0,
    caller: '',
    metadata: [],
    message: Buffer.from(String(offset)),
    ...changes,
  }
}

export function fetched(offset: number, changes: Partial<CallRecord> = {}): FetchedRecord {
  return { offset, ...encodeRecord(callRecord(offset, changes)) }
}

/** With a partition key. */
export const fetchedWithKey = (offset: number, key: string, changes: Partial<CallRecord> = {}): FetchedRecord => ({
  ...fetched(offset, changes),
  key: Buffer.from(key),
})

/** Of version 2, which carries all of a record's fields. */
export function fetchedOfVersion2(offset: number, changes: Partial<CallRecord>): FetchedRecord {
  return { offset, ...encodeRecord(callRecord(offset, changes), 2) }
}

export const range = (from: number, to: number): FetchedRecord[] =>
  Array.from({ length: to - from }, (_, index) => fetched(from + index))

export const poison = (offset: number): FetchedRecord => ({
  offset,
  key: null,
  value: Buffer.from('poison'),
  headers: {},
})

/** Written by a version of the header that this worker does not know. */
export function newer(offset: number, version: number, changes: Partial<CallRecord> = {}): FetchedRecord {
  const record = fetched(offset, changes)
  const header = Buffer.from(record.headers['grpc-kafka'] as Buffer)
  header[0] = version
  return { ...record, headers: { ...record.headers, 'grpc-kafka': header } }
}

/** A partition of the service's topic. */
export const at = (partition: number): TopicPartition => ({ topic: 'calls', partition })
