import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import { endSilentConnections } from '../../../../sidecar/kafka/silence.ts'
import { FakeBroker } from './fake-broker.ts'

const TOPIC = 'calls'

test("a connection on which one of kafkajs' own requests got no answer is ended", async (t) => {
  endSilentConnections()
  const broker = await FakeBroker.start(TOPIC)
  const kafka = new Kafka({
    brokers: [broker.address],
    logLevel: logLevel.NOTHING,
    retry: { retries: 0 },
    requestTimeout: 300,
  })
  const admin = kafka.admin()
  t.after(async () => {
    await admin.disconnect()
    broker.stop()
  })
  await admin.connect()
  assert.equal(broker.connections, 1)
  broker.metadataSilent = true
  await assert.rejects(admin.fetchTopicMetadata({ topics: [TOPIC] }), /timed out/)
  const limit = AbortSignal.timeout(10_000)
  for (; broker.connections > 0; await pause(5)) limit.throwIfAborted()
})

test('a broker that takes connections and says nothing is passed over for the next of the list', async (t) => {
  endSilentConnections()
  const [silent, other] = [await FakeBroker.start(TOPIC), await FakeBroker.start(TOPIC)]
  silent.versionsSilent = true
  const kafka = new Kafka({
    brokers: [silent.address, other.address],
    logLevel: logLevel.NOTHING,
    retry: { retries: 3, initialRetryTime: 10 },
    requestTimeout: 300,
  })
  const admin = kafka.admin()
  t.after(async () => {
    await admin.disconnect()
    silent.stop()
    other.stop()
  })
  await admin.connect()
  const { topics } = await admin.fetchTopicMetadata({ topics: [TOPIC] })
  assert.equal(topics[0]?.name, TOPIC)
  assert.ok(silent.connectionsSoFar > 0, 'the silent one was asked first')
})

test('the half of a reply that came before a connection was ended is no part of the next one', async (t) => {
  endSilentConnections()
  const broker = await FakeBroker.start(TOPIC)
  const kafka = new Kafka({
    brokers: [broker.address],
    logLevel: logLevel.NOTHING,
    retry: { retries: 0 },
    requestTimeout: 300,
  })
  const admin = kafka.admin()
  t.after(async () => {
    await admin.disconnect()
    broker.stop()
  })
  await admin.connect()
  broker.metadataCutTo = 10
  await assert.rejects(admin.fetchTopicMetadata({ topics: [TOPIC] }), /timed out/)
  const { topics } = await admin.fetchTopicMetadata({ topics: [TOPIC] })
  assert.equal(topics[0]?.name, TOPIC)
})
