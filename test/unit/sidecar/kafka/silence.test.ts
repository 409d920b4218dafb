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
