import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import type { Admin } from 'kafkajs'
import { endSilentConnections } from '../../../../sidecar/kafka/silence.ts'
import { FakeBroker } from './fake-broker.ts'

const TOPIC = 'calls'

/** An admin of kafkajs' own that knows these brokers, in this order; it and they end with the test. */
async function connected(t: TestContext, brokers: readonly FakeBroker[], retries = 0): Promise<Admin> {
  endSilentConnections()
  const admin = new Kafka({
    brokers: brokers.map(({ address }) => address),
    logLevel: logLevel.NOTHING,
    retry: { retries, initialRetryTime: 10 },
    requestTimeout: 300,
  }).admin()
  t.after(async () => {
    await admin.disconnect()
    for (const broker of brokers) broker.stop()
  })
  await admin.connect()
  return admin
}

test("a connection on which one of kafkajs' own requests got no answer is ended", async (t) => {
  const broker = await FakeBroker.start(TOPIC)
  const admin = await connected(t, [broker])
  assert.equal(broker.connections, 1)
  broker.metadataSilent = true
  await assert.rejects(admin.fetchTopicMetadata({ topics: [TOPIC] }), /timed out/)
  const limit = AbortSignal.timeout(10_000)
  for (; broker.connections > 0; await pause(5)) limit.throwIfAborted()
})

test('a broker that takes connections and says nothing is passed over for the next of the list', async (t) => {
  const [silent, other] = [await FakeBroker.start(TOPIC), await FakeBroker.start(TOPIC)]
  silent.versionsSilent = true
  const admin = await connected(t, [silent, other], 3)
  const { topics } = await admin.fetchTopicMetadata({ topics: [TOPIC] })
  assert.equal(topics[0]?.name, TOPIC)
  assert.ok(silent.connectionsSoFar > 0, 'the silent one was asked first')
})

test('the half of a reply that came before a connection was ended is no part of the next one', async (t) => {
  const broker = await FakeBroker.start(TOPIC)
  const admin = await connected(t, [broker])
  broker.metadataCutTo = 10
  await assert.rejects(admin.fetchTopicMetadata({ topics: [TOPIC] }), /timed out/)
  const { topics } = await admin.fetchTopicMetadata({ topics: [TOPIC] })
  assert.equal(topics[0]?.name, TOPIC)
})
