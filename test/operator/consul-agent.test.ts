/** Real proxies that keep themselves registered at a real Consul agent, and what operator and local mode do for it. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { freePort } from '../../local/platform/free-port.ts'
import type { ConsulServer } from '../../local/platform/consul.ts'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { atEnd } from '../integration/support/clean-up.ts'
import { Load } from '../integration/support/load.ts'
import { ownRedis, temporaryDirectory } from '../integration/support/own.ts'
import { PATIENT, Process, startRoute } from '../integration/support/route.ts'
import type { Proxy, Route, RouteOptions } from '../integration/support/route.ts'
import { ownConsul } from './support/consul.ts'
import { HttpRelay } from './support/http-relay.ts'
import { servers } from './support/scene.ts'
import { removeTopics } from './support/topics.ts'
import { until, untilHolds } from './support/until.ts'

const MANAGEMENT = '9c3f7a10-51d0-4d5e-8f0b-0d7a3c2e4b11'
const ACL = {
  acl: { enabled: true, default_policy: 'deny', tokens: { initial_management: MANAGEMENT, agent: MANAGEMENT } },
}

interface Entry {
  readonly Service: { readonly ID: string; readonly Address: string; readonly Port: number; readonly Tags: string[] }
  readonly Checks: readonly { readonly CheckID: string; readonly Status: string; readonly Output: string }[]
}

async function ask<T>(consul: ConsulServer, path: string, token = '', body?: object): Promise<T> {
  const options = body === undefined ? {} : { method: 'PUT', body: JSON.stringify(body) }
  const answer = await fetch(`${consul.url}${path}`, { ...options, headers: { 'x-consul-token': token } })
  const text = await answer.text()
  assert.equal(answer.status, 200, text)
  return JSON.parse(text) as T
}

const entries = (consul: ConsulServer, name: string, token?: string): Promise<readonly Entry[]> =>
  ask(consul, `/v1/health/service/${name}`, token)

/** Waits until the catalog has just these, each `port status`: the agent has told the servers. */
const untilShown = (consul: ConsulServer, name: string, expected: readonly string[], token?: string): Promise<void> =>
  untilHolds(`Consul shows ${expected.join(', ')} of ${name}`, async () => {
    const shown = (await entries(consul, name, token)).map(({ Service, Checks }) => {
      const own = Checks.find(({ CheckID }) => CheckID === `service:${Service.ID}`)
      return `${Service.Port} ${own?.Status}`
    })
    assert.deepEqual(shown.toSorted(), expected.toSorted())
  })

type Registration = NonNullable<NonNullable<RouteOptions['proxy']>['registration']>['consul']

/** A proxy that is ready, and nobody behind it unless the test wants it. */
async function registering(
  t: TestContext,
  address: string,
  consul: Partial<Registration> = {},
  options: RouteOptions = {},
): Promise<{ readonly route: Route; readonly proxy: Proxy }> {
  const route = await startRoute(t, { workers: 0, proxies: 0, ...options })
  const port = await freePort()
  const proxy = await route.startProxy({
    port,
    registration: { consul: { address, name: 'calc', advertise: { host: '127.0.0.1', port }, ...consul } },
  })
  return { route, proxy }
}

const says = ({ process }: Proxy, text: string): number => process.lines.filter((line) => line.includes(text)).length
const TROUBLE = 'the Consul agent does not take what it is told'

test('a proxy that is ready is found in Consul for longer than its TTL', async (t) => {
  const consul = await ownConsul(t)
  const { proxy } = await registering(t, consul.url, { ttlSeconds: 2, intervalSeconds: 1, tags: ['blue'] })
  await untilShown(consul, 'calc', [`${proxy.port} passing`])
  const [entry] = await entries(consul, 'calc')
  assert.equal(entry?.Service.ID, proxy.config.instance)
  assert.equal(entry?.Service.Address, '127.0.0.1')
  assert.deepEqual(entry?.Service.Tags, ['blue'])
  const begun = performance.now()
  await until('two TTLs have passed', () => performance.now() - begun > 4000)
  await untilShown(consul, 'calc', [`${proxy.port} passing`])
})

