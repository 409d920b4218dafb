import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { hasHeir, ownerBefore, type TopicClaim } from '../../../../operator/kafka/topic-claims.ts'

const claim = (uid: string, second: number, put: Partial<TopicClaim> = {}): TopicClaim => ({
  namespace: 'default',
  name: uid,
  uid,
  creationTimestamp: `2026-01-01T00:00:0${second}Z`,
  topic: 'calc',
  bootstrapServers: ['kafka:9092'],
  ...put,
})

describe('of those who name one topic', () => {
  test('the oldest has it', () => {
    const all = [claim('c', 2), claim('a', 1), claim('b', 3)]
    assert.deepEqual(
      all.map((one) => ownerBefore(one, all)?.uid),
      ['a', undefined, 'a'],
    )
  })

  test('of the same second the one with the lower uid', () => {
    const all = [claim('b', 1), claim('a', 1)]
    assert.deepEqual(
      all.map((one) => ownerBefore(one, all)?.uid),
      ['a', undefined],
    )
  })

  const two = (put: Partial<TopicClaim>, mine: Partial<TopicClaim> = {}) =>
    ownerBefore(claim('b', 2, mine), [claim('a', 1, put)])?.uid

  test('others are no matter that name another topic', () => assert.equal(two({ topic: 'other' }), undefined))
  test('others are no matter in another Kafka', () => {
    assert.equal(two({ bootstrapServers: ['elsewhere:9092'] }), undefined)
  })
  test('one Kafka is the same by one of its addresses', () => {
    assert.equal(two({ bootstrapServers: ['kafka-2:9092', 'kafka:9092'] }), 'a')
  })
  test('one Kafka is the same by its own id', () => {
    assert.equal(two({ bootstrapServers: ['elsewhere:9092'], clusterId: 'k' }, { clusterId: 'k' }), 'a')
  })

  test('an heir may be younger', () => {
    assert.equal(hasHeir(claim('a', 1), [claim('a', 1), claim('b', 2)]), true)
    assert.equal(hasHeir(claim('a', 1), [claim('a', 1)]), false)
  })
})
