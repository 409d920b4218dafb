import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { RetryConfig } from '../../../../sidecar/config.ts'
import { GrpcStatus } from '../../../../sidecar/errors.ts'
import { backoffMilliseconds, isRetryable } from '../../../../sidecar/worker/backoff.ts'

const policy = (
  backoff: Partial<RetryConfig['backoff']> = {},
  retryableCodes: RetryConfig['retryableCodes'] = ['UNAVAILABLE'],
): RetryConfig => ({
  maxAttempts: 3,
  backoff: { initialMilliseconds: 100, factorPercent: 200, maxMilliseconds: 10_000, jitterPercent: 0, ...backoff },
  retryableCodes,
  onExpired: 'Drop',
})

describe('backoffMilliseconds', () => {
  test('doubles by default and stops at the ceiling', () => {
    const waits = [1, 2, 3, 4, 7, 8, 9, 20].map((failed) => backoffMilliseconds(policy(), failed, 0.5))
    assert.deepEqual(waits, [100, 200, 400, 800, 6400, 10_000, 10_000, 10_000])
  })

  test('stays the same with a factor of 100 percent', () => {
    assert.equal(backoffMilliseconds(policy({ factorPercent: 100 }), 19, 0.5), 100)
  })

  test('is spread by the jitter to both sides', () => {
    const jittered = policy({ jitterPercent: 20 })
    assert.equal(backoffMilliseconds(jittered, 1, 0), 80)
    assert.equal(backoffMilliseconds(jittered, 1, 0.5), 100)
    assert.equal(backoffMilliseconds(jittered, 1, 1), 120)
  })

  test('is a whole number from 1 to the ceiling and its jitter, for every policy that the schema takes', () => {
    const milliseconds = fc.integer({ min: 1, max: 3_600_000 })
    const backoff = fc.record({
      initialMilliseconds: milliseconds,
      factorPercent: fc.integer({ min: 100, max: 1000 }),
      maxMilliseconds: milliseconds,
      jitterPercent: fc.integer({ min: 0, max: 100 }),
    })
    const random = fc.double({ min: 0, max: 1, noNaN: true })
    fc.assert(
      fc.property(backoff, fc.integer({ min: 1, max: 20 }), random, (one, failed, drawn) => {
        const wait = backoffMilliseconds(policy(one), failed, drawn)
        assert.ok(Number.isInteger(wait) && wait >= 1)
        assert.ok(wait <= Math.round(one.maxMilliseconds * (1 + one.jitterPercent / 100)))
      }),
      { numRuns: 500 },
    )
  })
})

describe('isRetryable', () => {
  test('is what the policy names, and nothing else', () => {
    const named = policy({}, ['UNAVAILABLE', 'ABORTED'])
    const retried = Object.values(GrpcStatus).filter((status) => isRetryable(named, status))
    assert.deepEqual(retried, [GrpcStatus.ABORTED, GrpcStatus.UNAVAILABLE])
  })

  test('is false for a number that is no status', () => {
    for (const status of [17, -1, 1.5]) assert.equal(isRetryable(policy(), status), false)
  })
})
