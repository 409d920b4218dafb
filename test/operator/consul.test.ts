/** Proxies of CalculateServices in a real Consul. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { ConsulServer } from '../../local/platform/consul.ts'
import { HttpConsulAgent } from '../../sidecar/registry/consul-agent.ts'
import { ownConsul } from './support/consul.ts'
import { makePodsReady, makePodsUnready } from './support/kubelet.ts'
import type { Condition, Namespace, Stored } from './support/namespace.ts'
import { NAME, Scene } from './support/scene.ts'
import { until, untilHolds } from './support/until.ts'

const MANAGEMENT = '5e0c3b52-7ad1-4f0e-9d5f-3a1f6c2b9e01'

interface Entry {
  readonly Service: {
    readonly ID: string
    readonly Address: string
    readonly Port: number
    readonly Tags: readonly string[]
    readonly Meta: Readonly<Record<string, string>>
  }
  readonly Checks: readonly { readonly Status: string }[]
}

/** A route with a Consul of its own. Who is ready the test says. */
class Registration {
  readonly scene: Scene
  readonly consul: ConsulServer

  private constructor(scene: Scene, consul: ConsulServer) {
    this.scene = scene
    this.consul = consul
  }

  static async start(t: TestContext, config: Readonly<Record<string, unknown>> = {}): Promise<Registration> {
    const consul = await ownConsul(t, config)
    return new Registration(await Scene.start(t, { kubelet: undefined }), consul)
  }

  get namespace(): Namespace {
    return this.scene.namespace
  }

  apply(consul: object | undefined, replicas = 1, name = NAME): Promise<void> {
    const spec = {
      topic: { name: `${this.scene.topic}-${name}` },
      proxy: { replicas, port: 7000 },
      registration: consul === undefined ? {} : { consul: { address: this.consul.url, ...consul } },
    }
    return this.scene.applyService(spec, name)
  }

  podsReady(count = 1): Promise<readonly Stored[]> {
    return makePodsReady(this.namespace, 'app.kubernetes.io/component=proxy', count)
  }

  podsUnready(): Promise<readonly Stored[]> {
    return makePodsUnready(this.namespace, 'app.kubernetes.io/component=proxy')
  }

  async entries(name = 'calc', token?: string): Promise<readonly Entry[]> {
    const headers = token === undefined ? {} : { 'x-consul-token': token }
    const answer = await fetch(`${this.consul.url}/v1/health/service/${name}`, { headers })
    assert.equal(answer.status, 200, await answer.clone().text())
    return (await answer.json()) as readonly Entry[]
  }

  /** Waits until Consul has just these, each `address status`. */
  async untilShown(expected: readonly string[], name = 'calc', token?: string): Promise<void> {
    await untilHolds(`Consul shows ${expected.join(', ')}`, async () => {
      const shown = (await this.entries(name, token)).map(
        ({ Service, Checks }) => `${Service.Address} ${Checks.map(({ Status }) => Status).join(' ')}`,
      )
      assert.deepEqual(shown.toSorted(), expected.toSorted())
    })
  }

  untilRegistered(reason: string, says = '', name = NAME): Promise<Condition> {
    return this.scene.untilReason('CalculateService', 'Registered', reason, { name, says })
  }

  /** As a proxy with check TTL does. */
  registersItself(pod: Stored, status: 'passing' | 'critical', token?: string): Promise<void> {
    const { name, namespace = '' } = pod.metadata
    const meta = { 'external-source': 'kubernetes', 'k8s-namespace': namespace, 'grpc-kafka-service': NAME }
    const service = { id: name, name: 'calc', tags: [], meta, host: addressOf(pod), port: 7000, ttlSeconds: 3600 }
    const access = { address: this.consul.url, token }
    return new HttpConsulAgent().register(access, service, { status, output: '' }, AbortSignal.timeout(60_000))
  }

