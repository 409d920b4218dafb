/** Admission by the queue (SEMANTICS 12): a call that workers would come to too late is refused at once. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Redis } from 'ioredis'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { flowKey } from '../../sidecar/results/keys.ts'
import { atEnd } from './support/clean-up.ts'
import { redisOfEnvironment, startRoute, until } from './support/route.ts'
import type { Answer, Route } from './support/route.ts'

const PATIENCE = 120_000
const SLEEP = 250
/** Two places: eight calls a second. */
const SLOW = { method: { timeoutMilliseconds: PATIENCE }, worker: { concurrency: 2 } } as const
/** Twenty seconds of work. */
const QUEUED = 160
/** What is left of it when it is known how long it takes, at the least: a busy machine has seconds to ask in. */
const LONG_SECONDS = 6
const HURRIED = 2500
const TOO_LONG = /^the queue is too long: an answer would take about (\d+) ms, and the deadline is in (\d+) ms$/

/** Puts calls on their way and resolves when the proxy knows how long they take. */
async function longQueue(route: Route, name: string): Promise<{ readonly answers: Promise<Answer[]> }> {
  const [proxy] = route.proxies
  assert.ok(proxy)
  const answers = Promise.all(
    Array.from({ length: QUEUED }, (_, index) =>
      route.call({ id: `${name}-${index}`, sleep: SLEEP }, { deadline: PATIENCE }),
    ),
  )
  await until(
    'it is known how long the queue takes',
    async () => (await route.metric(proxy, 'grpc_kafka_queue_wait_estimate_seconds')) > LONG_SECONDS,
  )
  return { answers }
}

test('a queue that is longer than a deadline', async (t) => {
  const route = await startRoute(t, SLOW)
  const queued = await longQueue(route, 'queued')

  await t.test('refuses the call at once, naming the limit, the estimate and when to try again', async () => {
    const answer = await route.call({ id: 'hurried' }, { deadline: HURRIED })
    assert.equal(answer.code, GrpcStatus.RESOURCE_EXHAUSTED, answer.details)
    const [, estimate, remaining] = TOO_LONG.exec(answer.details)?.map(Number) ?? []
    assert.ok(estimate !== undefined && remaining !== undefined, answer.details)
    assert.ok(estimate > HURRIED && estimate < 60_000 && remaining <= HURRIED, answer.details)
    const pushback = Number(answer.trailing.get('grpc-retry-pushback-ms')[0])
    assert.ok(Math.abs(pushback - Math.min(10_000, estimate - remaining)) <= 2, `${pushback} ms`)
    const [proxy] = route.proxies
    assert.ok(proxy)
    assert.equal(await route.metric(proxy, 'grpc_kafka_refusals_total', 'limit="QUEUE_TOO_LONG"'), 1)
  })

  await t.test('lets a call in that can wait', async () => {
    const answer = await route.call({ id: 'patient' }, { deadline: PATIENCE })
    assert.equal(answer.code, 0, answer.details)
  })

  await t.test('is forgotten when it is gone', async () => {
    const answers = await queued.answers
    assert.deepEqual([...new Set(answers.map(({ code }) => code))], [0])
    const answer = await route.call({ id: 'later' }, { deadline: 1000 })
    assert.notEqual(answer.code, GrpcStatus.RESOURCE_EXHAUSTED, answer.details)
    assert.equal(route.runs().has('hurried'), false)
  })
})

test('what stands in Redis instead of reports hurts no call', async (t) => {
  const route = await startRoute(t, SLOW)
  const redis = new Redis(redisOfEnvironment())
  atEnd(t, () => redis.disconnect())
  const key = flowKey(route.topic)

  await t.test('when the key is of another kind', async () => {
    await redis.set(key, 'a string')
    const [proxy] = route.proxies
    assert.ok(proxy)
    const failures = () => route.metric(proxy, 'grpc_kafka_redis_errors_total', 'reason="command"')
    const before = await failures()
    await until('the proxy failed to read it', async () => (await failures()) > before)
    const answer = await route.call({ id: 'in-spite' })
    assert.equal(answer.code, 0, answer.details)
    await redis.del(key)
  })

  await t.test('when there is garbage beside the reports', async () => {
    await redis.hset(key, 'garbage', Buffer.from([0, 255, 10, 128]))
    await redis.hset(key, 'later', '2 1 1 1 1 1', 'empty', '', 'endless', `1 ${'9'.repeat(400)} 1 1 1 1`)
    await longQueue(route, 'among-garbage')
    const answer = await route.call({ id: 'hurried' }, { deadline: HURRIED })
    assert.match(answer.details, TOO_LONG)
  })

  await t.test('and goes when a worker comes and looks around', async () => {
    await route.startWorker()
    await until(
      'only the reports of both workers are left',
      async () => {
        const reports = Object.values(await redis.hgetall(key))
        return reports.length === 2 && reports.every((report) => /^1 \d{13} /.test(report))
      },
      60_000,
    )
  })
})

test('workers that are gone refuse nothing', async (t) => {
  const route = await startRoute(t, SLOW)
  await longQueue(route, 'left-behind')
  const early = await route.call({ id: 'early' }, { deadline: HURRIED })
  assert.match(early.details, TOO_LONG)
  route.workers[0]?.process.kill('SIGKILL')
  // Nobody works any more, so a call that is let in has no answer.
  await until(
    'a call is let in',
    async () => (await route.call({ id: 'hopeful' }, { deadline: HURRIED })).code === GrpcStatus.DEADLINE_EXCEEDED,
    60_000,
  )
})
