import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { startRoute, until } from './support/route.ts'
import type { Route, Worker } from './support/route.ts'

const healthy = (route: Route, worker: Worker) => route.metric(worker, 'grpc_kafka_handler_healthy')

function theWorker(route: Route): Worker {
  const [worker] = route.workers
  assert.ok(worker)
  return worker
}

/** Rewrites the worker's file and tells it. */
function reconfigure(worker: Worker, change: (config: { worker: Record<string, unknown> }) => void): void {
  const config = JSON.parse(readFileSync(worker.configFile, 'utf8')) as { worker: Record<string, unknown> }
  change(config)
  writeFileSync(worker.configFile, JSON.stringify(config))
  worker.process.kill('SIGHUP')
}

test('a handler that says NOT_SERVING gets no calls, burns no attempts, and gets them when it serves again', async (t) => {
  const route = await startRoute(t, { method: { timeoutMilliseconds: 20_000 }, worker: { retry: { maxAttempts: 2 } } })
  const worker = theWorker(route)
  worker.handler.kill('SIGUSR1')
  await until('the worker has noticed', async () => (await healthy(route, worker)) === 0)
  assert.equal(await route.status(worker, '/readyz'), 503)
  const calls = Array.from({ length: 20 }, (_, number) => route.call({ id: `held-${number}` }))
  await until('the calls are on Kafka', async () => (await route.records()) === 20)
  await until(
    'the worker has read them',
    async () => (await route.metric(worker, 'grpc_kafka_buffered_records')) === 20,
  )
  assert.equal(route.ledger().length, 0)
  worker.handler.kill('SIGUSR2')
  for (const { code } of await Promise.all(calls)) assert.equal(code, 0)
  const began = route.ledger().filter(({ event }) => event === 'began')
  assert.deepEqual(new Set(began.map(({ attempt }) => attempt)), new Set([1]))
  assert.equal(began.length, 20)
})

test('a call that waits for a handler that is away is Expired(No) at its deadline', async (t) => {
  const route = await startRoute(t)
  const worker = theWorker(route)
  worker.handler.kill('SIGUSR1')
  await until('the worker has noticed', async () => (await healthy(route, worker)) === 0)
  assert.equal((await route.call({ id: 'never' }, { deadline: 800 })).code, 4)
  await until(
    'the record is finished while the handler is away',
    async () => (await route.metric(worker, 'grpc_kafka_records_total', 'result="expired"')) === 1,
  )
  assert.equal(route.ledger().length, 0)
})

test('a call whose handler is killed is answered by the next one, on another port', async (t) => {
  const route = await startRoute(t, { method: { timeoutMilliseconds: 20_000 }, worker: { retry: { maxAttempts: 3 } } })
  const worker = theWorker(route)
  const call = route.call({ id: 'moves', sleep: 500, reply: 'moved' })
  await until('the handler runs the call', () => route.ledger().length === 1)
  worker.handler.kill('SIGKILL')
  const { handler, handlerPort } = await route.startHandler()
  assert.notEqual(handlerPort, worker.handlerPort)
  reconfigure(worker, (config) => (config.worker['handler'] = { port: handlerPort }))
  const { code, reply } = await call
  assert.deepEqual({ code, reply: reply?.toString() }, { code: 0, reply: 'moved' })
  assert.deepEqual(
    route
      .ledger()
      .filter(({ event }) => event === 'began')
      .map(({ pid, attempt }) => [pid === handler.child.pid, attempt]),
    [
      [false, 1],
      [true, 2],
    ],
  )
})

test('a call that a killed handler may have seen is UNAVAILABLE where the policy allows one attempt', async (t) => {
  const route = await startRoute(t, { worker: { retry: { maxAttempts: 1 } } })
  const { code, details, milliseconds } = await route.call({ id: 'dies', crash: true })
  assert.deepEqual({ code, details }, { code: 14, details: 'the connection to the handler broke before it answered' })
  assert.ok(milliseconds < 2000, `${Math.round(milliseconds)} ms`)
})

test('a worker takes another address of its handler while it runs, and refuses as a whole what cannot change', async (t) => {
  const route = await startRoute(t)
  const worker = theWorker(route)
  const { handler, handlerPort } = await route.startHandler()
  reconfigure(worker, (config) => {
    config.worker['handler'] = { port: handlerPort }
    config.worker['groupId'] = 'another'
  })
  await until('the refusal is logged', () =>
    worker.process.lines.some((line) => line.includes('worker.groupId: cannot change')),
  )
  assert.equal((await route.call({ id: 'stays' })).code, 0)
  reconfigure(worker, (config) => {
    config.worker['groupId'] = route.groupId
  })
  await until('the move is logged', () => worker.process.lines.some((line) => line.includes('the handler moved')))
  assert.equal((await route.call({ id: 'moves' })).code, 0)
  const pids = route
    .ledger()
    .filter(({ event }) => event === 'began')
    .map(({ pid }) => pid)
  assert.deepEqual(pids, [worker.handler.child.pid, handler.child.pid])
})

test('a handler without the health service is taken as healthy while it answers', async (t) => {
  const route = await startRoute(t, { handlerEnv: { WITHOUT_HEALTH: '1' } })
  const worker = theWorker(route)
  assert.equal((await route.call({ id: 'fine' })).code, 0)
  worker.handler.kill('SIGKILL')
  await until('the worker has noticed', async () => (await healthy(route, worker)) === 0)
})
