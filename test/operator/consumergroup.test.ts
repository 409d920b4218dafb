/** ConsumerGroups and RetryPolicies on a real API server with its controllers, and a real Kafka. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import kafkajs, { type Admin } from 'kafkajs'
import { openLettersGroup } from '../../sidecar/kafka/topic-names.ts'
import { atEnd } from '../integration/support/clean-up.ts'
import { FIELDS_WITHOUT_OBJECTS } from '../unit/operator/fields-without-objects.ts'
import { sharedCluster } from './support/cluster.ts'
import { changedFields, fieldsOf } from '../unit/crds/fields.ts'
import type { Kind } from './support/kinds.ts'
import { makePodsReady } from './support/kubelet.ts'
import { NAME, PROXIES, readyRoute, Scene, servers, WORKER, WORKERS, type Fields } from './support/scene.ts'
import { until } from './support/until.ts'

const KIND = 'ConsumerGroup'
const PARTS = ['Deployment', 'ServiceAccount', 'ConfigMap'] as const satisfies Kind[]

test('the first apply ends in workers that are ready, and kubectl shows and scales them', async (t) => {
  const scene = await Scene.start(t)
  await scene.applyGroup({ retryPolicyRef: { name: NAME } })
  await scene.applyService()
  await scene.applyPolicy()
  await scene.untilReady(KIND)
  await scene.untilReady('RetryPolicy')
  await until('it is known that nothing waits', async () => (await scene.statusOf(KIND))['lag'] === 0)
  const shown = await scene.namespace.kubectl('get', 'cg')
  assert.match(shown, /NAME +SERVICE +GROUP +ROLE +WORKERS +LAG +DEAD +READY +REASON +AGE/)
  assert.match(shown, /calc +calc +\S+ +Responder +1 +0 +0 +True +Ready/)
  await scene.namespace.kubectl('scale', 'cg/calc', '--replicas=3')
  await scene.untilReady(KIND)
  const { replicas, readyReplicas, selector } = await scene.statusOf(KIND)
  assert.deepEqual([replicas, readyReplicas], [3, 3])
  assert.equal((await scene.namespace.list('Pod', String(selector))).length, 3)
})

/** What a person may write that the API server stores in its own words. */
const ODD_TEMPLATE = {
  metadata: { labels: { team: 'a' }, annotations: {} },
  spec: {
    hostNetwork: false,
    containers: [
      {
        name: 'handler',
        image: 'calculator:1',
        env: [{ name: 'EMPTY', value: '' }],
        resources: { requests: { cpu: '1000m', memory: '1024Mi' }, limits: {} },
        ports: [{ containerPort: 50051 }],
        volumeMounts: [{ name: 'data', mountPath: '/data', readOnly: false }],
        readinessProbe: { tcpSocket: { port: 50051 }, initialDelaySeconds: 0 },
      },
    ],
    initContainers: [{ name: 'prepare', image: 'a:1', args: [] }],
    volumes: [{ name: 'data', emptyDir: {} }],
    tolerations: [],
  },
}

test('resyncs write nothing, whatever the template says, and drift is mended', async (t) => {
  const scene = await readyRoute(t, { template: ODD_TEMPLATE }, { flags: { 'resync-seconds': 1 } })
  await until('it is known that nothing waits', async () => (await scene.statusOf(KIND))['lag'] === 0)
  await scene.untilLookedAt(KIND, 2)
  const mark = await sharedCluster().audit.mark()
  await scene.untilLookedAt(KIND, 3)
  assert.deepEqual(await scene.writesSince(mark), [])

  await scene.namespace.change('Deployment', WORKER, { spec: { replicas: 5 } })
  await scene.untilReplicas(1)
  for (const kind of PARTS) {
    const before = await scene.namespace.get(kind, WORKER)
    await scene.namespace.delete(kind, WORKER)
    await until(`there is another ${kind}`, async () => {
      const now = await scene.namespace.get(kind, WORKER)
      return now !== undefined && now.metadata.uid !== before?.metadata.uid
    })
  }
})

const ANOTHER = 'another'

