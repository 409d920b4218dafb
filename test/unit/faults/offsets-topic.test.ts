import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readOffsetCommit } from '../../faults/offsets-topic.ts'

/** A text as Kafka writes it: its length, then its bytes. */
function text(value: string): Buffer {
  const length = Buffer.alloc(2)
  length.writeInt16BE(value.length)
  return Buffer.concat([length, Buffer.from(value)])
}
const int16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255])
const int32 = (value: number): Buffer => Buffer.concat([int16(value >> 16), int16(value)])
const keyOf = (version: number): Buffer => Buffer.concat([int16(version), text('group'), text('calls'), int32(5)])
/** Version 3: offset, epoch of the leader, metadata, time. */
const value = Buffer.concat([
  Buffer.from('0003' + '0000000000012345' + '00000000', 'hex'),
  text('{"window":1024}'),
  Buffer.alloc(8),
])

test('a commit is read from its key and its value', () => {
  const expected = { group: 'group', topic: 'calls', partition: 5, offset: 0x12345 }
  for (const version of [0, 1]) assert.deepEqual(readOffsetCommit(keyOf(version), value), expected)
})

test("what is no commit is left out: a group's members, an offset that is forgotten", () => {
  assert.equal(readOffsetCommit(keyOf(2), value), undefined)
  assert.equal(readOffsetCommit(keyOf(1), null), undefined)
  assert.equal(readOffsetCommit(null, value), undefined)
})
