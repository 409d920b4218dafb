/** ConsumerGroups and RetryPolicies on a real API server with its controllers, and a real Kafka. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import kafkajs, { type Admin } from 'kafkajs'
import type { AuditMark } from '../../local/platform/audit-log.ts'
import { atEnd } from '../integration/support/clean-up.ts'
import { sharedCluster } from './support/cluster.ts'
import type { Kind } from './support/kinds.ts'
import { makePodsReady, playKubelet } from './support/kubelet.ts'
import { Namespace, type Condition } from './support/namespace.ts'
import { OperatorProcess } from './support/operator-process.ts'
import { until } from './support/until.ts'

const servers = (process.env['KAFKA_BROKERS'] ?? '').split(',')
const NAME = 'calc'
const WORKER = 'calc-worker'
const PARTS = ['Deployment', 'ServiceAccount', 'ConfigMap'] as const satisfies Kind[]
const WORKERS = 'app.kubernetes.io/component=worker'
const PROXIES = 'app.kubernetes.io/component=proxy'

type Fields = Readonly<Record<string, unknown>>

/** A namespace with an operator, a CalculateService with a topic of its own, and somebody who makes pods ready. */
class Scene {
  readonly namespace: Namespace
  readonly operator: OperatorProcess
  readonly admin: Admin
  readonly topic: string

  private constructor(namespace: Namespace, operator: OperatorProcess, admin: Admin) {
    this.namespace = namespace
    this.operator = operator
    this.admin = admin
    this.topic = `operator-${namespace.name}`
  }

