import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { CalculateService, ConsumerGroup } from '../../../../crds/types.ts'
import { bySecret, podByService } from '../../../../operator/calculateservice/observe.ts'
import { AUTOSCALER_INDEXES, GROUP_INDEXES } from '../../../../operator/consumergroup/observe.ts'
import type { AskedGroup } from '../../../../operator/consumergroup/observe.ts'
import type { GroupReading } from '../../../../operator/consumergroup/observed.ts'
import { GroupReconciler } from '../../../../operator/consumergroup/reconciler.ts'
import type { KubeEvent } from '../../../../operator/controller/events.ts'
import { KubeError } from '../../../../operator/controller/kube-error.ts'
import {
  AUTOSCALERS,
  CALCULATE_SERVICES,
  CONFIG_MAPS,
  CONSUMER_GROUPS,
  DEPLOYMENTS,
  PODS,
  RETRY_POLICIES,
  SECRETS,
  SERVICE_ACCOUNTS,
} from '../../../../operator/kinds.ts'
import type { Deployment } from '../../../../operator/kinds.ts'
import type { Case } from '../../crds/cases.ts'
import { FakeCluster } from '../fake-cluster.ts'
import { aGroup, aPolicy, aService, IMAGE, T0 } from './fixture.ts'

const KEY = 'team/calculator'
const WORKER = 'team/calculator-worker'
const SIGNAL = new AbortController().signal

/** An operator with a Kubernetes of its own, a Kafka that says what it is told to, and time that is moved by hand. */
class World {
  readonly cluster = new FakeCluster()
  readonly events: KubeEvent[] = []
  readonly asked: AskedGroup[] = []
  reading: GroupReading | undefined = { known: true, lag: 0, members: 1 }
  now = T0
  readonly #reconciler: GroupReconciler

  constructor() {
    const { cluster } = this
    this.#reconciler = new GroupReconciler({
      caches: {
        consumerGroups: cluster.cache(CONSUMER_GROUPS, GROUP_INDEXES),
        calculateServices: cluster.cache(CALCULATE_SERVICES),
        retryPolicies: cluster.cache(RETRY_POLICIES),
        secrets: cluster.cache(SECRETS),
        deployments: cluster.cache(DEPLOYMENTS),
        serviceAccounts: cluster.cache(SERVICE_ACCOUNTS),
        configMaps: cluster.cache(CONFIG_MAPS),
        pods: cluster.cache(PODS, { service: podByService }),
        autoscalers: cluster.cache(AUTOSCALERS, AUTOSCALER_INDEXES),
      },
      readings: {
        latest: (_key, asked) => {
          this.asked.push(asked)
          return this.reading
        },
        forget: () => undefined,
      },
      writer: cluster,
      events: { record: (_object, event) => this.events.push(event) },
      now: () => this.now,
      image: IMAGE,
    })
  }

  /** Somebody applies it; what the operator keeps of it stays. */
  apply(spec: Case['put'] = {}): void {
    const written = aGroup({ 'metadata.finalizers': [], ...spec })
    const key = `team/${written.metadata.name}`
    const before = this.cluster.get(CONSUMER_GROUPS, key)
    const { finalizers = [], generation = 0, uid = written.metadata.uid } = before?.metadata ?? {}
    const metadata = {
      ...written.metadata,
      finalizers,
      generation: generation + 1,
      ...(uid === undefined ? {} : { uid }),
    }
    const put: ConsumerGroup = { ...before, ...written, metadata }
    this.cluster.put(put)
  }

  reconcile(key = KEY) {
    return this.#reconciler.reconcile(key, SIGNAL)
  }

  /** Reconciles until nothing is written any more. */
  async settle(key = KEY): Promise<void> {
    for (let left = 10; left > 0; left--) {
      const before = this.cluster.writes.length
      await this.reconcile(key)
      if (this.cluster.writes.length === before) return
    }
    assert.fail(`it goes on writing:\n${this.cluster.writes.join('\n')}`)
  }

  /** The Deployment's controller says that so many workers are up, and ready. */
  workers(count: number): void {
    this.cluster.change(DEPLOYMENTS, WORKER, (object: Deployment) => ({
      ...object,
      status: {
        observedGeneration: object.metadata.generation,
        replicas: count,
        updatedReplicas: count,
        readyReplicas: count,
      },
    }))
  }

  get group(): ConsumerGroup | undefined {
    return this.cluster.get(CONSUMER_GROUPS, KEY)
  }

  get replicas(): number | undefined {
    return this.cluster.get(DEPLOYMENTS, WORKER)?.spec?.replicas
  }

  /** `False ServiceNotFound` */
  ready(key = KEY): string {
    const ready = this.cluster.get(CONSUMER_GROUPS, key)?.status?.conditions?.find(({ type }) => type === 'Ready')
    return `${ready?.status} ${ready?.reason}`
  }
}

