/** Secrets that are wrong, put right, rotated and gone. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { changePassword } from '../integration/support/kafka-password.ts'
import { ownSecuredKafka } from '../integration/support/own.ts'
import { PASSWORD, USER } from '../integration/support/secured-kafka.ts'
import { KafkaTopicAdmin } from '../../operator/kafka/topic-admin.ts'
import { atEnd } from '../integration/support/clean-up.ts'
import { sharedCluster } from './support/cluster.ts'
import { NAME, PROXY, Scene, WORKER, type Fields } from './support/scene.ts'
import { until } from './support/until.ts'

const KIND = 'CalculateService'
/** A user whose password is another one in the end. */
const ROTATED = 'rotated'
const DEPLOYMENTS = [PROXY, WORKER] as const

const applySecret = (scene: Scene, name: string, values: Readonly<Record<string, string>>) =>
  scene.namespace.apply({ apiVersion: 'v1', kind: 'Secret', metadata: { name }, stringData: values })

const templates = (scene: Scene): Promise<readonly unknown[]> =>
  Promise.all(
    DEPLOYMENTS.map(async (name) => {
      const { spec, metadata } = (await scene.namespace.get('Deployment', name))!
      return [metadata.generation, spec?.['template']]
    }),
  )

test('the password of a Kafka', { concurrency: true }, async (t) => {
  const { kafka, files } = await ownSecuredKafka(t, { users: [ROTATED] })
  const ca = readFileSync(files.caFile, 'utf8')
  const plain = new KafkaTopicAdmin({ servers: kafka.brokers })
  atEnd(t, () => plain.close())
  const topicOf = async (scene: Scene) => (await plain.observe([scene.topic])).topics.get(scene.topic)
  const secured = (topic: Fields = {}, username = USER): Fields => ({
    kafka: {
      bootstrapServers: kafka.listeners['SCRAM'],
      tls: { caSecretRef: { name: 'kafka', key: 'ca' } },
      sasl: { mechanism: 'SCRAM-SHA-512', username, passwordSecretRef: { name: 'kafka', key: 'password' } },
    },
    methods: [{ name: 'Calculate', timeoutMilliseconds: 1000 }],
    topic,
  })

  await Promise.all([
    t.test('is told when it is wrong, and heals when its Secret is put right', async (part) => {
      const scene = await Scene.start(part)
      await applySecret(scene, 'kafka', { ca, password: 'not-the-password' })
      await scene.applyService(secured())
      await scene.untilReason(KIND, 'TopicReady', 'KafkaNotAuthorized')
      assert.equal(await topicOf(scene), undefined)
      await applySecret(scene, 'kafka', { ca, password: PASSWORD })
      await scene.untilReady(KIND)
      assert.ok(await topicOf(scene))
      const told = JSON.stringify([await scene.statusOf(KIND), scene.operator.log])
      assert.ok(!told.includes('not-the-password') && !told.includes(PASSWORD), 'a password was told')
    }),

    t.test('is rotated: the operator uses the next one, and no pod is replaced', async (part) => {
      const scene = await Scene.start(part, { flags: { 'resync-seconds': 2 } })
      await applySecret(scene, 'kafka', { ca, password: PASSWORD })
      await scene.applyService(secured({}, ROTATED))
      await scene.applyGroup()
      await scene.untilReady('ConsumerGroup')
      await scene.untilReady(KIND)
      const before = await templates(scene)
      await applySecret(scene, 'kafka', { ca, password: 'the-next-password' })
      // It is used at once, and Kafka does not know it yet.
      await scene.untilReason(KIND, 'TopicReady', 'KafkaNotAuthorized')
      await changePassword(kafka.brokers, ROTATED, 'the-next-password')
      await scene.applyService(secured({ partitions: 4 }, ROTATED))
      await scene.untilReady(KIND)
      assert.equal((await topicOf(scene))?.partitions, 4)
      assert.deepEqual(await templates(scene), before)
      assert.equal(scene.operator.exit, undefined)
    }),

    t.test('is gone when the service is deleted: that ends in time, and the topics stay', async (part) => {
      const scene = await Scene.start(part, { flags: { 'deletion-patience-seconds': 2 } })
      await applySecret(scene, 'kafka', { ca, password: PASSWORD })
      await scene.applyService(secured({ deletionPolicy: 'Delete' }))
      await scene.untilReady(KIND)
      await scene.namespace.delete('Secret', 'kafka')
      await scene.untilReason(KIND, 'TopicReady', 'SecretMissing')
      await scene.namespace.delete(KIND, NAME)
      await until('it is gone', async () => (await scene.namespace.get(KIND, NAME)) === undefined)
      assert.ok(await topicOf(scene))
      await until('that is told', async () =>
        (await scene.namespace.events(NAME)).some(({ reason }) => reason === 'TopicsLeft'),
      )
    }),
  ])
})

test('the URL and the password of a Redis are rotated: the operator writes nothing, and no pod is replaced', async (t) => {
  const scene = await Scene.start(t)
  const redis = { urlSecretRef: { name: 'redis', key: 'url' }, passwordSecretRef: { name: 'redis', key: 'password' } }
  await applySecret(scene, 'redis', { url: 'redis://redis:6379', password: 'one' })
  await scene.applyService({ redis })
  await scene.applyGroup()
  await scene.untilReady('ConsumerGroup')
  await scene.untilReady(KIND)
  await until('it is known that nothing waits', async () => (await scene.statusOf('ConsumerGroup'))['lag'] === 0)
  const before = await templates(scene)
  const mark = await sharedCluster().audit.mark()
  const looked = Promise.all([scene.untilLookedAt(KIND, 1), scene.untilLookedAt('ConsumerGroup', 1)])
  await applySecret(scene, 'redis', { url: 'redis://other:6379', password: 'two' })
  await looked
  assert.deepEqual(await scene.writesSince(mark), [])
  assert.deepEqual(await templates(scene), before)
  // They mount it by its name.
  assert.ok(!JSON.stringify(before).includes('redis://'), 'a Secret is written into a pod template')
})
