/** What a proxy says about itself, and what a call finds when it says so. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { credentials, loadPackageDefinition } from '@grpc/grpc-js'
import type { ClientDuplexStream, GrpcObject, ServiceClientConstructor, ServiceError } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { service as healthService } from 'grpc-health-check'
import { descriptorSet } from '../../local/descriptor-set.ts'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { CALLS_SERVICE } from '../../sidecar/proxy/calls-service.ts'
import { PATIENT, Route, startRoute, until } from './support/route.ts'
import type { Proxy } from './support/route.ts'
import { SERVICE_NAME } from './support/service.ts'

/** From a client's first byte, connecting included, to its answer, and so many times an ordinary call where the machine is busy. */
const FIRST_CALL_MILLISECONDS = 150
const ORDINARY_CALLS = 5

/** What the health service answers; a status code when it refuses. */
function health(proxy: Proxy, service: string): Promise<string | number> {
  const { Check } = healthService
  if (Check === undefined) throw new Error('the health service has no Check')
  return new Promise((resolve) => {
    proxy.client.makeUnaryRequest(
      Check.path,
      Check.requestSerialize,
      Check.responseDeserialize as (bytes: Buffer) => { readonly status: string },
      { service },
      (error: ServiceError | null, answer) => resolve(error?.code ?? answer?.status ?? ''),
    )
  })
}

const reason = async ({ adminPort }: Proxy): Promise<string> =>
  (await fetch(`http://127.0.0.1:${adminPort}/readyz`)).text()

async function bareRoute(t: TestContext, options = {}): Promise<Route> {
  const route = new Route(options)
  t.after(() => route.close())
  await route.admin.connect()
  return route
}

test('a proxy before its topic exists', async (t) => {
  const route = await bareRoute(t, { method: PATIENT })
  const proxy = await route.startProxy({}, { whenReady: false })
  await until('the proxy is up', async () => (await route.status(proxy, '/healthz')) === 200)
  await until('only Kafka is waited for', async () => /^waiting for Kafka \([^,]+\)$/m.test(await reason(proxy)))

  await t.test('is up, not ready, and says what it waits for', async () => {
    assert.deepEqual([await route.status(proxy, '/healthz'), await route.status(proxy, '/readyz')], [200, 503])
    assert.equal(await reason(proxy), 'waiting for Kafka (This server does not host this topic-partition)\n')
  })

  await t.test('is NOT_SERVING to health checks', async () => {
    assert.deepEqual([await health(proxy, ''), await health(proxy, SERVICE_NAME)], ['NOT_SERVING', 'NOT_SERVING'])
  })

  await t.test('refuses calls as UNAVAILABLE at once', async () => {
    const answer = await route.call({})
    assert.equal(answer.code, GrpcStatus.UNAVAILABLE)
    assert.match(answer.details, /does not know Kafka and Redis yet/)
    assert.ok(answer.milliseconds < 1000)
  })

  await t.test('does not make the topic', async () => {
    assert.equal((await route.admin.listTopics()).includes(route.topic), false)
  })

  await t.test('is ready and SERVING when the topic is there', async () => {
    await route.createTopics()
    await route.ready(proxy)
    assert.deepEqual([await health(proxy, ''), await health(proxy, SERVICE_NAME)], ['SERVING', 'SERVING'])
    await route.startWorker()
    assert.equal((await route.call({ id: 'one' })).code, 0)
  })
})

test('the first call after readiness is as quick as any', async (t) => {
  const route = await startRoute(t, { method: PATIENT })
  const first = await route.call({ id: 'first' })
  assert.equal(first.code, 0)
  const later: number[] = []
  for (let index = 0; index < 9; index++) later.push((await route.call({ id: `later-${index}` })).milliseconds)
  const ordinary = later.sort((a, b) => a - b)[4] ?? 0
  t.diagnostic(
    `first call: ${first.milliseconds.toFixed(0)} ms, with connecting; an ordinary one: ${ordinary.toFixed(0)} ms`,
  )
  assert.ok(first.milliseconds < FIRST_CALL_MILLISECONDS + ORDINARY_CALLS * ordinary, `${first.milliseconds} ms`)
})

