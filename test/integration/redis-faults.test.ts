import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { Redis } from 'ioredis'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { connectRedis } from '../../sidecar/results/redis.ts'
import { createLogger } from '../../sidecar/telemetry/log.ts'
import { Metrics } from '../../sidecar/telemetry/metrics.ts'
import { atEnd } from './support/clean-up.ts'
import { DeafeningRelay } from './support/deafening-relay.ts'
import { Load, assertAllAnswered, assertEachRanOnce, ended, slowest } from './support/load.ts'
import { ownRedis } from './support/own.ts'
import { redisOfEnvironment, startRoute, until } from './support/route.ts'
import type { Route, RouteOptions } from './support/route.ts'

async function ownRedisRoute(t: TestContext, options: RouteOptions = {}) {
  const redis = await ownRedis(t)
  const route = await startRoute(t, { redisUrl: redis.url, method: { timeoutMilliseconds: 20_000 }, ...options })
  const admin = new Redis(redis.url, { maxRetriesPerRequest: null })
  admin.on('error', () => undefined)
  atEnd(t, () => admin.disconnect())
  return { redis, route, admin }
}

/** Kills connections now and then until a number of calls were answered meanwhile. */
async function cutAgainAndAgain(load: Load, cut: () => Promise<unknown>): Promise<void> {
  for (let round = 0; round < 4; round++) {
    const goal = load.answered + 150
    await cut()
    await until('calls are answered after the cut', () => load.answered >= goal)
  }
}

async function rereads(route: Route): Promise<number> {
  const [proxy] = route.proxies
  assert.ok(proxy)
  return route.metric(proxy, 'grpc_kafka_reply_rereads_total')
}