/** Changes that make other objects, of all fields together that do. */
const CHANGES: Readonly<Record<string, Fields>> = {
  'spec.calculateServiceRef': { calculateServiceRef: { name: ANOTHER } },
  'spec.startFrom': { startFrom: 'Latest' },
  'spec.retryPolicyRef': { retryPolicyRef: { name: NAME } },
  'spec.replicas': { replicas: 2 },
  'spec.handler.port': { handler: { port: 9090 } },
  'spec.ordering': { ordering: 'Partition' },
  'spec.offsets': { offsets: 'Redis' },
  'spec.topics': { topics: ['other'] },
  'spec.concurrency': { concurrency: 3 },
  'spec.timeoutMilliseconds': { timeoutMilliseconds: 60_000 },
  'spec.profiling': { profiling: 'Enabled' },
  'spec.sidecar.resources.limits': { sidecar: { resources: { limits: { cpu: '2' } } } },
  'spec.sidecar.resources.requests': { sidecar: { resources: { requests: { cpu: '1' } } } },
  'spec.scaling': { scaling: { minReplicas: 2, maxReplicas: 3 } },
  'spec.template': { template: ODD_TEMPLATE },
  'spec.template.spec.terminationGracePeriodSeconds': {
    template: {
      spec: { terminationGracePeriodSeconds: 600, containers: [{ name: 'handler', image: 'calculator:1' }] },
    },
  },
  'spec.template.spec.containers': {
    template: {
      metadata: { annotations: { a: 'b' } },
      spec: {
        containers: [
          {
            name: 'other',
            image: 'other:2',
            command: ['a'],
            args: ['b'],
            env: [{ name: 'A', value: 'b' }],
            lifecycle: { preStop: { exec: { command: ['sleep', '1'] } } },
          },
        ],
      },
    },
  },
  'spec.template.spec.serviceAccountName': {
    template: { spec: { serviceAccountName: 'own', containers: [{ name: 'handler', image: 'calculator:1' }] } },
  },
}

test('every field that makes objects makes others, and back the same', async (t) => {
  const options = { flags: { 'kube-qps': 500, 'kube-burst': 500 } }
  // Only an Observer may start from somewhere else.
  const scene = await readyRoute(t, { role: 'Observer' }, options)
  await scene.applyPolicy({ maxAttempts: 9 })
  await scene.applyService({ topic: { name: `${scene.topic}-2` } }, ANOTHER)
  await scene.untilReady('CalculateService', ANOTHER)
  const settled = async (): Promise<readonly object[]> => {
    await until('it acted on the spec', async () => (await scene.conditions(KIND)).some(({ type }) => type === 'Ready'))
    return scene.namespace.said(PARTS, WORKER)
  }
  const specNow = async (): Promise<object> => (await scene.namespace.get(KIND, NAME))?.spec ?? {}
  const fields = fieldsOf(KIND)
  const covered = new Set<string>()
  const first = await settled()
  const firstSpec = await specNow()
  for (const [field, spec] of Object.entries(CHANGES)) {
    await scene.applyGroup({ role: 'Observer', ...spec })
    assert.notDeepEqual(await settled(), first, field)
    for (const one of changedFields(fields, firstSpec, await specNow())) covered.add(one)
    await scene.applyGroup({ role: 'Observer' })
    assert.deepEqual(await settled(), first, `${field}, and back`)
  }
  const others = Object.keys(FIELDS_WITHOUT_OBJECTS.ConsumerGroup)
  for (const field of others) covered.delete(field)
  assert.deepEqual([...covered, ...others].toSorted(), fields.toSorted())
})

test('what is missing is told, and heals when it appears', async (t) => {
  const scene = await Scene.start(t)
  await scene.applyGroup({ retryPolicyRef: { name: NAME } })
  await scene.untilReason(KIND, 'ReferencesResolved', 'ServiceNotFound')
  await scene.applyService({ redis: { urlSecretRef: { name: 'redis', key: 'url' } } })
  await scene.untilReason(KIND, 'ReferencesResolved', 'SecretMissing')
  const data = { url: Buffer.from('redis://redis:6379').toString('base64') }
  await scene.namespace.apply({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'redis' }, data })
  await scene.untilReason(KIND, 'ReferencesResolved', 'PolicyNotFound')
  await scene.untilReason(KIND, 'WorkersAvailable', 'WorkersAvailable')
  await scene.applyPolicy()
  await scene.untilReady(KIND)
  await scene.namespace.delete('RetryPolicy', NAME)
  const { message } = await scene.untilReason(KIND, 'ReferencesResolved', 'PolicyNotFound')
  assert.match(message, /each call is tried once/)
})

