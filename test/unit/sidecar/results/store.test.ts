import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pino } from 'pino'
import { startsKey } from '../../../../sidecar/results/keys.ts'
import { OutcomeStore } from '../../../../sidecar/results/store.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'
import { fakeRedis } from './fake-redis.ts'

test('a batch of outcomes ends at a MiB, and an outcome above that goes alone', async (t) => {
  const batches: number[][] = []
  const redis = fakeRedis({
    script: (_script, keys, args) => {
      const outcomes = args.slice(2).filter((_, at) => at % 5 === 2) as Buffer[]
      batches.push(outcomes.map(({ length }) => length))
      return Promise.resolve([keys.length])
    },
  })
  const store = new OutcomeStore({
    redis,
    instance: 'worker',
    retentionSeconds: () => 60,
    logger: pino({ enabled: false }),
    metrics: new Metrics(),
  })
  t.after(() => store.close())
  const half = 524_288
  const sizes = [half, half, 1, 2, 8 * half, 3, half, half]
  await Promise.all(
    sizes.map(
      (size) => new Promise<void>((resolve) => store.store(Buffer.alloc(16), '', Buffer.alloc(size), () => resolve())),
    ),
  )
  assert.deepEqual(batches, [[half, half], [1, 2], [8 * half], [3, half], [half]])
})

test('in a Cluster an outcome whose master is away does not hold up the others, and is stored when it is back', async (t) => {
  const away = Buffer.alloc(16, 1)
  const here = Buffer.alloc(16, 2)
  let back = false
  const store = new OutcomeStore({
    redis: fakeRedis({
      sharded: true,
      parts: (items) => items.map((item) => [item]),
      script: (_script, _keys, [, , id]) =>
        id === away && !back ? Promise.reject(new Error('connection is closed')) : Promise.resolve([1]),
    }),
    instance: 'worker',
    retentionSeconds: () => 60,
    logger: pino({ enabled: false }),
    metrics: new Metrics(),
  })
  t.after(() => store.close())
  const stored: Buffer[] = []
  const waits = new Promise<void>((resolve) => {
    store.store(away, '', Buffer.from('outcome'), () => {
      stored.push(away)
      resolve()
    })
  })
  for (let count = 0; count < 3; count++) {
    await new Promise<void>((resolve) => store.store(here, '', Buffer.from('outcome'), () => resolve()))
    stored.push(here)
  }
  back = true
  await waits
  assert.deepEqual(stored, [here, here, here, away])
})

test('starts are forgotten together, again and again until Redis took it', async (t) => {
  const sent: unknown[][] = []
  const store = new OutcomeStore({
    redis: fakeRedis({
      each: (command, rows) => {
        sent.push([command, rows])
        return sent.length < 3 ? Promise.reject(new Error('connection is closed')) : Promise.resolve([1, 1])
      },
    }),
    instance: 'worker',
    retentionSeconds: () => 60,
    logger: pino({ enabled: false }),
    metrics: new Metrics(),
  })
  t.after(() => store.close())
  const ids = [Buffer.alloc(16, 1), Buffer.alloc(16, 2)]
  await Promise.all(ids.map((id) => store.forgetStarts(id)))
  const rows = ids.map((id) => [startsKey(id), 0])
  assert.deepEqual(
    sent,
    Array.from({ length: 3 }, () => ['pexpire', rows]),
  )
})
