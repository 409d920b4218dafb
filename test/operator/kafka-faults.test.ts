/** A Kafka that is away is the trouble of the services on it, and of nobody else. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { describe, test, type TestContext } from 'node:test'
import { atEnd } from '../integration/support/clean-up.ts'
import { ownKafka } from '../integration/support/own.ts'
import { NAME, PROXIES, PROXY, Scene, WORKER, WORKERS } from './support/scene.ts'

const KIND = 'CalculateService'
/** Looks are spread over this, so a fault is seen soon, though nothing else happens. */
const QUICK = { 'resync-seconds': 2 }
/** A service becomes ready in about two seconds; one that had to wait for all who ask a silent Kafka, one by one, in minutes. */
const NEIGHBOUR_MILLISECONDS = 30_000

/** The pods and the Deployments of a route: who runs, and in which version. */
async function running(scene: Scene): Promise<readonly unknown[]> {
  const ofIt = [PROXIES, WORKERS].map((selector) => `${selector},grpckafka.dev/service=${NAME}`)
  const pods = (await Promise.all(ofIt.map((selector) => scene.namespace.list('Pod', selector)))).flat()
  const deployments = await Promise.all([PROXY, WORKER].map((name) => scene.namespace.get('Deployment', name)))
  return [
    pods.map(({ metadata }) => metadata.uid).toSorted(),
    deployments.map((deployment) => [deployment?.metadata.uid, deployment?.metadata.generation]),
  ]
}

/** Applies a service on the Kafka that works. Answers how long it took until it was ready. */
async function untilNeighbourIsReady(scene: Scene): Promise<number> {
  const began = performance.now()
  await scene.applyService({ topic: { name: `${scene.topic}-neighbour` } }, 'neighbour')
  await scene.untilReady(KIND, 'neighbour')
  return performance.now() - began
}

/** Takes connections and says nothing. */
async function blackHole(t: TestContext): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => sockets.add(socket.on('error', () => undefined)))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  atEnd(t, async () => {
    const closed = once(server, 'close')
    server.close()
    for (const socket of sockets) socket.destroy()
    await closed
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

// They wait, most of the time.
describe('a Kafka that is away', { concurrency: 2 }, () => {
  test('a Kafka that is killed is told, stops nobody, slows down no neighbour, and heals when it is back', async (t) => {
    const kafka = await ownKafka(t)
    const scene = await Scene.start(t, { flags: QUICK })
    const onIt = { kafka: { bootstrapServers: kafka.brokers } }
    await scene.applyService(onIt)
    await scene.applyGroup()
    await scene.untilReady(KIND)
    await scene.untilReady('ConsumerGroup')
    const before = await running(scene)

    await kafka.kill('SIGKILL')
    await scene.untilReason(KIND, 'TopicReady', 'KafkaUnavailable', { says: 'no broker answers' })
    const ready = (await scene.conditions(KIND)).find(({ type }) => type === 'Ready')
    assert.deepEqual([ready?.status, ready?.reason], ['Unknown', 'KafkaUnavailable'])
    const milliseconds = await untilNeighbourIsReady(scene)
    assert.ok(milliseconds < NEIGHBOUR_MILLISECONDS, `the neighbour took ${milliseconds} ms`)
    await scene.untilLookedAt(KIND, 2)
    await scene.untilLookedAt('ConsumerGroup', 2)
    assert.deepEqual(await running(scene), before)

    await kafka.start()
    await scene.untilReady(KIND)
    assert.deepEqual(await running(scene), before)
    assert.equal(scene.operator.exit, undefined)
  })

  test('Kafkas that take connections and say nothing are told, and slow down no neighbour', async (t) => {
    const scene = await Scene.start(t, { flags: QUICK })
    // More than there are workers of the controller.
    const names = Array.from({ length: 6 }, (_, index) => `silent-${index}`)
    for (const name of names) {
      const kafka = { bootstrapServers: [await blackHole(t)] }
      await scene.applyService({ kafka, topic: { name: `${scene.topic}-${name}` } }, name)
    }
    const milliseconds = await untilNeighbourIsReady(scene)
    t.diagnostic(`the neighbour was ready after ${Math.round(milliseconds)} ms`)
    assert.ok(milliseconds < NEIGHBOUR_MILLISECONDS, `the neighbour took ${milliseconds} ms`)
    for (const name of names) await scene.untilReason(KIND, 'TopicReady', 'KafkaUnavailable', { name })
  })
})
