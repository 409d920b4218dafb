/** A CalculateService and its proxies in Consul, as a whole, with Kubernetes, Kafka and every Consul in memory. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CalculateService } from '../../../../crds/types.ts'
import { CalculateServiceReconciler } from '../../../../operator/calculateservice/reconciler.ts'
import type { KubeObject } from '../../../../operator/controller/object.ts'
import type { Deployment } from '../../../../operator/kinds.ts'
import { CALCULATE_SERVICES, CONFIG_MAPS, DEPLOYMENTS } from '../../../../operator/kinds.ts'
import { ConsulProblem } from '../../../../operator/registry/consul-problem.ts'
import type { Case } from '../../crds/cases.ts'
import { FakeCluster } from '../fake-cluster.ts'
import { FakeConsul } from '../fake-consul.ts'
import { FakeKafka } from '../fake-kafka.ts'
import { applyService, NO_LOOKS, serviceCaches } from './fixture.ts'

const KEY = 'default/calc'
const A = 'http://a:8500'
const B = 'http://b:8500'
const IN_A = { 'spec.registration.consul': { address: A } }
const AWAY = new ConsulProblem('ConsulUnavailable', 'it is away')
const SIGNAL = new AbortController().signal

class World {
  readonly consul = new FakeConsul()
  readonly cluster = new FakeCluster()
  readonly events: string[] = []
  now = Date.UTC(2026, 0, 2)
  /** When it wants to look again, as it said last. */
  again: number | undefined
  readonly #reconciler: CalculateServiceReconciler

  constructor(name = '') {
    const { cluster, consul } = this
    const kafka = new FakeKafka()
    this.#reconciler = new CalculateServiceReconciler({
      caches: serviceCaches(cluster),
      writer: cluster,
      reader: cluster.reader,
      deletionPatienceMilliseconds: 120_000,
      kafka: { use: (_access, work) => work(kafka) },
      looks: NO_LOOKS,
      consul,
      cluster: name,
      events: { record: (_object, { reason }) => this.events.push(reason) },
      clock: { now: () => this.now },
      mayNameTopic: () => true,
      image: { sidecarImage: 'sidecar:1' },
      mayWrite: () => true,
    })
  }

  apply(put: Case['put']): void {
    applyService(this.cluster, put, KEY)
  }

  pod(uid: string, ready: boolean, more: Partial<KubeObject['metadata']> = {}): void {
    this.cluster.put({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        namespace: 'default',
        name: `calc-proxy-${uid}`,
        uid,
        labels: { 'grpckafka.dev/service': 'calc', 'app.kubernetes.io/component': 'proxy' },
        ...more,
      },
      status: {
        podIP: '10.0.0.1',
        phase: 'Running',
        conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
      },
    } as KubeObject)
  }

  /** What the Deployment's controller says of its progress. */
  roll(status: NonNullable<Deployment['status']>): void {
    this.cluster.change(DEPLOYMENTS, 'default/calc-proxy', (object: Deployment) => ({
      ...object,
      status: { ...status, observedGeneration: object.metadata.generation ?? 0 },
    }))
  }

  async reconcile(): Promise<void> {
    const { requeueAfterMilliseconds } = await this.#reconciler.reconcile(KEY, SIGNAL)
    this.again = requeueAfterMilliseconds
  }

  /** Until nothing is written any more. */
  async settle(): Promise<void> {
    for (let left = 10; left > 0; left--) {
      const before = this.cluster.writes.length + this.consul.done.length
      await this.reconcile()
      if (this.cluster.writes.length + this.consul.done.length === before) return
    }
    assert.fail(`it goes on writing:\n${[...this.cluster.writes, ...this.consul.done].join('\n')}`)
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

  get registered(): string {
    const found = this.service?.status?.conditions?.find(({ type }) => type === 'Registered')
    return `${found?.status} ${found?.reason}`
  }

  get registeredMessage(): string | undefined {
    return this.service?.status?.conditions?.find(({ type }) => type === 'Registered')?.message
  }

  /** Whether proxies are to register themselves, as their configuration has it. */
  tellsProxies(): boolean {
    const { data } = this.cluster.get(CONFIG_MAPS, 'default/calc-proxy') as unknown as {
      readonly data: { readonly 'sidecar.json': string }
    }
    return 'registration' in (JSON.parse(data['sidecar.json']) as { proxy: object }).proxy
  }

  in(address: string, node?: string): readonly string[] {
    return [...this.consul.at(address, node).values()].map(({ id, health }) => `${id} ${health}`)
  }
}

const started = async (put: Case['put'] = IN_A, name = ''): Promise<World> => {
  const world = new World(name)
  world.pod('one', true)
  world.pod('two', false)
  world.apply(put)
  await world.settle()
  return world
}

