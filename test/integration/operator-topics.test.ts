/** What the operator does about topics, on a real Kafka. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import type { KafkaAccess } from '../../operator/kafka/kafka-access.ts'
import { KafkaProblem } from '../../operator/kafka/kafka-problem.ts'
import type { KafkaReason } from '../../operator/kafka/kafka-problem.ts'
import { KafkaTopicAdmin } from '../../operator/kafka/topic-admin.ts'
import { planTopics, planTopicsLeft } from '../../operator/kafka/topic-plan.ts'
import type { ObservedTopic, RememberedTopic } from '../../operator/kafka/topic-plan.ts'
import type { DesiredTopic } from '../../operator/kafka/topics.ts'
import { freePort } from '../../local/platform/free-port.ts'
import { atEnd } from './support/clean-up.ts'
import { ownKafka, ownSecuredKafka } from './support/own.ts'
import { PASSWORD, USER } from './support/secured-kafka.ts'

const servers = (process.env['KAFKA_BROKERS'] ?? '').split(',')

function adminOf(t: TestContext, access: KafkaAccess = { servers }): KafkaTopicAdmin {
  const admin = new KafkaTopicAdmin(access)
  atEnd(t, () => admin.close())
  return admin
}

/** An admin, and a topic of a name of its own that is gone when the test is. */
function ownTopic(t: TestContext): { readonly admin: KafkaTopicAdmin; readonly topic: DesiredTopic } {
  const admin = adminOf(t)
  const topic: DesiredTopic = {
    name: `operator-${randomUUID()}`,
    partitions: 2,
    replicationFactor: 1,
    config: { 'cleanup.policy': 'delete', 'max.message.bytes': '2000000', 'min.insync.replicas': '1' },
    declared: [],
  }
  atEnd(t, async () => {
    const found = await look(admin, topic)
    if (found !== undefined) await admin.execute({ type: 'DeleteTopic', name: found.name, topicId: found.id })
  })
  return { admin, topic }
}

const look = async (admin: KafkaTopicAdmin, { name }: DesiredTopic): Promise<ObservedTopic | undefined> =>
  (await admin.observe([name])).topics.get(name)

/** Does what a plan says; answers what it would remember then. */
async function keep(
  admin: KafkaTopicAdmin,
  topic: DesiredTopic,
  remembered: readonly RememberedTopic[] = [],
): Promise<readonly RememberedTopic[]> {
  const wanted = async () => ({
    desired: [topic],
    cluster: await admin.observe([topic.name]),
    remembered,
    announced: new Set([topic.name]),
  })
  for (const action of planTopics(await wanted()).actions) await admin.execute(action)
  const { actions, kept } = planTopics(await wanted())
  assert.deepEqual(actions, [], 'nothing is left to do')
  return kept
}

const fails = (what: Promise<unknown>, reason: KafkaReason, message: RegExp): Promise<void> =>
  assert.rejects(what, (error) => {
    assert.ok(error instanceof KafkaProblem, String(error))
    assert.equal(error.reason, reason)
    assert.match(error.message, message)
    return true
  })

test('a cluster says who it is, how many brokers it has and which topics are there', async (t) => {
  const { admin, topic } = ownTopic(t)
  const { id, brokers, topics } = await admin.observe([topic.name])
  assert.match(id, /^\S{10,}$/)
  assert.equal(brokers, 1)
  assert.equal(topics.size, 0)
})

test('a topic is made as planned, and then there is nothing left to do', async (t) => {
  const { admin, topic } = ownTopic(t)
  const kept = await keep(admin, topic)
  const found = await look(admin, topic)
  assert.deepEqual(kept, [
    {
      name: topic.name,
      topicId: found?.id,
      partitions: 2,
      replicationFactor: 1,
      origin: 'Created',
      config: topic.config,
    },
  ])
  assert.deepEqual(found?.config['max.message.bytes'], { value: '2000000', isSet: true })
  assert.equal(found?.config['retention.ms']?.isSet, false)
})

test('the answer to making a topic says of it what Kafka says when it is asked', async (t) => {
  const { admin, topic } = ownTopic(t)
  const made = await admin.execute({ type: 'CreateTopic', topic })
  assert.deepEqual(made, await look(admin, topic))
})

test('making a topic that is there already changes nothing, and says so', async (t) => {
  const { admin, topic } = ownTopic(t)
  assert.notEqual(await admin.execute({ type: 'CreateTopic', topic }), 'WasThere')
  const before = await look(admin, topic)
  assert.equal(await admin.execute({ type: 'CreateTopic', topic }), 'WasThere')
  assert.deepEqual(await look(admin, topic), before)
})

test('partitions grow', async (t) => {
  const { admin, topic } = ownTopic(t)
  const kept = await keep(admin, topic)
  await keep(admin, { ...topic, partitions: 5 }, kept)
  assert.equal((await look(admin, topic))?.partitions, 5)
})

test('drift in a declared setting is put right, and what nobody declared stays', async (t) => {
  const { admin, topic } = ownTopic(t)
  const kept = await keep(admin, topic)
  const drift = { 'max.message.bytes': '1000', 'retention.ms': '1234567' }
  await admin.execute({ type: 'AlterTopic', name: topic.name, set: drift, unset: [], drifted: [] })
  await keep(admin, topic, kept)
  const found = await look(admin, topic)
  assert.equal(found?.config['max.message.bytes']?.value, '2000000')
  assert.deepEqual(found?.config['retention.ms'], { value: '1234567', isSet: true })
})