  untilGone(name = 'calc'): Promise<unknown> {
    return until(`${name} is gone`, async () => (await this.namespace.get('CalculateService', name)) === undefined)
  }
}

const namesOfVariables = (pod: Stored): readonly string[] => {
  const containers = (pod.spec?.['containers'] ?? []) as readonly {
    readonly env?: readonly { readonly name: string }[]
  }[]
  return containers.flatMap(({ env = [] }) => env.map(({ name }) => name))
}

const addressOf = (pod: Stored | undefined): string => String(pod?.status?.['podIP'])

test('proxies stand in Consul as they are, and one that goes is taken away', async (t) => {
  const scene = await Registration.start(t)
  await scene.apply({ tags: ['blue'] }, 2)
  const pods = await scene.podsReady(2)
  await scene.untilShown(pods.map((pod) => `${addressOf(pod)} passing`))
  const [entry] = await scene.entries()
  const pod = pods.find(({ metadata }) => metadata.uid === entry?.Service.ID)
  assert.equal(entry?.Service.Port, 7000)
  assert.deepEqual(entry.Service.Tags, ['blue'])
  assert.equal(entry.Service.Meta['pod-name'], pod?.metadata.name)
  await scene.untilRegistered('Registered', 'calc with 2 instances, 2 passing')

  await scene.podsUnready()
  await scene.untilShown(pods.map((one) => `${addressOf(one)} critical`))
  await scene.podsReady(2)
  await scene.untilShown(pods.map((one) => `${addressOf(one)} passing`))

  // It ends slowly, as one that drains does: it is out of Consul while it is still there.
  const [first, second] = pods
  await scene.namespace.delete('Pod', first!.metadata.name, 300)
  await until('another Pod is there', async () => (await scene.namespace.list('Pod')).length === 3)
  await untilHolds('it is out of Consul', async () => {
    const ids = (await scene.entries()).map(({ Service }) => Service.ID)
    assert.ok(!ids.includes(first!.metadata.uid) && ids.includes(second!.metadata.uid), ids.join())
  })
  assert.ok(await scene.namespace.get('Pod', first!.metadata.name))
})

test('a Consul that lost everything is written again, with nothing else happening', async (t) => {
  const scene = await Registration.start(t)
  await scene.apply({})
  const [pod] = await scene.podsReady()
  await scene.untilShown([`${addressOf(pod)} passing`])
  await scene.consul.kill('SIGKILL')
  // It has forgotten everything (see platform.test.ts); when the operator looks again is not in our hands.
  await scene.consul.start()
  await scene.untilShown([`${addressOf(pod)} passing`])
  // Now that nothing changes any more, and that it is never away: only who looks can know.
  const body = JSON.stringify({ Node: `grpc-kafka-${scene.namespace.name}` })
  const answer = await fetch(`${scene.consul.url}/v1/catalog/deregister`, { method: 'PUT', body })
  assert.equal(answer.status, 200, await answer.text())
  await scene.untilShown([`${addressOf(pod)} passing`])
})

test('a Consul that is away is told, hurts nobody else, and is found again', async (t) => {
  const scene = await Registration.start(t)
  await scene.consul.kill('SIGKILL')
  await scene.apply({})
  const { message } = await scene.untilRegistered('ConsulUnavailable')
  assert.match(message, new RegExp(`${scene.consul.url}: ECONNREFUSED`))
  assert.ok(await scene.namespace.get('Deployment', 'calc-proxy'))
  assert.ok(await scene.namespace.get('Service', 'calc-proxy'))
  await scene.apply(undefined, 1, 'other')
  await scene.untilRegistered('Registered', '', 'other')
  const pods = await scene.podsReady(2)
  const pod = pods.find(({ metadata }) => metadata.labels?.['grpckafka.dev/service'] === 'calc')
  await scene.consul.start()
  await scene.untilRegistered('Registered')
  await scene.untilShown([`${addressOf(pod)} passing`])
})

