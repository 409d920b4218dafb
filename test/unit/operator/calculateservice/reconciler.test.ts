import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { CalculateService } from '../../../../crds/types.ts'
import { validateResource } from '../../../../crds/validate.ts'
import { CalculateServiceReconciler } from '../../../../operator/calculateservice/reconciler.ts'
import { CONDITIONS } from '../../../../operator/conditions.ts'
import type { KubeEvent } from '../../../../operator/controller/events.ts'
import { KubeError } from '../../../../operator/controller/kube-error.ts'
import { KafkaProblem } from '../../../../operator/kafka/kafka-problem.ts'
import { TopicLooks } from '../../../../operator/kafka/topic-looks.ts'
import type { KeptLooks } from '../../../../operator/kafka/topic-looks.ts'
import type { ObservedTopic } from '../../../../operator/kafka/topic-plan.ts'
import {
  CALCULATE_SERVICES,
  CONFIG_MAPS,
  CONSUMER_GROUPS,
  DEPLOYMENTS,
  PODS,
  POD_DISRUPTION_BUDGETS,
  RETRY_POLICIES,
  SERVICES,
  SERVICE_ACCOUNTS,
} from '../../../../operator/kinds.ts'
import { resource, type Case } from '../../crds/cases.ts'
import { FakeClock, settle as settled } from '../controller/fake-clock.ts'
import { FakeCluster } from '../fake-cluster.ts'
import { FakeConsul } from '../fake-consul.ts'
import { FakeKafka, unavailable } from '../fake-kafka.ts'
import { applyService, NO_LOOKS, serviceCaches } from './fixture.ts'

const KEY = 'default/calc'
const PROXY = 'default/calc-proxy'
const SIGNAL = new AbortController().signal

/** An operator with a Kubernetes and a Kafka of its own, and time that is moved by hand. */
class World {
  readonly kafka = new FakeKafka()
  readonly consul = new FakeConsul()
  readonly cluster = new FakeCluster()
  readonly events: KubeEvent[] = []
  now = Date.UTC(2026, 0, 2)
  prefixes: Readonly<Record<string, readonly string[]>> = {}
  mayWrite = true
  /** What the cache of services still has, where it is behind. */
  cacheOfService: CalculateService | undefined
  readonly #reconciler: CalculateServiceReconciler

  constructor(looks: KeptLooks = NO_LOOKS) {
    const { cluster, kafka } = this
    const caches = serviceCaches(cluster)
    const { calculateServices } = caches
    this.#reconciler = new CalculateServiceReconciler({
      caches: {
        ...caches,
        calculateServices: { ...calculateServices, get: (key) => this.cacheOfService ?? calculateServices.get(key) },
      },
      writer: cluster,
      reader: cluster.reader,
      kafka: { use: (_access, work) => work(kafka) },
      looks,
      consul: this.consul,
      cluster: '',
      deletionPatienceMilliseconds: 120_000,
      events: { record: (_object, event) => this.events.push(event) },
      clock: { now: () => this.now },
      mayNameTopic: (namespace, topic) => this.prefixes[namespace]?.some((prefix) => topic.startsWith(prefix)) ?? true,
      image: { sidecarImage: 'sidecar:1' },
      mayWrite: () => this.mayWrite,
    })
  }

  /** Somebody applies a CalculateService `calc` that says this. */
  apply(put: Case['put'] = {}, key = KEY): void {
    applyService(this.cluster, put, key)
  }

  reconcile(key = KEY) {
    return this.#reconciler.reconcile(key, SIGNAL)
  }

  /** Reconciles until nothing is written any more. */
  async settle(key = KEY): Promise<void> {
    for (let left = 10; left > 0; left--) {
      const before = this.cluster.writes.length + this.kafka.done.length
      await this.reconcile(key)
      if (this.cluster.writes.length + this.kafka.done.length === before) return
    }
    assert.fail(`it goes on writing:\n${this.cluster.writes.join('\n')}`)
  }

  /** The Deployment's controller says that so many proxies are up. */
  proxies(ready: number, updated = ready): void {
    this.cluster.change(DEPLOYMENTS, PROXY, (object: { metadata: { generation: number } }) => ({
      ...(object as object as CalculateService),
      status: {
        observedGeneration: object.metadata.generation,
        replicas: updated,
        updatedReplicas: updated,
        readyReplicas: ready,
      },
    }))
  }

  delete(): void {
    this.cluster.change(CALCULATE_SERVICES, KEY, (object: CalculateService) => ({
      ...object,
      metadata: { ...object.metadata, deletionTimestamp: new Date(this.now).toISOString() },
    }))
  }

  get service(): CalculateService | undefined {
    return this.cluster.get(CALCULATE_SERVICES, KEY)
  }

  /** `TopicReady=True TopicsReady`, each. */
  conditions(key = KEY): readonly string[] {
    const { status } = this.cluster.get(CALCULATE_SERVICES, key)!
    return (status?.conditions ?? []).map(({ type, status, reason }) => `${type}=${status} ${reason}`)
  }

  message(type: string): string {
    return this.service?.status?.conditions?.find((one) => one.type === type)?.message ?? ''
  }

  origins(): readonly string[] {
    return (this.service?.status?.topics ?? []).map(({ origin }) => origin)
  }

  reasons(): readonly string[] {
    return this.events.map(({ reason }) => reason)
  }
}

const started = async (put: Case['put'] = {}): Promise<World> => {
  const world = new World()
  world.apply(put)
  await world.settle()
  world.proxies(1)
  await world.settle()
  world.cluster.writes.length = 0
  world.kafka.done.length = 0
  world.events.length = 0
  return world
}

const READY = [
  'Ready=True Ready',
  'TopicReady=True TopicsReady',
  'ProxyAvailable=True ProxiesAvailable',
  'Registered=True Registered',
]

