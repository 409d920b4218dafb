import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { suite, test } from 'node:test'
import type { TestContext } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import type { Redis } from 'ioredis'
import { pino } from 'pino'
import { decodeOutcome, encodeOutcome } from '../../../../sidecar/results/outcome.ts'
import type { RedisClient } from '../../../../sidecar/results/redis.ts'
import type { Outcome } from '../../../../sidecar/results/outcome.ts'
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

const entry = (id: Buffer, outcome: Buffer, length = outcome.length): Buffer => {
  const head = Buffer.alloc(20)
  id.copy(head)
  head.writeUInt32BE(length, 16)
  return Buffer.concat([head, outcome])
}

const answered = (message: string): Outcome => ({
  state: 'Answered',
  status: 0,
  details: '',
  initialMetadata: [],
  trailingMetadata: [],
  message: Buffer.from(message),
})

test('an outcome whose message is cut short is read from Redis, and not given cut short', async (t) => {
  const whole = encodeOutcome(answered('a long answer'))
  const { waiters, subscriber } = waitersOn(t, (keys) => Promise.resolve(keys.map(() => whole)))
  const { promise, resolve } = Promise.withResolvers<Outcome | undefined>()
  await waiters.start()
  waiters.add(idOf(1), resolve)
  subscriber.emit('messageBuffer', Buffer.from('channel'), entry(idOf(1), whole).subarray(0, -5))
  assert.deepEqual(await promise, answered('a long answer'))
})

test('whatever stands on the reply channel, nobody gets what was not meant for him (1000 runs)', async (t) => {
  const { waiters, subscriber } = waitersOn(t, (keys) => Promise.resolve(keys.map(() => null)))
  await waiters.start()
  const id = fc.nat(5).map(idOf)
  const bytes = fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array))
  const meant = fc.record({ id, outcome: fc.string({ maxLength: 5 }).map((text) => encodeOutcome(answered(text))) })
  const message = fc.oneof(
    fc
      .array(meant, { maxLength: 4 })
      .map((all) => ({ bytes: Buffer.concat(all.map((one) => entry(one.id, one.outcome))), all })),
    fc
      .record({ meant, cut: fc.nat(60) })
      .map(({ meant: one, cut }) => ({ bytes: entry(one.id, one.outcome).subarray(0, cut), all: [one] })),
    fc.tuple(id, bytes, fc.nat()).map(([one, held, length]) => ({
      bytes: entry(one, held, length),
      all: length <= held.length ? [{ id: one, outcome: held.subarray(0, length) }] : [],
    })),
    bytes.map((held) => ({ bytes: held, all: [] })),
  )
  fc.assert(
    fc.property(message, fc.array(fc.nat(5), { maxLength: 3 }), (given, waiting) => {
      const got: [number, Outcome | undefined][] = []
      const callbacks = waiting.map((number) => (outcome: Outcome | undefined) => void got.push([number, outcome]))
      waiting.forEach((number, index) => waiters.add(idOf(number), callbacks[index]!))
      subscriber.emit('messageBuffer', Buffer.from('channel'), given.bytes)
      for (const [number, outcome] of got) {
        if (outcome === undefined) continue
        assert.ok(
          given.all.some((one) => one.id.equals(idOf(number)) && isSame(one.outcome, outcome)),
          `${number} got ${JSON.stringify(outcome)}`,
        )
      }
      waiting.forEach((number, index) => waiters.remove(idOf(number), callbacks[index]!))
      assert.equal(waiters.size, 0)
    }),
    { numRuns: 1000 },
  )
})

function isSame(bytes: Buffer, outcome: Outcome): boolean {
  try {
    assert.deepEqual(decodeOutcome(bytes), outcome)
    return true
  } catch {
    return false
  }
}

/** A message of one outcome that rides along. */
const told = (number: number): Buffer => entry(idOf(number), OUTCOME)

