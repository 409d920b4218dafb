/** A CalculateService on a real API server with its controllers, and a real Kafka. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { FIELDS_WITHOUT_OBJECTS } from '../unit/operator/fields-without-objects.ts'
import { sharedCluster } from './support/cluster.ts'
import { changedFields, fieldsOf } from '../unit/crds/fields.ts'
import type { Kind } from './support/kinds.ts'
import { NAME, PROXY, Scene, servers, type Fields } from './support/scene.ts'
import { until } from './support/until.ts'

const KIND = 'CalculateService'
const PARTS = ['Deployment', 'Service', 'ServiceAccount', 'ConfigMap', 'PodDisruptionBudget'] as const satisfies Kind[]

/** The service is ready for what the spec says. */
async function readyService(scene: Scene, spec: Fields = {}): Promise<void> {
  await scene.applyService(spec)
  await scene.untilReady(KIND)
}

test('the first apply ends in a service that is ready', async (t) => {
  const scene = await Scene.start(t)
  await readyService(scene, { proxy: { replicas: 2 } })
  assert.equal((await scene.topicNow())?.partitions, 3)
  assert.equal((await scene.topicNow(`${scene.topic}.dead`))?.partitions, 1)
  for (const kind of PARTS) assert.ok(await scene.namespace.get(kind, PROXY), kind)
  const service = await scene.namespace.get(KIND, NAME)
  assert.deepEqual(service?.status?.['proxy'], { replicas: 2, readyReplicas: 2, updatedReplicas: 2 })
  assert.deepEqual(service?.metadata.finalizers, undefined)
  const shown = await scene.namespace.kubectl('get', 'grpckafka')
  assert.match(shown, /READY +REASON/)
  assert.match(shown, /calculator\.CalculateService +\S+ +2 +True +Ready/)
})

test('resyncs write nothing, and drift is mended', async (t) => {
  const scene = await Scene.start(t, { flags: { 'resync-seconds': 1 } })
  await readyService(scene, { proxy: { resources: { requests: { cpu: '0.5' }, limits: { memory: '1024Mi' } } } })
  await scene.untilLookedAt(KIND, 2)
  const mark = await sharedCluster().audit.mark()
  await scene.untilLookedAt(KIND, 3)
  assert.deepEqual(await scene.writesSince(mark), [])

  await scene.namespace.change('Deployment', PROXY, { spec: { replicas: 5 } })
  await until('replicas are as they were', async () => {
    const { spec } = (await scene.namespace.get('Deployment', PROXY)) ?? {}
    return spec?.['replicas'] === 1
  })
  for (const kind of PARTS) {
    const before = await scene.namespace.get(kind, PROXY)
    await scene.namespace.delete(kind, PROXY)
    await until(`there is another ${kind}`, async () => {
      const now = await scene.namespace.get(kind, PROXY)
      return now !== undefined && now.metadata.uid !== before?.metadata.uid
    })
  }
  const config = { 'max.message.bytes': '1000' }
  await scene.topics.execute({ type: 'AlterTopic', name: scene.topic, set: config, unset: [], drifted: [] })
  await until('the topic is as it was', async () => {
    return (await scene.topicNow())?.config['max.message.bytes']?.value !== '1000'
  })
  await until('that is told', async () =>
    (await scene.namespace.events(NAME)).some(({ reason }) => reason === 'TopicDriftReverted'),
  )
})

const SECRET = { name: 's', key: 'k' }
const CERTIFICATE = { name: 's', certificateKey: 'c', privateKeyKey: 'p' }
const TLS = { serverName: 'server', caSecretRef: SECRET, clientCertificateSecretRef: CERTIFICATE }