test('an order without a key, or with long pauses, is told, and heals', async (t) => {
  const scene = await Scene.start(t)
  await scene.applyService()
  await scene.applyGroup({ ordering: 'Key' })
  await scene.untilReason(KIND, 'WorkersAvailable', 'NoPartitionKey')
  const method = { name: 'Calculate', timeoutMilliseconds: 30_000 }
  await scene.applyService({ methods: [{ ...method, partitionKey: { metadata: 'x-account' } }] })
  await scene.untilReady(KIND)
  await scene.applyPolicy({ maxAttempts: 10, backoff: { initialMilliseconds: 10_000 } })
  await scene.applyGroup({ ordering: 'Key', retryPolicyRef: { name: NAME } })
  const { message } = await scene.untilReason(KIND, 'ReferencesResolved', 'PausesTooLong')
  assert.match(message, /the pauses add up to 90000 ms/)
  await scene.applyPolicy({ maxAttempts: 3 })
  await scene.untilReady(KIND)
})

test('of two Responders the older runs, then the other', async (t) => {
  const scene = await readyRoute(t)
  const made = (await scene.namespace.get(KIND, NAME))!.metadata as { readonly creationTimestamp?: string }
  // Times of creation have full seconds; of one second the lower uid counts.
  const begun = Date.parse(made.creationTimestamp ?? '')
  await until('another second', () => Date.now() - begun > 2000)
  await scene.applyGroup({}, 'late')
  const { message } = await scene.untilReason(KIND, 'WorkersAvailable', 'Conflict', { name: 'late' })
  assert.match(message, /ConsumerGroup calc is older and the Responder of CalculateService calc/)
  assert.equal(await scene.namespace.get('Deployment', 'late-worker'), undefined)
  await scene.namespace.delete(KIND, NAME)
  await scene.untilReady(KIND, 'late')
})

async function kafkaAdmin(t: TestContext): Promise<Admin> {
  const admin = new kafkajs.Kafka({ brokers: servers, logLevel: kafkajs.logLevel.NOTHING }).admin()
  await admin.connect()
  atEnd(t, () => admin.disconnect())
  return admin
}

test('workers follow what waits in Kafka, down to none and up again', async (t) => {
  const scaling = { minReplicas: 0, maxReplicas: 9, lagPerReplica: 2, stabilizationSeconds: 0, wakeUpSeconds: 30 }
  const scene = await readyRoute(t)
  const admin = await kafkaAdmin(t)
  const producer = new kafkajs.Kafka({ brokers: servers, logLevel: kafkajs.logLevel.NOTHING }).producer()
  await producer.connect()
  atEnd(t, () => producer.disconnect())
  const call = (partition: number) => ({ partition, value: 'x' })
  await producer.send({ topic: scene.topic, messages: [0, 0, 0, 1].map(call) })
  await scene.applyGroup({ scaling })
  await scene.untilReplicas(2)
  await until('that is told', async () => {
    const { desiredReplicas, lag } = await scene.statusOf(KIND)
    return desiredReplicas === 2 && lag === 4
  })
  const finish = (offsets: readonly number[]): Promise<boolean | void> =>
    admin.setOffsets({
      groupId: `${scene.namespace.name}-${NAME}`,
      topic: scene.topic,
      partitions: offsets.map((offset, partition) => ({ partition, offset: String(offset) })),
    })
  await finish([3, 1, 0])
  await scene.untilReplicas(0)
  await scene.untilReady(KIND)
  await scene.untilReason(KIND, 'WorkersAvailable', 'ScaledToZero')
  await producer.send({ topic: scene.topic, messages: [2].map(call) })
  await scene.untilReplicas(1)
  await producer.send({ topic: scene.topic, messages: Array.from({ length: 50 }, () => call(2)) })
  // Not above the partitions.
  await scene.untilReplicas(3)
})

/** Asked about every two seconds. */
const ASLEEP = { minReplicas: 0, maxReplicas: 1, lagPerReplica: 100, stabilizationSeconds: 0, wakeUpSeconds: 30 }