test('two calls of one id both get the outcome; one that left gets none', async (t) => {
  const { waiters, subscriber } = waitersOn(t, (keys) => Promise.resolve(keys.map(() => null)))
  await waiters.start()
  const answered: string[] = []
  const [first, second, third] = ['first', 'second', 'third'].map((name) => () => void answered.push(name))
  assert.ok(first && second && third)
  for (const onOutcome of [first, second, third]) waiters.add(idOf(1), onOutcome)
  waiters.remove(idOf(1), first)
  subscriber.emit('messageBuffer', Buffer.from('channel'), told(1))
  assert.deepEqual(answered, ['second', 'third'])
  assert.equal(waiters.size, 0)
})

test('who leaves takes nobody along that waits under the same id', async (t) => {
  const { waiters, subscriber } = waitersOn(t, (keys) => Promise.resolve(keys.map(() => null)))
  await waiters.start()
  let answers = 0
  const stays = () => void (answers += 1)
  waiters.add(idOf(1), stays)
  waiters.remove(idOf(1), () => undefined)
  subscriber.emit('messageBuffer', Buffer.from('channel'), told(1))
  assert.equal(answers, 1)
})

test('who leaves while the outcome is read takes nobody along', async (t) => {
  const read = Promise.withResolvers<readonly Buffer[]>()
  const { waiters, subscriber } = waitersOn(t, () => read.promise)
  await waiters.start()
  const { promise: answered, resolve } = Promise.withResolvers<void>()
  const leaves = () => undefined
  waiters.add(idOf(1), leaves)
  waiters.add(idOf(1), () => resolve())
  subscriber.emit('messageBuffer', Buffer.from('channel'), Buffer.concat([idOf(1), Buffer.from('ffffffff', 'hex')]))
  waiters.remove(idOf(1), leaves)
  read.resolve([OUTCOME])
  await answered
})

suite('a message that a call with an idempotency key has expired without a start', () => {
  const id = idOf(1)
  id[6] = 0x80
  const claim = Buffer.concat([Buffer.from([2, 5]), Buffer.alloc(45)])
  const expiredKeyed = (started: number) =>
    Buffer.concat([Buffer.from([2, 3]), Buffer.alloc(16), Buffer.from([started])])

  test('does not end a call that claimed the key again meanwhile', async (t) => {
    const read = Promise.withResolvers<void>()
    const { waiters, subscriber } = waitersOn(t, (keys) => {
      read.resolve()
      return Promise.resolve(keys.map(() => claim))
    })
    await waiters.start()
    waiters.add(id, () => assert.fail('it was ended'))
    subscriber.emit('messageBuffer', Buffer.from('channel'), entry(id, expiredKeyed(0)))
    await read.promise
    await turn()
    assert.equal(waiters.size, 1)
  })

  test('ends it where that still stands', async (t) => {
    const { waiters, subscriber } = waitersOn(t, (keys) => Promise.resolve(keys.map(() => expiredKeyed(0))))
    await waiters.start()
    const { promise, resolve } = Promise.withResolvers<unknown>()
    waiters.add(id, resolve)
    subscriber.emit('messageBuffer', Buffer.from('channel'), entry(id, expiredKeyed(0)))
    assert.deepEqual(await promise, { state: 'Expired', started: 'No' })
  })

  test('is believed at once where it may have started: that is final', async (t) => {
    const { waiters, subscriber } = waitersOn(t, () => assert.fail('it was read'))
    await waiters.start()
    const answers: unknown[] = []
    waiters.add(id, (outcome) => answers.push(outcome))
    subscriber.emit('messageBuffer', Buffer.from('channel'), entry(id, expiredKeyed(1)))
    assert.deepEqual(answers, [{ state: 'Expired', started: 'Unknown' }])
  })
})

test('a claim that is read is no outcome', async (t) => {
  const claim = Buffer.concat([Buffer.from([2, 5]), Buffer.alloc(45)])
  const { waiters } = waitersOn(t, (keys) => Promise.resolve(keys.map(() => claim)))
  waiters.add(idOf(1), () => assert.fail('it was taken for an outcome'))
  await waiters.start()
  assert.equal(waiters.size, 1)
})