describe('a new service', () => {
  test('gets topics, then objects in their order, then one status', async () => {
    const world = new World()
    world.apply()
    await world.reconcile()
    assert.deepEqual(world.kafka.done, ['CreateTopic calc', 'CreateTopic calc.dead'])
    assert.deepEqual(
      world.cluster.writes.toSorted((a, b) => a.localeCompare(b)),
      [
        'apply ConfigMap calc-proxy',
        'apply Deployment calc-proxy',
        'apply PodDisruptionBudget calc-proxy',
        'apply Service calc-proxy',
        'apply ServiceAccount calc-proxy',
        'status CalculateService calc',
      ],
    )
    assert.equal(world.cluster.writes.at(-1), 'status CalculateService calc')
    assert.ok(
      world.cluster.writes.indexOf('apply ConfigMap calc-proxy') <
        world.cluster.writes.indexOf('apply Deployment calc-proxy'),
    )
  })

  test('and one that grows is known from the answers: Kafka is asked once before, and not again', async () => {
    const world = new World()
    world.apply()
    await world.reconcile()
    assert.deepEqual(world.kafka.done, ['CreateTopic calc', 'CreateTopic calc.dead'])
    assert.equal(world.kafka.asked, 1)
    assert.deepEqual(
      world.service?.status?.topics?.map(({ topicId, partitions }) => [topicId, partitions]),
      ['calc', 'calc.dead'].map((name) => [world.kafka.topics.get(name)?.id, world.kafka.topics.get(name)?.partitions]),
    )
    world.apply({ 'spec.topic.partitions': 12 })
    await world.reconcile()
    assert.equal(world.kafka.asked, 2)
    assert.equal(world.service?.status?.topics?.[0]?.partitions, 12)
  })

  test('whose topic somebody else makes meanwhile is looked at again', async () => {
    const world = new World()
    world.apply()
    world.kafka.meanwhile = () => world.kafka.make('calc', 7, 1, {})
    await world.reconcile()
    assert.equal(world.kafka.asked, 2)
    assert.equal(world.service?.status?.topics?.[0]?.partitions, 7)
  })

  test('that is changed while its topic is altered still knows what it has altered, and takes it back', async () => {
    const world = await started()
    world.apply({ 'spec.topic.config': { 'segment.bytes': '1048576' } })
    const before = world.service!
    // Its cache hears of the change late.
    world.kafka.meanwhile = () => {
      world.apply()
      world.cacheOfService = before
    }
    await world.reconcile()
    world.cacheOfService = undefined
    assert.deepEqual(world.kafka.done.splice(0), ['AlterTopic calc'])
    assert.equal(world.service?.status?.topics?.[0]?.config?.['segment.bytes'], '1048576')
    await world.reconcile()
    assert.deepEqual(world.kafka.done, ['AlterTopic calc'])
    assert.equal(world.kafka.topics.get('calc')?.config['segment.bytes'], undefined)
  })

  test('whose status somebody else wrote meanwhile leaves that, and looks again', async () => {
    const world = await started()
    world.apply({ 'spec.topic.config': { 'segment.bytes': '1048576' } })
    const before = world.service!
    world.kafka.meanwhile = () => {
      world.cluster.put({ ...before, status: { ...before.status, clusterId: 'another' } } as CalculateService)
      world.cacheOfService = before
    }
    await assert.rejects(world.reconcile(), { code: 'Conflict' })
    assert.equal(world.service?.status?.clusterId, 'another')
  })

  test('is ready when its proxies are', async () => {
    const world = new World()
    world.apply()
    await world.settle()
    assert.deepEqual(world.conditions()[0], 'Ready=False ProxiesRollingOut')
    world.proxies(0, 1)
    await world.settle()
    assert.deepEqual(world.conditions()[0], 'Ready=False ProxiesUnavailable')
    world.proxies(1)
    await world.settle()
    assert.deepEqual(world.conditions(), READY)
    assert.deepEqual(world.reasons(), [
      'TopicCreated',
      'TopicCreated',
      'ProxiesRollingOut',
      'ProxiesUnavailable',
      'Ready',
    ])
    assert.equal(world.message('TopicReady'), 'calc has 3 partitions, calc.dead has 1 partition')
    assert.equal(world.service?.status?.address, 'calc-proxy.default.svc:8080')
    assert.equal(world.service?.status?.observedGeneration, 1)
  })

  test('whose topic is there and would lose calls starts nothing on it and changes nothing of it', async () => {
    const world = new World()
    const config = { 'cleanup.policy': 'compact', 'min.insync.replicas': '1' }
    world.kafka.make('calc', 1, 3, config)
    world.apply()
    await world.settle()
    assert.deepEqual(world.conditions().slice(1), [
      'TopicReady=False TopicSettingsRefused',
      'ProxyAvailable=False TopicNotOurs',
      'Registered=False TopicNotOurs',
    ])
    assert.deepEqual(world.kafka.done, ['CreateTopic calc.dead'])
    assert.deepEqual(
      world.service?.status?.topics?.map(({ name }) => name),
      ['calc.dead'],
      'no workers are started on it either',
    )
    assert.equal(world.cluster.get(DEPLOYMENTS, PROXY), undefined)
  })

  test('whose topic is bounded by size says so', async () => {
    const world = await started()
    const { config } = world.kafka.topics.get('calc')!
    world.kafka.change('calc', { config: { ...config, 'retention.bytes': { value: '1000', isSet: false } } })
    await world.settle()
    assert.deepEqual(world.conditions(), READY)
    assert.equal(
      world.message('TopicReady'),
      'calc has 3 partitions of at most 1000 bytes (retention.bytes: what is older is deleted, read or not), calc.dead has 1 partition',
    )
  })

  test('whose pods are refused says why', async () => {
    const world = new World()
    world.apply()
    await world.settle()
    world.cluster.change(DEPLOYMENTS, PROXY, (object: CalculateService) => ({
      ...object,
      status: { conditions: [{ type: 'ReplicaFailure', status: 'True', message: 'exceeded quota' }] } as never,
    }))
    await world.settle()
    assert.equal(world.message('ProxyAvailable'), '0 of 1 proxies are ready, 0 are as the spec says; exceeded quota')
  })

  test('is looked at again without a write', async () => {
    const world = await started()
    for (let time = 0; time < 3; time++) await world.reconcile()
    assert.deepEqual([...world.cluster.writes, ...world.kafka.done, ...world.reasons()], [])
  })
})