test('a service that is deleted is out of Consul when it is gone', async (t) => {
  const scene = await Registration.start(t)
  await scene.apply({})
  const [pod] = await scene.podsReady()
  await scene.untilShown([`${addressOf(pod)} passing`])
  const service = await scene.namespace.get('CalculateService', 'calc')
  assert.deepEqual(service?.metadata.finalizers, ['grpckafka.dev/consul'])
  await scene.namespace.delete('CalculateService', 'calc')
  await scene.untilGone()
  assert.deepEqual(await scene.entries(), [])
})

test('a name that changes takes its instances along, and a Consul that is named no more is left clean', async (t) => {
  const scene = await Registration.start(t)
  await scene.apply({})
  const [pod] = await scene.podsReady()
  await scene.untilShown([`${addressOf(pod)} passing`])
  await scene.apply({ name: 'sums' })
  await scene.untilShown([`${addressOf(pod)} passing`], 'sums')
  await scene.untilShown([])
  await scene.apply(undefined)
  await scene.untilShown([], 'sums')
  await until('nothing holds it', async () => {
    const service = await scene.namespace.get('CalculateService', 'calc')
    return service?.metadata.finalizers === undefined && service?.status?.['consul'] === undefined
  })
})

test('proxies that shall register themselves are kept in the catalog until each is replaced', async (t) => {
  const scene = await Registration.start(t)
  await scene.apply({})
  const [pod] = await scene.podsReady()
  await scene.untilShown([`${addressOf(pod)} passing`])
  await scene.apply({ check: 'TTL' })
  const pods = await until('a Pod of the new kind is there', async () => {
    const found = await scene.namespace.list('Pod')
    return found.length === 2 && found
  })
  await scene.untilShown([`${addressOf(pod)} passing`])
  assert.deepEqual(
    pods.map((one) => namesOfVariables(one).includes('POD_IP')).toSorted((a, b) => Number(a) - Number(b)),
    [false, true],
  )
  await scene.podsReady(2)
  await scene.untilShown([])
  await until('nothing holds it', async () => {
    const service = await scene.namespace.get('CalculateService', 'calc')
    return service?.metadata.finalizers === undefined && service?.status?.['consul'] === undefined
  })
})

test('proxies that register themselves are Registered while Consul has all that are ready', async (t) => {
  const scene = await Registration.start(t)
  await scene.apply({ check: 'TTL' }, 2)
  const [one, two] = await scene.podsReady(2)
  assert.ok(one !== undefined && two !== undefined)
  await scene.untilRegistered('Registering', '0 of 2 ready proxies have registered themselves')
  await scene.registersItself(one, 'passing')
  await scene.untilRegistered('Registering', '1 of 2 ready proxies have registered themselves')
  await scene.registersItself(two, 'passing')
  await scene.untilRegistered('Registered', 'calc with 2 instances, 2 passing')
  await scene.registersItself(one, 'critical')
  await scene.untilRegistered('Registering', '1 of 2 ready proxies have registered themselves')
})

test('with a token that may only register, nobody knows whether proxies did', async (t) => {
  const tokens = { initial_management: MANAGEMENT, agent: MANAGEMENT }
  const scene = await Registration.start(t, { acl: { enabled: true, default_policy: 'deny', tokens } })
  const management = async (path: string, body: object): Promise<{ readonly SecretID: string }> => {
    const headers = { 'x-consul-token': MANAGEMENT }
    const answer = await fetch(`${scene.consul.url}/v1/acl/${path}`, {
      method: 'PUT',
      body: JSON.stringify(body),
      headers,
    })
    assert.equal(answer.status, 200, await answer.clone().text())
    return (await answer.json()) as { readonly SecretID: string }
  }
  const write = 'service "calc" { policy = "write" }'
  await management('policy', { Name: 'write', Rules: write })
  await management('policy', { Name: 'read', Rules: 'node_prefix "" { policy = "read" }' })
  const tokenOf = async (...names: readonly string[]) =>
    (await management('token', { Policies: names.map((Name) => ({ Name })) })).SecretID
  const keep = async (token: string) =>
    scene.namespace.apply({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'consul' },
      data: { token: Buffer.from(token).toString('base64') },
    })
  const mayWrite = await tokenOf('write')
  await keep(mayWrite)
  await scene.apply({ check: 'TTL', tokenSecretRef: { name: 'consul', key: 'token' } })
  const [pod] = await scene.podsReady()
  assert.ok(pod !== undefined)
  await scene.registersItself(pod, 'passing', mayWrite)
  await scene.untilRegistered('ConsulNotAuthorized', 'the token may not read all instances')
  await keep(await tokenOf('write', 'read'))
  await scene.untilRegistered('Registered', 'calc with 1 instances, 1 passing')
})

