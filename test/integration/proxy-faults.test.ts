import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { Load, assertAllAnswered } from './support/load.ts'
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
  assert.ok(waited < 5000, `the callers waited ${waited} ms`)
  const goal = others.answered + 200
  await until('the other proxy goes on', () => others.answered > goal)
  assertAllAnswered(await others.stop())
  // Nobody waits for these outcomes: they are stored, and nothing is held back for them.
  await until('every offset is committed', async () => (await route.lag()) === 0)
  const [worker] = route.workers
  assert.ok(worker)
  assert.equal(await route.metric(worker, 'grpc_kafka_running_calls'), 0)
})