describe('drift', () => {
  const cases: readonly (readonly [string, (world: World) => void, readonly string[]])[] = [
    ['a Deployment that is gone', (world) => world.cluster.remove(DEPLOYMENTS, PROXY), ['apply Deployment calc-proxy']],
    ['a Service that is gone', (world) => world.cluster.remove(SERVICES, PROXY), ['apply Service calc-proxy']],
    [
      'a ConfigMap that somebody changed',
      (world) => world.cluster.change(CONFIG_MAPS, PROXY, (object: object) => ({ ...object, data: {} }) as never),
      ['apply ConfigMap calc-proxy'],
    ],
  ]
  for (const [name, plant, writes] of cases) {
    test(`${name} is made again, and nothing else is touched`, async () => {
      const world = await started()
      plant(world)
      await world.reconcile()
      assert.deepEqual(
        world.cluster.writes.filter((one) => one.startsWith('apply')),
        writes,
      )
    })
  }

  test('in a topic is reverted and told', async () => {
    const world = await started()
    const { config } = world.kafka.topics.get('calc')!
    world.kafka.change('calc', { config: { ...config, 'max.message.bytes': { value: '1', isSet: true } } })
    await world.settle()
    assert.deepEqual(world.kafka.done, ['AlterTopic calc'])
    assert.deepEqual(world.reasons(), ['TopicDriftReverted'])
    assert.deepEqual(world.cluster.writes, [])
  })

  test('a topic that somebody deleted is made again, told, and remembered under its new id', async () => {
    const world = await started()
    const before = world.service?.status?.topics?.[0]?.topicId
    world.kafka.topics.delete('calc')
    await world.settle()
    assert.deepEqual(world.kafka.done, ['CreateTopic calc'])
    assert.deepEqual(world.reasons(), ['TopicRecreated'])
    const after = world.service?.status?.topics?.[0]
    assert.notEqual(after?.topicId, before)
    assert.equal(after?.origin, 'Created')
  })
})

function putBeside(world: World, kind: 'ConsumerGroup' | 'RetryPolicy', fields: Case['put']): void {
  const result = validateResource(resource(kind, { 'metadata.name': 'calc', ...fields }))
  assert.ok(result.ok, result.ok ? '' : result.problems.join('\n'))
  world.cluster.put({ ...result.resource, metadata: { ...result.resource.metadata, namespace: 'default' } })
}

describe('retry topics', () => {
  const answered = async (role: 'Responder' | 'Observer', ordering = 'None', maxAttempts = 3): Promise<World> => {
    const world = new World()
    world.apply({ 'spec.topic.deletionPolicy': 'Delete' })
    putBeside(world, 'RetryPolicy', { 'spec.maxAttempts': maxAttempts })
    putBeside(world, 'ConsumerGroup', {
      'spec.calculateServiceRef.name': 'calc',
      'spec.retryPolicyRef': { name: 'calc' },
      'spec.role': role,
      'spec.ordering': ordering,
    })
    await world.settle()
    return world
  }
  const topics = ({ kafka }: World): readonly string[] => [...kafka.topics.keys()].toSorted()

  test('are as many as the pauses of the policy of who answers the calls', async () => {
    const world = await answered('Responder')
    assert.deepEqual(topics(world), ['calc', 'calc.dead', 'calc.retry.1', 'calc.retry.2'])
    putBeside(world, 'RetryPolicy', { 'spec.maxAttempts': 5 })
    await world.settle()
    assert.deepEqual(topics(world).slice(2), ['calc.retry.1', 'calc.retry.2', 'calc.retry.3', 'calc.retry.4'])
  })

  test('are none where calls have an order: they are tried again in their place', async () => {
    assert.deepEqual(topics(await answered('Responder', 'Key')), ['calc', 'calc.dead'])
  })

  test('are none for an Observer', async () => {
    assert.deepEqual(topics(await answered('Observer')), ['calc', 'calc.dead'])
  })

  test('stay when the policy needs fewer, or is gone: calls may wait in them', async () => {
    const world = await answered('Responder')
    world.cluster.remove(RETRY_POLICIES, KEY)
    await world.settle()
    assert.equal(topics(world).length, 4)
    assert.equal(world.conditions()[1], 'TopicReady=True TopicsReady')
  })

  test('go with the service, where its topics do', async () => {
    const world = await answered('Responder')
    world.cluster.remove(CONSUMER_GROUPS, KEY)
    world.delete()
    for (let steps = 0; steps < 6 && world.service !== undefined; steps++) await world.reconcile()
    assert.equal(world.service, undefined)
    assert.deepEqual(topics(world), [])
  })
})

