import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ClusterBroker } from '../../../../sidecar/kafka/cluster.ts'
import { decodeTopicIds, encodeTopicsRequest, TopicIdError, topicIds } from '../../../../sidecar/kafka/topic-ids.ts'

const ID = 'c2f0e1d2a3b4455667788990aabbccdd'
const NONE = '0'.repeat(32)

const text = (value: string) => Buffer.concat([Buffer.of(value.length + 1), Buffer.from(value)])
const int32 = (...values: readonly number[]) => Buffer.concat(values.map((value) => Buffer.of(0, 0, 0, value)))

/** One partition, with two replicas of which one is in sync, and a tag that no reader knows. */
const partition = Buffer.concat([
  Buffer.of(0, 0),
  int32(0, 1, 5),
  Buffer.of(3),
  int32(1, 2),
  Buffer.of(2),
  int32(1),
  Buffer.of(1),
  Buffer.of(1, 9, 2, 0xaa, 0xbb),
])
const topic = (name: string, id: string, error = 0) =>
  Buffer.concat([
    Buffer.of(0, error),
    text(name),
    Buffer.from(id, 'hex'),
    Buffer.of(0),
    Buffer.of(error === 0 ? 2 : 1),
    error === 0 ? partition : Buffer.alloc(0),
    int32(0),
    Buffer.of(0),
  ])
const reply = (...topics: readonly Buffer[]) =>
  Buffer.concat([
    Buffer.of(0),
    int32(0),
    Buffer.of(3),
    ...['kafka-1', 'kafka-2'].flatMap((host) => [int32(1), text(host), int32(9), Buffer.of(0), Buffer.of(0)]),
    text('cluster'),
    int32(1),
    Buffer.of(topics.length + 1),
    ...topics,
    int32(0),
    Buffer.of(0),
  ])

/** A broker that answers once. */
function brokerOf(maxVersion: number, answer: Buffer): ClusterBroker {
  const connection = {
    clientId: 'test',
    sasl: null,
    connectionStatus: 'connected',
    nextCorrelationId: () => 1,
    requestQueue: {
      push: ({ entry }: { entry: { resolve: (reply: { payload: Buffer }) => void } }) =>
        entry.resolve({ payload: answer }),
    },
  }
  return {
    connectionPool: { getConnection: () => Promise.resolve(connection) },
    versions: { 3: { maxVersion } },
  } as unknown as ClusterBroker
}

describe('the ids of topics', () => {
  test('are asked for by name, in the bytes of version 10', () => {
    const id = '00'.repeat(16)
    const expected = ['00'.repeat(7), '00', '03', id, '0261', '00', id, '036262', '00', '000000', '00'].join('')
    assert.equal(encodeTopicsRequest(['a', 'bb'], 7).toString('hex'), expected)
  })

  test('of a long name are asked for with its whole length', () => {
    const bytes = encodeTopicsRequest(['n'.repeat(249)], 0)
    assert.deepEqual([...bytes.subarray(18, 20)], [250, 1])
  })

  test('are those of the topics that the broker knows', () => {
    const bytes = reply(topic('calls', ID), topic('gone', NONE, 3), topic('other', ID.replaceAll('c', 'd')))
    assert.deepEqual(
      [...decodeTopicIds(bytes)],
      [
        ['calls', ID],
        ['other', ID.replaceAll('c', 'd')],
      ],
    )
  })

  test('are not read out of a reply that ends too early', () => {
    const bytes = reply(topic('calls', ID))
    for (let length = 0; length < bytes.length - 5; length++)
      assert.throws(() => decodeTopicIds(bytes.subarray(0, length)), RangeError)
  })

  test('are refused by a Kafka that has none, in plain words', async () => {
    await assert.rejects(topicIds(brokerOf(9, reply()), ['calls']), (error) => {
      assert.ok(error instanceof TopicIdError)
      assert.match(error.message, /has to be 2\.8 or later/)
      return true
    })
    await assert.rejects(topicIds(brokerOf(10, reply(topic('calls', NONE))), ['calls']), /topic calls has no id/)
  })

  test('are told by one that has them', async () => {
    assert.deepEqual([...(await topicIds(brokerOf(12, reply(topic('calls', ID))), ['calls']))], [['calls', ID]])
  })
})
