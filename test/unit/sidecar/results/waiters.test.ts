import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import type { Redis } from 'ioredis'
import { pino } from 'pino'
import { encodeOutcome } from '../../../../sidecar/results/outcome.ts'
import type { RedisClient } from '../../../../sidecar/results/redis.ts'
import { OutcomeWaiters } from '../../../../sidecar/results/waiters.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'
import { fakeRedis } from './fake-redis.ts'

const LOOK_INTERVAL_MILLISECONDS = 500
const OUTCOME = encodeOutcome({ state: 'Expired', started: 'No' })

const idOf = (number: number): Buffer => {
  const id = Buffer.alloc(16)
  id.writeUInt32BE(number)
  return id
}

function waitersOn(t: TestContext, getAll: RedisClient['getAll']) {
  t.mock.timers.enable({ apis: ['setInterval'] })
  const subscriber = Object.assign(new EventEmitter(), {
    status: 'ready',
    subscribe: () => Promise.resolve(1),
    disconnect: () => undefined,
  })
  const waiters = new OutcomeWaiters({
    redis: fakeRedis({ getAll }),
    subscriber: subscriber as unknown as Redis,
    instance: 'replica',
    logger: pino({ enabled: false }),
    metrics: new Metrics(),
  })
  t.after(() => waiters.close())
  return { waiters, subscriber }
}

test('outcomes that could not be read are read at the next look, however young the calls before them', async (t) => {
  let reads = 0
  const { waiters } = waitersOn(t, (keys) => {
    reads += 1
    if (reads === 1) return Promise.resolve(keys.map(() => null))
    if (reads === 2) return Promise.reject(new Error('the connection broke'))
    return Promise.resolve(keys.map(() => OUTCOME))
  })
  const answered: number[] = []
  const { promise, resolve } = Promise.withResolvers<void>()
  for (let number = 0; number < 20; number++) {
    waiters.add(idOf(number), () => {
      answered.push(number)
      if (number === 19) resolve()
    })
  }
  await waiters.start()
  assert.equal(reads, 2)
  t.mock.timers.tick(LOOK_INTERVAL_MILLISECONDS)
  assert.equal(reads, 3, 'nothing was read at the next look')
  await promise
  assert.deepEqual(answered, [16, 17, 18, 19])
})

test('large outcomes are read a few at a time', async (t) => {
  const sizes: number[] = []
  const { waiters, subscriber } = waitersOn(t, (keys) => {
    sizes.push(keys.length)
    return Promise.resolve(keys.map(() => OUTCOME))
  })
  await waiters.start()
  const { promise, resolve } = Promise.withResolvers<void>()
  let waiting = 40
  const entries: Buffer[] = []
  for (let number = 0; number < 40; number++) {
    waiters.add(idOf(number), () => {
      waiting -= 1
      if (waiting === 0) resolve()
    })
    entries.push(idOf(number), Buffer.from('ffffffff', 'hex'))
  }
  subscriber.emit('messageBuffer', Buffer.from('channel'), Buffer.concat(entries))
  await promise
  assert.deepEqual(sizes, [16, 16, 8])
})
