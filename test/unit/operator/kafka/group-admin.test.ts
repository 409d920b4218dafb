import assert from 'node:assert/strict'
import { test } from 'node:test'
import { askLag, lagOf } from '../../../../operator/kafka/group-admin.ts'

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

/** Two topics with one record each that waits, asked about as if two at once confused it, as they may kafkajs. */
function admin({ forgotten }: { readonly forgotten?: string } = {}) {
  let asked = 0
  return {
    fetchTopicOffsets: async (topic: string) => {
      asked += 1
      await Promise.resolve()
      const isLost = asked > 1 || topic === forgotten
      asked -= 1
      return isLost ? [] : [{ partition: 0, offset: '5', low: '0', high: '5' }]
    },
    fetchOffsets: ({ topics = [] }: { readonly topics?: string[] }) =>
      Promise.resolve(
        topics.map((topic) => ({
          topic,
          partitions: topic === forgotten ? [] : [{ partition: 0, offset: '4', metadata: null }],
        })),
      ),
  }
}

test('topics are asked about one after the other', async () => {
  assert.equal(await askLag(admin(), ['calls', 'calls.retry.1'], 'workers', 'Earliest'), 2)
})

test('a topic of which nothing is told is an error, and not one without lag', async () => {
  const forgotten = 'calls.retry.1'
  await assert.rejects(askLag(admin({ forgotten }), ['calls', forgotten], 'workers', 'Earliest'), /calls\.retry\.1/)
})
