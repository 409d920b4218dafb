import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isSameKafka } from '../../../../operator/kafka/same-kafka.ts'

test('two addresses mean one Kafka where a server is the same', () => {
  assert.ok(isSameKafka({ bootstrapServers: ['a:1', 'b:1'] }, { bootstrapServers: ['b:1'] }))
  assert.ok(!isSameKafka({ bootstrapServers: ['a:1'] }, { bootstrapServers: ['b:1'] }))
})

test('two addresses mean one Kafka where Kafka says so, and not where nobody asked', () => {
  const [a, b] = [{ bootstrapServers: ['a:1'] }, { bootstrapServers: ['b:1'] }]
  assert.ok(isSameKafka({ ...a, clusterId: 'x' }, { ...b, clusterId: 'x' }))
  assert.ok(!isSameKafka({ ...a, clusterId: undefined }, { ...b, clusterId: undefined }))
})
