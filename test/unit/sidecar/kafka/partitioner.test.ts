import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { Partitioners } from 'kafkajs'
import { murmur2, partitionOfKey } from '../../../../sidecar/kafka/partitioner.ts'

describe('the partition of a key', () => {
  // From Kafka's own UtilsTest.testMurmur2.
  for (const [text, hash] of [
    ['21', -973_932_308],
    ['foobar', -790_332_482],
    ['a-little-bit-long-string', -985_981_536],
    ['a-little-bit-longer-string', -1_486_304_829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58_897_971],
    ['abc', 479_470_107],
  ] as const)
    test(`comes from Kafka's hash: that of ${text}`, () => assert.equal(murmur2(Buffer.from(text)), hash))

  test("is that of kafkajs' default partitioner, whatever the key", () => {
    const choose = Partitioners.DefaultPartitioner()
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
        fc.integer({ min: 1, max: 1000 }),
        (key, count) => {
          const partitionMetadata = Array.from({ length: count }, (_, partitionId) => ({
            partitionId,
            leader: 1,
            partitionErrorCode: 0,
            replicas: [],
            isr: [],
          }))
          const theirs = choose({ topic: 'calls', partitionMetadata, message: { key, value: '' } })
          assert.equal(partitionOfKey(key, count), theirs)
        },
      ),
      { numRuns: 1000 },
    )
  })
})
