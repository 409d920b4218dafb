/** `offsets: Redis`: what is finished is known in Redis, and now and then in Kafka. */
import assert from 'node:assert/strict'
import { suite, test, type TestContext } from 'node:test'
import { Redis } from 'ioredis'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { keyOf, type TopicPartition } from '../../sidecar/kafka/topic-partition.ts'
import { watermarkKey } from '../../sidecar/results/keys.ts'
import { connectRedis } from '../../sidecar/results/redis.ts'
import { Watermarks, type Log } from '../../sidecar/results/watermarks.ts'
import { createLogger } from '../../sidecar/telemetry/log.ts'
import { Metrics } from '../../sidecar/telemetry/metrics.ts'
import { atEnd } from './support/clean-up.ts'
import { createTopics, PATIENT, redisOfEnvironment, startRoute, until } from './support/route.ts'
import type { Route, RouteOptions, Worker } from './support/route.ts'

const ids = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}-${index}`)

/** A route of one partition whose workers keep their watermarks in Redis. */
async function startOnRedis(t: TestContext, options: RouteOptions = {}) {
  const route = await startRoute(t, {
    partitions: 1,
    method: PATIENT,
    ...options,
    worker: { offsets: 'Redis', ...options.worker },
  })
  const redis = new Redis(route.redisUrl)
  atEnd(t, () => redis.quit())
  return { route, redis }
}

async function callAll(route: Route, names: readonly string[]): Promise<void> {
  const answers = await Promise.all(names.map((id) => route.call({ id })))
  assert.deepEqual(new Set(answers.map(({ code }) => code)), new Set([0]))
}

/** The watermarks of the route's group, of whatever topics had its names. */
async function watermarks(redis: Redis, { groupId, topic, retryTopics }: Route) {
  const found: { readonly key: string; readonly at: string; readonly offset: number }[] = []
  for (const of of [topic, ...retryTopics]) {
    const at: TopicPartition = { topic: of, partition: 0 }
    // The braces are the key's own.
    const pattern = watermarkKey(groupId, { ...at, topicId: '*' })
    for await (const keys of redis.scanStream({ match: pattern, count: 1000 }) as AsyncIterable<string[]>) {
      for (const key of keys) found.push({ key, at: keyOf(at), offset: Number((await redis.get(key))?.split(' ')[0]) })
    }
  }
  return found
}

const isAt = async (redis: Redis, route: Route, offset: number) =>
  (await watermarks(redis, route)).some((mark) => mark.at === `${route.topic}/0` && mark.offset === offset)

/** Ends the worker in order; what Kafka has of its group's offsets is put back to the beginning, as if it had been told long ago. */
async function endAndSetBack(route: Route, worker: Worker): Promise<void> {
  await worker.process.end()
  await route.admin.setOffsets({
    groupId: route.groupId,
    topic: route.topic,
    partitions: [{ partition: 0, offset: '0' }],
  })
}

const skippedBy = (route: Route, worker: Worker) => route.metric(worker, 'grpc_kafka_records_total', 'result="skipped"')

suite('watermarks in Redis', { concurrency: 3 }, () => {
  test('are where the next worker begins, though Kafka knows of less', async (t) => {
    const { route, redis } = await startOnRedis(t)
    await callAll(route, ids('call', 20))
    await until('Redis has the watermark', () => isAt(redis, route, 20))
    await endAndSetBack(route, route.workers[0]!)
    const next = await route.startWorker()
    await callAll(route, ids('later', 5))
    assert.equal(await skippedBy(route, next), 0, 'nothing is looked at twice')
    assert.deepEqual(new Set(route.runs().values()), new Set([1]))
    await until('Kafka is told in time', async () => (await route.lag()) === 0)
  })

  test('that Redis lost are those of Kafka: calls are read again, and none is passed over', async (t) => {
    const { route, redis } = await startOnRedis(t)
    await callAll(route, ids('call', 20))
    await until('Redis has the watermark', () => isAt(redis, route, 20))
    await endAndSetBack(route, route.workers[0]!)
    await redis.del((await watermarks(redis, route)).map(({ key }) => key))
    const next = await route.startWorker()
    await callAll(route, ids('later', 5))
    await until('they are seen to have their outcomes', async () => (await skippedBy(route, next)) === 20)
    assert.deepEqual(new Set(route.runs().values()), new Set([1]))
    await until('Redis has the watermark again', () => isAt(redis, route, 25))
  })

  test('that Redis loses under a worker are written again, also of retry topics', async (t) => {
    const { route, redis } = await startOnRedis(t, {
      retryTopics: 1,
      worker: { retry: { maxAttempts: 2, backoff: { initialMilliseconds: 50, jitterPercent: 0 } } },
    })
    const retried = async (id: string) => {
      const { code } = await route.call({ id, status: GrpcStatus.UNAVAILABLE, failures: 1 })
      assert.equal(code, 0)
    }
    const both = async (offset: number) => {
      const found = await watermarks(redis, route)
      return found.length === 2 && found.every((mark) => mark.offset === offset)
    }
    await retried('before')
    await until('both topics have one', () => both(1))
    await redis.del((await watermarks(redis, route)).map(({ key }) => key))
    await retried('after')
    await until('both have one again', () => both(2))
  })

  test('of a topic that was deleted are not those of the one that has its name then', async (t) => {
    const { route, redis } = await startOnRedis(t, { proxies: 0, workers: 0 })
    await route.startWorker()
    await route.startProxy()
    await callAll(route, ids('old', 8))
    await until('Redis has the watermark', () => isAt(redis, route, 8))
    await route.workers[0]!.process.end()
    await route.proxies[0]!.process.end()
    await route.admin.deleteTopics({ topics: [route.topic] })
    await until('it is gone', async () => !(await route.admin.listTopics()).includes(route.topic))
    await createTopics(route.admin, [{ topic: route.topic, numPartitions: 1 }])
    await route.startWorker()
    await route.startProxy()
    const answers = await Promise.all(ids('new', 3).map((id) => route.call({ id }, { proxy: 1 })))
    assert.deepEqual(
      answers.map(({ code }) => code),
      [0, 0, 0],
    )
    await until('the new one has its own', () => isAt(redis, route, 3))
    assert.ok(await isAt(redis, route, 8), 'the old one stays until it lapses')
  })

  test('past the end of the log are given up, which is told: it is read from its beginning', async (t) => {
    const { route, redis } = await startOnRedis(t)
    await callAll(route, ids('call', 4))
    await until('Redis has the watermark', () => isAt(redis, route, 4))
    await route.workers[0]!.process.end()
    const [mark] = await watermarks(redis, route)
    await redis.set(mark!.key, '1000 1024')
    const next = await route.startWorker()
    await callAll(route, ['after'])
    assert.equal(await route.metric(next, 'grpc_kafka_watermarks_past_end_total'), 1)
    assert.ok(next.process.lines.some((line) => line.includes('lies past its end')))
    assert.equal(await skippedBy(route, next), 4, 'all that the log holds is looked at')
    assert.deepEqual(new Set(route.runs().values()), new Set([1]))
    await until('it goes on from there', () => isAt(redis, route, 5))
  })

  test('let calls run once while partitions move between workers', async (t) => {
    const { route } = await startOnRedis(t, { partitions: 4 })
    let moved = false
    const callers = ids('caller', 8).map(async (caller) => {
      for (let index = 0; !moved; index++) await callAll(route, [`${caller}-${index}`])
    })
    const second = await route.startWorker()
    await until('it has its part', async () => (await route.metric(second, 'grpc_kafka_assigned_partitions')) === 2)
    await second.process.end()
    moved = true
    await Promise.all(callers)
    assert.deepEqual(new Set(route.runs().values()), new Set([1]))
    await until('Kafka is told in time', async () => (await route.lag()) === 0)
  })
})

test('a watermark', async (t) => {
  const metrics = new Metrics()
  const redis = connectRedis({
    config: { url: redisOfEnvironment(), commandTimeoutMilliseconds: 5000 },
    name: 'watermarks',
    logger: createLogger('error', {}),
    metrics,
  })
  atEnd(t, () => redis.disconnect())
  await redis.whenReady()
  const marks = new Watermarks({ redis, groupId: 'watermarks', metrics })
  let logs = 0
  const newLog = (): Log => ({ topic: `watermarks-${process.pid}-${++logs}`, topicId: 'a'.repeat(32), partition: 0 })

  await t.test('goes forward only, whoever writes it', async () => {
    const log = newLog()
    const answers: number[] = []
    for (const offset of [7, 5, 7, 9]) answers.push(...(await marks.advance([{ ...log, offset, window: 10 }])))
    assert.deepEqual(answers, [7, 7, 7, 9])
    assert.deepEqual(await marks.read([log]), [{ offset: 9, window: 10 }])
  })

  await t.test('goes back where it is the one that was found wrong, and not where another stands by now', async () => {
    const log = newLog()
    await marks.advance([{ ...log, offset: 900, window: 10 }])
    const back = { ...log, offset: 3, window: 10 }
    assert.deepEqual(await marks.advance([back], [800]), [900])
    assert.deepEqual(await marks.advance([back], [900]), [3])
  })

  await t.test('that nobody can read is none', async () => {
    const log = newLog()
    await redis.each('set', [[watermarkKey('watermarks', log), 'nonsense', 'PX', 60_000]])
    assert.deepEqual(await marks.read([log]), [undefined])
    assert.deepEqual(await marks.advance([{ ...log, offset: 1, window: 10 }]), [1])
  })
})