test('nothing is registered before finalizer and status remember where', async () => {
  const world = new World()
  world.pod('one', true)
  world.apply(IN_A)
  await world.reconcile()
  assert.deepEqual(world.in(A), [])
  assert.equal(world.registered, 'False Registering')
  assert.deepEqual(world.service?.metadata.finalizers, ['grpckafka.dev/consul'])
  assert.deepEqual(world.service?.status?.consul, [{ address: A }])
  await world.settle()
  assert.deepEqual(world.in(A), ['one passing'])
  assert.equal(world.registered, 'True Registered')
})

test('pods stand there as they are, and those that end do not', async () => {
  const world = await started()
  assert.deepEqual(world.in(A).toSorted(), ['one passing', 'two critical'])
  world.pod('two', true)
  world.pod('one', true, { deletionTimestamp: '2026-01-02T00:00:00Z' })
  await world.settle()
  assert.deepEqual(world.in(A), ['two passing'])
})

test('what Consul lost is written again at the next look, which comes within 30 s', async () => {
  const world = await started()
  assert.equal(world.again, 30_000)
  world.consul.at(A).clear()
  await world.reconcile()
  assert.deepEqual(world.in(A).toSorted(), ['one passing', 'two critical'])
})

test('instances of others are left alone', async () => {
  const world = await started()
  const other = { id: 'x', service: 'calc', address: '10.0.0.9', port: 1, tags: [], meta: {}, health: 'passing' }
  world.consul.at(A).set('x', other)
  await world.settle()
  assert.ok(world.in(A).includes('x passing'))
})

test('with a name for the cluster, what one of its name left behind goes, and what another cluster has stays', async () => {
  const world = await started(IN_A, 'east')
  const node = 'grpc-kafka-east-default'
  const left = { ...world.consul.at(A, node).get('one')!, id: 'left' }
  world.consul.at(A, node).set('left', { ...left, meta: { ...left.meta, 'grpc-kafka-service-uid': 'before' } })
  const foreign = { ...left.meta, 'grpc-kafka-service-uid': 'foreign', 'k8s-cluster': 'west' }
  world.consul.at(A, node).set('foreign', { ...left, id: 'foreign', meta: foreign })
  await world.settle()
  assert.deepEqual(world.in(A, node).toSorted(), ['foreign passing', 'one passing', 'two critical'])
})

test('a Consul that is away is told and asked again, and nothing else waits for it', async () => {
  const world = new World()
  world.consul.down.set(A, AWAY)
  world.apply(IN_A)
  await world.settle()
  assert.equal(world.registered, 'Unknown ConsulUnavailable')
  assert.equal(world.again, 10_000)
  assert.ok(world.cluster.get(DEPLOYMENTS, 'default/calc-proxy'))
})

test('a Consul that refuses what it is told is a condition', async () => {
  const world = new World()
  world.pod('one', true)
  world.consul.refuses.set(A, new ConsulProblem('ConsulRefused', 'no'))
  world.apply(IN_A)
  await world.settle()
  assert.equal(world.registered, 'False ConsulRefused')
})

test('a token that may write and not read is a condition', async () => {
  const world = await started()
  world.consul.isPartial = true
  world.consul.at(A).clear()
  await world.reconcile()
  assert.equal(world.registered, 'False ConsulNotAuthorized')
})

test('a token is read from its Secret, which may be missing', async () => {
  const world = await started({ 'spec.registration.consul': { address: A, tokenSecretRef: { name: 's', key: 't' } } })
  assert.equal(world.registered, 'False SecretMissing')
  const data = { t: Buffer.from('token\n').toString('base64') }
  world.cluster.put({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { namespace: 'default', name: 's' },
    data,
  } as KubeObject)
  await world.settle()
  assert.deepEqual([...new Set(world.consul.tokens)], ['token'])
  assert.equal(world.registered, 'True Registered')
})

test('another Consul gets all, and the one before is left clean and forgotten', async () => {
  const world = await started()
  world.apply({ 'spec.registration.consul': { address: B } })
  await world.settle()
  assert.deepEqual(world.in(A), [])
  assert.deepEqual(world.in(B).toSorted(), ['one passing', 'two critical'])
  assert.deepEqual(world.service?.status?.consul, [{ address: B }])
})

test('a Consul that is named no more and away is cleaned when it is back', async () => {
  const world = await started()
  world.consul.down.set(A, AWAY)
  world.apply({})
  await world.settle()
  assert.deepEqual(world.service?.status?.consul, [{ address: A, leftAt: '2026-01-02T00:00:00Z' }])
  world.now += 600_000
  world.consul.down.clear()
  await world.settle()
  assert.deepEqual(world.in(A), [])
  assert.deepEqual(world.service?.metadata.finalizers, [])
})

