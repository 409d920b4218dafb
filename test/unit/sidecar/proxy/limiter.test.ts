import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { TestContext } from 'node:test'
import fc from 'fast-check'
import { RateLimiter } from '../../../../sidecar/proxy/limiter.ts'
import type { RateLimit } from '../../../../sidecar/proxy/limiter.ts'

/** A limiter on a clock that `pass` moves, with timers that follow it. */
function limiterOf(t: TestContext, limit: RateLimit) {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] })
  const granted: string[] = []
  const limiter = new RateLimiter<string>({ limit, now: () => Date.now(), grant: (waiter) => granted.push(waiter) })
  return { limiter, granted, pass: (milliseconds: number) => t.mock.timers.tick(milliseconds) }
}

suite('RateLimiter', () => {
  test('grants the burst at once, then refuses and says when a token comes', (t) => {
    const { limiter, pass } = limiterOf(t, { requestsPerSecond: 10, burst: 2, maxWaiting: 0 })
    assert.equal(limiter.take('a', 1000).kind, 'Granted')
    assert.equal(limiter.take('b', 1000).kind, 'Granted')
    assert.deepEqual(limiter.take('c', 1000), { kind: 'Refused', code: 'RATE_LIMITED', retryAfterMilliseconds: 100 })
    pass(99)
    assert.deepEqual(limiter.take('c', 1000), { kind: 'Refused', code: 'RATE_LIMITED', retryAfterMilliseconds: 1 })
    pass(1)
    assert.equal(limiter.take('c', 1000).kind, 'Granted')
  })

  test('never holds more than the burst', (t) => {
    const { limiter, pass } = limiterOf(t, { requestsPerSecond: 1000, burst: 3, maxWaiting: 0 })
    pass(60_000)
    assert.deepEqual(
      ['a', 'b', 'c', 'd'].map((waiter) => limiter.take(waiter, 1000).kind),
      ['Granted', 'Granted', 'Granted', 'Refused'],
    )
  })

  test('lets calls wait, in order, and refuses the one too many with its own time', (t) => {
    const { limiter, granted, pass } = limiterOf(t, { requestsPerSecond: 10, burst: 1, maxWaiting: 2 })
    assert.equal(limiter.take('a', 1000).kind, 'Granted')
    assert.equal(limiter.take('b', 1000).kind, 'Waiting')
    assert.equal(limiter.take('c', 1000).kind, 'Waiting')
    assert.equal(limiter.waiting, 2)
    assert.deepEqual(limiter.take('d', 1000), {
      kind: 'Refused',
      code: 'TOO_MANY_WAITING',
      retryAfterMilliseconds: 300,
    })
    pass(99)
    assert.deepEqual(granted, [])
    pass(1)
    assert.deepEqual(granted, ['b'])
    pass(100)
    assert.deepEqual(granted, ['b', 'c'])
    assert.equal(limiter.waiting, 0)
  })

  test('refuses at once a wait that would outlast the deadline', (t) => {
    const { limiter } = limiterOf(t, { requestsPerSecond: 10, burst: 1, maxWaiting: 10 })
    limiter.take('a', 1000)
    assert.deepEqual(limiter.take('b', 100), { kind: 'Refused', code: 'RATE_LIMITED', retryAfterMilliseconds: 100 })
    assert.equal(limiter.take('c', 101).kind, 'Waiting')
  })

  test('a waiter that goes away gives its turn to the next', (t) => {
    const { limiter, granted, pass } = limiterOf(t, { requestsPerSecond: 10, burst: 1, maxWaiting: 10 })
    for (const waiter of ['a', 'b', 'c']) limiter.take(waiter, 1000)
    limiter.forget('b')
    pass(100)
    assert.deepEqual(granted, ['c'])
  })

  test('nobody overtakes those who wait', (t) => {
    const { limiter, granted, pass } = limiterOf(t, { requestsPerSecond: 10, burst: 5, maxWaiting: 10 })
    for (const waiter of ['a', 'b', 'c', 'd', 'e', 'waits']) limiter.take(waiter, 10_000)
    t.mock.timers.setTime(Date.now() + 100)
    assert.equal(limiter.take('late', 10_000).kind, 'Waiting')
    pass(200)
    assert.deepEqual(granted, ['waits', 'late'])
  })

  test('over any time no more than burst + rate x time get through, and everybody who waits gets a turn', (t) => {
    t.mock.timers.enable({ apis: ['setTimeout', 'Date'] })
    fc.assert(
      fc.property(
        fc.integer({ min: 50, max: 5000 }),
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 0, max: 50 }),
        fc.array(fc.record({ pause: fc.integer({ min: 0, max: 40 }), calls: fc.integer({ min: 0, max: 30 }) }), {
          maxLength: 40,
        }),
        (requestsPerSecond, burst, maxWaiting, arrivals) => {
          const start = Date.now()
          const times: number[] = []
          const limiter = new RateLimiter<number>({
            limit: { requestsPerSecond, burst, maxWaiting },
            now: () => Date.now(),
            grant: () => times.push(Date.now() - start),
          })
          let id = 0
          let waits = 0
          let granted = 0
          for (const { pause, calls } of arrivals) {
            t.mock.timers.tick(pause)
            for (let call = 0; call < calls; call++) {
              const verdict = limiter.take(id++, Infinity)
              if (verdict.kind === 'Waiting') waits++
              if (verdict.kind === 'Granted') {
                granted++
                times.push(Date.now() - start)
              }
            }
          }
          const enough = Math.ceil((limiter.waiting * 1000) / requestsPerSecond) + limiter.waiting + 1
          // One by one: the mock moves its clock to the end of a tick before it runs any timer.
          for (let millisecond = 0; millisecond < enough; millisecond++) t.mock.timers.tick(1)
          assert.equal(limiter.waiting, 0)
          assert.equal(times.length, granted + waits)
          times.forEach((from, first) => {
            const last = times.length - 1
            const allowed = burst + ((times[last] as number) - from) * (requestsPerSecond / 1000)
            assert.ok(last - first + 1 <= allowed + 1e-6, `${last - first + 1} calls where ${allowed} are allowed`)
          })
        },
      ),
      { numRuns: 200 },
    )
  })
})