/** Changes that make other objects, of all fields together that do. */
const CHANGES: Readonly<Record<string, Fields>> = {
  'spec.service': { service: 'other.Service' },
  'spec.kafka.bootstrapServers': { kafka: { bootstrapServers: [...servers, '127.0.0.1:1'] } },
  'spec.kafka.tls and sasl': {
    kafka: {
      bootstrapServers: servers,
      tls: TLS,
      sasl: { mechanism: 'PLAIN', username: 'u', passwordSecretRef: SECRET },
    },
  },
  'spec.redis.url': { redis: { url: 'redis://other:6379' } },
  'spec.redis.urlSecretRef': { redis: { urlSecretRef: SECRET } },
  'spec.redis.sentinel': {
    redis: { sentinel: { nodes: ['a:1'], master: 'm', username: 'u', passwordSecretRef: SECRET } },
  },
  'spec.redis.cluster': {
    redis: { cluster: { nodes: ['redis:6379'] }, username: 'u', passwordSecretRef: SECRET, tls: TLS },
  },
  'spec.redis.commandTimeoutMilliseconds': {
    redis: { url: 'redis://redis:6379', commandTimeoutMilliseconds: 6000 },
  },
  'spec.methods': {
    methods: [
      {
        name: 'Other',
        timeoutMilliseconds: 9000,
        cacheSeconds: 1,
        metadata: ['x-a'],
        partitionKey: { metadata: 'x-b' },
        cloudEvents: 'Enabled',
      },
    ],
  },
  'spec.methods: OneWay': { methods: [{ name: 'Calculate', delivery: 'OneWay' }] },
  'spec.results': { results: { retentionSeconds: 70 } },
  'spec.callbacks': {
    callbacks: {
      receivers: [
        { host: 'a.svc', port: 8080, scheme: 'HTTP', network: 'Private', secretRef: SECRET, caSecretRef: SECRET },
      ],
      giveUpAfterSeconds: 60,
    },
  },
  'spec.rateLimit': { rateLimit: { requestsPerSecond: 5, burst: 6, maxWaiting: 7 } },
  'spec.proxy.replicas': { proxy: { replicas: 2 } },
  'spec.proxy.port': { proxy: { port: 7000 } },
  'spec.proxy.maxMessageBytes': { proxy: { maxMessageBytes: 100_000 } },
  'spec.proxy.maxInFlight': { proxy: { maxInFlight: 5 } },
  'spec.proxy.recordVersion': { proxy: { recordVersion: 2 } },
  'spec.proxy.cacheMaxBytes': { proxy: { cacheMaxBytes: 2_000_000 } },
  'spec.proxy.profiling': { proxy: { profiling: 'Enabled' } },
  'spec.proxy.resources.limits': { proxy: { resources: { limits: { cpu: '2' } } } },
  'spec.proxy.resources.requests': { proxy: { resources: { requests: { cpu: '1' } } } },
  'spec.proxy.template.metadata.labels': { proxy: { template: { metadata: { labels: { a: 'b' } } } } },
  'spec.proxy.template.metadata.annotations': { proxy: { template: { metadata: { annotations: { c: 'd' } } } } },
  ...Object.fromEntries(
    Object.entries({
      nodeSelector: { disk: 'ssd' },
      tolerations: [{ key: 'a', operator: 'Equal', value: 'b', effect: 'NoExecute', tolerationSeconds: 5 }],
      affinity: { podAntiAffinity: {} },
      topologySpreadConstraints: [{ maxSkew: 2, topologyKey: 'zone', whenUnsatisfiable: 'DoNotSchedule' }],
      imagePullSecrets: [{ name: 'registry' }],
      priorityClassName: 'system-cluster-critical',
    }).map(([field, value]) => [
      `spec.proxy.template.spec.${field}`,
      { proxy: { template: { spec: { [field]: value } } } },
    ]),
  ),
  'spec.registration.kubernetes: Headless': { registration: { kubernetes: 'Headless' } },
  'spec.registration.kubernetes: None': { registration: { kubernetes: 'None' } },
  // By the operator there would have to be a Consul.
  'spec.registration.consul, by the proxies': {
    registration: {
      consul: {
        check: 'TTL',
        address: 'http://consul:8500',
        name: 'sums',
        tags: ['blue'],
        ttlSeconds: 30,
        intervalSeconds: 10,
        tokenSecretRef: { name: 'consul', key: 'token' },
        caSecretRef: { name: 'consul', key: 'ca' },
      },
    },
  },
}

test('every field that makes objects makes others, and back the same', async (t) => {
  const scene = await Scene.start(t, { flags: { 'kube-qps': 500, 'kube-burst': 500 } })
  const settled = async (): Promise<readonly object[]> => {
    await until('it acted on the spec', async () => (await scene.conditions(KIND)).some(({ type }) => type === 'Ready'))
    return scene.namespace.said(PARTS, PROXY)
  }
  const specNow = async (): Promise<object> => (await scene.namespace.get(KIND, NAME))?.spec ?? {}
  const fields = fieldsOf(KIND)
  const covered = new Set<string>()
  await readyService(scene)
  const first = await settled()
  const firstSpec = await specNow()
  for (const [field, spec] of Object.entries(CHANGES)) {
    await scene.applyService(spec)
    const changed = await settled()
    assert.notDeepEqual(withoutAddress(changed), withoutAddress(first), field)
    for (const one of changedFields(fields, firstSpec, await specNow())) covered.add(one)
    await scene.applyService()
    assert.deepEqual(withoutAddress(await settled()), withoutAddress(first), `${field}, and back`)
  }
  const others = Object.keys(FIELDS_WITHOUT_OBJECTS.CalculateService)
  for (const field of others) covered.delete(field)
  assert.deepEqual([...covered, ...others].toSorted(), fields.toSorted())
})

test('settings of a topic follow the spec, and go back where it names them no more', async (t) => {
  const scene = await Scene.start(t)
  await readyService(scene)
  const setting = async () => (await scene.topicNow())?.config['segment.bytes']
  const first = await setting()
  await scene.applyService({ topic: { config: { 'segment.bytes': '1048576' } } })
  await until('it is set', async () => isDeepStrictEqual(await setting(), { value: '1048576', isSet: true }))
  await scene.applyService()
  await until('it is as before', async () => isDeepStrictEqual(await setting(), first))
})