test('a proxy that registers itself where a check of its name ran out is passing at once', async (t) => {
  const consul = await ownConsul(t)
  const { route, proxy } = await registering(t, consul.url, { ttlSeconds: 2, intervalSeconds: 1 })
  await untilShown(consul, 'calc', [`${proxy.port} passing`])
  proxy.process.kill('SIGKILL')
  await untilShown(consul, 'calc', [`${proxy.port} critical`])
  const { instance, ...config } = proxy.config
  assert.ok(config.role === 'proxy' && config.proxy.registration !== undefined && typeof instance === 'string')
  // It says nothing more before the test is over.
  const registered = { ...config.proxy.registration.consul, ttlSeconds: 3600, intervalSeconds: 1800 }
  await route.startProxy({ port: proxy.port, registration: { consul: registered } }, { instance })
  await untilShown(consul, 'calc', [`${proxy.port} passing`])
})

test('a proxy that was killed is critical after its TTL', async (t) => {
  const consul = await ownConsul(t)
  const { proxy } = await registering(t, consul.url, { ttlSeconds: 4, intervalSeconds: 1 })
  await untilShown(consul, 'calc', [`${proxy.port} passing`])
  proxy.process.kill('SIGKILL')
  await untilShown(consul, 'calc', [`${proxy.port} critical`])
})

test('two proxies at one agent are two instances, and one that ends takes nothing of the other along', async (t) => {
  const consul = await ownConsul(t)
  const { route, proxy: first } = await registering(t, consul.url, { ttlSeconds: 4, intervalSeconds: 1 })
  const port = await freePort()
  const advertise = { host: '127.0.0.1', port }
  const timing = { ttlSeconds: 4, intervalSeconds: 1 }
  const second = await route.startProxy({
    port,
    registration: { consul: { address: consul.url, name: 'calc', advertise, ...timing } },
  })
  await untilShown(consul, 'calc', [`${first.port} passing`, `${second.port} passing`])
  assert.equal(await first.process.end(), 0)
  await untilShown(consul, 'calc', [`${second.port} passing`])
})

test('a proxy whose Redis is away is critical at once, and says why', async (t) => {
  const consul = await ownConsul(t)
  const redis = await ownRedis(t)
  const { proxy } = await registering(t, consul.url, {}, { redisUrl: redis.url })
  await untilShown(consul, 'calc', [`${proxy.port} passing`])
  await redis.kill('SIGKILL')
  await untilHolds('its check says why', async () => {
    const [entry] = await entries(consul, 'calc')
    const check = entry?.Checks.find(({ CheckID }) => CheckID.startsWith('service:'))
    assert.equal(check?.Status, 'critical')
    assert.match(check.Output, /the reply channel is not subscribed/)
  })
  await redis.start()
  await untilShown(consul, 'calc', [`${proxy.port} passing`])
})

test('an agent that lost everything is told again, and was no trouble of the proxy', async (t) => {
  const consul = await ownConsul(t)
  const { route, proxy } = await registering(t, consul.url, { intervalSeconds: 1 })
  await untilShown(consul, 'calc', [`${proxy.port} passing`])
  await consul.kill('SIGKILL')
  await until('the proxy tells of it', () => says(proxy, TROUBLE) > 0)
  assert.equal(await route.metric(proxy, 'grpc_kafka_registered'), 0)
  const failed = () => route.metric(proxy, 'grpc_kafka_registration_errors_total', 'Unavailable')
  const before = await failed()
  await until('it was tried more often', async () => (await failed()) > before + 3)
  assert.equal(says(proxy, TROUBLE), 1)
  assert.equal(await route.status(proxy, '/readyz'), 200)
  await consul.start()
  await untilShown(consul, 'calc', [`${proxy.port} passing`])
})

test('a proxy under load that is told to end is out of Consul before it refuses calls', async (t) => {
  const consul = await ownConsul(t)
  const relay = await HttpRelay.plain(t, consul.url)
  const { route, proxy } = await registering(t, relay.url, {}, { workers: 1, method: PATIENT })
  await untilShown(consul, 'calc', [`${proxy.port} passing`])
  const load = new Load(route, { perSecond: 50 })
  await load.goOn(20, 60_000)
  const deregistration = relay.reply(({ path }) => path.includes('/deregister/'), 'hold the answer', 1)
  proxy.process.kill('SIGTERM')
  await deregistration.met
  // The agent has forgotten it, and it waits for the answer: so long it refuses nothing.
  for (let number = 0; deregistration.isHeld; number++) {
    const late = await route.call({ id: `late-${number}` })
    if (deregistration.isHeld) assert.equal(late.code, GrpcStatus.OK, late.details)
  }
  await untilShown(consul, 'calc', [])
  assert.equal(await proxy.process.exited, 0)
  const answers = await load.stop()
  const codes = new Set(answers.map(({ code }) => code))
  codes.delete(GrpcStatus.OK)
  codes.delete(GrpcStatus.UNAVAILABLE)
  assert.deepEqual([...codes], [])
  const kept = relay.requests.slice(relay.requests.findIndex(({ path }) => path.includes('/deregister/')))
  assert.ok(
    kept.every(({ path }) => path.includes('/deregister/')),
    kept.map(({ path }) => path).join(),
  )
  assert.deepEqual(await entries(consul, 'calc'), [])
})

