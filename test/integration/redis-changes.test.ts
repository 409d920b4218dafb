/** Outcomes on Redis that changes under them: every one is stored once asked for, told to who waits, and the first stands. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { atEnd } from './support/clean-up.ts'
import { outcomeTraffic } from './support/outcome-traffic.ts'
import { ownRedis } from './support/own.ts'
import { adminOf, isInSync, watchedRedis } from './support/redis-topologies.ts'
import { until } from './support/route.ts'

const withTimeout = { commandTimeoutMilliseconds: 1000 }

/** Sentinels that stood still for two seconds, as on a busy machine, do nothing for thirty (TILT). */
const SENTINELS_MILLISECONDS = 120_000

test('Sentinels', async (t) => {
  const redis = await watchedRedis(t)
  const { goesOn, end, counts } = await outcomeTraffic(t, {
    sentinel: { nodes: redis.sentinels, master: redis.name },
    ...withTimeout,
  })

  const killed = await redis.master()
  /** Numbers of outcomes that only the old master had, when it was replaced: from, to. */
  const forgettable: [number, number][] = []
  const moved = async (part: TestContext, from: string): Promise<void> => {
    await until('there is another master', async () => (await redis.master()).url !== from, SENTINELS_MILLISECONDS)
    const admin = adminOf(part, (await redis.master()).url)
    await until(
      'all connections are there',
      async () => {
        const clients = String(await admin.client('LIST'))
        return ['worker', 'proxy', 'proxy:reply'].every((name) => clients.includes(` name=grpc-kafka:${name} `))
      },
      30_000,
    )
  }

  await t.test('that replace a master that was killed are followed', async (part) => {
    const from = counts.stored
    await killed.kill('SIGKILL')
    forgettable.push([from, counts.sent])
    await moved(part, killed.url)
    await goesOn()
  })

  await t.test('that make a replica the master, while the old one lives on, are followed', async (part) => {
    const before = await redis.master()
    // A replica that is being synchronised could not become the master.
    const replica = redis.servers.find(({ url }) => url !== before.url && url !== killed.url)
    assert.ok(replica)
    const admin = adminOf(part, replica.url)
    await until('the other follows the new master', () => isInSync(admin), SENTINELS_MILLISECONDS)
    const from = counts.stored
    const failover = () => redis.sentinel.call('SENTINEL', 'FAILOVER', redis.name)
    let askedAt = -Infinity
    // They give one up when they have not heard from the replica for a while: then they are asked again.
    await until(
      'the Sentinels have moved the master',
      async () => {
        if ((await redis.master()).url !== before.url) return true
        if (performance.now() - askedAt > 5000 && (await failover().then(Boolean, () => false)))
          askedAt = performance.now()
        return false
      },
      SENTINELS_MILLISECONDS,
    )
    await moved(part, before.url)
    forgettable.push([from, counts.sent])
    await goesOn()
  })

  const { forgotten } = await end((number) => forgettable.some(([from, to]) => from <= number && number < to))
  t.diagnostic(`${counts.sent} outcomes, ${forgotten} forgotten`)
})

test('a server that became a replica refuses outcomes, and none counts as stored until it is the master again', async (t) => {
  const [first, second] = await Promise.all([ownRedis(t), ownRedis(t)])
  const [a, b] = [adminOf(t, first.url), adminOf(t, second.url)]
  const portOf = (url: string) => Number(new URL(url).port)
  await b.replicaof('127.0.0.1', portOf(first.url))
  await until('the other follows', () => isInSync(b))
  const { goesOn, end, counts, metrics } = await outcomeTraffic(t, { url: first.url, ...withTimeout })
  await b.replicaof('NO', 'ONE')
  await a.replicaof('127.0.0.1', portOf(second.url))
  await until('it is a replica', () => isInSync(a))
  const { stored } = counts
  const goal = counts.sent + 100
  await until('outcomes wait', () => counts.sent >= goal)
  assert.equal(counts.stored, stored, 'a replica took an outcome')
  assert.match(await metrics.expose(), /grpc_kafka_redis_errors_total\{reason="read_only"\} [1-9]/)
  await a.replicaof('NO', 'ONE')
  await goesOn()
  await end()
})

test('a Redis that is full refuses outcomes, which wait and are stored when there is room', async (t) => {
  const redis = await ownRedis(t)
  const admin = adminOf(t, redis.url)
  const { goesOn, end, counts, metrics } = await outcomeTraffic(t, { url: redis.url, ...withTimeout })
  await admin.config('SET', 'maxmemory-policy', 'noeviction')
  await admin.config('SET', 'maxmemory', '1')
  let { stored } = counts
  await until('a batch that was on its way has come', async () => {
    const before = stored
    stored = counts.stored
    const goal = counts.sent + 50
    await until('outcomes wait', () => counts.sent >= goal)
    return before === counts.stored
  })
  assert.match(await metrics.expose(), /grpc_kafka_redis_errors_total\{reason="out_of_memory"\} [1-9]/)
  await admin.config('SET', 'maxmemory', '0')
  await goesOn()
  await end()
  assert.ok(counts.stored > stored)
})

test('a Redis that stands still is given up after the limit of a command, and found again', async (t) => {
  const redis = await ownRedis(t)
  const { goesOn, end, metrics } = await outcomeTraffic(t, { url: redis.url, commandTimeoutMilliseconds: 300 })
  await redis.kill('SIGSTOP')
  atEnd(t, () => redis.kill('SIGCONT'))
  const failures = async () =>
    Number(/grpc_kafka_redis_errors_total\{reason="timeout"\} (\d+)/.exec(await metrics.expose())?.[1] ?? 0)
  await until('commands are given up', async () => (await failures()) > 0)
  await redis.kill('SIGCONT')
  await goesOn()
  await end()
})
