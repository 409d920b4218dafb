import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lagOf } from '../../../../operator/kafka/group-admin.ts'

const partitions = [
  { partition: 0, low: '0', high: '10' },
  { partition: 1, low: '5', high: '5' },
  { partition: 2, low: '20', high: '50' },
]

test('what waits is all between what is finished and the end', () => {
  const committed = [0, 1, 2].map((partition) => ({ partition, offset: ['4', '5', '49'][partition]! }))
  assert.equal(lagOf(partitions, committed, 'Earliest'), 7)
})

test('a group that has finished nothing begins at the oldest record', () => {
  assert.equal(lagOf(partitions, [], 'Earliest'), 40)
  assert.equal(lagOf(partitions, [{ partition: 0, offset: '-1' }], 'Earliest'), 40)
})

test('a group that has finished nothing and begins at the latest waits for nothing', () => {
  assert.equal(lagOf(partitions, [{ partition: 0, offset: '4' }], 'Latest'), 6)
})

test('records that retention has deleted wait no more', () => {
  assert.equal(lagOf(partitions, [{ partition: 2, offset: '3' }], 'Latest'), 30)
})

test('an offset beyond the end, as of a topic that was made anew, makes nothing negative', () => {
  assert.equal(lagOf(partitions, [{ partition: 0, offset: '100' }], 'Latest'), 0)
})