  /** @param kubelet of which pods somebody plays the kubelet. */
  static async start(t: TestContext, flags: Readonly<Record<string, number>> = {}, kubelet = ''): Promise<Scene> {
    const admin = new kafkajs.Kafka({ brokers: servers, logLevel: kafkajs.logLevel.NOTHING }).admin()
    await admin.connect()
    atEnd(t, () => admin.disconnect())
    const namespace = await Namespace.start(t)
    const scene = new Scene(
      namespace,
      await OperatorProcess.start(t, {
        program: 'operator/main.ts',
        kubeconfig: namespace.cluster.access.adminKubeconfig,
        namespace: namespace.name,
        flags,
      }),
      admin,
    )
    playKubelet(t, namespace, kubelet)
    atEnd(t, () => scene.#removeTopics())
    return scene
  }

  async applyService(spec: Fields = {}): Promise<void> {
    await this.namespace.apply({
      apiVersion: 'grpckafka.dev/v1alpha1',
      kind: 'CalculateService',
      metadata: { name: NAME },
      spec: {
        service: 'calculator.CalculateService',
        kafka: { bootstrapServers: servers },
        redis: { url: 'redis://redis:6379' },
        methods: [{ name: 'Calculate', timeoutMilliseconds: 30_000 }],
        topic: { name: this.topic, replicationFactor: 1, partitions: 3 },
        ...spec,
      },
    })
  }

  async applyGroup(spec: Fields = {}, name = NAME): Promise<void> {
    await this.namespace.apply({
      apiVersion: 'grpckafka.dev/v1alpha1',
      kind: 'ConsumerGroup',
      metadata: { name },
      spec: {
        calculateServiceRef: { name: NAME },
        groupId: `${this.namespace.name}-${name}`,
        handler: { port: 50051 },
        template: { spec: { containers: [{ name: 'handler', image: 'calculator:1' }] } },
        ...spec,
      },
    })
  }

  async applyPolicy(spec: Fields = {}): Promise<void> {
    const metadata = { name: NAME }
    await this.namespace.apply({ apiVersion: 'grpckafka.dev/v1alpha1', kind: 'RetryPolicy', metadata, spec })
  }

  async conditions(name = NAME, kind: Kind = 'ConsumerGroup'): Promise<readonly Condition[]> {
    const { metadata, status } = (await this.namespace.get(kind, name)) ?? {}
    const conditions = (status?.['conditions'] ?? []) as readonly Condition[]
    return conditions.filter(({ observedGeneration }) => observedGeneration === metadata?.generation)
  }

  /** Of a condition that is about the spec as it is now. */
  async untilReason(type: string, reason: string, name = NAME, kind: Kind = 'ConsumerGroup'): Promise<Condition> {
    let last: readonly Condition[] = []
    return until(`${type} of ${name} is ${reason}`, async () => {
      last = await this.conditions(name, kind)
      return last.find((one) => one.type === type && one.reason === reason)
    }).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}: ${JSON.stringify(last)}`, { cause: error })
    })
  }

  async status(): Promise<Fields> {
    return (await this.namespace.get('ConsumerGroup', NAME))?.status ?? {}
  }

  async replicas(): Promise<unknown> {
    return (await this.namespace.get('Deployment', WORKER))?.spec?.['replicas']
  }

  untilReplicas(count: number): Promise<unknown> {
    return until(`there are to be ${count} workers`, async () => (await this.replicas()) === count)
  }

  untilLookedAt(times: number): Promise<void> {
    return this.operator.untilReconciled(`${this.namespace.name}/${NAME}`, times, 'consumergroup')
  }

  /** What the operator wrote, Leases and events aside. */
  writesSince(mark: AuditMark): Promise<readonly string[]> {
    return this.namespace.operatorWrites(mark, ['leases', 'events'])
  }

  async #removeTopics(): Promise<void> {
    const names = new Set(await this.admin.listTopics())
    const topics = [this.topic, `${this.topic}.dead`].filter((name) => names.has(name))
    if (topics.length > 0) await this.admin.deleteTopics({ topics })
  }
}

/** The whole route is there and ready. */
async function readyRoute(
  t: TestContext,
  group: Fields = {},
  flags: Readonly<Record<string, number>> = {},
): Promise<Scene> {
  const scene = await Scene.start(t, flags)
  await scene.applyService()
  await scene.applyGroup(group)
  await scene.untilReason('Ready', 'Ready')
  return scene
}

test('the first apply ends in workers that are ready, and kubectl shows and scales them', async (t) => {
  const scene = await Scene.start(t)
  await scene.applyGroup({ retryPolicyRef: { name: NAME } })
  await scene.applyService()
  await scene.applyPolicy()
  await scene.untilReason('Ready', 'Ready')
  await scene.untilReason('Ready', 'InUse', NAME, 'RetryPolicy')
  await until('it is known that nothing waits', async () => (await scene.status())['lag'] === 0)
  const shown = await scene.namespace.kubectl('get', 'cg')
  assert.match(shown, /NAME +SERVICE +GROUP +ROLE +WORKERS +LAG +READY +REASON +AGE/)
  assert.match(shown, /calc +calc +\S+ +Responder +1 +0 +True +Ready/)
  await scene.namespace.kubectl('scale', 'cg/calc', '--replicas=3')
  await scene.untilReason('Ready', 'Ready')
  const { replicas, readyReplicas, selector } = await scene.status()
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
  const scene = await readyRoute(t, { template: ODD_TEMPLATE }, { 'resync-seconds': 1 })
  await until('it is known that nothing waits', async () => (await scene.status())['lag'] === 0)
  await scene.untilLookedAt(2)
  const mark = await sharedCluster().audit.mark()
  await scene.untilLookedAt(3)
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

test('every field that makes objects makes others, and back the same', async (t) => {
  const scene = await readyRoute(t)
  const changes: Readonly<Record<string, Fields>> = {
    'spec.retryPolicyRef': { retryPolicyRef: { name: NAME } },
    'spec.replicas': { replicas: 2 },
    'spec.handler.port': { handler: { port: 9090 } },
    'spec.concurrency': { concurrency: 3 },
    'spec.timeoutMilliseconds': { timeoutMilliseconds: 60_000 },
    'spec.profiling': { profiling: 'Enabled' },
    'spec.sidecar.resources': { sidecar: { resources: { limits: { cpu: '2' } } } },
    'spec.scaling': { scaling: { minReplicas: 2, maxReplicas: 3 } },
    'spec.template': { template: ODD_TEMPLATE },
    'spec.template.spec.serviceAccountName': {
      template: { spec: { serviceAccountName: 'own', containers: [{ name: 'handler', image: 'calculator:1' }] } },
    },
  }
  const settled = async (): Promise<readonly object[]> => {
    await until('it acted on the spec', async () => (await scene.conditions()).some(({ type }) => type === 'Ready'))
    return scene.namespace.said(PARTS, WORKER)
  }
  await scene.applyPolicy({ maxAttempts: 9 })
  const first = await settled()
  for (const [field, spec] of Object.entries(changes)) {
    await scene.applyGroup(spec)
    assert.notDeepEqual(await settled(), first, field)
    await scene.applyGroup()
    assert.deepEqual(await settled(), first, `${field}, and back`)
  }
})

test('what is missing is told, and heals when it appears', async (t) => {
  const scene = await Scene.start(t)
  await scene.applyGroup({ retryPolicyRef: { name: NAME } })
  await scene.untilReason('ReferencesResolved', 'ServiceNotFound')
  await scene.applyService({ redis: { urlSecretRef: { name: 'redis', key: 'url' } } })
  await scene.untilReason('ReferencesResolved', 'SecretMissing')
  const data = { url: Buffer.from('redis://redis:6379').toString('base64') }
  await scene.namespace.apply({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'redis' }, data })
  await scene.untilReason('ReferencesResolved', 'PolicyNotFound')
  await scene.untilReason('WorkersAvailable', 'WorkersAvailable')
  await scene.applyPolicy()
  await scene.untilReason('Ready', 'Ready')
  await scene.namespace.delete('RetryPolicy', NAME)
  const { message } = await scene.untilReason('ReferencesResolved', 'PolicyNotFound')
  assert.match(message, /each call is tried once/)
})

test('of two Responders the older runs, then the other', async (t) => {
  const scene = await readyRoute(t)
  const made = (await scene.namespace.get('ConsumerGroup', NAME))!.metadata as { readonly creationTimestamp?: string }
  // Times of creation have full seconds; of one second the lower uid counts.
  const begun = Date.parse(made.creationTimestamp ?? '')
  await until('another second', () => Date.now() - begun > 2000)
  await scene.applyGroup({}, 'late')
  const { message } = await scene.untilReason('WorkersAvailable', 'Conflict', 'late')
  assert.match(message, /ConsumerGroup calc is older and the Responder of CalculateService calc/)
  assert.equal(await scene.namespace.get('Deployment', 'late-worker'), undefined)
  await scene.namespace.delete('ConsumerGroup', NAME)
  await scene.untilReason('Ready', 'Ready', 'late')
})

test('workers follow what waits in Kafka, down to none and up again', async (t) => {
  const scaling = { minReplicas: 0, maxReplicas: 9, lagPerReplica: 2, stabilizationSeconds: 0, wakeUpSeconds: 30 }
  const scene = await readyRoute(t)
  const producer = new kafkajs.Kafka({ brokers: servers, logLevel: kafkajs.logLevel.NOTHING }).producer()
  await producer.connect()
  atEnd(t, () => producer.disconnect())
  const call = (partition: number) => ({ partition, value: 'x' })
  await producer.send({ topic: scene.topic, messages: [0, 0, 0, 1].map(call) })
  await scene.applyGroup({ scaling })
  await scene.untilReplicas(2)
  await until('that is told', async () => {
    const { desiredReplicas, lag } = await scene.status()
    return desiredReplicas === 2 && lag === 4
  })
  const finish = (offsets: readonly number[]): Promise<boolean | void> =>
    scene.admin.setOffsets({
      groupId: `${scene.namespace.name}-${NAME}`,
      topic: scene.topic,
      partitions: offsets.map((offset, partition) => ({ partition, offset: String(offset) })),
    })
  await finish([3, 1, 0])
  await scene.untilReplicas(0)
  await scene.untilReason('Ready', 'Ready')
  await scene.untilReason('WorkersAvailable', 'ScaledToZero')
  await producer.send({ topic: scene.topic, messages: [2].map(call) })
  await scene.untilReplicas(1)
  await producer.send({ topic: scene.topic, messages: Array.from({ length: 50 }, () => call(2)) })
  // Not above the partitions.
  await scene.untilReplicas(3)
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
  await scene.untilReason('Ready', 'Ready')
  assert.equal(await scene.replicas(), 3)
  await scene.namespace.kubectl('scale', `deployment/${WORKER}`, '--replicas=4')
  await scene.applyGroup({ replicas: 1, handler: { port: 9091 } })
  await scene.untilReason('Ready', 'Ready')
  assert.equal(await scene.replicas(), 4)
  await scene.namespace.delete('HorizontalPodAutoscaler', 'hpa')
  await scene.untilReplicas(1)
})

test('a route that is deleted as a whole keeps its workers until the proxies have ended', async (t) => {
  const scene = await Scene.start(t, {}, WORKERS)
  await scene.applyService()
  await scene.applyGroup()
  const [proxy] = await makePodsReady(scene.namespace, PROXIES)
  await scene.untilReason('Ready', 'Ready')
  await scene.namespace.delete('CalculateService', NAME)
  await scene.namespace.delete('ConsumerGroup', NAME)
  await scene.untilReason('Ready', 'Deleting')
  await until('the proxy is told to end', async () => {
    const now = await scene.namespace.get('Pod', proxy!.metadata.name)
    return now?.metadata.deletionTimestamp !== undefined
  })
  await scene.untilLookedAt(2)
  assert.equal((await scene.status())['readyReplicas'], 1)
  await scene.namespace.delete('Pod', proxy!.metadata.name, 0)
  await until('the group is gone', async () => (await scene.namespace.get('ConsumerGroup', NAME)) === undefined)
  await until('its workers went with it', async () => (await scene.namespace.list('Pod', WORKERS)).length === 0)
})

test('a group that is paused is left alone, and followed again afterwards', async (t) => {
  const scene = await readyRoute(t)
  const pause = (paused: string | null) =>
    scene.namespace.change('ConsumerGroup', NAME, {
      metadata: { annotations: { 'grpckafka.dev/reconciliation': paused } },
    })
  await pause('paused')
  await scene.untilReason('Ready', 'Paused')
  await scene.namespace.change('Deployment', WORKER, { spec: { replicas: 2 } })
  await scene.untilLookedAt(2)
  assert.equal(await scene.replicas(), 2)
  await pause(null)
  await scene.untilReplicas(1)
})
