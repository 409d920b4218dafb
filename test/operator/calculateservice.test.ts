/** A CalculateService on a real API server with its controllers, and a real Kafka. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { AuditMark } from '../../local/platform/audit-log.ts'
import { KafkaTopicAdmin } from '../../operator/kafka/topic-admin.ts'
import type { ObservedTopic } from '../../operator/kafka/topic-plan.ts'
import { atEnd } from '../integration/support/clean-up.ts'
import { sharedCluster } from './support/cluster.ts'
import type { Kind } from './support/kinds.ts'
import { playKubelet } from './support/kubelet.ts'
import { Namespace, type Condition } from './support/namespace.ts'
import { OperatorProcess } from './support/operator-process.ts'
import { until } from './support/until.ts'

const servers = (process.env['KAFKA_BROKERS'] ?? '').split(',')
const NAME = 'calc'
const PROXY = 'calc-proxy'
const PARTS = ['Deployment', 'Service', 'ServiceAccount', 'ConfigMap', 'PodDisruptionBudget'] as const satisfies Kind[]

/** A namespace with an operator, somebody who makes pods ready, and a topic of a name of its own. */
class Scene {
  readonly namespace: Namespace
  readonly operator: OperatorProcess
  readonly admin: KafkaTopicAdmin
  readonly topic: string

  private constructor(namespace: Namespace, operator: OperatorProcess, admin: KafkaTopicAdmin) {
    this.namespace = namespace
    this.operator = operator
    this.admin = admin
    this.topic = `operator-${namespace.name}`
  }

