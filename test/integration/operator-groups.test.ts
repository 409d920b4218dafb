/** What the operator learns of consumer groups, from a real Kafka. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import kafkajs from 'kafkajs'
import { freePort } from '../../local/platform/free-port.ts'
import { KafkaGroupAdmin } from '../../operator/kafka/group-admin.ts'
import { KafkaProblem } from '../../operator/kafka/kafka-problem.ts'
import { openLettersGroup } from '../../sidecar/kafka/topic-names.ts'
import { atEnd } from './support/clean-up.ts'
import { createTopics } from './support/route.ts'

const servers = (process.env['KAFKA_BROKERS'] ?? '').split(',')
const kafka = new kafkajs.Kafka({ brokers: servers, logLevel: kafkajs.logLevel.NOTHING })

/** A topic of two partitions with so many records in each, and a group without offsets. */
async function ownGroup(t: TestContext, records: readonly [number, number]) {
  const topic = `operator-groups-${randomUUID()}`
  const groupId = topic
  const admin = kafka.admin()
  await admin.connect()
  atEnd(t, () => admin.disconnect())
  await createTopics(admin, [{ topic, numPartitions: 2 }])
  atEnd(t, () => admin.deleteTopics({ topics: [topic] }))
  const producer = kafka.producer()
  await producer.connect()
  atEnd(t, () => producer.disconnect())
  const messages = records.flatMap((count, partition) =>
    Array.from({ length: count }, () => ({ partition, value: 'x' })),
  )
  await producer.send({ topic, messages })
  const operator = new KafkaGroupAdmin({ servers })
  atEnd(t, () => operator.close())
  return { topic, topics: [topic], groupId, admin, operator }
}

test('what waits is told of a group that never was, that has finished some, and that has finished all', async (t) => {
  const { topic, topics, groupId, admin, operator } = await ownGroup(t, [5, 2])
  const group = { topics, groupId, startFrom: 'Earliest' } as const
  assert.deepEqual(await operator.read(group), { lag: 7, members: 0 })
  assert.deepEqual(await operator.read({ ...group, startFrom: 'Latest' }), { lag: 0, members: 0 })
  await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '4' }] })
  assert.deepEqual(await operator.read(group), { lag: 3, members: 0 })
  await admin.setOffsets({
    groupId,
    topic,
    partitions: [
      { partition: 0, offset: '5' },
      { partition: 1, offset: '2' },
    ],
  })
  assert.deepEqual(await operator.read(group), { lag: 0, members: 0 })
})

test('dead letters are counted as whoever redrove some last has left their count, and those that came later', async (t) => {
  const { topic, topics, groupId, admin, operator } = await ownGroup(t, [0, 0])
  const group = { topics, groupId, startFrom: 'Earliest', deadLettersOf: topic } as const
  assert.deepEqual(await operator.read(group), { lag: 0, members: 0 }, 'without a failure topic there is no count')
  const failureTopic = `${topic}.dead`
  await createTopics(admin, [{ topic: failureTopic, numPartitions: 1 }])
  atEnd(t, () => admin.deleteTopics({ topics: [failureTopic] }))
  const producer = kafka.producer()
  await producer.connect()
  atEnd(t, () => producer.disconnect())
  const bury = (count: number) =>
    producer.send({ topic: failureTopic, messages: Array.from({ length: count }, () => ({ value: 'x' })) })
  await bury(3)
  assert.equal((await operator.read(group)).deadLetters, 3)
  await admin.setOffsets({
    groupId: openLettersGroup(topic),
    topic: failureTopic,
    partitions: [{ partition: 0, offset: '2' }],
  })
  assert.equal((await operator.read(group)).deadLetters, 1)
  await bury(1)
  assert.equal((await operator.read(group)).deadLetters, 2)
})

test('what waits is counted over all topics that its members read', async (t) => {
  const { topic, groupId, admin, operator } = await ownGroup(t, [5, 2])
  const other = `${topic}-other`
  await createTopics(admin, [{ topic: other, numPartitions: 1 }])
  atEnd(t, () => admin.deleteTopics({ topics: [other] }))
  await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '4' }] })
  const { lag } = await operator.read({ topics: [other, topic], groupId, startFrom: 'Earliest' })
  assert.equal(lag, 3)
})

test('members are those that are in the group', async (t) => {
  const { topic, topics, groupId, operator } = await ownGroup(t, [1, 0])
  const consumer = kafka.consumer({ groupId })
  atEnd(t, () => consumer.disconnect())
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, resolve))
  await consumer.run({ eachMessage: () => Promise.resolve() })
  await joined
  const { members } = await operator.read({ topics, groupId, startFrom: 'Earliest' })
  assert.equal(members, 1)
})

test('a topic that is not there is a problem that names it, and others are answered meanwhile', async (t) => {
  const { topic, topics, groupId, operator } = await ownGroup(t, [1, 0])
  const group = { topics, groupId, startFrom: 'Earliest' } as const
  const missing = { ...group, topics: [`${topic}-missing`] }
  const isNotThere = { name: 'KafkaProblem', message: `topic ${missing.topics[0]}: is not there` }
  const answers = [operator.read(group), operator.read(missing), operator.read(group), operator.read(missing)]
  await Promise.allSettled(answers)
  assert.deepEqual(await answers[0], { lag: 1, members: 0 })
  await assert.rejects(answers[1]!, isNotThere)
  assert.deepEqual(await answers[2], { lag: 1, members: 0 })
  await assert.rejects(answers[3]!, isNotThere)
})

test('a topic that is deleted after it was asked about spoils nothing for others', async (t) => {
  const { topic, topics, groupId, admin, operator } = await ownGroup(t, [1, 0])
  const group = { topics, groupId, startFrom: 'Earliest' } as const
  const other = `${topic}-other`
  await createTopics(admin, [{ topic: other, numPartitions: 1 }])
  assert.deepEqual(await operator.read({ ...group, topics: [other] }), { lag: 0, members: 0 })
  await admin.deleteTopics({ topics: [other] })
  await assert.rejects(operator.read({ ...group, topics: [other] }), KafkaProblem)
  assert.deepEqual(await operator.read(group), { lag: 1, members: 0 })
})

test('a Kafka that is away is a problem that names it', async (t) => {
  const server = `127.0.0.1:${await freePort()}`
  const operator = new KafkaGroupAdmin({ servers: [server] })
  atEnd(t, () => operator.close())
  await assert.rejects(
    operator.read({ topics: ['t'], groupId: 'g', startFrom: 'Earliest' }),
    (error) => error instanceof KafkaProblem && error.reason === 'KafkaUnavailable' && error.message.includes(server),
  )
})
