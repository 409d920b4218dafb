import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { statusToApply } from '../../../operator/resource-status.ts'

const object = {
  apiVersion: 'grpckafka.dev/v1alpha1',
  kind: 'RetryPolicy',
  metadata: { name: 'quick', namespace: 'team', uid: 'u', generation: 3, labels: { a: 'b' } },
  status: { observedGeneration: 3, consumerGroups: ['a'] },
}

describe('a status', () => {
  test('that stands there is not written, whatever the order of its fields', () => {
    assert.equal(statusToApply(object, { consumerGroups: ['a'], observedGeneration: 3, lag: undefined }), undefined)
  })

  test('that differs is written with what identifies the object and nothing else', () => {
    assert.deepEqual(statusToApply(object, { consumerGroups: [] }), {
      apiVersion: 'grpckafka.dev/v1alpha1',
      kind: 'RetryPolicy',
      metadata: { name: 'quick', namespace: 'team', uid: 'u' },
      status: { consumerGroups: [] },
    })
  })

  test('is written where a field is to go', () => {
    assert.ok(statusToApply(object, { observedGeneration: 3 }))
  })
})
