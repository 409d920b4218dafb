import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { pino } from 'pino'
import type { CommittedOffset } from '../../../../sidecar/kafka/consumer.ts'
import { keyOf, type TopicPartition } from '../../../../sidecar/kafka/topic-partition.ts'
import { Watermarks, type Watermark } from '../../../../sidecar/results/watermarks.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'
import { finish, Partition, WINDOW_RECORDS } from '../../../../sidecar/worker/partition.ts'
import { RedisOffsets, type Restored } from '../../../../sidecar/worker/redis-offsets.ts'
import { fakeRedis } from '../results/fake-redis.ts'
import { at, range } from './records.ts'

const ID = 'a'.repeat(32)

/** One log of ten records, of which those from the third are there still. */
class Harness {
  readonly metrics = new Metrics()
  /** In Redis, by key. */
  readonly stored = new Map<string, string>()
  readonly said: (readonly unknown[])[] = []
  ids: ReadonlyMap<string, string> = new Map([['calls', ID]])
  readonly offsets: RedisOffsets
  end = 10
  /** What was found in earlier tries. */
  readonly earlier = new Map<string, Restored>()

  constructor(stored?: Watermark, { sharded = false } = {}) {
    const key = `gk:watermark:{group/calls/0}:${ID}`
    if (stored !== undefined) this.stored.set(key, `${stored.offset} ${stored.window}`)
    const redis = fakeRedis({
      sharded,
      ...(sharded && { parts: (items) => items.map((item) => [item]) }),
      getAll: (keys) =>
        Promise.resolve(
          keys.map((one) => {
            const value = this.stored.get(one)
            return value === undefined ? null : Buffer.from(value)
          }),
        ),
      script: (_script, keys, [, ...args]) => {
        this.said.push([...keys, ...args])
        return Promise.resolve(keys.map((_key, index) => Number(args[3 * index])))
      },
    })
    const offsetsOf = (offset: number) => (partitions: readonly TopicPartition[]) =>
      Promise.resolve(new Map(partitions.map((one) => [keyOf(one), offset])))
    this.offsets = new RedisOffsets({
      consumer: {
        topicIds: () => Promise.resolve(this.ids),
        ends: (partitions) => offsetsOf(this.end)(partitions),
        beginnings: offsetsOf(3),
      },
      watermarks: new Watermarks({ redis, groupId: 'group', metrics: this.metrics }),
      logger: pino({ enabled: false }),
      metrics: this.metrics,
    })
  }

  async restored(kafka: number, seenEnds: ReadonlyMap<string, number> = new Map()) {
    const known: CommittedOffset = { ...at(0), offset: kafka, metadata: '' }
    return (await this.offsets.restore([known], seenEnds, this.earlier)).get(keyOf(at(0)))
  }
}