test('proxies of the younger of two services are not told to register themselves by a name that is taken', async (t) => {
  const scene = await Registration.start(t)
  await scene.apply({ check: 'TTL' })
  await scene.scene.untilLookedAt('CalculateService', 1)
  // Times of creation have full seconds; of one second the lower uid counts.
  const begun = Date.now()
  await until('another second', () => Date.now() - begun > 2000)
  await scene.apply({ check: 'TTL', name: 'calc' }, 1, 'late')
  const told = async (): Promise<boolean> => {
    const { data = {} } = ((await scene.namespace.get('ConfigMap', 'late-proxy')) ?? {}) as {
      readonly data?: Readonly<Record<string, string>>
    }
    return (data['sidecar.json'] ?? '').includes('"registration"')
  }
  const { message } = await scene.untilRegistered('ConsulNameTaken', '', 'late')
  assert.match(message, /spec\.registration\.consul\.name: CalculateService calc is older/)
  assert.equal(await told(), false)
  await scene.namespace.delete('CalculateService', NAME)
  await until('the other one is told', told)
})

test('a token comes from its Secret: missing, wrong and right', async (t) => {
  const acl = { enabled: true, default_policy: 'deny', tokens: { initial_management: MANAGEMENT } }
  const scene = await Registration.start(t, { acl })
  const secret = (token: string) =>
    scene.namespace.apply({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'consul' },
      data: { token: Buffer.from(`${token}\n`).toString('base64') },
    })
  await scene.apply({ tokenSecretRef: { name: 'consul', key: 'token' } })
  const missing = await scene.untilRegistered('SecretMissing')
  assert.match(missing.message, /spec\.registration\.consul\.tokenSecretRef: there is no key token in a Secret consul/)
  const [pod] = await scene.podsReady()
  await secret('00000000-0000-0000-0000-00000000dead')
  await scene.untilRegistered('ConsulNotAuthorized')
  await secret(MANAGEMENT)
  await scene.untilRegistered('Registered')
  await scene.untilShown([`${addressOf(pod)} passing`], 'calc', MANAGEMENT)
})

test('of two services with one name in Consul the older has it, then the other', async (t) => {
  const scene = await Registration.start(t)
  await scene.apply({})
  const [pod] = await scene.podsReady()
  await scene.untilShown([`${addressOf(pod)} passing`])
  // Times of creation have full seconds; of one second the lower uid counts.
  const begun = Date.now()
  await until('another second', () => Date.now() - begun > 2000)
  await scene.apply({ name: 'calc' }, 1, 'late')
  const { message } = await scene.untilRegistered('ConsulNameTaken', '', 'late')
  assert.match(message, /spec\.registration\.consul\.name: CalculateService calc is older/)
  const late = (await scene.podsReady(2)).find(({ metadata }) => metadata.labels?.['grpckafka.dev/service'] === 'late')
  await scene.scene.untilLookedAt('CalculateService', 1, 'late')
  await scene.untilShown([`${addressOf(pod)} passing`])
  await scene.namespace.delete('CalculateService', NAME)
  await scene.untilShown([`${addressOf(late)} passing`])
})