/** All is well, and nothing was written since. */
async function started(put: Case['put'] = {}): Promise<World> {
  const world = new World()
  world.cluster.put(aService())
  world.apply(put)
  await world.settle()
  world.workers(world.replicas ?? 1)
  await world.settle()
  world.cluster.writes.length = 0
  world.events.length = 0
  return world
}

describe('a ConsumerGroup', () => {
  test('is made from its resource, in order, and told of once', async () => {
    const world = new World()
    world.cluster.put(aService())
    world.apply()
    await world.reconcile()
    assert.deepEqual(world.cluster.writes, [
      'finalizers [grpckafka.dev/drain]',
      'apply ServiceAccount calculator-worker',
      'apply ConfigMap calculator-worker',
      'apply Deployment calculator-worker',
      'status ConsumerGroup calculator',
    ])
    assert.equal(world.ready(), 'False WorkersRollingOut')
    world.workers(1)
    await world.settle()
    assert.equal(world.ready(), 'True Ready')
    assert.deepEqual(
      world.events.map(({ reason }) => reason),
      ['WorkersRollingOut', 'Ready'],
    )
  })

  test('that is as it should be is looked at again, and nothing is written', async () => {
    const world = await started()
    assert.deepEqual(await world.reconcile(), { requeueAfterMilliseconds: 30_000 })
    assert.deepEqual(world.cluster.writes, [])
    assert.deepEqual(world.events, [])
  })

  test('is mended where somebody changed or deleted something', async () => {
    const world = await started()
    world.cluster.change(
      DEPLOYMENTS,
      WORKER,
      (object: Deployment) => ({ ...object, spec: { ...object.spec, replicas: 5 } }) as Deployment,
    )
    world.cluster.remove(CONFIG_MAPS, WORKER)
    await world.settle()
    assert.deepEqual(world.cluster.writes.slice(0, 2), [
      'apply ConfigMap calculator-worker',
      'apply Deployment calculator-worker',
    ])
    assert.equal(world.replicas, 1)
  })

  test('heals when its service appears', async () => {
    const world = new World()
    world.apply()
    await world.settle()
    assert.equal(world.ready(), 'False ServiceNotFound')
    world.cluster.put(aService())
    await world.settle()
    assert.equal(world.ready(), 'False WorkersRollingOut')
  })

  test('heals when a Secret appears', async () => {
    const world = new World()
    world.cluster.put(aService({ 'spec.redis.passwordSecretRef': { name: 'redis', key: 'password' } }))
    world.apply()
    await world.settle()
    assert.equal(world.ready(), 'False SecretMissing')
    assert.equal(world.cluster.get(DEPLOYMENTS, WORKER), undefined)
    const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'redis', namespace: 'team' } }
    world.cluster.put({ ...secret, data: { password: 'cGFzcw==' } } as never)
    await world.settle()
    assert.equal(world.ready(), 'False WorkersRollingOut')
  })

  test("heals when the Secret with a receiver's keys appears, which the proxies do without", async () => {
    const world = new World()
    const receivers = [{ host: 'hooks.example.com', secretRef: { name: 'hooks', key: 'example' } }]
    const service = aService({ 'spec.callbacks': { receivers } })
    assert.ok(bySecret(service).includes('team/hooks'), 'nobody would hear of it')
    world.cluster.put(service)
    world.apply()
    await world.settle()
    assert.equal(world.ready(), 'False SecretMissing')
    const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'hooks', namespace: 'team' } }
    world.cluster.put({ ...secret, data: { example: 'd2hzZWNf' } } as never)
    await world.settle()
    assert.equal(world.ready(), 'False WorkersRollingOut')
  })

  test('takes over what its policy says while it runs, and goes on without it', async () => {
    const world = await started({ 'spec.retryPolicyRef': { name: 'quick' } })
    const attempts = (): unknown => {
      const map = world.cluster.get(CONFIG_MAPS, WORKER) as { data?: Record<string, string> } | undefined
      const config = JSON.parse(map?.data?.['sidecar.json'] ?? '{}') as { worker: { retry?: { maxAttempts: number } } }
      return config.worker.retry?.maxAttempts
    }
    assert.deepEqual([world.ready(), attempts()], ['False PolicyNotFound', undefined])
    world.cluster.put(aPolicy({ 'spec.maxAttempts': 7 }))
    await world.settle()
    assert.deepEqual([world.ready(), attempts()], ['True Ready', 7])
    assert.ok(!world.cluster.writes.includes('apply Deployment calculator-worker'), 'pods are not replaced for it')
    world.cluster.remove(RETRY_POLICIES, 'team/quick')
    await world.settle()
    assert.deepEqual([world.ready(), attempts()], ['False PolicyNotFound', undefined])
  })

  test('that is not there is nobody', async () => {
    const world = new World()
    assert.deepEqual(await world.reconcile(), {})
    assert.deepEqual(world.cluster.writes, [])
  })

  test('of two Responders the older runs, and the younger when the older is gone', async () => {
    const world = await started()
    const younger = {
      'metadata.name': 'later',
      'metadata.creationTimestamp': '2025-12-24T00:00:00Z',
      'spec.groupId': 'b',
    }
    world.apply(younger)
    await world.settle('team/later')
    assert.equal(world.ready('team/later'), 'False Conflict')
    assert.equal(world.cluster.get(DEPLOYMENTS, 'team/later-worker'), undefined)
    await world.settle()
    assert.equal(world.ready(), 'True Ready')
    world.cluster.remove(CONSUMER_GROUPS, KEY)
    await world.settle('team/later')
    assert.ok(world.cluster.get(DEPLOYMENTS, 'team/later-worker'))
  })

  test('tells what the API server refuses, and is tried again', async () => {
    const world = new World()
    world.cluster.put(aService())
    world.apply()
    world.cluster.refuses.set('apply Deployment', new KubeError('Invalid', 'spec.template: names no image'))
    await assert.rejects(world.reconcile(), /names no image/)
    assert.equal(world.ready(), 'False NotApplied')
    world.cluster.refuses.clear()
    await world.settle()
    assert.equal(world.ready(), 'False WorkersRollingOut')
  })

  test('does not tell that it was looked at too late', async () => {
    const world = new World()
    world.cluster.put(aService())
    world.apply()
    world.cluster.refuses.set('finalizers', new KubeError('Conflict', 'another version'))
    await assert.rejects(world.reconcile(), /another version/)
    assert.equal(world.group?.status, undefined)
  })

  test('that is deleted lets go when nobody needs its workers', async () => {
    const world = await started()
    world.cluster.change(CONSUMER_GROUPS, KEY, (object: ConsumerGroup) => ({
      ...object,
      metadata: { ...object.metadata, deletionTimestamp: new Date(T0).toISOString() },
    }))
    await world.reconcile()
    assert.deepEqual(world.cluster.writes, ['finalizers []'])
    assert.equal(world.group, undefined)
  })

  test('that is deleted with its service stays until the proxies have ended', async () => {
    const world = await started()
    const deletionTimestamp = new Date(T0).toISOString()
    const proxy = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: 'p',
        namespace: 'team',
        labels: { 'grpckafka.dev/service': 'calculator', 'app.kubernetes.io/component': 'proxy' },
        deletionTimestamp: new Date(T0 + 45_000).toISOString(),
      },
    }
    world.cluster.put(proxy)
    world.cluster.remove(CALCULATE_SERVICES, KEY)
    world.cluster.change(CONSUMER_GROUPS, KEY, (object: ConsumerGroup) => ({
      ...object,
      metadata: { ...object.metadata, deletionTimestamp },
    }))
    assert.deepEqual(await world.reconcile(), { requeueAfterMilliseconds: 1000 })
    assert.equal(world.ready(), 'False Deleting')
    world.cluster.remove(PODS, 'team/p')
    await world.reconcile()
    assert.equal(world.group, undefined)
  })
})

