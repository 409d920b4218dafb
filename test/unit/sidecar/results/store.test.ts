import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Redis } from 'ioredis'
import { pino } from 'pino'
import { OutcomeStore } from '../../../../sidecar/results/store.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'

test('a batch of outcomes ends at a MiB, and an outcome above that goes alone', async (t) => {
  const batches: number[][] = []
  const redis = {
    defineCommand: () => undefined,
    storeOutcomes: (count: number, ...args: unknown[]) => {
      const outcomes = args.slice(count + 2).filter((_, at) => at % 3 === 2) as Buffer[]
      batches.push(outcomes.map(({ length }) => length))
      return Promise.resolve(count)
    },
  }
  const store = new OutcomeStore({
    redis: redis as unknown as Redis,
    instance: 'worker',
    retentionSeconds: 60,
    logger: pino({ enabled: false }),
    metrics: new Metrics(),
  })
  t.after(() => store.close())
  const half = 524_288
  const sizes = [half, half, 1, 2, 8 * half, 3, half, half]
  await Promise.all(
    sizes.map((size) => new Promise<void>((resolve) => store.store(Buffer.alloc(16), '', Buffer.alloc(size), resolve))),
  )
  assert.deepEqual(batches, [[half, half], [1, 2], [8 * half], [3, half], [half]])
})
