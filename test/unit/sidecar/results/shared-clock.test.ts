import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pino } from 'pino'
import { SharedClock } from '../../../../sidecar/results/shared-clock.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'
import { fakeRedis } from './fake-redis.ts'

const SERVER_SECONDS = 1_700_000_000

test("a step of the machine's clock moves the metric and not the shared clock", async (t) => {
  let local = SERVER_SECONDS * 1000
  let monotonic = 5000
  const metrics = new Metrics()
  const clock = new SharedClock({
    redis: fakeRedis({ script: () => Promise.resolve([String(SERVER_SECONDS), '250000']) }),
    localNow: () => local,
    monotonicNow: () => monotonic,
    metrics,
    logger: pino({ enabled: false }),
  })
  t.after(() => clock.close())
  await clock.start()
  assert.equal(clock.now(), SERVER_SECONDS * 1000 + 250)
  assert.match(await metrics.expose(), /^grpc_kafka_clock_offset_seconds 0\.25$/m)

  local += 60_000
  assert.equal(clock.now(), SERVER_SECONDS * 1000 + 250)
  assert.match(await metrics.expose(), /^grpc_kafka_clock_offset_seconds -59\.75$/m)

  local += 1000
  monotonic += 1000
  assert.equal(clock.now(), SERVER_SECONDS * 1000 + 1250)
})

test("a step of the server's clock is followed at the next look, a second later", async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] })
  let server = SERVER_SECONDS
  const clock = new SharedClock({
    redis: fakeRedis({ script: () => Promise.resolve([String(server), '0']) }),
    localNow: () => 0,
    monotonicNow: () => 5000,
    metrics: new Metrics(),
    logger: pino({ enabled: false }),
  })
  t.after(() => clock.close())
  await clock.start()
  assert.equal(clock.now(), SERVER_SECONDS * 1000)
  server += 3600
  assert.equal(clock.now(), SERVER_SECONDS * 1000)
  t.mock.timers.tick(1000)
  // One look and five samples, each a microtask or a few.
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(clock.now(), (SERVER_SECONDS + 3600) * 1000)
})

test('a look that took long measures nothing anew: its own error explains the difference', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] })
  let monotonic = 5000
  let asked = 0
  const clock = new SharedClock({
    redis: fakeRedis({
      script: () => {
        asked += 1
        // From the sixth on each answer takes a second, of which the way back takes it all.
        if (asked > 5) monotonic += 1000
        return Promise.resolve([String(SERVER_SECONDS), '0'])
      },
    }),
    localNow: () => 0,
    monotonicNow: () => monotonic,
    metrics: new Metrics(),
    logger: pino({ enabled: false }),
  })
  t.after(() => clock.close())
  await clock.start()
  t.mock.timers.tick(1000)
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(asked, 6)
})