test('calls under load are all answered, each run once, when every connection to Redis is cut', async (t) => {
  const { route, admin } = await ownRedisRoute(t)
  const load = new Load(route, { perSecond: 200, instruction: { sleep: 5 } })
  await until('the load runs', () => load.answered > 100)
  await cutAgainAndAgain(load, async () => {
    await until('both roles are connected', async () => {
      const clients = String(await admin.client('LIST'))
      return clients.split(' name=grpc-kafka:').length - 1 >= 3
    })
    const killed =
      Number(await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')) +
      Number(await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub'))
    assert.ok(killed >= 3, `only ${killed} connections were cut`)
  })
  const answers = await load.stop()
  t.diagnostic(`${answers.length} calls, slowest ${slowest(answers)} ms`)
  assertAllAnswered(answers)
  assertEachRanOnce(route, answers)
})

test('calls under load are all answered when the connection of the reply channel alone is cut', async (t) => {
  const { route, admin } = await ownRedisRoute(t)
  const load = new Load(route, { perSecond: 200, instruction: { sleep: 5 } })
  await until('the load runs', () => load.answered > 100)
  await cutAgainAndAgain(load, () =>
    until('the connection is cut', async () => Number(await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub')) === 1),
  )
  const answers = await load.stop()
  t.diagnostic(`${answers.length} calls, slowest ${slowest(answers)} ms, ${await rereads(route)} read again`)
  assertAllAnswered(answers)
  assert.ok(slowest(answers) < 15_000, 'a call waited for its deadline and not for the next look')
})

test('a notification that is lost without a sign costs a second, not the answer', async (t) => {
  const relay = await DeafeningRelay.start(t, redisOfEnvironment())
  const route = await startRoute(t, { redisUrl: relay.url, method: { timeoutMilliseconds: 20_000 } })
  assert.equal((await route.call({ id: 'heard' })).code, 0)
  assert.equal(await rereads(route), 0)
  relay.deafen()
  const { code, reply, milliseconds } = await route.call({ id: 'unheard', reply: 'found' })
  assert.deepEqual({ code, reply: reply?.toString() }, { code: 0, reply: 'found' })
  assert.ok(relay.lost > 0, 'the notification was not lost')
  assert.ok(milliseconds < 15_000, `answered after ${Math.round(milliseconds)} ms`)
  assert.ok((await rereads(route)) > 0)
})

test('a connection that went half open is replaced once a command had no answer', { timeout: 60_000 }, async (t) => {
  const relay = await DeafeningRelay.start(t, redisOfEnvironment())
  const logger = createLogger('fatal', {})
  const redis = connectRedis({
    config: { url: relay.url, commandTimeoutMilliseconds: 5000 },
    name: 'half-open',
    logger,
    metrics: new Metrics(),
  })
  atEnd(t, () => redis.disconnect())
  await redis.whenReady()
  assert.deepEqual(await redis.getAll(['gk:none']), [null])
  relay.mute()
  const replaced = new Promise<void>((resolve) => redis.onReady(resolve))
  await assert.rejects(redis.getAll(['gk:none']))
  await replaced
  assert.ok(relay.lost > 0, 'no answer was lost')
  assert.deepEqual(await redis.getAll(['gk:none']), [null])
})

test('a reply channel that hears nothing any more although its connection looks well gets a new one', async (t) => {
  const relay = await DeafeningRelay.start(t, redisOfEnvironment())
  const route = await startRoute(t, { redisUrl: relay.url, method: { timeoutMilliseconds: 20_000 } })
  const [proxy] = route.proxies
  assert.ok(proxy)
  relay.deafenOpen()
  await until(
    'the proxy notices',
    () => proxy.process.lines.some((line) => line.includes('does not hear what is published')),
    30_000,
  )
  await until('a call is told of its outcome again', async () => {
    const before = await rereads(route)
    const { code } = await route.call({ id: 'heard again' })
    return code === 0 && (await rereads(route)) === before
  })
})

test('calls under load are all answered when Redis restarts', async (t) => {
  const { redis, route } = await ownRedisRoute(t, { worker: { retry: { maxAttempts: 3 } } })
  const load = new Load(route, { perSecond: 150, instruction: { sleep: 5 } })
  await until('the load runs', () => load.answered > 100)
  await redis.kill('SIGKILL')
  const sent = load.sent
  await until('calls are sent while Redis is away', () => load.sent > sent + 100)
  await redis.start()
  const goal = load.sent + 150
  await until('calls are answered again', () => load.answered > goal)
  const answers = await load.stop()
  t.diagnostic(`${answers.length} calls, slowest ${slowest(answers)} ms`)
  assertAllAnswered(answers)
  assertEachRanOnce(route, answers)
  await until('every offset is committed', async () => (await route.lag()) === 0)
})

test('while Redis is full nobody is answered and no offset passes a call; with room again all are, each run once', async (t) => {
  const { route, admin } = await ownRedisRoute(t, { method: { timeoutMilliseconds: 60_000 } })
  const [worker] = route.workers
  assert.ok(worker)
  const load = new Load(route, { perSecond: 100, deadline: 60_000, instruction: { sleep: 5 } })
  await until('the load runs', () => load.answered > 100)
  await admin.config('SET', 'maxmemory-policy', 'noeviction')
  await admin.config('SET', 'maxmemory', '1')
  await until('answers that were on their way have come', async () => {
    const { answered, sent } = load
    await until('calls are sent', () => load.sent >= sent + 50)
    return load.answered === answered
  })
  assert.ok((await route.metric(worker, 'grpc_kafka_redis_errors_total', 'reason="out_of_memory"')) > 0)
  // The last call that was sent may not have been run yet.
  const outcomesWaiting = () => route.metric(worker, 'grpc_kafka_outcomes_pending')
  await until('the outcomes of fifty calls wait', async () => (await outcomesWaiting()) >= 50)
  const waiting = await outcomesWaiting()
  assert.ok((await route.lag()) >= waiting, 'an offset passed a call whose outcome is not stored')
  await admin.config('SET', 'maxmemory', '0')
  const goal = load.sent + 100
  await until('calls are answered again', () => load.answered >= goal, 40_000)
  const answers = await load.stop()
  t.diagnostic(`${answers.length} calls, slowest ${slowest(answers)} ms`)
  assertAllAnswered(answers)
  assertEachRanOnce(route, answers)
  await until('every offset is committed', async () => (await route.lag()) === 0)
})

test('both roles end when they are told to while Redis is away', async (t) => {
  const { redis, route } = await ownRedisRoute(t, { worker: { graceSeconds: 12 }, proxy: { drainMilliseconds: 2000 } })
  const call = route.call({ id: 'unstored', sleep: 500 })
  await until('the handler runs the call', () => route.ledger().length === 1)
  await redis.kill('SIGKILL')
  for (const { process } of [...route.proxies, ...route.workers]) process.kill('SIGTERM')
  const codes = await Promise.all([...route.proxies, ...route.workers].map(({ process }) => ended(process, 15_000)))
  assert.deepEqual(codes, [0, 0])
  assert.equal((await call).code, GrpcStatus.UNAVAILABLE)
  assert.equal(await route.lag(), 1, 'the offset passed a call whose outcome was not stored')
})