test('a Consul that is named no more and stays away is given up after ten minutes, and that is told', async () => {
  const world = await started()
  world.consul.down.set(A, AWAY)
  world.apply({})
  await world.settle()
  world.now += 601_000
  await world.settle()
  assert.equal(world.service?.status?.consul, undefined)
  assert.deepEqual(
    world.events.filter((reason) => reason === 'RegistrationsLeft'),
    ['RegistrationsLeft'],
  )
})

const ITSELF = { 'spec.registration.consul': { address: A, check: 'TTL', name: 'sums' } }

const ONE = { id: 'calc-proxy-one', address: '10.0.0.1', isPassing: true }
const TWO = { id: 'calc-proxy-two', address: '10.0.0.1', isPassing: false }

test('of proxies that register themselves the operator keeps nothing, and says what Consul has of them', async () => {
  const world = await started(ITSELF)
  world.consul.found.set('sums', [ONE, TWO])
  await world.settle()
  assert.deepEqual(world.consul.done, [])
  assert.equal(world.service?.metadata.finalizers, undefined)
  assert.equal(world.service?.status?.consul, undefined)
  assert.equal(world.again, 30_000)
  assert.equal(world.registered, 'True Registered')
  assert.equal(world.registeredMessage, `calc-proxy.default.svc:8080; ${A}: sums with 2 instances, 1 passing`)
})

for (const [what, found] of [
  ['is not in Consul', [TWO]],
  ['is critical there', [{ ...ONE, isPassing: false }]],
  ['stands there with another address', [{ ...ONE, address: '10.0.0.2' }]],
] as const) {
  test(`a ready proxy that should register itself and ${what} is not registered`, async () => {
    const world = await started(ITSELF)
    world.consul.found.set('sums', found)
    await world.settle()
    assert.equal(world.registered, 'False Registering')
    assert.equal(world.registeredMessage, `${A}: 0 of 1 ready proxies have registered themselves and are passing`)
    assert.equal(world.again, 3_000)
  })
}

test('a ready proxy of before that the operator still keeps in the catalog is found there', async () => {
  const world = await started(ITSELF)
  world.consul.found.set('sums', [{ ...ONE, id: 'one' }])
  await world.settle()
  assert.equal(world.registered, 'True Registered')
})

test('while the agent does not answer the operator nobody knows whether proxies registered themselves', async () => {
  const world = await started(ITSELF)
  world.consul.down.set(A, AWAY)
  await world.settle()
  assert.equal(world.registered, 'Unknown ConsulUnavailable')
  assert.equal(world.again, 10_000)
})

test('with a token that may not read nodes nobody knows whether proxies registered themselves', async () => {
  const world = await started(ITSELF)
  world.consul.isPartial = true
  await world.settle()
  assert.equal(world.registered, 'False ConsulNotAuthorized')
})

test('what Consul has of proxies that register themselves is asked for with the token', async () => {
  const world = new World()
  world.cluster.put({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { namespace: 'default', name: 's' },
    data: { t: Buffer.from('secret\n').toString('base64') },
  } as KubeObject)
  world.apply({ 'spec.registration.consul': { address: A, check: 'TTL', tokenSecretRef: { name: 's', key: 't' } } })
  await world.reconcile()
  assert.deepEqual(world.consul.tokens, ['secret'])
})

test('Consul is not asked for proxies that register themselves while the service is paused, nor when it is going', async () => {
  const world = new World()
  world.apply({ ...ITSELF, 'metadata.annotations': { 'grpckafka.dev/reconciliation': 'paused' } })
  await world.settle()
  assert.deepEqual(world.consul.tokens, [])
  world.delete()
  await world.reconcile()
  assert.deepEqual(world.consul.tokens, [])
})

test('proxies of a younger service are not told to register themselves by a name that is taken', async () => {
  const world = new World()
  const before = { 'metadata.creationTimestamp': '2020-01-01T00:00:00Z', 'spec.topic.name': 'other' }
  applyService(world.cluster, { ...ITSELF, ...before }, 'default/before')
  world.apply(ITSELF)
  await world.settle()
  assert.equal(world.registered, 'False ConsulNameTaken')
  assert.match(world.registeredMessage ?? '', /CalculateService before is older and has this name/)
  assert.equal(world.tellsProxies(), false)
  world.cluster.remove(CALCULATE_SERVICES, 'default/before')
  await world.settle()
  assert.equal(world.tellsProxies(), true)
})

test('proxies of an older service go on registering themselves by a name that a younger one wants', async () => {
  const world = new World()
  world.apply(ITSELF)
  await world.settle()
  const after = { 'metadata.creationTimestamp': '2030-01-01T00:00:00Z', 'spec.topic.name': 'other' }
  applyService(world.cluster, { ...ITSELF, ...after }, 'default/after')
  await world.settle()
  assert.equal(world.registered, 'True Registered')
  assert.equal(world.tellsProxies(), true)
})

