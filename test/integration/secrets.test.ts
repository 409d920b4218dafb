/** A secret is named in the configuration, read when a sidecar starts, and seen nowhere else. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Redis } from 'ioredis'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { ownRedis } from './support/own.ts'
import { startRoute, until } from './support/route.ts'
import type { Route } from './support/route.ts'
import { allBytes, readTopic } from './support/topic.ts'

const PASSWORD = 'correct-horse-battery'

/** Every place where somebody who is not meant to know the password may look. */
async function placesThatTell(route: Route, secret: string): Promise<string[]> {
  const found: string[] = []
  const look = (place: string, text: string) => {
    if (text.includes(secret)) found.push(place)
  }
  for (const { process, adminPort, configFile, config } of [...route.proxies, ...route.workers]) {
    look(`log of ${config.instance}`, process.lines.join('\n'))
    look(`configuration of ${config.instance}`, readFileSync(configFile, 'utf8'))
    look(`command line of ${config.instance}`, process.child.spawnargs.join(' '))
    for (const page of ['metrics', 'readyz', 'healthz']) {
      look(`${page} of ${config.instance}`, await (await fetch(`http://127.0.0.1:${adminPort}/${page}`)).text())
    }
  }
  for (const record of await readTopic(route, 1)) look('Kafka', allBytes(record))
  return found
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
