import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { RetryConfig } from '../../../sidecar/config.ts'
import { pausesMilliseconds, retrySteps } from '../../../sidecar/retry-pauses.ts'

const BACKOFF = { initialMilliseconds: 100, factorPercent: 200, maxMilliseconds: 10_000, jitterPercent: 0 }

describe('retrySteps', () => {
  const stepsOf = (maxAttempts: number, backoff: Partial<RetryConfig['backoff']> = {}) =>
    retrySteps({ maxAttempts, backoff: { ...BACKOFF, ...backoff } })

  test('is one for each pause that differs', () => {
    assert.equal(stepsOf(3), 2)
    assert.equal(stepsOf(20, { factorPercent: 100 }), 1)
    assert.equal(stepsOf(20, { initialMilliseconds: 3000 }), 3, '3, 6 and 10 seconds')
  })

  test('is none where nothing is tried again', () => {
    assert.equal(stepsOf(1), 0)
  })

  test('is never more than topics are made', () => {
    assert.equal(stepsOf(20, { maxMilliseconds: 3_600_000 }), 8)
  })
})

test('the pauses of a policy add up without their jitter, one fewer than attempts', () => {
  const backoff = { initialMilliseconds: 1000, factorPercent: 200, maxMilliseconds: 3000, jitterPercent: 100 }
  const sums = [1, 2, 3, 5].map((maxAttempts) => pausesMilliseconds({ maxAttempts, backoff }))
  assert.deepEqual(sums, [0, 1000, 3000, 9000])
})
