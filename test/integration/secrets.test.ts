/** A secret is named in the configuration, read when a sidecar starts, and seen nowhere else. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Metadata } from '@grpc/grpc-js'
import { Redis } from 'ioredis'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { atEnd } from './support/clean-up.ts'
import { ownRedis } from './support/own.ts'
import { PATIENT, startRoute, until } from './support/route.ts'
import type { Answer, CallOptions, Route } from './support/route.ts'
import type { Instruction } from './support/service.ts'
import { allBytes, readTopic } from './support/topic.ts'

const PASSWORD = 'correct-horse-battery'

/** Every place of the sidecars where somebody who is not meant to know a secret may look. */
async function placesOf(route: Route): Promise<Map<string, string>> {
  const places = new Map<string, string>()
  for (const { process, adminPort, configFile, config } of [...route.proxies, ...route.workers]) {
    places.set(`log of ${config.instance}`, process.lines.join('\n'))
    places.set(`configuration of ${config.instance}`, readFileSync(configFile, 'utf8'))
    places.set(`command line of ${config.instance}`, process.child.spawnargs.join(' '))
    for (const page of ['metrics', 'readyz', 'healthz']) {
      const response = await fetch(`http://127.0.0.1:${adminPort}/${page}`)
      places.set(`${page} of ${config.instance}`, await response.text())
    }
  }
  return places
}

const placesWith = (places: ReadonlyMap<string, string>, secret: string): string[] =>
  [...places].filter(([, text]) => text.includes(secret)).map(([place]) => place)

async function placesThatTell(route: Route, secret: string): Promise<string[]> {
  const places = await placesOf(route)
  places.set('Kafka', (await readTopic(route, 1)).map(allBytes).join('\n'))
  return placesWith(places, secret)
}

test('a password of Redis', async (t) => {
  const redis = await ownRedis(t)
  const admin = new Redis(redis.url)
  t.after(() => admin.quit())
  await admin.call('ACL', 'SETUSER', 'team', 'on', `>${PASSWORD}`, '~*', '&*', '+@all')
  const { port } = new URL(redis.url)
  const url = `redis://team:${PASSWORD}@127.0.0.1:${port}`

  await t.test('is read from a file, without the newline that editors leave', async (part) => {
    const directory = mkdtempSync(join(tmpdir(), 'grpc-kafka-secret-'))
    part.after(() => rmSync(directory, { recursive: true }))
    const file = join(directory, 'url')
    writeFileSync(file, `${url}\n`)
    const route = await startRoute(part, { redisUrl: url, redisReference: { file } })
    assert.equal((await route.call({ id: 'one' })).code, 0)
    assert.deepEqual(await placesThatTell(route, PASSWORD), [])
  })

  const environment = { TEST_REDIS_URL: url }
  const route = await startRoute(t, {
    redisUrl: url,
    redisReference: { env: 'TEST_REDIS_URL' },
    proxyEnv: () => environment,
    workerEnv: () => environment,
  })

  await t.test('is read from the environment, and seen nowhere', async () => {
    assert.equal((await route.call({ id: 'one' })).code, 0)
    assert.deepEqual(await placesThatTell(route, PASSWORD), [])
  })

  await t.test('that Redis no longer takes is reported without telling it, and no answer tells it', async () => {
    await admin.call('ACL', 'SETUSER', 'team', 'resetpass', '>another')
    await admin.call('CLIENT', 'KILL', 'USER', 'team')
    const [proxy] = route.proxies
    assert.ok(proxy)
    await until('the proxy reports it', () => proxy.process.lines.some((line) => line.includes('WRONGPASS')))
    const answer = await route.call({ id: 'meanwhile' }, { deadline: 1500 })
    assert.ok(
      [GrpcStatus.UNAVAILABLE, GrpcStatus.DEADLINE_EXCEEDED].some((code) => code === answer.code),
      answer.details,
    )
    assert.ok(!answer.details.includes(PASSWORD))
    assert.deepEqual(await placesThatTell(route, PASSWORD), [])
  })

  await t.test('that it takes again lets calls through again', async () => {
    await admin.call('ACL', 'SETUSER', 'team', 'resetpass', `>${PASSWORD}`)
    await until('a call is answered', async () => (await route.call({ id: 'after' }, { deadline: 2000 })).code === 0)
    assert.deepEqual(await placesThatTell(route, PASSWORD), [])
  })
})

/** What a caller sends, each under the name of its place. */
const CANARIES = {
  authorization: 'Bearer canary-of-authorization',
  cookie: 'session=canary-of-cookie',
  'x-api-key': 'canary-of-x-api-key',
  'x-api-key-bin': 'canary-of-x-api-key-bin',
  'idempotency-key': 'canary-of-idempotency-key',
  request: 'canary-of-request',
}

/** A text in the forms in which it may travel: as it is, and as `-bin` metadata, hexadecimal or a URL have it. */
const forms = (text: string): readonly string[] => [
  text,
  Buffer.from(text).toString('base64').replace(/=+$/, ''),
  Buffer.from(text).toString('hex'),
  encodeURIComponent(text),
]