test('a name that proxies of an older service register themselves by is taken', async () => {
  const world = new World()
  const before = { 'metadata.creationTimestamp': '2020-01-01T00:00:00Z', 'spec.topic.name': 'other' }
  applyService(world.cluster, { ...ITSELF, ...before }, 'default/before')
  world.pod('one', true)
  world.apply({ 'spec.registration.consul': { address: A, name: 'sums' } })
  await world.settle()
  assert.equal(world.registered, 'False ConsulNameTaken')
  assert.deepEqual(world.in(A), [])
})

test('proxies that shall register themselves stay in the catalog, as they are, until all are replaced', async () => {
  const world = await started()
  world.roll({ replicas: 2, updatedReplicas: 2 })
  await world.settle()
  world.apply(ITSELF)
  await world.settle()
  // Only one of them is of the new kind yet.
  world.roll({ replicas: 3, updatedReplicas: 1 })
  world.pod('three', true)
  world.pod('one', false)
  world.pod('two', true, { deletionTimestamp: '2026-01-02T00:00:00Z' })
  await world.settle()
  assert.deepEqual(world.in(A), ['one critical'])
  // The new one has registered itself, and clients find those of before.
  assert.equal(world.registered, 'False Registering')
  world.consul.found.set('sums', [{ id: 'calc-proxy-three', address: '10.0.0.1', isPassing: true }])
  await world.settle()
  assert.equal(world.registered, 'True Registered')
  assert.equal(world.again, 30_000)
  world.roll({ replicas: 2, updatedReplicas: 2 })
  await world.settle()
  assert.deepEqual(world.in(A), [])
  assert.equal(world.service?.status?.consul, undefined)
  assert.deepEqual(world.service?.metadata.finalizers, [])
})

test('proxies that shall register themselves elsewhere are taken out of the catalog at once', async () => {
  const world = await started()
  world.apply({ 'spec.registration.consul': { address: B, check: 'TTL' } })
  await world.settle()
  assert.deepEqual(world.in(A), [])
})

test('a service that is deleted while its proxies are being replaced is out of Consul', async () => {
  const world = await started()
  world.apply(ITSELF)
  await world.settle()
  assert.deepEqual(world.in(A).toSorted(), ['one passing', 'two critical'])
  world.delete()
  await world.settle()
  assert.deepEqual(world.in(A), [])
  assert.equal(world.service, undefined)
})

test('a token of proxies that register themselves has to be there for them', async () => {
  const world = await started({
    'spec.registration.consul': { address: A, check: 'TTL', tokenSecretRef: { name: 's', key: 't' } },
  })
  const found = world.service?.status?.conditions?.find(({ type }) => type === 'ProxyAvailable')
  assert.equal(found?.message, 'spec.registration.consul.tokenSecretRef: there is no key t in a Secret s')
})

test('a service that is deleted is out of Consul before it is gone', async () => {
  const world = await started()
  world.delete()
  await world.reconcile()
  assert.equal(world.service, undefined)
  assert.deepEqual(world.in(A), [])
})

test('with Consul away a service that is deleted goes a minute after the drain, and its proxies at once', async () => {
  const world = await started()
  world.consul.down.set(A, AWAY)
  world.delete()
  await world.settle()
  assert.equal(world.cluster.get(DEPLOYMENTS, 'default/calc-proxy'), undefined)
  world.now += 60_000
  await world.reconcile()
  assert.notEqual(world.service, undefined)
  // The longest timeout of a method is 5 s, grace and patience follow.
  world.now += 60_000
  await world.reconcile()
  assert.equal(world.service, undefined)
  assert.ok(world.events.includes('RegistrationsLeft'))
})

test('a Consul that refuses does not keep a service that is deleted for ever', async () => {
  const world = await started()
  world.consul.refuses.set(A, new ConsulProblem('ConsulNotAuthorized', 'no'))
  world.delete()
  await world.settle()
  assert.notEqual(world.service, undefined)
  world.now += 180_000
  await world.reconcile()
  assert.equal(world.service, undefined)
  assert.ok(world.events.includes('RegistrationsLeft'))
})

test('a service that nobody looked at until its time was over is out of Consul all the same', async () => {
  const world = await started()
  world.delete()
  world.now += 3_600_000
  await world.reconcile()
  assert.equal(world.service, undefined)
  assert.deepEqual(world.in(A), [])
  assert.ok(!world.events.includes('RegistrationsLeft'))
})

test('a service that is paused asks no Consul', async () => {
  const world = new World()
  world.apply({ ...IN_A, 'metadata.annotations': { 'grpckafka.dev/reconciliation': 'paused' } })
  await world.settle()
  assert.deepEqual(world.consul.tokens, [])
})