describe('a service that keeps what Kafka said', () => {
  const keeping = async (put: Case['put'] = {}) => {
    const clock = new FakeClock()
    const kafka: { now?: FakeKafka } = {}
    const looks = new TopicLooks({
      clock,
      kafka: { use: (_access, work) => work(kafka.now!) },
      everyMilliseconds: 1000,
      changed: () => undefined,
      failed: (error) => assert.fail(String(error)),
    })
    const world = new World(looks)
    kafka.now = world.kafka
    world.apply(put)
    await world.settle()
    world.kafka.asked = 0
    world.kafka.done.length = 0
    world.cluster.writes.length = 0
    const lookAgain = async (): Promise<void> => {
      clock.advance(1000)
      await settled()
    }
    return { world, lookAgain }
  }

  test('does not ask Kafka when only its proxies have changed', async () => {
    const { world } = await keeping()
    world.proxies(1)
    await world.settle()
    assert.deepEqual(world.conditions(), READY)
    assert.equal(world.kafka.asked, 0)
  })

  test('asks Kafka when its spec has changed', async () => {
    const { world } = await keeping()
    world.kafka.topics.delete('calc')
    world.apply({ 'spec.proxy.replicas': 2 })
    await world.reconcile()
    assert.deepEqual(world.kafka.done, ['CreateTopic calc'])
  })

  test('sees what somebody did to a topic at the next look at all of them', async () => {
    const { world, lookAgain } = await keeping()
    world.kafka.topics.delete('calc')
    await world.reconcile()
    assert.deepEqual(world.kafka.done, [])
    await lookAgain()
    await world.reconcile()
    assert.deepEqual(world.kafka.done, ['CreateTopic calc'])
    assert.ok(world.reasons().includes('TopicRecreated'))
  })

  test('sees it also where a look at something else was under way meanwhile', async () => {
    const { world, lookAgain } = await keeping()
    // Its object is written, for another reason, when all topics are looked at.
    world.proxies(1)
    world.cluster.whileWriting = lookAgain
    world.kafka.topics.delete('calc')
    await world.reconcile()
    assert.deepEqual(world.kafka.done, [])
    await world.reconcile()
    assert.deepEqual(world.kafka.done, ['CreateTopic calc'])
  })

  test('asks once more after a topic was made: what the answer says of settings is the one word of who made it', async () => {
    const { world } = await keeping()
    world.kafka.topics.delete('calc')
    world.apply({ 'spec.proxy.replicas': 2 })
    await world.reconcile()
    world.kafka.asked = 0
    await world.reconcile()
    assert.equal(world.kafka.asked, 1)
    await world.reconcile()
    assert.equal(world.kafka.asked, 1)
  })

  test('asks no more of Kafka while it is paused', async () => {
    const { world, lookAgain } = await keeping()
    world.apply({ 'metadata.annotations': { 'grpckafka.dev/reconciliation': 'paused' } })
    await world.reconcile()
    world.kafka.asked = 0
    await lookAgain()
    assert.equal(world.kafka.asked, 0)
  })

  test('tells that Kafka is away once the look at all of them has found out', async () => {
    const { world, lookAgain } = await keeping()
    world.kafka.down = unavailable
    await world.reconcile()
    assert.ok(world.conditions().includes('TopicReady=True TopicsReady'))
    await lookAgain()
    await world.reconcile()
    assert.ok(world.conditions().includes('TopicReady=Unknown KafkaUnavailable'))
  })

  test('deletes by what Kafka says then: another topic of the name stays', async () => {
    const { world } = await keeping({ 'spec.topic.deletionPolicy': 'Delete', 'spec.proxy.replicas': 0 })
    world.kafka.topics.delete('calc')
    world.kafka.make('calc', 7, 1, {})
    world.delete()
    for (let steps = 0; steps < 4 && world.service !== undefined; steps++) await world.reconcile()
    assert.equal(world.service, undefined)
    assert.deepEqual(world.kafka.done, ['DeleteTopic calc.dead'])
  })

  test('keeps nothing while something is wrong with its topics', async () => {
    const { world } = await keeping()
    world.kafka.refuses = { AlterTopic: new KafkaProblem('TopicRefused', 'no') }
    world.apply({ 'spec.topic.config': { 'retention.ms': '86400000' } })
    await world.reconcile()
    world.kafka.refuses = {}
    await world.reconcile()
    assert.ok(world.conditions().includes('TopicReady=True TopicsReady'))
  })
})

describe('a change of the spec', () => {
  test('and back leaves the objects as they were', async () => {
    const world = await started()
    const objects = () =>
      [DEPLOYMENTS, SERVICES, CONFIG_MAPS, SERVICE_ACCOUNTS, POD_DISRUPTION_BUDGETS].map((kind) => {
        const { metadata, ...rest } = world.cluster.get(kind, PROXY) as never as {
          metadata: { labels: object; annotations: object }
          status?: object
        }
        return { ...rest, status: undefined, labels: metadata.labels, annotations: metadata.annotations }
      })
    const before = objects()
    world.apply({
      'spec.proxy.replicas': 4,
      'spec.proxy.maxInFlight': 7,
      'spec.proxy.port': 7000,
      'spec.proxy.template.spec': { priorityClassName: 'high', nodeSelector: { disk: 'ssd' } },
    })
    await world.settle()
    assert.notDeepEqual(objects(), before)
    world.apply()
    await world.settle()
    assert.deepEqual(objects(), before)
  })

  test('that only takes something away takes it away', async () => {
    const world = await started({ 'spec.proxy.template.spec': { priorityClassName: 'high' } })
    world.apply()
    await world.settle()
    const { spec } = world.cluster.get(DEPLOYMENTS, PROXY) as never as { spec: { template: { spec: object } } }
    assert.ok(!('priorityClassName' in spec.template.spec))
  })

  test('that proxies take over while they run does not replace them', async () => {
    const world = await started()
    world.apply({ 'spec.proxy.maxInFlight': 7, 'spec.methods': [{ name: 'Other' }] })
    await world.settle()
    assert.deepEqual(
      world.cluster.writes.filter((one) => one.startsWith('apply')),
      ['apply ConfigMap calc-proxy'],
    )
  })

  test('a setting of the topic that is named no more goes back', async () => {
    const world = await started({ 'spec.topic.config': { 'retention.ms': '3600000' } })
    world.apply()
    await world.settle()
    assert.deepEqual(world.kafka.done, ['AlterTopic calc'])
    assert.equal(world.kafka.topics.get('calc')?.config['retention.ms'], undefined)
  })

  test('to a headless Service makes another one, as one cannot become the other', async () => {
    const world = await started()
    world.cluster.change(SERVICES, PROXY, (object: { spec: object }) => ({
      ...(object as never as CalculateService),
      spec: { ...object.spec, clusterIP: '10.0.0.1' } as never,
    }))
    world.apply({ 'spec.registration.kubernetes': 'Headless' })
    await world.settle()
    const service = world.cluster.writes.filter((one) => one.includes(' Service '))
    assert.deepEqual(service, ['delete Service calc-proxy', 'apply Service calc-proxy'])
  })

  test('to no Service deletes it, and nothing is registered', async () => {
    const world = await started()
    world.apply({ 'spec.registration.kubernetes': 'None' })
    await world.settle()
    assert.equal(world.cluster.get(SERVICES, PROXY), undefined)
    assert.equal(world.conditions()[3], 'Registered=True NotAsked')
    assert.equal(world.service?.status?.address, undefined)
  })
})