test('a ready proxy', async (t) => {
  const route = await startRoute(t, { method: PATIENT })
  const [proxy] = route.proxies
  assert.ok(proxy)

  await t.test('does not know the health of services that it does not serve', async () => {
    assert.equal(await health(proxy, 'other.Service'), GrpcStatus.NOT_FOUND)
  })

  await t.test('serves no reflection without a descriptor set', async () => {
    assert.equal((await reflect(proxy, { list_services: '' })).code, GrpcStatus.UNIMPLEMENTED)
  })

  await t.test('stays up whatever is asked of its admin port', async () => {
    const base = `http://127.0.0.1:${proxy.adminPort}`
    const statuses = await Promise.all([
      fetch(`${base}/`),
      fetch(`${base}/quiesce`, { method: 'POST' }),
      fetch(`${base}/metrics`, { method: 'DELETE' }),
      fetch(`${base}/%ff?x=%`),
      fetch(`${base}/readyz`, { method: 'POST', body: 'x'.repeat(100_000) }),
    ])
    assert.deepEqual(
      statuses.map(({ status }) => status),
      [404, 404, 404, 404, 404],
    )
    assert.equal(await route.status(proxy, '/healthz'), 200)
  })
})

interface ReflectionAnswer {
  readonly code?: number
  readonly response?: {
    readonly list_services_response?: { readonly service: readonly { readonly name: string }[] }
    readonly file_descriptor_response?: { readonly file_descriptor_proto: readonly Buffer[] }
  }
}

/** One question to the reflection service, as grpcurl asks it. */
function reflect(proxy: Proxy, question: object): Promise<ReflectionAnswer> {
  const proto = join(
    createRequire(import.meta.url).resolve('@grpc/reflection'),
    '../../proto/grpc/reflection/v1/reflection.proto',
  )
  const loaded = loadPackageDefinition(loadSync(proto, { keepCase: true })) as GrpcObject & {
    readonly grpc: { readonly reflection: { readonly v1: { readonly ServerReflection: ServiceClientConstructor } } }
  }
  const client = new loaded.grpc.reflection.v1.ServerReflection(`127.0.0.1:${proxy.port}`, credentials.createInsecure())
  const stream = (client as unknown as Record<string, () => ClientDuplexStream<object, object>>)[
    'ServerReflectionInfo'
  ]?.call(client)
  if (stream === undefined) throw new Error('reflection has no ServerReflectionInfo')
  return new Promise<ReflectionAnswer>((resolve) => {
    stream.on('data', (response: object) => {
      resolve({ response })
      stream.end()
    })
    stream.on('error', ({ code }: ServiceError) => resolve({ code }))
    stream.write(question)
  }).finally(() => client.close())
}

test('a proxy with a descriptor set', async (t) => {
  const route = await bareRoute(t, { method: PATIENT })
  await route.createTopics()
  const file = join(route.directory, 'work.descriptors')
  writeFileSync(file, descriptorSet([join(import.meta.dirname, 'support/work.proto')]))
  const proxy = await route.startProxy({ descriptorSetFile: file })

  await t.test('lists its service, and that of calls by their ids, by reflection', async () => {
    const { response } = await reflect(proxy, { list_services: '' })
    assert.deepEqual(
      response?.list_services_response?.service.map(({ name }) => name).toSorted(),
      [SERVICE_NAME, CALLS_SERVICE].toSorted(),
    )
  })

  await t.test('describes it', async () => {
    const { response } = await reflect(proxy, { file_containing_symbol: SERVICE_NAME })
    const files = response?.file_descriptor_response?.file_descriptor_proto ?? []
    assert.ok(files.some((bytes) => bytes.includes('Instruction')))
  })
})
