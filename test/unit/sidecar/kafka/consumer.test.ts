import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ConsumerConfig, Kafka, TopicOffsets } from 'kafkajs'
import { GroupConsumer } from '../../../../sidecar/kafka/consumer.ts'
import { createLogger } from '../../../../sidecar/telemetry/log.ts'

const CALLS = 'calls'
const RETRIES = 'calls.retry.1'

/** As far as a group's questions go. Its metadata has lost the retry topic, as kafkajs' has when two of its refreshes cross. */
class FakeKafka {
  readonly asked: (readonly TopicOffsets[])[] = []
  /** What the coordinator says is committed. */
  committed: readonly TopicOffsets[] = []

  readonly #coordinator = {
    offsetFetch: ({ topics }: { readonly topics: readonly TopicOffsets[] }) => {
      this.asked.push(topics)
      return Promise.resolve({ responses: this.committed })
    },
  }

  admin() {
    return {
      connect: () => Promise.resolve(),
      disconnect: () => Promise.resolve(),
      fetchOffsets: () =>
        Promise.resolve([{ topic: CALLS, partitions: [{ partition: 0, offset: '7', metadata: null }] }]),
      fetchTopicOffsets: () => Promise.resolve([{ partition: 0, offset: '9', low: '0', high: '9' }]),
    }
  }

  consumer({ partitionAssigners = [] }: ConsumerConfig) {
    const cluster = { findGroupCoordinator: () => Promise.resolve(this.#coordinator) }
    for (const assigner of partitionAssigners) assigner({ cluster } as unknown as Parameters<typeof assigner>[0])
    return {
      events: {},
      on: () => undefined,
      connect: () => Promise.resolve(),
      subscribe: () => Promise.resolve(),
      run: () => Promise.resolve(),
      disconnect: () => Promise.resolve(),
    }
  }
}

async function joined(kafka: FakeKafka): Promise<GroupConsumer> {
  const consumer = new GroupConsumer({
    kafka: kafka as unknown as Kafka,
    groupId: 'workers',
    topics: () => Promise.resolve([CALLS, RETRIES]),
    startFrom: 'Earliest',
    logger: createLogger('silent', {}),
    events: { joined: () => undefined, fetched: () => undefined },
  })
  await consumer.join()
  return consumer
}

const of = (topic: string, partition: number, offset: string) => ({ topic, partitions: [{ partition, offset }] })

test('what is committed is asked for by partition, also where the metadata of kafkajs has lost the topic', async () => {
  const kafka = new FakeKafka()
  kafka.committed = [of(CALLS, 0, '7'), of(RETRIES, 3, '2')]
  const consumer = await joined(kafka)
  const offsets = await consumer.committed([
    { topic: CALLS, partition: 0 },
    { topic: RETRIES, partition: 3 },
  ])
  assert.deepEqual(offsets, [
    { topic: CALLS, partition: 0, offset: 7, metadata: '' },
    { topic: RETRIES, partition: 3, offset: 2, metadata: '' },
  ])
  const asked = kafka.asked.flat().map(({ topic, partitions }) => [topic, ...partitions.map((one) => one.partition)])
  assert.deepEqual(asked, [
    [CALLS, 0],
    [RETRIES, 3],
  ])
})

test('a partition that an answer leaves out is not taken for one that has nothing committed', async () => {
  const kafka = new FakeKafka()
  kafka.committed = [of(CALLS, 0, '7')]
  const consumer = await joined(kafka)
  const partitions = [
    { topic: CALLS, partition: 0 },
    { topic: RETRIES, partition: 3 },
  ]
  await assert.rejects(consumer.committed(partitions), /does not tell what is committed of calls\.retry\.1\/3/)
})

test('a partition of which no beginning is told does not begin at 0', async () => {
  const consumer = await joined(new FakeKafka())
  assert.deepEqual(await consumer.ends([{ topic: CALLS, partition: 0 }]), new Map([[`${CALLS}/0`, 9]]))
  await assert.rejects(consumer.start([{ topic: CALLS, partition: 1 }]), /where calls\/1 begins and ends/)
})