describe('what is wrong is told, and heals', () => {
  interface Trouble {
    readonly name: string
    readonly put?: Case['put']
    readonly plant: (world: World) => void
    readonly condition: string
    readonly heal?: (world: World) => void
    readonly again?: number
  }
  const PASSWORD = {
    'spec.kafka.sasl': { mechanism: 'SCRAM-SHA-512', username: 'u', passwordSecretRef: { name: 's', key: 'p' } },
  }
  const secret = (world: World) =>
    world.cluster.put({
      ...({ data: { p: Buffer.from('x').toString('base64') } } as object),
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 's', namespace: 'default' },
    })
  const refuse = (type: 'CreateTopic' | 'AlterTopic', reason: KafkaProblem['reason']) => (world: World) => {
    world.kafka.topics.clear()
    world.kafka.refuses[type] = new KafkaProblem(reason, `creating topic calc: ${reason}`)
  }
  const allow = (world: World) => {
    world.kafka.refuses = {}
    world.kafka.brokers = 3
    world.kafka.down = undefined
  }
  const TROUBLES: readonly Trouble[] = [
    {
      name: 'a Kafka that is away',
      plant: ({ kafka }) => (kafka.down = unavailable),
      condition: 'TopicReady=Unknown KafkaUnavailable',
      heal: allow,
      again: 10_000,
    },
    {
      name: 'a Kafka that does not let us',
      plant: refuse('CreateTopic', 'KafkaNotAuthorized'),
      condition: 'TopicReady=False KafkaNotAuthorized',
      heal: allow,
      again: 60_000,
    },
    {
      name: 'a Kafka that cannot do it',
      plant: refuse('CreateTopic', 'NotSupported'),
      condition: 'TopicReady=False NotSupported',
      heal: allow,
      again: 60_000,
    },
    {
      name: 'a topic that is refused',
      plant: refuse('CreateTopic', 'TopicRefused'),
      condition: 'TopicReady=False TopicRefused',
      heal: allow,
      again: 60_000,
    },
    {
      name: 'fewer brokers than copies',
      plant: ({ kafka }) => {
        kafka.topics.clear()
        kafka.brokers = 2
      },
      condition: 'TopicReady=False TooFewBrokers',
      heal: allow,
      again: 60_000,
    },
    {
      name: 'more partitions than asked for',
      plant: ({ kafka }) => kafka.change('calc', { partitions: 9 }),
      condition: 'TopicReady=False PartitionsWouldShrink',
      heal: (world) => world.apply({ 'spec.topic.partitions': 9 }),
      again: 60_000,
    },
    {
      name: 'partitions to be added while calls have an order',
      plant: (world) => {
        putBeside(world, 'ConsumerGroup', { 'spec.calculateServiceRef.name': 'calc', 'spec.ordering': 'Key' })
        world.kafka.change('calc', { partitions: 2 })
      },
      condition: 'TopicReady=False PartitionsWait',
      heal: ({ kafka }) => kafka.change('calc', { partitions: 3 }),
      again: 5000,
    },
    {
      name: 'a topic of other copies',
      plant: ({ kafka }) => kafka.change('calc', { replicationFactor: 1 }),
      condition: 'TopicReady=False ReplicationFactorDiffers',
      heal: ({ kafka }) => kafka.change('calc', { replicationFactor: 3 }),
      again: 60_000,
    },
    {
      name: 'settings that would lose calls',
      plant: (world) => world.apply({ 'spec.topic.config': { 'retention.ms': '1' } }),
      condition: 'TopicReady=False TopicSettingsRefused',
      heal: (world) => world.apply(),
      again: 60_000,
    },
    {
      name: 'brokers that keep calls for less than they may wait',
      plant: ({ kafka }) =>
        kafka.change('calc', {
          config: { ...kafka.topics.get('calc')?.config, 'retention.ms': { value: '2999', isSet: false } },
        }),
      condition: 'TopicReady=False TopicSettingsRefused',
      heal: (world) => world.apply({ 'spec.topic.config': { 'retention.ms': '3000' } }),
      again: 60_000,
    },
    {
      name: 'a topic that somebody else compacts',
      plant: ({ kafka }) => {
        kafka.topics.clear()
        kafka.make('calc', 3, 3, { 'cleanup.policy': 'compact' })
      },
      condition: 'TopicReady=False TopicSettingsRefused',
      heal: ({ kafka }) => kafka.change('calc', { config: { 'cleanup.policy': { value: 'delete', isSet: false } } }),
      again: 60_000,
    },
    {
      name: 'a name that the namespace may not use',
      plant: (world) => (world.prefixes = { default: ['team-a.'] }),
      condition: 'TopicReady=False TopicNotAllowed',
      heal: (world) => (world.prefixes = {}),
    },
    {
      name: 'an object of its name that belongs to somebody else',
      plant: (world) =>
        world.cluster.change(SERVICE_ACCOUNTS, PROXY, (object: CalculateService) => ({
          ...object,
          metadata: { ...object.metadata, ownerReferences: [] },
        })),
      condition: 'ProxyAvailable=False NameTaken',
      heal: (world) => world.cluster.remove(SERVICE_ACCOUNTS, PROXY),
      again: 30_000,
    },
    {
      name: 'a Service of its name that belongs to somebody else',
      plant: (world) =>
        world.cluster.change(SERVICES, PROXY, (object: CalculateService) => ({
          ...object,
          metadata: { ...object.metadata, ownerReferences: [] },
        })),
      condition: 'Registered=False NameTaken',
      heal: (world) => world.cluster.remove(SERVICES, PROXY),
      again: 30_000,
    },
    {
      name: 'no proxies wanted',
      plant: (world) => world.apply({ 'spec.proxy.replicas': 0 }),
      condition: 'ProxyAvailable=False ScaledToZero',
      heal: (world) => {
        world.apply()
      },
    },
    {
      name: 'a Secret of Kafka that is missing',
      plant: (world) => world.apply(PASSWORD),
      condition: 'TopicReady=False SecretMissing',
      heal: secret,
    },
    {
      name: 'a Secret of Redis that is missing',
      plant: (world) => world.apply({ 'spec.redis': { urlSecretRef: { name: 's', key: 'p' } } }),
      condition: 'ProxyAvailable=False SecretMissing',
      heal: secret,
    },
  ]
  for (const { name, plant, condition, heal, again } of TROUBLES) {
    test(name, async () => {
      const world = await started()
      plant(world)
      await world.settle()
      assert.ok(world.conditions().includes(condition), world.conditions().join('\n'))
      assert.equal(world.conditions()[0]?.split(' ')[1], condition.split(' ')[1])
      assert.equal((await world.reconcile()).requeueAfterMilliseconds, again)
      heal?.(world)
      await world.settle()
      world.proxies(1)
      await world.settle()
      assert.deepEqual(world.conditions(), READY)
    })
  }

  test('an object that the API server refuses, and the reconcile fails so that it is tried again', async () => {
    const world = new World()
    world.apply()
    world.cluster.refuses.set('apply Deployment', new KubeError('Invalid', 'Deployment calc-proxy: no'))
    world.cluster.refuses.set('apply Service calc', new KubeError('Invalid', 'Service calc-proxy: no'))
    await assert.rejects(world.reconcile(), { code: 'Invalid' })
    assert.deepEqual(world.conditions(), [
      'Ready=False NotApplied',
      'TopicReady=True TopicsReady',
      'ProxyAvailable=False NotApplied',
      'Registered=False NotApplied',
    ])
    world.cluster.refuses.clear()
    await world.settle()
    assert.equal(world.conditions()[0], 'Ready=False ProxiesRollingOut')
  })

  test('a finalizer that the API server refuses', async () => {
    const world = new World()
    world.apply({ 'spec.topic.deletionPolicy': 'Delete' })
    world.cluster.refuses.set('finalizers', new KubeError('Forbidden', 'finalizers: no'))
    await assert.rejects(world.reconcile(), { code: 'Forbidden' })
    assert.ok(world.conditions().includes('TopicReady=False NotApplied'))
    assert.deepEqual(world.kafka.done, [], 'no topic is made that would not be deleted')
  })

  test('that another operator may lead by now changes nothing, in Kafka neither, and is no condition', async () => {
    const world = new World()
    world.apply()
    world.mayWrite = false
    await assert.rejects(world.reconcile(), { code: 'NotLeading' })
    assert.deepEqual([world.kafka.done, world.conditions()], [[], []])
  })

  test('that somebody else changed the object meanwhile is no condition', async () => {
    const world = new World()
    world.apply()
    world.cluster.refuses.set('apply Deployment', new KubeError('Conflict', 'changed'))
    await assert.rejects(world.reconcile(), { code: 'Conflict' })
    assert.deepEqual(world.conditions(), [])
  })

  test('every reason of every condition is told here somewhere', () => {
    const told = new Set(TROUBLES.map(({ condition }) => condition.replace(/=\w+ /, ' ')))
    const elsewhere = new Set([
      'TopicReady TopicsReady',
      'TopicReady TopicConflict',
      'TopicReady NotApplied',
      'ProxyAvailable ProxiesAvailable',
      'ProxyAvailable ProxiesRollingOut',
      'ProxyAvailable ProxiesUnavailable',
      'ProxyAvailable TopicNotOurs',
      'ProxyAvailable NotApplied',
      'Registered Registered',
      'Registered NotAsked',
      'Registered TopicNotOurs',
      'Registered NotApplied',
      'Ready Ready',
      'Ready Paused',
      'Ready Deleting',
      // See consul.test.ts.
      'Registered Registering',
      'Registered ConsulUnavailable',
      'Registered ConsulNotAuthorized',
      'Registered ConsulRefused',
      'Registered SecretMissing',
      // See plan.test.ts.
      'Registered ConsulNameTaken',
    ])
    const all = Object.entries(CONDITIONS.CalculateService).flatMap(([type, reasons]) =>
      Object.keys(reasons).map((reason) => `${type} ${reason}`),
    )
    assert.deepEqual(
      all.filter((one) => !told.has(one) && !elsewhere.has(one)),
      [],
    )
  })
})