describe('scaling', () => {
  const scaling = { minReplicas: 0, maxReplicas: 5, lagPerReplica: 10, stabilizationSeconds: 60 }

  test('follows what waits: up at once, down after the window, to zero, and up again', async () => {
    const world = await started({ 'spec.scaling': { ...scaling, wakeUpSeconds: 1 } })
    const see = async (lag: number, seconds: number): Promise<number | undefined> => {
      world.now += seconds * 1000
      world.reading = { known: true, lag, members: 1 }
      await world.settle()
      return world.replicas
    }
    assert.equal(await see(41, 10), 5)
    assert.equal(world.group?.status?.desiredReplicas, 5)
    assert.equal(await see(0, 30), 5)
    assert.equal(await see(0, 31), 0)
    assert.deepEqual(await world.reconcile(), { requeueAfterMilliseconds: 2000 })
    assert.equal(await see(1, 10), 1)
    assert.deepEqual(
      world.events.filter(({ reason }) => reason === 'Scaled').map(({ note }) => note),
      ['from 1 to 5: 41 calls wait', 'from 5 to 0: 0 calls wait', 'from 0 to 1: 1 calls wait'],
    )
  })

  test('keeps the number while Kafka does not answer, and says so', async () => {
    const world = await started({ 'spec.scaling': { ...scaling, wakeUpSeconds: 1 } })
    world.reading = { known: true, lag: 30, members: 1 }
    await world.settle()
    world.workers(3)
    world.reading = { known: false, message: 'kafka:9092: no broker answers' }
    world.now += 3_600_000
    await world.settle()
    assert.equal(world.replicas, 3)
    const workers = world.group?.status?.conditions?.find(({ type }) => type === 'WorkersAvailable')
    assert.match(workers?.message ?? '', /no broker answers/)
  })

  test('leaves the number to an autoscaler, and takes it back from one that is gone', async () => {
    const world = await started()
    const autoscaler = {
      apiVersion: 'autoscaling/v2',
      kind: 'HorizontalPodAutoscaler',
      metadata: { name: 'hpa', namespace: 'team' },
      spec: { scaleTargetRef: { kind: 'Deployment', name: 'calculator-worker' } },
    }
    world.cluster.put(autoscaler)
    world.cluster.change(
      DEPLOYMENTS,
      WORKER,
      (object: Deployment) =>
        ({
          ...object,
          metadata: {
            ...object.metadata,
            managedFields: [{ manager: 'kube-controller-manager', fieldsV1: { 'f:spec': { 'f:replicas': {} } } }],
          },
          spec: { ...object.spec, replicas: 4 },
        }) as Deployment,
    )
    await world.settle()
    assert.equal(world.replicas, undefined, 'it is named no more')
    world.cluster.remove(AUTOSCALERS, 'team/hpa')
    await world.settle()
    assert.equal(world.replicas, 1)
  })
})

