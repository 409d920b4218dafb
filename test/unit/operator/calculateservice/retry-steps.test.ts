import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CalculateService, RetryPolicy } from '../../../../crds/types.ts'
import { retryStepsOf } from '../../../../operator/calculateservice/retry-steps.ts'

const service = (...topics: readonly string[]) =>
  ({
    metadata: { name: 'calc' },
    spec: { topic: { name: 'calc' } },
    status: { topics: topics.map((name) => ({ name, topicId: name, partitions: 1, origin: 'Created' })) },
  }) as unknown as CalculateService

const policy = (maxAttempts: number) =>
  ({
    spec: {
      maxAttempts,
      backoff: { initialMilliseconds: 100, factorPercent: 200, maxMilliseconds: 10_000, jitterPercent: 20 },
    },
  }) as RetryPolicy

test('a service without a policy has no retry topics', () => {
  assert.equal(retryStepsOf(service(), []), 0)
})

test('a service has as many retry topics as the longest of its policies needs', () => {
  assert.equal(retryStepsOf(service(), [policy(3), policy(5), policy(1)]), 4)
})

test('a service keeps the retry topics that it has, whatever its policies say: calls may wait in them', () => {
  const had = service('calc', 'calc.retry.1', 'calc.retry.2', 'calc.retry.3', 'calc.dead', 'other.retry.7')
  assert.equal(retryStepsOf(had, [policy(2)]), 3)
  assert.equal(retryStepsOf(had, []), 3)
})

test('a service has the retry topics that an operator announced before it was stopped', () => {
  const metadata = {
    name: 'calc',
    annotations: { 'grpckafka.dev/announced-topics': 'calc.retry.1,calc.retry.2,!calc.retry.3' },
  }
  assert.equal(retryStepsOf({ ...service('calc'), metadata }, []), 2)
})
