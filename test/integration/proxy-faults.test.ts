import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { Load, assertAllAnswered, assertEachRanOnce, ended } from './support/load.ts'
import { startRoute, until } from './support/route.ts'

test('callers of a killed proxy get UNAVAILABLE at once, and those of the other proxy notice nothing', async (t) => {
  const route = await startRoute(t, {
    proxies: 2,
    method: { timeoutMilliseconds: 20_000 },
    worker: { concurrency: 256 },
  })
  const orphans = Array.from({ length: 50 }, (_, number) =>
    route.call({ id: `orphan-${number}`, sleep: 3000 }, { proxy: 0 }),
  )
  const others = new Load(route, { perSecond: 100, proxies: [1], name: 'other' })
  await until(
    'the handler runs the calls of the proxy',
    () => [...route.runs().keys()].filter((id) => id.startsWith('orphan')).length === 50,
  )
  const killedAt = performance.now()
  route.proxies[0]?.process.kill('SIGKILL')
  const answers = await Promise.all(orphans)
  const waited = Math.round(performance.now() - killedAt)
  assert.deepEqual([...new Set(answers.map(({ code }) => code))], [GrpcStatus.UNAVAILABLE])
  assert.ok(waited < 1000, `the callers waited ${waited} ms`)
  const goal = others.answered + 200
  await until('the other proxy goes on', () => others.answered > goal)
  assertAllAnswered(await others.stop())
  // Nobody waits for these outcomes: they are stored, and nothing is held back for them.
  await until('every offset is committed', async () => (await route.lag()) === 0)
  const [worker] = route.workers
  assert.ok(worker)
  assert.equal(await route.metric(worker, 'grpc_kafka_running_calls'), 0)
})

test('a proxy told to end under load loses no call: each one taken is answered, others are refused unrun', async (t) => {
  const route = await startRoute(t, {
    proxies: 2,
    method: { timeoutMilliseconds: 20_000 },
    worker: { concurrency: 256 },
  })
  const load = new Load(route, { perSecond: 200, proxies: [0, 1], instruction: { sleep: 300 } })
  await until('the load runs', () => load.answered > 200)
  const [proxy] = route.proxies
  assert.ok(proxy)
  proxy.process.kill('SIGTERM')
  assert.equal(await ended(proxy.process, 15_000), 0)
  const goal = load.answered + 200
  await until('the other proxy goes on', () => load.answered > goal)
  const answers = await load.stop()
  const refused = answers.filter(({ code }) => code === GrpcStatus.UNAVAILABLE)
  const served = answers.filter(({ code }) => code !== GrpcStatus.UNAVAILABLE)
  assert.ok(refused.length > 0, 'calls went on to the proxy after its end')
  assertAllAnswered(served)
  const runs = route.runs()
  assert.deepEqual(
    refused.filter(({ id }) => runs.has(id)).map(({ id, details }) => ({ id, details })),
    [],
    'a refused call ran',
  )
  assertEachRanOnce(route, served)
})
