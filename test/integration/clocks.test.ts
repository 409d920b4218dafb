import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { startRoute } from './support/route.ts'

const wrongClock = (milliseconds: number) => () => ({
  TEST_IMPORT: 'test/integration/support/skewed-clock.ts',
  CLOCK_SKEW_MILLISECONDS: String(milliseconds),
})

suite('clocks that are wrong', { concurrency: 3 }, () => {
  for (const side of ['proxy', 'worker'] as const) {
    for (const skew of [4000, -4000]) {
      const how = `4 s ${skew > 0 ? 'fast' : 'slow'}`
      test(`with the clock of the ${side} ${how} short deadlines hold: calls are answered and handlers get what remains`, async (t) => {
        const env = wrongClock(skew)
        const route = await startRoute(t, side === 'proxy' ? { proxyEnv: env } : { workerEnv: env })
        // Against a local clock a call of 2 s would be over before it began, or never.
        const answers = await Promise.all(
          Array.from({ length: 20 }, (_, number) =>
            route.call({ id: `short-${number}`, reply: 'in time' }, { deadline: 2000 }),
          ),
        )
        assert.deepEqual(
          answers.map(({ code, reply }) => [code, reply?.toString()]),
          answers.map(() => [0, 'in time']),
        )
        for (const { remaining } of route.ledger().filter(({ event }) => event === 'began')) {
          // Seen with the handler's clock, which is right; the sidecars' tolerance is 500 ms.
          assert.ok(remaining > 500 && remaining <= 2500, `the handler was given ${remaining} ms`)
        }
      })
    }
  }

  test('with clocks 8 s apart a call whose deadline passed while the worker was away is not run', async (t) => {
    const route = await startRoute(t, { workers: 0, proxyEnv: wrongClock(4000), workerEnv: wrongClock(-4000) })
    const { code, milliseconds } = await route.call({ id: 'late' }, { deadline: 1000 })
    assert.equal(code, 4)
    assert.ok(milliseconds < 1800, `${Math.round(milliseconds)} ms`)
    const worker = await route.startWorker()
    assert.equal((await route.call({ id: 'next' }, { deadline: 3000 })).code, 0)
    assert.deepEqual([...route.runs().keys()], ['next'])
    assert.equal(await route.metric(worker, 'grpc_kafka_records_total', 'result="expired"'), 1)
  })
})