test('where calls have an order partitions are added when no proxy runs and nothing waits', async (t) => {
  const scene = await Scene.start(t)
  await scene.applyGroup({ ordering: 'Partition', replicas: 0 })
  await readyService(scene)
  const partitions = async () => (await scene.topicNow())?.partitions
  await scene.applyService({ topic: { partitions: 4 } })
  const { message } = await scene.untilReason(KIND, 'TopicReady', 'PartitionsWait')
  assert.match(message, /has 3 partitions, 4 are asked for; .*: first set spec\.proxy\.replicas to 0/)
  assert.equal(await partitions(), 3)
  await scene.applyService({ topic: { partitions: 4 }, proxy: { replicas: 0 } })
  await until('they are added', async () => (await partitions()) === 4)
  await scene.untilReason(KIND, 'TopicReady', 'TopicsReady')
})

test('how long dead letters are kept follows the spec, and goes back', async (t) => {
  const scene = await Scene.start(t)
  await readyService(scene)
  const retention = async () => (await scene.topicNow(`${scene.topic}.dead`))?.config['retention.ms']?.value
  const first = await retention()
  await scene.applyService({ topic: { deadLetterRetentionHours: 1000 } })
  await until('it is set', async () => (await retention()) === String(1000 * 3_600_000))
  await scene.applyService()
  await until('it is as before', async () => (await retention()) === first)
})

test('whether topics go with their service may change, and back', async (t) => {
  const scene = await Scene.start(t)
  await readyService(scene)
  const finalizers = async () => (await scene.namespace.get(KIND, NAME))?.metadata.finalizers
  await scene.applyService({ topic: { deletionPolicy: 'Delete' } })
  await until('it is kept', async () => isDeepStrictEqual(await finalizers(), ['grpckafka.dev/topics']))
  await scene.applyService()
  await until('it is kept no more', async () => (await finalizers()) === undefined)
})

/** A Service that was made anew has another address. */
const withoutAddress = (objects: readonly object[]): unknown =>
  JSON.parse(
    JSON.stringify(objects, (key, value: unknown) => (/^clusterIPs?$/.test(key) && isAddress(value) ? '' : value)),
  )

const isAddress = (value: unknown): boolean => /\d/.test(JSON.stringify(value))

test('topics grow, and do not shrink', async (t) => {
  const scene = await Scene.start(t)
  await readyService(scene)
  await readyService(scene, { topic: { partitions: 5 } })
  assert.equal((await scene.topicNow())?.partitions, 5)
  await assert.rejects(scene.applyService({ topic: { partitions: 4 } }), /can only grow/)
})

test('of two services with one topic the older has it, then the other', async (t) => {
  const scene = await Scene.start(t)
  await readyService(scene)
  // Times of creation have full seconds; of one second the lower uid counts.
  const begun = Date.now()
  await until('another second', () => Date.now() - begun > 2000)
  await scene.applyService({}, 'late')
  const { message } = await scene.untilReason(KIND, 'TopicReady', 'TopicConflict', { name: 'late' })
  assert.match(message, new RegExp(`belongs to CalculateService ${scene.namespace.name}/calc`))
  assert.equal(await scene.namespace.get('Deployment', 'late-proxy'), undefined)
  await scene.namespace.delete(KIND, NAME)
  await scene.untilReady(KIND, 'late')
})

test('a service that deletes its topics is gone with them, after its proxies', async (t) => {
  const scene = await Scene.start(t)
  await readyService(scene, { topic: { deletionPolicy: 'Delete' } })
  const service = await scene.namespace.get(KIND, NAME)
  assert.deepEqual(service?.metadata.finalizers, ['grpckafka.dev/topics'])
  await until('nothing is announced any more', async () => {
    const now = await scene.namespace.get(KIND, NAME)
    return now?.metadata.annotations?.['grpckafka.dev/announced-topics'] === undefined
  })
  await scene.namespace.delete(KIND, NAME)
  await until('it is gone', async () => (await scene.namespace.get(KIND, NAME)) === undefined)
  assert.equal(await scene.topicNow(), undefined)
  assert.equal(await scene.topicNow(`${scene.topic}.dead`), undefined)
  await until('what was its own is gone', async () => {
    const left = await Promise.all(PARTS.map((kind) => scene.namespace.get(kind, PROXY)))
    return left.every((object) => object === undefined)
  })
})

test('a Secret that comes late is found, and a missing one is told', async (t) => {
  const scene = await Scene.start(t)
  await scene.applyService({ redis: { urlSecretRef: { name: 'redis', key: 'url' } } })
  const { message } = await scene.untilReason(KIND, 'ProxyAvailable', 'SecretMissing')
  assert.equal(message, 'spec.redis.urlSecretRef: there is no key url in a Secret redis')
  await scene.namespace.apply({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'redis' },
    data: { url: Buffer.from('redis://redis:6379').toString('base64') },
  })
  await scene.untilReady(KIND)
})