test('a setting that is named no more goes back to what Kafka has', async (t) => {
  const { admin, topic } = ownTopic(t)
  const made = await keep(admin, topic)
  const before = (await look(admin, topic))?.config['retention.ms']
  const kept = await keep(admin, { ...topic, config: { ...topic.config, 'retention.ms': '1234567' } }, made)
  assert.equal((await look(admin, topic))?.config['retention.ms']?.value, '1234567')
  await keep(admin, topic, kept)
  assert.deepEqual((await look(admin, topic))?.config['retention.ms'], before)
})

test('what somebody else made keeps what nobody declared, and takes larger records', async (t) => {
  const { admin, topic } = ownTopic(t)
  const config = { 'retention.ms': '-1', 'max.message.bytes': '1000' }
  await admin.execute({ type: 'CreateTopic', topic: { ...topic, config } })
  const kept = await keep(admin, { ...topic, config: { ...topic.config, 'retention.ms': '1234567' } })
  assert.equal(kept[0]?.origin, 'Adopted')
  const found = await look(admin, topic)
  assert.equal(found?.config['retention.ms']?.value, '-1')
  assert.equal(found.config['max.message.bytes']?.value, '2000000')
})

test('settings that Kafka writes its own way are no drift', async (t) => {
  const { admin, topic } = ownTopic(t)
  const config = {
    ...topic.config,
    'unclean.leader.election.enable': 'FALSE',
    'min.cleanable.dirty.ratio': '0.50',
    'cleanup.policy': 'compact, delete',
  }
  await keep(admin, { ...topic, config })
})

test('a topic that was made anew under its name is not the one that is deleted', async (t) => {
  const { admin, topic } = ownTopic(t)
  const [first] = await keep(admin, topic)
  assert.ok(first)
  const deleted = { type: 'DeleteTopic', name: topic.name, topicId: first.topicId } as const
  await admin.execute(deleted)
  await admin.execute({ type: 'CreateTopic', topic })
  const second = await look(admin, topic)
  assert.notEqual(second?.id, first.topicId)
  await admin.execute(deleted)
  assert.deepEqual(await look(admin, topic), second)
  const left = {
    desired: [topic],
    cluster: await admin.observe([topic.name]),
    remembered: [first],
    announced: new Set<string>(),
    deletionPolicy: 'Delete',
    hasHeir: false,
  } as const
  assert.deepEqual(planTopicsLeft(left), [])
})

test('what Kafka refuses is told in its own words', async (t) => {
  const { admin, topic } = ownTopic(t)
  const config = { 'segment.bytes': 'many' }
  await fails(admin.execute({ type: 'CreateTopic', topic: { ...topic, config } }), 'TopicRefused', /segment\.bytes/)
  const huge = { ...topic, replicationFactor: 9 }
  await fails(admin.execute({ type: 'CreateTopic', topic: huge }), 'TopicRefused', /replic/i)
})

test('a Kafka that does not answer is unavailable, and its message is the same each time', async (t) => {
  const nobody = adminOf(t, { servers: [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`] })
  const messages = new Set<string>()
  for (let time = 0; time < 3; time++) {
    await fails(nobody.observe(['a']), 'KafkaUnavailable', /no broker answers/)
    await nobody.observe(['a']).catch((error: unknown) => messages.add((error as Error).message))
  }
  assert.equal(messages.size, 1)
})

test('a Kafka that takes connections and never says a word is unavailable', async (t) => {
  const silent = createServer((socket) => socket.on('error', () => undefined)).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const admin = new KafkaTopicAdmin(
    { servers: [`127.0.0.1:${(silent.address() as AddressInfo).port}`] },
    { requestTimeoutMilliseconds: 500 },
  )
  atEnd(t, () => silent.close())
  atEnd(t, () => admin.close())
  await fails(admin.observe(['a']), 'KafkaUnavailable', /no broker answers/)
})

test('certificates that are none are told as such', async (t) => {
  const admin = adminOf(t, { servers, tls: { cert: 'none', key: 'none' } })
  await fails(admin.observe(['a']), 'KafkaNotAuthorized', /spec\.kafka\.tls: the certificates cannot be used/)
})

test('an admin goes on when its Kafka has come back', async (t) => {
  const kafka = await ownKafka(t)
  const admin = adminOf(t, { servers: kafka.brokers })
  const { id } = await admin.observe([])
  await kafka.kill('SIGKILL')
  await fails(admin.observe([]), 'KafkaUnavailable', /./)
  await kafka.start()
  assert.equal((await admin.observe([])).id, id)
})

test('a Kafka with TLS and a password', async (t) => {
  const { kafka, files } = await ownSecuredKafka(t)
  const ca = readFileSync(files.caFile, 'utf8')
  const sasl = { mechanism: 'SCRAM-SHA-512', username: USER, password: PASSWORD } as const
  const scram = kafka.listeners['SCRAM'] ?? []
  const mutual = kafka.listeners['MUTUAL'] ?? []

  await t.test('takes the right one', async (part) => {
    assert.equal((await adminOf(part, { servers: scram, tls: { ca }, sasl }).observe([])).brokers, 1)
  })
  await t.test('refuses another one', async (part) => {
    const admin = adminOf(part, { servers: scram, tls: { ca }, sasl: { ...sasl, password: 'another-password' } })
    await fails(admin.observe([]), 'KafkaNotAuthorized', /authenti/i)
  })
  await t.test('is not trusted without its authority', async (part) => {
    await fails(adminOf(part, { servers: scram, tls: {}, sasl }).observe([]), 'KafkaUnavailable', /certificate/)
  })
  await t.test('takes a certificate', async (part) => {
    const cert = readFileSync(files.client.certFile, 'utf8')
    const key = readFileSync(files.client.keyFile, 'utf8')
    assert.equal((await adminOf(part, { servers: mutual, tls: { ca, cert, key } }).observe([])).brokers, 1)
  })
})
