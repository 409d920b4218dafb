import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { test } from 'node:test'
import type { Redis } from 'ioredis'
import { pino } from 'pino'
import { SharedClock } from '../../../../sidecar/results/shared-clock.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'

const SERVER_SECONDS = 1_700_000_000

test("a step of the machine's clock moves the metric and not the shared clock", async (t) => {
  let local = SERVER_SECONDS * 1000
  let monotonic = 5000
  const metrics = new Metrics()
  const redis = Object.assign(new EventEmitter(), {
    status: 'ready',
    time: () => Promise.resolve([String(SERVER_SECONDS), '250000']),
  })
  const clock = new SharedClock({
    redis: redis as unknown as Redis,
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