describe('of two services with one topic', () => {
  test('the older keeps it, and the other touches nothing until the first is gone', async () => {
    const world = await started()
    world.apply({ 'metadata.creationTimestamp': '2026-01-01T00:00:05Z' }, 'default/late')
    await world.settle('default/late')
    assert.deepEqual(world.conditions('default/late'), [
      'Ready=False TopicConflict',
      'TopicReady=False TopicConflict',
      'ProxyAvailable=False TopicNotOurs',
      'Registered=False TopicNotOurs',
    ])
    assert.deepEqual(world.kafka.done, [])
    assert.equal(world.cluster.get(DEPLOYMENTS, 'default/late-proxy'), undefined)
    await world.settle()
    assert.deepEqual(world.conditions(), READY)

    world.cluster.remove(CALCULATE_SERVICES, KEY)
    await world.settle('default/late')
    assert.equal(world.conditions('default/late')[1], 'TopicReady=True TopicsReady')
    assert.equal(world.cluster.get(CALCULATE_SERVICES, 'default/late')?.status?.topics?.[0]?.origin, 'Adopted')
  })

  test('the younger touches nothing at its first look, by whatever address it names the Kafka', async () => {
    const world = new World()
    world.apply()
    await world.settle()
    const before = world.kafka.done.length
    const elsewhere = { 'spec.kafka.bootstrapServers': ['elsewhere:9092'], 'spec.topic.partitions': 12 }
    world.apply({ ...elsewhere, 'metadata.creationTimestamp': '2026-01-01T00:00:05Z' }, 'default/late')
    await world.settle('default/late')
    assert.equal(world.conditions('default/late')[1], 'TopicReady=False TopicConflict')
    assert.equal(world.kafka.done.length, before)
    assert.equal(world.cluster.get(DEPLOYMENTS, 'default/late-proxy'), undefined)
    assert.deepEqual(world.cluster.get(CALCULATE_SERVICES, 'default/late')?.status?.topics, [])
  })

  test('the younger has the topic of its name once it names another Kafka', async () => {
    const world = new World()
    world.apply()
    await world.settle()
    const late = { 'metadata.creationTimestamp': '2026-01-01T00:00:05Z' }
    world.apply({ ...late, 'spec.kafka.bootstrapServers': ['elsewhere:9092'] }, 'default/late')
    await world.settle('default/late')
    world.kafka.cluster = 'another'
    world.kafka.topics.clear()
    world.apply({ ...late, 'spec.kafka.bootstrapServers': ['another:9092'] }, 'default/late')
    await world.settle('default/late')
    assert.equal(world.conditions('default/late')[1], 'TopicReady=True TopicsReady')
  })

  test('a topic that another one uses stays when its maker goes, also one who may not use the name any more', async () => {
    const world = new World()
    world.apply({ 'spec.topic.deletionPolicy': 'Delete' })
    await world.settle()
    world.prefixes = { default: ['other.'] }
    world.apply({ 'metadata.creationTimestamp': '2026-01-01T00:00:05Z' }, 'team/heir')
    await world.settle('team/heir')
    assert.equal(world.conditions('team/heir')[1], 'TopicReady=True TopicsReady')
    world.delete()
    await world.settle()
    world.now += 3_600_000
    await world.settle()
    world.cluster.remove(DEPLOYMENTS, PROXY)
    await world.settle()
    assert.equal(world.service, undefined)
    assert.ok(world.kafka.topics.has('calc'))
  })

  test('one that may not use the name keeps nobody from it', async () => {
    const world = new World()
    world.prefixes = { other: ['other.'] }
    world.apply({ 'metadata.creationTimestamp': '2025-01-01T00:00:00Z' }, 'other/calc')
    world.apply()
    await world.settle()
    assert.equal(world.conditions()[1], 'TopicReady=True TopicsReady')
  })
})

