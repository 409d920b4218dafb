/** The topics on which calls wait for their next attempt, on a real API server and a real Kafka. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import kafkajs from 'kafkajs'
import { retryTopic } from '../../sidecar/kafka/topic-names.ts'
import { atEnd } from '../integration/support/clean-up.ts'
import { NAME, readyRoute, Scene, servers, type Fields } from './support/scene.ts'
import { until } from './support/until.ts'

const SERVICE = 'CalculateService'
const GROUP = 'ConsumerGroup'
const WITH_POLICY = { retryPolicyRef: { name: NAME } }

/** A route whose policy pauses for so long, one after the other; each pause is twice the one before. */
async function withPolicy(
  scene: Scene,
  { maxAttempts = 3, service = {}, group = {} }: { maxAttempts?: number; service?: Fields; group?: Fields } = {},
): Promise<void> {
  await scene.applyPolicy({ maxAttempts })
  await scene.applyService(service)
  await scene.applyGroup({ ...WITH_POLICY, ...group })
  await scene.untilReady(GROUP)
}

/** Steps whose topics Kafka has. */
async function steps({ topics, topic }: Scene): Promise<readonly number[]> {
  const all = Array.from({ length: 9 }, (_, index) => index + 1)
  const { topics: found } = await topics.observe(all.map((step) => retryTopic(topic, step)))
  return all.filter((step) => found.has(retryTopic(topic, step)))
}

/** Those that the service's status tells of. */
async function remembered(scene: Scene): Promise<readonly number[]> {
  const { topics = [] } = (await scene.statusOf(SERVICE)) as { readonly topics?: readonly { readonly name: string }[] }
  return topics.flatMap(({ name }) =>
    name.startsWith(`${scene.topic}.retry.`) ? [Number(name.split('.').at(-1))] : [],
  )
}

const untilSteps = (scene: Scene, count: number): Promise<unknown> =>
  until(`there are ${count} retry topics, and that is told`, async () => (await remembered(scene)).length === count)

async function produce(t: TestContext, topic: string, count: number): Promise<void> {
  const producer = new kafkajs.Kafka({ brokers: servers, logLevel: kafkajs.logLevel.NOTHING }).producer()
  await producer.connect()
  atEnd(t, () => producer.disconnect())
  await producer.send({ topic, messages: Array.from({ length: count }, () => ({ value: 'x', partition: 0 })) })
}

test('there are as many as the pauses of who answers, like the topic of the calls, and as many as there ever were', async (t) => {
  const scene = await Scene.start(t)
  const config = { 'segment.bytes': '1048576' }
  await withPolicy(scene, { service: { topic: { partitions: 2, config } } })
  await scene.applyPolicy({ maxAttempts: 7 }, 'patient')
  await scene.applyGroup({ role: 'Observer', retryPolicyRef: { name: 'patient' } }, 'observer')
  await scene.untilReady(GROUP, 'observer')
  await untilSteps(scene, 2)
  assert.deepEqual(await steps(scene), [1, 2], "an Observer's policy makes none")
  const calls = await scene.topicNow()
  for (const step of [1, 2]) {
    const topic = await scene.topicNow(retryTopic(scene.topic, step))
    assert.deepEqual([topic?.partitions, topic?.replicationFactor], [2, 1])
    assert.deepEqual(topic?.config, calls?.config)
  }

  await scene.applyPolicy({ maxAttempts: 5 })
  await untilSteps(scene, 4)
  await scene.applyService({ topic: { partitions: 3, config } })
  await scene.untilReady(SERVICE)
  for (const step of [1, 4]) assert.equal((await scene.topicNow(retryTopic(scene.topic, step)))?.partitions, 3)

  // Calls may wait there: fewer pauses, or none, take no topic away.
  const looked = scene.untilLookedAt(SERVICE, 1)
  await scene.applyPolicy({ maxAttempts: 2 })
  await looked
  const lookedAgain = scene.untilLookedAt(SERVICE, 1)
  await scene.namespace.delete('RetryPolicy', NAME)
  await lookedAgain
  await scene.untilReady(SERVICE)
  assert.deepEqual(await steps(scene), [1, 2, 3, 4])
  assert.deepEqual(await remembered(scene), [1, 2, 3, 4])
})

test('a policy that comes after all else makes them, and they go with a service that deletes its topics', async (t) => {
  const scene = await Scene.start(t)
  await scene.applyService({ topic: { deletionPolicy: 'Delete' } })
  await scene.applyGroup(WITH_POLICY)
  await scene.untilReady(SERVICE)
  assert.deepEqual(await steps(scene), [])
  await scene.applyPolicy()
  await untilSteps(scene, 2)
  await scene.namespace.delete(GROUP, NAME)
  await scene.namespace.delete('RetryPolicy', NAME)
  await scene.namespace.delete(SERVICE, NAME)
  await until('it is gone', async () => (await scene.namespace.get(SERVICE, NAME)) === undefined)
  assert.deepEqual(await steps(scene), [])
})

test('what somebody changes at one is put right, and one that somebody deletes is made again', async (t) => {
  const scene = await Scene.start(t, { flags: { 'resync-seconds': 1 } })
  await withPolicy(scene)
  await untilSteps(scene, 2)
  const name = retryTopic(scene.topic, 2)
  const before = await scene.topicNow(name)
  const config = { 'max.message.bytes': '1000', 'cleanup.policy': 'compact' }
  await scene.topics.execute({ type: 'AlterTopic', name, set: config, unset: [], drifted: [] })
  await until('it is as it was', async () => {
    const now = (await scene.topicNow(name))?.config
    return Object.keys(config).every((key) => now?.[key]?.value === before?.config[key]?.value)
  })
  const told = async (): Promise<boolean> =>
    (await scene.namespace.events(NAME)).some(
      ({ reason, ...event }) => reason === 'TopicDriftReverted' && JSON.stringify(event).includes(name),
    )
  await until('that is told', told)
  await scene.topics.execute({ type: 'DeleteTopic', name, topicId: before?.id ?? '' })
  await until('there is another', async () => {
    const now = await scene.topicNow(name)
    return now !== undefined && now.id !== before?.id
  })
})

test('what waits for its next attempt counts as what waits, and workers are there for it', async (t) => {
  const scaling = { minReplicas: 0, maxReplicas: 3, lagPerReplica: 2, stabilizationSeconds: 0, wakeUpSeconds: 30 }
  const scene = await readyRoute(t)
  await scene.applyPolicy()
  await scene.applyGroup({ ...WITH_POLICY, scaling })
  await untilSteps(scene, 2)
  await scene.untilReplicas(0)
  await produce(t, retryTopic(scene.topic, 2), 3)
  await scene.untilReplicas(2)
  await until('that is told', async () => (await scene.statusOf(GROUP))['lag'] === 3)
})