test('what a caller sends as credentials, key or undeclared metadata', { timeout: 240_000 }, async (t) => {
  const redis = await ownRedis(t)
  const commands: string[] = []
  const watcher = new Redis(redis.url)
  atEnd(t, () => watcher.disconnect())
  const monitor = await watcher.monitor()
  atEnd(t, () => monitor.disconnect())
  monitor.on('monitor', (_time: string, args: readonly string[]) => commands.push(args.join(' ')))
  const route = await startRoute(t, {
    redisUrl: redis.url,
    proxy: { methods: [{ name: 'Do', ...PATIENT, metadata: ['x-tenant'], cacheSeconds: 5 }] },
    worker: { retry: { maxAttempts: 2, backoff: { initialMilliseconds: 1 }, retryableCodes: ['ABORTED'] } },
  })
  const answers: Answer[] = []
  const call = async (instruction: Instruction, key: string, options: CallOptions = {}) => {
    const metadata = new Metadata()
    for (const name of ['authorization', 'cookie', 'x-api-key'] as const) metadata.set(name, CANARIES[name])
    metadata.set('x-api-key-bin', Buffer.from(CANARIES['x-api-key-bin']))
    metadata.set('x-tenant', 'declared')
    metadata.set('idempotency-key', `${CANARIES['idempotency-key']}${key}`)
    const answer = await route.call({ ...instruction, reply: CANARIES.request }, { metadata, ...options })
    answers.push(answer)
    return answer.code
  }
  // Answered, answered again from Redis, the key of another request, an error, a dead letter, a deadline, and refusals.
  assert.equal(await call({ id: 'one' }, '-1'), GrpcStatus.OK)
  assert.equal(await call({ id: 'one' }, '-1'), GrpcStatus.OK)
  assert.equal(await call({ id: 'another' }, '-1'), GrpcStatus.FAILED_PRECONDITION)
  assert.equal(await call({ id: 'failed', status: GrpcStatus.NOT_FOUND }, '-2'), GrpcStatus.NOT_FOUND)
  assert.equal(await call({ id: 'dead', status: GrpcStatus.ABORTED }, '-3'), GrpcStatus.ABORTED)
  assert.equal(await call({ id: 'late', sleep: 3000 }, '-4', { deadline: 1500 }), GrpcStatus.DEADLINE_EXCEEDED)
  assert.equal(await call({ id: 'invalid' }, ', twice'), GrpcStatus.INVALID_ARGUMENT)
  assert.equal(await call({}, '-5', { method: '/test.Work/Undeclared' }), GrpcStatus.UNIMPLEMENTED)
  await until('the dead letter is on its topic', async () => (await route.records(`${route.topic}.dead`)) === 1)
  const records = [...(await readTopic(route, 4)), ...(await readTopic(route, 1, `${route.topic}.dead`))]
  await until('the commands were seen', () => commands.some((line) => line.includes(CANARIES.request)))

  const places = await placesOf(route)
  places.set(
    'answers',
    answers.map(({ details, trailing, initial }) => [details, ...textsOf(trailing), ...textsOf(initial)].join()).join(),
  )
  places.set(
    'handler',
    route
      .ledger()
      .map(({ metadata }) => JSON.stringify(metadata))
      .join(),
  )
  places.set('keys and headers of records', records.map((record) => allBytes({ ...record, value: null })).join())

  await t.test('is seen in no log, metric, record, answer, command or value of Redis', async () => {
    const everything = new Map(places)
    everything.set('commands of Redis', commands.join('\n'))
    everything.set('Redis', (await everythingIn(redis.url)).join('\n'))
    everything.set('records', records.map(allBytes).join())
    for (const [name, value] of Object.entries(CANARIES)) {
      for (const form of forms(value)) {
        // The request is Kafka's and the answer Redis' to hold, and nobody else's.
        assert.deepEqual(placesWith(name === 'request' ? places : everything, form), [], name)
      }
    }
  })

  await t.test('would be found: what is declared is', () => {
    assert.ok(records.some((record) => allBytes(record).includes('declared')))
    assert.ok(commands.some((line) => line.includes(CANARIES.request)))
  })
})

const textsOf = (metadata: Metadata): string[] => Object.entries(metadata.toHttp2Headers()).flat(2).map(String)

/** Keys and values, whatever their type. */
async function everythingIn(url: string): Promise<string[]> {
  const redis = new Redis(url)
  try {
    const found: string[] = []
    for await (const keys of redis.scanStream() as AsyncIterable<string[]>) {
      for (const key of keys) {
        const type = await redis.type(key)
        const value = type === 'string' ? await redis.getBuffer(key) : await redis.dumpBuffer(key)
        found.push(key, (value ?? Buffer.alloc(0)).toString('latin1'))
      }
    }
    return found
  } finally {
    await redis.quit()
  }
}