async function bury(t: TestContext, topic: string, count: number): Promise<void> {
  const producer = new kafkajs.Kafka({ brokers: servers, logLevel: kafkajs.logLevel.NOTHING }).producer()
  await producer.connect()
  atEnd(t, () => producer.disconnect())
  const messages = Array.from({ length: count }, () => ({ value: 'x' }))
  await producer.send({ topic: `${topic}.dead`, messages })
}

test('a Responder tells how many dead letters its service has that are not done with', async (t) => {
  const scene = await readyRoute(t, { scaling: ASLEEP })
  const admin = await kafkaAdmin(t)
  const told = (count: number) =>
    until(`${count} are told`, async () => (await scene.statusOf(KIND))['deadLetters'] === count)
  await told(0)
  await bury(t, scene.topic, 3)
  await told(3)
  const topic = `${scene.topic}.dead`
  await admin.setOffsets({ groupId: openLettersGroup(scene.topic), topic, partitions: [{ partition: 0, offset: '2' }] })
  await told(1)
})

test('an Observer of the failure topic has the records of that as its lag, and no count', async (t) => {
  const scene = await readyRoute(t)
  await bury(t, scene.topic, 3)
  const name = 'undertaker'
  await scene.applyGroup({ role: 'Observer', topics: [`${scene.topic}.dead`], scaling: ASLEEP }, name)
  await until('they are told', async () => (await scene.statusOf(KIND, name))['lag'] === 3)
  assert.equal((await scene.statusOf(KIND, name))['deadLetters'], undefined)
})

test('an autoscaler of the Deployment has the number of workers, without a fall on the way', async (t) => {
  const scene = await readyRoute(t, { replicas: 3 })
  await scene.namespace.apply({
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata: { name: 'hpa' },
    spec: {
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: WORKER },
      minReplicas: 1,
      maxReplicas: 9,
      metrics: [
        { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 50 } } },
      ],
    },
  })
  // A change that makes the operator apply the Deployment: the number stays, though nobody else has set it yet.
  await scene.applyGroup({ replicas: 1, handler: { port: 9090 } })
  await scene.untilReady(KIND)
  assert.equal(await scene.replicas(), 3)
  await scene.namespace.kubectl('scale', `deployment/${WORKER}`, '--replicas=4')
  await scene.applyGroup({ replicas: 1, handler: { port: 9091 } })
  await scene.untilReady(KIND)
  assert.equal(await scene.replicas(), 4)
  await scene.namespace.delete('HorizontalPodAutoscaler', 'hpa')
  await scene.untilReplicas(1)
})

test('a route that is deleted as a whole keeps its workers until the proxies have ended', async (t) => {
  const scene = await Scene.start(t, { kubelet: WORKERS })
  await scene.applyService()
  await scene.applyGroup()
  const [proxy] = await makePodsReady(scene.namespace, PROXIES)
  await scene.untilReady(KIND)
  await scene.namespace.delete('CalculateService', NAME)
  await scene.namespace.delete(KIND, NAME)
  await scene.untilReason(KIND, 'Ready', 'Deleting')
  await until('the proxy is told to end', async () => {
    const now = await scene.namespace.get('Pod', proxy!.metadata.name)
    return now?.metadata.deletionTimestamp !== undefined
  })
  await scene.untilLookedAt(KIND, 2)
  assert.equal((await scene.statusOf(KIND))['readyReplicas'], 1)
  await scene.namespace.delete('Pod', proxy!.metadata.name, 0)
  await until('the group is gone', async () => (await scene.namespace.get(KIND, NAME)) === undefined)
  await until('its workers went with it', async () => (await scene.namespace.list('Pod', WORKERS)).length === 0)
})

test('a group that is paused is left alone, and followed again afterwards', async (t) => {
  const scene = await readyRoute(t)
  const pause = (paused: string | null) =>
    scene.namespace.change('ConsumerGroup', NAME, {
      metadata: { annotations: { 'grpckafka.dev/reconciliation': paused } },
    })
  await pause('paused')
  await scene.untilReason(KIND, 'Ready', 'Paused')
  await scene.namespace.change('Deployment', WORKER, { spec: { replicas: 2 } })
  await scene.untilLookedAt(KIND, 2)
  assert.equal(await scene.replicas(), 2)
  await pause(null)
  await scene.untilReplicas(1)
})