test('a proxy whose agent hangs ends all the same', async (t) => {
  const consul = await ownConsul(t)
  const relay = await HttpRelay.plain(t, consul.url)
  const { proxy } = await registering(t, relay.url, { intervalSeconds: 1 })
  await untilShown(consul, 'calc', [`${proxy.port} passing`])
  const silent = relay.reply(() => true, 'hang')
  await silent.met
  proxy.process.kill('SIGTERM')
  assert.equal(await proxy.process.exited, 0)
})

test('a token is needed, and the right one is taken while the proxy runs', async (t) => {
  const consul = await ownConsul(t, ACL)
  const file = join(temporaryDirectory(t), 'token')
  writeFileSync(file, `${randomUUID()}\n`)
  const { route, proxy } = await registering(t, consul.url, { token: { file } })
  await until('the proxy tells of it', () => says(proxy, TROUBLE) > 0)
  assert.ok((await route.metric(proxy, 'grpc_kafka_registration_errors_total', 'NotAuthorized')) > 0)
  assert.equal(await route.status(proxy, '/readyz'), 200)
  // All that the documentation says it needs.
  const Rules = 'service "calc" { policy = "write" }'
  await ask(consul, '/v1/acl/policy', MANAGEMENT, { Name: 'calc', Rules })
  const { SecretID } = await ask<{ SecretID: string }>(consul, '/v1/acl/token', MANAGEMENT, {
    Policies: [{ Name: 'calc' }],
  })
  writeFileSync(file, `${SecretID}\n`)
  await untilShown(consul, 'calc', [`${proxy.port} passing`], MANAGEMENT)
  assert.equal(await proxy.process.end(), 0)
  await untilShown(consul, 'calc', [], MANAGEMENT)
})

test('a proxy without a token that needs one is ready, and says what is wrong', async (t) => {
  const consul = await ownConsul(t, ACL)
  const { route, proxy } = await registering(t, consul.url)
  await until('the proxy tells of it', () => says(proxy, TROUBLE) > 0)
  assert.equal(await route.status(proxy, '/readyz'), 200)
  assert.deepEqual(await entries(consul, 'calc', MANAGEMENT), [])
})

test('tags that change are told while the proxy runs', async (t) => {
  const consul = await ownConsul(t)
  const { proxy } = await registering(t, consul.url, { intervalSeconds: 1 })
  await untilShown(consul, 'calc', [`${proxy.port} passing`])
  const { config, configFile } = proxy
  assert.ok(config.role === 'proxy' && config.proxy.registration !== undefined)
  const registration = { consul: { ...config.proxy.registration.consul, tags: ['green'] } }
  writeFileSync(configFile, JSON.stringify({ ...config, proxy: { ...config.proxy, registration } }))
  await until('Consul has them', async () => (await entries(consul, 'calc'))[0]?.Service.Tags[0] === 'green')
})

test('on one machine proxies with check TTL are registered', async (t) => {
  const consul = await ownConsul(t)
  const directory = temporaryDirectory(t)
  const port = await freePort()
  const topic = `local-${randomUUID()}`
  atEnd(t, () => removeTopics(servers, topic))
  const resource = {
    apiVersion: 'grpckafka.dev/v1alpha1',
    kind: 'CalculateService',
    metadata: { name: 'calc' },
    spec: {
      service: 'calculator.CalculateService',
      kafka: { bootstrapServers: ['kafka:9092'] },
      redis: { url: 'redis://redis:6379' },
      topic: { name: topic, partitions: 1 },
      methods: [{ name: 'Calculate' }],
      proxy: { port },
      registration: {
        consul: { check: 'TTL', address: consul.url, tokenSecretRef: { name: 'none', key: 'here' } },
      },
    },
  }
  writeFileSync(join(directory, 'calc.yaml'), JSON.stringify(resource))
  const local = new Process('local/bootstrap/bin.mjs', ['local', '-f', join(directory, 'calc.yaml')], {
    TMPDIR: directory,
  })
  atEnd(t, () => local.end())
  await untilShown(consul, 'calc', [`${port} passing`])
  assert.equal(await local.end(), 0)
  await untilShown(consul, 'calc', [])
})