describe('a paused service', () => {
  const pause = (world: World) =>
    world.apply({ 'metadata.annotations': { 'grpckafka.dev/reconciliation': 'paused' }, 'spec.proxy.replicas': 3 })
  test('is left alone, says so, and says what was true before', async () => {
    const world = await started()
    pause(world)
    world.kafka.topics.clear()
    world.cluster.remove(DEPLOYMENTS, PROXY)
    await world.settle()
    assert.deepEqual(world.cluster.writes, ['status CalculateService calc'])
    assert.deepEqual(world.conditions(), ['Ready=Unknown Paused', ...READY.slice(1)])
    assert.deepEqual(world.kafka.done, [])
  })

  test('goes on where it was when it is no longer', async () => {
    const world = await started()
    pause(world)
    await world.settle()
    world.apply({ 'metadata.annotations': {} })
    await world.settle()
    assert.deepEqual(world.conditions(), READY)
  })
})

describe('a service that is deleted', () => {
  const DELETE = { 'spec.topic.deletionPolicy': 'Delete' }
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'calc-proxy-1',
      namespace: 'default',
      labels: { 'app.kubernetes.io/component': 'proxy', 'grpckafka.dev/service': 'calc' },
    },
  }

  test('and retains its topics is kept by nothing', async () => {
    const world = await started()
    assert.deepEqual(world.service?.metadata.finalizers ?? [], [])
    world.delete()
    assert.deepEqual(await world.reconcile(), {})
    assert.deepEqual([...world.cluster.writes, ...world.kafka.done], [])
  })

  test('and deletes its topics goes in order: proxies, topics, itself', async () => {
    const world = await started(DELETE)
    world.cluster.put(pod)
    world.delete()
    await world.reconcile()
    assert.deepEqual(world.cluster.writes, ['delete Deployment calc-proxy', 'status CalculateService calc'])
    await world.reconcile()
    assert.equal(world.conditions()[0], 'Ready=False Deleting')
    assert.equal(world.message('Ready'), '1 proxies finish the calls that they have')
    assert.deepEqual(world.kafka.done, [])
    world.cluster.remove(PODS, 'default/calc-proxy-1')
    await world.reconcile()
    assert.deepEqual(world.kafka.done, ['DeleteTopic calc', 'DeleteTopic calc.dead'])
    assert.equal(world.service, undefined)
  })

  test('waits for its proxies no longer than they may take', async () => {
    const world = await started(DELETE)
    world.cluster.put(pod)
    world.delete()
    await world.reconcile()
    // 3 s, the longest timeout, and 15 s.
    world.now += 17_999
    assert.deepEqual(await world.reconcile(), { requeueAfterMilliseconds: 1 })
    world.now += 1
    await world.reconcile()
    assert.equal(world.service, undefined)
    assert.deepEqual(world.kafka.done, ['DeleteTopic calc', 'DeleteTopic calc.dead'])
  })

  test('waits for Kafka for two minutes, and then leaves its topics, and says so', async () => {
    const world = await started(DELETE)
    world.delete()
    await world.reconcile()
    world.kafka.down = unavailable
    world.now += 18_000 + 119_999
    await world.reconcile()
    assert.match(world.message('Ready'), /its topics cannot be deleted yet: kafka:9092: no broker answers/)
    world.now += 1
    await world.reconcile()
    assert.equal(world.service, undefined)
    assert.equal(world.kafka.topics.size, 2)
    assert.equal(world.reasons().at(-1), 'TopicsLeft')
  })

  test('gives up topics that Kafka will not delete', async () => {
    const world = await started(DELETE)
    world.kafka.refuses.DeleteTopic = new KafkaProblem('KafkaNotAuthorized', 'deleting topic calc: no')
    world.delete()
    await world.reconcile()
    await world.reconcile()
    assert.equal(world.message('Ready'), 'deleting topic calc: no')
    world.now += 138_000
    await world.reconcile()
    assert.equal(world.service, undefined)
    assert.equal(world.reasons().at(-1), 'TopicsLeft')
  })

  test('deletes its topics also where nobody looked until its time was over', async () => {
    const world = await started(DELETE)
    world.delete()
    world.now += 3_600_000
    await world.settle()
    assert.equal(world.service, undefined)
    assert.deepEqual([...world.kafka.topics.keys()], [])
    assert.ok(!world.reasons().includes('TopicsLeft'))
  })

  test('deletes no topic that was there before', async () => {
    const world = new World()
    world.kafka.make('calc', 3, 3, {})
    world.apply(DELETE)
    await world.settle()
    world.delete()
    await world.settle()
    assert.deepEqual([...world.kafka.topics.keys()], ['calc'])
  })

  test('deletes no topic that another one waits for', async () => {
    const world = await started(DELETE)
    world.apply({ 'metadata.creationTimestamp': '2026-01-01T00:00:05Z' }, 'default/late')
    world.delete()
    await world.settle()
    assert.equal(world.service, undefined)
    assert.equal(world.kafka.topics.size, 2)
  })

  test('also one that is paused', async () => {
    const world = await started(DELETE)
    world.apply({ ...DELETE, 'metadata.annotations': { 'grpckafka.dev/reconciliation': 'paused' } })
    world.delete()
    await world.settle()
    assert.equal(world.service, undefined)
  })

  test('also one whose settings are refused', async () => {
    const world = await started(DELETE)
    world.apply({ ...DELETE, 'spec.topic.config': { 'retention.ms': '1' } })
    world.delete()
    await world.settle()
    assert.equal(world.kafka.topics.size, 0)
  })
})