  static async start(t: TestContext, flags: Readonly<Record<string, string | number>> = {}): Promise<Scene> {
    const admin = new KafkaTopicAdmin({ servers })
    atEnd(t, () => admin.close())
    const namespace = await Namespace.start(t)
    const operator = await OperatorProcess.start(t, {
      program: 'operator/main.ts',
      kubeconfig: namespace.cluster.access.adminKubeconfig,
      namespace: namespace.name,
      flags,
    })
    playKubelet(t, namespace)
    const scene = new Scene(namespace, operator, admin)
    atEnd(t, () => scene.#removeTopics())
    return scene
  }

  /** Applies the service with these fields beside the least that it must say. */
  async apply(spec: Readonly<Record<string, object>> = {}, name = NAME): Promise<void> {
    await this.namespace.apply({
      apiVersion: 'grpckafka.dev/v1alpha1',
      kind: 'CalculateService',
      metadata: { name },
      spec: {
        service: 'calculator.CalculateService',
        kafka: { bootstrapServers: servers },
        redis: { url: 'redis://redis:6379' },
        methods: [{ name: 'Calculate' }],
        ...spec,
        topic: { name: this.topic, replicationFactor: 1, ...spec['topic'] },
      },
    })
  }

  async applyUntilReady(spec: Readonly<Record<string, object>> = {}): Promise<void> {
    await this.apply(spec)
    await this.untilReady()
  }

  /** Ready for what the spec says now. */
  async untilReady(name = NAME): Promise<void> {
    const last: { conditions?: readonly Condition[] } = {}
    await until('the service is ready', async () => {
      const [generation, conditions] = await this.conditions(name)
      last.conditions = conditions
      return conditions.some(
        (one) => one.type === 'Ready' && one.status === 'True' && one.observedGeneration === generation,
      )
    }).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}: ${JSON.stringify(last.conditions)}`, { cause: error })
    })
  }

  async conditions(name = NAME): Promise<readonly [generation: number | undefined, conditions: readonly Condition[]]> {
    const service = await this.namespace.get('CalculateService', name)
    return [service?.metadata.generation, (service?.status?.['conditions'] ?? []) as readonly Condition[]]
  }

  untilReason(type: string, reason: string, name = NAME): Promise<Condition> {
    return until(`${type} is ${reason}`, async () => {
      const [, conditions] = await this.conditions(name)
      return conditions.find((one) => one.type === type && one.reason === reason)
    })
  }

  async topicNow(name = this.topic): Promise<ObservedTopic | undefined> {
    return (await this.admin.observe([name])).topics.get(name)
  }

  untilLookedAt(times: number, name = NAME): Promise<void> {
    return this.operator.untilReconciled(`${this.namespace.name}/${name}`, times, 'calculateservice')
  }

  /** What the operator wrote, Leases and events aside. */
  writesSince(mark: AuditMark): Promise<readonly string[]> {
    return this.namespace.operatorWrites(mark, ['leases', 'events'])
  }

  async #removeTopics(): Promise<void> {
    for (const name of [this.topic, `${this.topic}.dead`]) {
      const found = await this.topicNow(name)
      if (found !== undefined) await this.admin.execute({ type: 'DeleteTopic', name, topicId: found.id })
    }
  }
}

test('the first apply ends in a service that is ready', async (t) => {
  const scene = await Scene.start(t)
  await scene.applyUntilReady({ proxy: { replicas: 2 } })
  assert.equal((await scene.topicNow())?.partitions, 3)
  assert.equal((await scene.topicNow(`${scene.topic}.dead`))?.partitions, 1)
  for (const kind of PARTS) assert.ok(await scene.namespace.get(kind, PROXY), kind)
  const service = await scene.namespace.get('CalculateService', NAME)
  assert.deepEqual(service?.status?.['proxy'], { replicas: 2, readyReplicas: 2, updatedReplicas: 2 })
  assert.deepEqual(service?.metadata.finalizers, undefined)
  const shown = await scene.namespace.kubectl('get', 'grpckafka')
  assert.match(shown, /READY +REASON/)
  assert.match(shown, /calculator\.CalculateService +\S+ +2 +True +Ready/)
})

test('resyncs write nothing, and drift is mended', async (t) => {
  const scene = await Scene.start(t, { 'resync-seconds': 1 })
  await scene.applyUntilReady({ proxy: { resources: { requests: { cpu: '0.5' }, limits: { memory: '1024Mi' } } } })
  await scene.untilLookedAt(2)
  const mark = await sharedCluster().audit.mark()
  await scene.untilLookedAt(3)
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
  await scene.admin.execute({ type: 'AlterTopic', name: scene.topic, set: config, unset: [], drifted: [] })
  await until('the topic is as it was', async () => {
    return (await scene.topicNow())?.config['max.message.bytes']?.value !== '1000'
  })
  await until('that is told', async () =>
    (await scene.namespace.events(NAME)).some(({ reason }) => reason === 'TopicDriftReverted'),
  )
})

test('every field that makes objects makes others, and back the same', async (t) => {
  const scene = await Scene.start(t)
  const changes: Readonly<Record<string, Readonly<Record<string, object>>>> = {
    'spec.service': { service: 'other.Service' as never },
    'spec.kafka.sasl': {
      kafka: {
        bootstrapServers: servers,
        tls: { serverName: 'kafka', caSecretRef: { name: 's', key: 'ca' } },
        sasl: { mechanism: 'PLAIN', username: 'u', passwordSecretRef: { name: 's', key: 'p' } },
      },
    },
    'spec.redis': { redis: { cluster: { nodes: ['redis:6379'] }, passwordSecretRef: { name: 's', key: 'p' } } },
    'spec.methods': {
      methods: [{ name: 'Other', timeoutMilliseconds: 9000, cacheSeconds: 1, metadata: ['x-a'] }] as never,
    },
    'spec.results': { results: { retentionSeconds: 70 } },
    'spec.rateLimit': { rateLimit: { requestsPerSecond: 5, burst: 6, maxWaiting: 7 } },
    'spec.proxy.replicas': { proxy: { replicas: 2 } },
    'spec.proxy.port': { proxy: { port: 7000 } },
    'spec.proxy.maxMessageBytes': { proxy: { maxMessageBytes: 100_000 } },
    'spec.proxy.maxInFlight': { proxy: { maxInFlight: 5 } },
    'spec.proxy.recordVersion': { proxy: { recordVersion: 2 } },
    'spec.proxy.cacheMaxBytes': { proxy: { cacheMaxBytes: 2_000_000 } },
    'spec.proxy.profiling': { proxy: { profiling: 'Enabled' } },
    'spec.proxy.resources': { proxy: { resources: { limits: { cpu: '2' } } } },
    'spec.proxy.template.metadata': {
      proxy: { template: { metadata: { labels: { a: 'b' }, annotations: { c: 'd' } } } },
    },
    'spec.proxy.template.spec': {
      proxy: {
        template: {
          spec: {
            nodeSelector: { disk: 'ssd' },
            tolerations: [{ key: 'a', operator: 'Exists' }],
            affinity: { podAntiAffinity: {} },
            topologySpreadConstraints: [{ maxSkew: 2, topologyKey: 'zone', whenUnsatisfiable: 'DoNotSchedule' }],
            imagePullSecrets: [{ name: 'registry' }],
            priorityClassName: 'system-cluster-critical',
          },
        },
      },
    },
    'spec.registration.kubernetes: Headless': { registration: { kubernetes: 'Headless' } },
    'spec.registration.kubernetes: None': { registration: { kubernetes: 'None' } },
  }
  const settled = async (): Promise<readonly object[]> => {
    const [generation] = await scene.conditions()
    await until('it acted on the spec', async () => {
      const [, conditions] = await scene.conditions()
      return conditions.some((one) => one.type === 'Ready' && one.observedGeneration === generation)
    })
    return scene.namespace.said(PARTS, PROXY)
  }
  await scene.applyUntilReady()
  const first = await settled()
  for (const [field, spec] of Object.entries(changes)) {
    await scene.apply(spec)
    const changed = await settled()
    assert.notDeepEqual(withoutAddress(changed), withoutAddress(first), field)
    await scene.apply()
    assert.deepEqual(withoutAddress(await settled()), withoutAddress(first), `${field}, and back`)
  }
})

/** A Service that was made anew has another address. */
const withoutAddress = (objects: readonly object[]): unknown =>
  JSON.parse(
    JSON.stringify(objects, (key, value: unknown) => (/^clusterIPs?$/.test(key) && isAddress(value) ? '' : value)),
  )

const isAddress = (value: unknown): boolean => /\d/.test(JSON.stringify(value))

test('topics grow, and do not shrink', async (t) => {
  const scene = await Scene.start(t)
  await scene.applyUntilReady()
  await scene.applyUntilReady({ topic: { partitions: 5 } })
  assert.equal((await scene.topicNow())?.partitions, 5)
  await assert.rejects(scene.apply({ topic: { partitions: 4 } }), /can only grow/)
})

test('of two services with one topic the older has it, then the other', async (t) => {
  const scene = await Scene.start(t)
  await scene.applyUntilReady()
  // Times of creation have full seconds; of one second the lower uid counts.
  const begun = Date.now()
  await until('another second', () => Date.now() - begun > 2000)
  await scene.apply({}, 'late')
  const { message } = await scene.untilReason('TopicReady', 'TopicConflict', 'late')
  assert.match(message, new RegExp(`belongs to CalculateService ${scene.namespace.name}/calc`))
  assert.equal(await scene.namespace.get('Deployment', 'late-proxy'), undefined)
  await scene.namespace.delete('CalculateService', NAME)
  await scene.untilReady('late')
})

test('a service that deletes its topics is gone with them, after its proxies', async (t) => {
  const scene = await Scene.start(t)
  await scene.applyUntilReady({ topic: { deletionPolicy: 'Delete' } })
  const service = await scene.namespace.get('CalculateService', NAME)
  assert.deepEqual(service?.metadata.finalizers, ['grpckafka.dev/topics'])
  await until('nothing is announced any more', async () => {
    const now = await scene.namespace.get('CalculateService', NAME)
    return now?.metadata.annotations?.['grpckafka.dev/announced-topics'] === undefined
  })
  await scene.namespace.delete('CalculateService', NAME)
  await until('it is gone', async () => (await scene.namespace.get('CalculateService', NAME)) === undefined)
  assert.equal(await scene.topicNow(), undefined)
  assert.equal(await scene.topicNow(`${scene.topic}.dead`), undefined)
  await until('what was its own is gone', async () => {
    const left = await Promise.all(PARTS.map((kind) => scene.namespace.get(kind, PROXY)))
    return left.every((object) => object === undefined)
  })
})

test('a Secret that comes late is found, and a missing one is told', async (t) => {
  const scene = await Scene.start(t)
  await scene.apply({ redis: { urlSecretRef: { name: 'redis', key: 'url' } } })
  const { message } = await scene.untilReason('ProxyAvailable', 'SecretMissing')
  assert.equal(message, 'spec.redis.urlSecretRef: there is no key url in a Secret redis')
  await scene.namespace.apply({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'redis' },
    data: { url: Buffer.from('redis://redis:6379').toString('base64') },
  })
  await scene.untilReady()
})