test('nobody is asked for what waits in a topic that is not there', async () => {
  const world = new World()
  const service: CalculateService = { ...aService(), status: {} }
  world.cluster.put(service)
  world.apply()
  await world.reconcile()
  assert.deepEqual(world.asked, [])
})

test('a Responder asks for what waits between two attempts, too', async () => {
  const world = new World()
  const service = aService()
  const names = [service.spec.topic.name, `${service.spec.topic.name}.retry.1`, `${service.spec.topic.name}.dead`]
  const topics = names.map((name) => ({ name, topicId: name, partitions: 3, origin: 'Created' as const }))
  world.cluster.put({ ...service, status: { ...service.status, topics } } as CalculateService)
  world.apply()
  await world.reconcile()
  assert.deepEqual(world.asked[0]?.topics, names.slice(0, 2))
})

test('a group asks for what waits in the Kafka of its service', async () => {
  const world = new World()
  const service: CalculateService = aService({ 'spec.kafka.bootstrapServers': ['a:1'], 'spec.topic.name': 't' })
  world.cluster.put(service)
  world.apply({ 'spec.role': 'Observer', 'spec.startFrom': 'Latest' })
  await world.reconcile()
  assert.deepEqual(world.asked[0], {
    access: { servers: ['a:1'] },
    topics: ['t'],
    groupId: 'calculator',
    startFrom: 'Latest',
  })
})

test('a Responder asks for the dead letters of its service, and an Observer for what waits on the topics that it names', async () => {
  const askedBy = async (changes: Parameters<World['apply']>[0]) => {
    const world = new World()
    world.cluster.put(aService({ 'spec.topic.name': 't' }))
    world.apply(changes)
    await world.reconcile()
    const { topics, deadLettersOf } = world.asked[0]!
    return { topics, deadLettersOf }
  }
  assert.deepEqual(await askedBy({}), { topics: ['t'], deadLettersOf: 't' })
  assert.deepEqual(await askedBy({ 'spec.role': 'Observer', 'spec.topics': ['t.dead', 'u'] }), {
    topics: ['t.dead', 'u'],
    deadLettersOf: undefined,
  })
})