describe('what is restored of a log', () => {
  test('is its watermark in Redis, with its window', async () => {
    const watermark = { offset: 8, window: 5 }
    assert.deepEqual(await new Harness(watermark).restored(4), { topicId: ID, watermark })
  })

  test('is nothing of Redis where Redis has none of this log', async () => {
    assert.deepEqual(await new Harness().restored(4), { topicId: ID })
    const harness = new Harness({ offset: 8, window: 5 })
    harness.ids = new Map([['calls', 'b'.repeat(32)]])
    assert.deepEqual(await harness.restored(4), { topicId: 'b'.repeat(32) }, 'that was an earlier topic of this name')
  })

  for (const [where, kafka, redis] of [
    ['in Redis', 4, { offset: 11, window: 5 }],
    ['in Kafka', 11, undefined],
  ] as const) {
    test(`is its beginning where it ends before what is known ${where}, with all that may have been started`, async () => {
      const harness = new Harness(redis)
      const anew = { start: { offset: 3, window: 8 + WINDOW_RECORDS }, wrong: redis?.offset }
      assert.deepEqual(await harness.restored(kafka), { topicId: ID, anew })
      assert.deepEqual(harness.said, [], 'Kafka is told first')
      await harness.offsets.putBack([at(0)], harness.earlier)
      const key = `gk:watermark:{group/calls/0}:${ID}`
      assert.deepEqual(harness.said, [[key, 3, 8 + WINDOW_RECORDS, redis?.offset ?? '']])
    })
  }

  test('is its beginning also when the log has grown by the next try, and is told once', async () => {
    const harness = new Harness({ offset: 11, window: 5 })
    const first = await harness.restored(4)
    harness.end = 20
    assert.equal(await harness.restored(4), first)
    assert.match(await harness.metrics.expose(), /^grpc_kafka_watermarks_past_end_total 1$/m)
  })

  test('is what the log of another topic has, whatever was found of the one before', async () => {
    const harness = new Harness({ offset: 11, window: 5 })
    await harness.restored(4)
    const other = 'b'.repeat(32)
    harness.ids = new Map([['calls', other]])
    assert.deepEqual(await harness.restored(4), { topicId: other })
  })

  test('is its beginning where it was seen to end before, though it has grown since', async () => {
    const harness = new Harness({ offset: 8, window: 5 })
    const { anew } = (await harness.restored(4, new Map([[keyOf(at(0)), 7]])))!
    assert.equal(anew?.start.offset, 3)
  })

  test('puts nothing back of logs that are as they were', async () => {
    const harness = new Harness({ offset: 8, window: 5 })
    await harness.offsets.putBack([at(0)], new Map([[keyOf(at(0)), (await harness.restored(4))!]]))
    assert.deepEqual(harness.said, [])
  })

  test('is the watermark where everything is finished', async () => {
    assert.deepEqual((await new Harness({ offset: 10, window: 5 }).restored(10))?.watermark?.offset, 10)
  })

  test('is not known where the topic is not', async () => {
    const harness = new Harness()
    harness.ids = new Map()
    await assert.rejects(harness.restored(4), /topic calls is not there/)
  })
})

describe('what Redis is told', () => {
  const partitionOf = (topicId: string | undefined, finished: number, number = 0): Partition => {
    const partition = new Partition(at(number))
    partition.topicId = topicId
    partition.open({ offset: 0, window: WINDOW_RECORDS }, false)
    partition.deliver(range(0, 5), 5)
    partition.heldUntil = 1
    for (let count = 0; count < finished; count++) finish(partition.takeStartable(0)!)
    return partition
  }

  for (const sharded of [false, true]) {
    test(`is how far partitions are that went on, ${sharded ? 'each by itself in a Cluster' : 'all at once'}`, async () => {
      const harness = new Harness(undefined, { sharded })
      const [on, stands, far] = [partitionOf(ID, 2), partitionOf(ID, 0, 1), partitionOf(ID, 5, 2)] as const
      const standing = await harness.offsets.advance([on, stands, far])
      assert.deepEqual(
        [...standing],
        [
          [on, { offset: 2, window: WINDOW_RECORDS }],
          [far, { offset: 5, window: WINDOW_RECORDS }],
        ],
      )
      assert.equal(harness.said.length, sharded ? 2 : 1)
    })
  }

  test('is how far an earlier owner may have started records, until that is passed', async () => {
    const harness = new Harness()
    const partition = new Partition(at(0))
    partition.topicId = ID
    const before = { offset: 0, window: WINDOW_RECORDS + 3 }
    partition.open(before, true)
    assert.equal((await harness.offsets.advance([partition])).size, 0, 'Redis says that already')
    const told: number[] = []
    for (const offset of [2, 5]) {
      partition.committedUpTo({ offset, window: WINDOW_RECORDS })
      for (const [, { window }] of await harness.offsets.advance([partition])) told.push(window)
      partition.committedUpTo({ offset, window: WINDOW_RECORDS })
    }
    assert.deepEqual(told, [WINDOW_RECORDS + 1])
  })

  test('is nothing of what is lost, or of a log that is not known by its id', async () => {
    const harness = new Harness()
    const lost = partitionOf(ID, 2)
    lost.lose()
    assert.equal((await harness.offsets.advance([lost, partitionOf(undefined, 2)])).size, 0)
    assert.deepEqual(harness.said, [])
  })
})
