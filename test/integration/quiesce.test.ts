import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Load, assertAllAnswered, assertEachRanOnce, ended } from './support/load.ts'
import { startRoute, until } from './support/route.ts'

test('a worker that is quiesced hands back what has not started, and the other one answers', async (t) => {
  const route = await startRoute(t, {
    workers: 2,
    method: { timeoutMilliseconds: 20_000 },
    worker: { retry: { maxAttempts: 1 }, concurrency: 8 },
  })
  const load = new Load(route, { perSecond: 120, instruction: { sleep: 100 } })
  await until('the load runs', () => load.answered > 100)
  const [leaver] = route.workers
  assert.ok(leaver)
  const started = performance.now()
  assert.equal(await route.status(leaver, '/quiesce'), 200)
  t.diagnostic(`quiesced in ${Math.round(performance.now() - started)} ms`)
  const ofLeaver = () => route.ledger().filter(({ pid }) => pid === leaver.handler.child.pid)
  assert.equal(
    ofLeaver().filter(({ event }) => event === 'began').length,
    ofLeaver().filter(({ event }) => event === 'ended').length,
    'a handler still runs',
  )
  const runsThen = ofLeaver().length
  assert.equal(await route.status(leaver, '/readyz'), 503)
  const goal = load.sent + 100
  await until('the other worker answers', () => load.answered > goal)
  const answers = await load.stop()
  assertAllAnswered(answers)
  assertEachRanOnce(route, answers)
  assert.equal(ofLeaver().length, runsThen, 'the quiesced worker started a call')
  leaver.process.kill('SIGTERM')
  assert.equal(await ended(leaver.process, 10_000), 0)
})

test('a quiesced worker resumes when its handler was away and is back, because only the handler was restarted', async (t) => {
  const route = await startRoute(t, { method: { timeoutMilliseconds: 20_000 } })
  const [worker] = route.workers
  assert.ok(worker)
  assert.equal((await route.call({ id: 'before' })).code, 0)
  assert.equal(await route.status(worker, '/quiesce'), 200)
  const waiting = route.call({ id: 'waiting' })
  await until('the call is on Kafka', async () => (await route.records()) === 2)
  worker.handler.kill('SIGTERM')
  await worker.handler.exited
  await until('the worker has noticed', async () => (await route.metric(worker, 'grpc_kafka_handler_healthy')) === 0)
  assert.equal(route.runs().size, 1)
  await route.startHandler(worker.handlerPort)
  await route.ready(worker)
  assert.equal((await waiting).code, 0)
  assert.equal((await route.call({ id: 'after' })).code, 0)
  assert.deepEqual(
    [...route.runs()],
    [
      ['before', 1],
      ['waiting', 1],
      ['after', 1],
    ],
  )
})

test('a worker that is quiesced because its handler hangs resumes with the next handler', async (t) => {
  const route = await startRoute(t, { method: { timeoutMilliseconds: 20_000 } })
  const [worker] = route.workers
  assert.ok(worker)
  worker.handler.kill('SIGSTOP')
  await until('the worker has noticed', async () => (await route.metric(worker, 'grpc_kafka_handler_healthy')) === 0)
  assert.equal(await route.status(worker, '/quiesce'), 200)
  worker.handler.kill('SIGKILL')
  await worker.handler.exited
  await route.startHandler(worker.handlerPort)
  await route.ready(worker)
  assert.equal((await route.call({ id: 'after' })).code, 0)
})
