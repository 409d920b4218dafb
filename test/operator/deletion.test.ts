/** What becomes of resources that are deleted while something that is needed for it is away (docs/operations.md). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { instancesOf } from './support/consul.ts'
import { HttpRelay } from './support/http-relay.ts'
import { KafkaRelay } from './support/kafka-relay.ts'
import { NAME, Scene, servers, type Fields } from './support/scene.ts'
import { until } from './support/until.ts'

const KIND = 'CalculateService'
const consulUrl = process.env['CONSUL_HTTP_ADDR'] ?? ''

/** Topics are tried for so long after the drain, proxies in Consul half as long. */
const PATIENCE = { 'deletion-patience-seconds': 4 }
/** The shortest drain: a second, and the fifteen that a pod has beyond it. */
const BRIEF: Fields = { methods: [{ name: 'Calculate', timeoutMilliseconds: 1000 }] }
const DRAIN_MILLISECONDS = 16_000
/** So much later than they should a busy machine may end it. */
const SLACK_MILLISECONDS = 40_000

const withTopic = (topic: Fields, more: Fields = {}): Fields => ({ ...BRIEF, ...more, topic })

/** Deletes the service and waits for its end. Answers after how many milliseconds that was. */
async function untilDeleted(scene: Scene): Promise<number> {
  const began = performance.now()
  await scene.namespace.delete(KIND, NAME)
  await until('it is gone', async () => (await scene.namespace.get(KIND, NAME)) === undefined)
  return performance.now() - began
}

const untilTold = (scene: Scene, reason: string): Promise<unknown> =>
  until(`${reason} is told`, async () => (await scene.namespace.events(NAME)).some((event) => event.reason === reason))

// They wait, most of the time.
test('a deletion that something stands in the way of', { concurrency: true }, async (t) => {
  await Promise.all([
    t.test('with Kafka down ends in time, and leaves the topics', async (part) => {
      const kafka = await KafkaRelay.start(part, servers[0] ?? '')
      const scene = await Scene.start(part, { flags: PATIENCE })
      const reached = { kafka: { bootstrapServers: [kafka.address] } }
      await scene.applyService(withTopic({ deletionPolicy: 'Delete' }, reached))
      await scene.untilReady(KIND)
      await kafka.stop()
      const milliseconds = await untilDeleted(scene)
      assert.ok(milliseconds > DRAIN_MILLISECONDS + 2000, `it was tried for ${milliseconds} ms only`)
      assert.ok(milliseconds < DRAIN_MILLISECONDS + 4000 + SLACK_MILLISECONDS, `it took ${milliseconds} ms`)
      assert.ok(await scene.topicNow(), 'the topic is there')
      await untilTold(scene, 'TopicsLeft')
    }),

    t.test('with Kafka down touches nothing where the topic is retained, and does not wait', async (part) => {
      const kafka = await KafkaRelay.start(part, servers[0] ?? '')
      const scene = await Scene.start(part, { flags: PATIENCE })
      await scene.applyService(withTopic({}, { kafka: { bootstrapServers: [kafka.address] } }))
      await scene.untilReady(KIND)
      await kafka.stop()
      const milliseconds = await untilDeleted(scene)
      assert.ok(milliseconds < DRAIN_MILLISECONDS, `it took ${milliseconds} ms`)
      assert.ok(await scene.topicNow(), 'the topic is there')
    }),

    t.test('with Kafka back in time ends with the topics deleted', async (part) => {
      const kafka = await KafkaRelay.start(part, servers[0] ?? '')
      const scene = await Scene.start(part, { flags: { 'deletion-patience-seconds': 300 } })
      const reached = { kafka: { bootstrapServers: [kafka.address] } }
      await scene.applyService(withTopic({ deletionPolicy: 'Delete' }, reached))
      await scene.untilReady(KIND)
      await kafka.stop()
      await scene.namespace.delete(KIND, NAME)
      await scene.untilReason(KIND, 'Ready', 'Deleting', { says: 'its topics cannot be deleted yet' })
      await kafka.begin()
      await until('it is gone', async () => (await scene.namespace.get(KIND, NAME)) === undefined)
      assert.equal(await scene.topicNow(), undefined)
    }),

    t.test('with Consul down ends in time, deletes the topics, and leaves the proxies there', async (part) => {
      const consul = await HttpRelay.plain(part, consulUrl)
      const scene = await Scene.start(part, { flags: PATIENCE })
      const registration = { consul: { address: consul.url } }
      await scene.applyService(withTopic({ deletionPolicy: 'Delete' }, { registration }))
      await until('Consul has the proxy', async () => (await instancesOf(scene.namespace)).length === 1)
      await scene.untilReady(KIND)
      await consul.stop()
      const milliseconds = await untilDeleted(scene)
      assert.ok(milliseconds > DRAIN_MILLISECONDS + 1000, `it was tried for ${milliseconds} ms only`)
      assert.ok(milliseconds < DRAIN_MILLISECONDS + 4000 + SLACK_MILLISECONDS, `it took ${milliseconds} ms`)
      assert.equal(await scene.topicNow(), undefined)
      assert.equal((await instancesOf(scene.namespace)).length, 1)
      await untilTold(scene, 'RegistrationsLeft')
    }),

    t.test('of the whole namespace ends: topics that were to go are gone, others stay', async (part) => {
      // The operator is not in the namespace that goes.
      const elsewhere = { 'leader-elect-namespace': 'default' }
      const scene = await Scene.withoutOperator(part, { flags: { ...PATIENCE, ...elsewhere } })
      await scene.startOperator({ flags: { 'leader-elect-id': scene.namespace.name } })
      const kept = `${scene.topic}-kept`
      await scene.applyService(withTopic({ deletionPolicy: 'Delete' }))
      await scene.applyService(withTopic({ name: kept }), 'kept')
      await scene.applyGroup()
      for (const name of [NAME, 'kept']) await scene.untilReady(KIND, name)
      await scene.untilReady('ConsumerGroup')
      await scene.namespace.deleteItself()
      await until('the namespace is gone', () => scene.namespace.isGone())
      assert.equal(await scene.topicNow(), undefined)
      assert.ok(await scene.topicNow(kept))
      assert.equal(scene.operator.exit, undefined)
    }),
  ])
})