describe('a topic that somebody else makes exactly as it was asked for', () => {
  const DELETE = { 'spec.topic.deletionPolicy': 'Delete' }
  const copyOf = (topic: ObservedTopic): Readonly<Record<string, string>> =>
    Object.fromEntries(Object.entries(topic.config).map(([name, { value }]) => [name, value]))

  /** What a service gets, made by somebody else. */
  async function twin(): Promise<(world: World) => void> {
    const { kafka } = await started()
    return (world) => {
      for (const topic of kafka.topics.values()) {
        world.kafka.make(topic.name, topic.partitions, topic.replicationFactor, copyOf(topic))
      }
    }
  }
  const staysAfterDeletion = async (world: World): Promise<void> => {
    await world.settle()
    assert.deepEqual(world.origins(), ['Adopted', 'Adopted'])
    assert.equal(world.service?.metadata.annotations?.['grpckafka.dev/announced-topics'], undefined)
    world.delete()
    await world.settle()
    assert.equal(world.service, undefined)
    assert.equal(world.kafka.topics.size, 2)
  }

  test('between the look and the request is adopted, and no event says that it was created', async () => {
    const world = new World()
    const make = await twin()
    world.apply(DELETE)
    world.kafka.meanwhile = () => make(world)
    await staysAfterDeletion(world)
    assert.ok(!world.reasons().includes('TopicCreated'))
  })

  for (const reason of ['TopicRefused', 'KafkaNotAuthorized', 'NotSupported'] as const) {
    test(`after a refusal (${reason}) is adopted`, async () => {
      const world = new World()
      const make = await twin()
      world.apply(DELETE)
      world.kafka.refuses.CreateTopic = new KafkaProblem(reason, 'no', { errorCode: 44 })
      await world.settle()
      // A Kafka that is away meanwhile makes the refusal none the less.
      world.kafka.down = unavailable
      await world.settle()
      world.kafka.down = undefined
      make(world)
      await staysAfterDeletion(world)
    })
  }

  test('is adopted also where another one of the service is the one that was asked for', async () => {
    const world = new World()
    const make = await twin()
    world.apply(DELETE)
    world.kafka.refuses.CreateTopic = unavailable
    await world.reconcile()
    world.kafka.refuses = {}
    make(world)
    world.kafka.topics.delete('calc')
    await world.settle()
    assert.deepEqual(world.origins(), ['Created', 'Adopted'])
  })

  test('and that was made by a request whose answer was lost is our own', async () => {
    const world = new World()
    world.apply(DELETE)
    world.kafka.losesAnswer = true
    await world.settle()
    assert.deepEqual(world.origins(), ['Created', 'Created'])
  })

  test('and that was made so, and is seen only by the next request, is our own', async () => {
    const world = new World()
    world.apply(DELETE)
    world.kafka.losesAnswer = true
    await world.reconcile()
    const made = world.kafka.topics.get('calc')!
    world.kafka.topics.delete('calc')
    world.kafka.meanwhile = () => world.kafka.topics.set('calc', made)
    // The service forgets what it saw: a broker that lags.
    world.cluster.change(CALCULATE_SERVICES, KEY, ({ status: _, ...object }: CalculateService) => object)
    await world.settle()
    assert.deepEqual(world.origins(), ['Created', 'Created'])
  })
})

describe('an operator that ends at any point', () => {
  for (const step of ['CreateTopic'] as const) {
    test(`right behind ${step}: the topic is known as made for the service, and deleted with it`, async () => {
      const world = new World()
      world.apply({ 'spec.topic.deletionPolicy': 'Delete' })
      world.kafka.crashAfter = step
      await assert.rejects(world.reconcile(), /gone/)
      assert.equal(world.service?.status, undefined)
      await world.settle()
      assert.deepEqual(world.origins(), ['Created', 'Created'])
      assert.equal(world.service?.metadata.annotations?.['grpckafka.dev/announced-topics'], undefined)
      world.delete()
      await world.settle()
      assert.equal(world.kafka.topics.size, 0)
    })
  }

  test('before its status is written: the same', async () => {
    const world = new World()
    world.apply({ 'spec.topic.deletionPolicy': 'Delete' })
    world.cluster.refuses.set('status', new KubeError('NotLeading', 'gone'))
    await assert.rejects(world.reconcile(), { code: 'NotLeading' })
    world.cluster.refuses.clear()
    await world.settle()
    assert.deepEqual(world.origins(), ['Created', 'Created'])
  })
})
