import assert from 'node:assert/strict'
import test from 'node:test'
import { splitBrokers } from '../../../local/infrastructure.ts'

test('KAFKA_BROKERS is a list, and nothing when it is empty', () => {
  assert.deepEqual(splitBrokers('a:1, b:2,'), ['a:1', 'b:2'])
  assert.equal(splitBrokers(''), undefined)
  assert.equal(splitBrokers(' , '), undefined)
  assert.equal(splitBrokers(undefined), undefined)
})
