import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ItemBackoff, TokenBucket, defaultRateLimiter } from '../../../../operator/controller/rate-limiter.ts'
import { FakeClock } from './fake-clock.ts'

describe('TokenBucket', () => {
  test('gives its burst at once and then one token each period', () => {
    const clock = new FakeClock()
    const bucket = new TokenBucket(10, 2, clock.monotonic)
    const waits = Array.from({ length: 5 }, () => bucket.reserve())
    assert.deepEqual(waits, [0, 0, 100, 200, 300])
  })

  test('fills up to its burst and no further', () => {
    const clock = new FakeClock()
    const bucket = new TokenBucket(10, 2, clock.monotonic)
    bucket.reserve()
    clock.advance(60_000)
    assert.deepEqual([bucket.reserve(), bucket.reserve(), bucket.reserve()], [0, 0, 100])
  })

  test('counts what was taken in advance', () => {
    const clock = new FakeClock()
    const bucket = new TokenBucket(10, 1, clock.monotonic)
    bucket.reserve()
    bucket.reserve()
    clock.advance(50)
    assert.equal(bucket.reserve(), 150)
  })

  test('tryTake takes nothing when nothing is there', () => {
    const clock = new FakeClock()
    const bucket = new TokenBucket(10, 1, clock.monotonic)
    assert.deepEqual([bucket.tryTake(), bucket.tryTake()], [true, false])
    clock.advance(100)
    assert.equal(bucket.tryTake(), true)
  })
})

describe('ItemBackoff', () => {
  test('doubles from 5 ms and stops at 1000 s', () => {
    const backoff = new ItemBackoff(5, 1_000_000)
    const waits = Array.from({ length: 20 }, () => backoff.when('a'))
    assert.deepEqual(waits.slice(0, 5), [5, 10, 20, 40, 80])
    assert.deepEqual(waits.slice(17), [655_360, 1_000_000, 1_000_000])
  })

  test('stays at its ceiling after more failures than a double can double', () => {
    const backoff = new ItemBackoff(5, 1_000_000)
    for (let failures = 0; failures < 2000; failures++) backoff.when('a')
    assert.equal(backoff.when('a'), 1_000_000)
  })

  test('counts each key for itself, and anew after forget', () => {
    const backoff = new ItemBackoff(5, 1000)
    backoff.when('a')
    backoff.when('a')
    assert.equal(backoff.failures('a'), 2)
    assert.equal(backoff.when('b'), 5)
    backoff.forget('a')
    assert.equal(backoff.failures('a'), 0)
    assert.equal(backoff.when('a'), 5)
  })
})

describe('defaultRateLimiter', () => {
  test('lets a hundred different keys come back after 5 ms, and then ten a second', () => {
    const limiter = defaultRateLimiter(new FakeClock().monotonic)
    const waits = Array.from({ length: 102 }, (_, index) => limiter.when(`key-${index}`))
    assert.ok(waits.slice(0, 100).every((wait) => wait === 5))
    assert.deepEqual(waits.slice(100), [100, 200])
  })
})
