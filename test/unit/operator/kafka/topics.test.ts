import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { validateResource } from '../../../../crds/validate.ts'
import type { CalculateService } from '../../../../crds/types.ts'
import { desiredTopics, TopicSettingsError } from '../../../../operator/kafka/topics.ts'
import { resource } from '../../crds/cases.ts'

function service(put: Parameters<typeof resource>[1]): CalculateService {
  const result = validateResource(resource('CalculateService', put))
  assert.ok(result.ok && result.resource.kind === 'CalculateService')
  return result.resource
}

describe('desiredTopics', () => {
  test('makes room for headers, and for more of them in the failure topic', () => {
    const [calls, dead] = desiredTopics(service({ 'spec.proxy.maxMessageBytes': 1_000_000 }))
    assert.equal(calls?.config['max.message.bytes'], '1065536')
    assert.equal(dead?.config['max.message.bytes'], '1131072')
  })

  test('a failure topic takes whatever fits a topic that was made larger', () => {
    const [calls, dead] = desiredTopics(service({ 'spec.topic.config': { 'max.message.bytes': '50000000' } }))
    assert.equal(calls?.config['max.message.bytes'], '50000000')
    assert.equal(dead?.config['max.message.bytes'], '50065536')
  })

  test("the resource's settings win, and are those of the calls' topic only", () => {
    const config = { 'retention.ms': '3000', 'segment.bytes': '1048576', 'min.insync.replicas': '1' }
    const [calls, dead] = desiredTopics(service({ 'spec.topic.config': config }))
    assert.deepEqual({ ...calls?.config }, { ...calls?.config, ...config })
    assert.equal(dead?.config['retention.ms'], String(30 * 24 * 3600 * 1000))
    assert.equal(dead?.config['segment.bytes'], undefined)
  })

  test('dead letters are kept as long as the resource says', () => {
    const [, dead] = desiredTopics(service({ 'spec.topic.deadLetterRetentionHours': 2 }))
    assert.equal(dead?.config['retention.ms'], '7200000')
  })

  const copies: readonly (readonly [
    factor: number,
    brokers: number | undefined,
    factorUsed: number,
    inSync: string,
  ])[] = [
    [1, undefined, 1, '1'],
    [2, undefined, 2, '1'],
    [3, undefined, 3, '2'],
    [3, 1, 1, '1'],
    [3, 2, 2, '2'],
    [3, 5, 3, '2'],
  ]
  for (const [factor, brokers, factorUsed, inSync] of copies) {
    test(`${factor} copies on ${brokers ?? 'enough'} brokers are ${factorUsed}, of which ${inSync} in sync`, () => {
      for (const topic of desiredTopics(
        service({ 'spec.topic.replicationFactor': factor }),
        brokers === undefined ? {} : { brokers },
      )) {
        assert.equal(topic.replicationFactor, factorUsed)
        assert.equal(topic.config['min.insync.replicas'], inSync)
      }
    })
  }

  const refused: readonly (readonly [config: Record<string, string>, problem: string])[] = [
    [
      { 'max.message.bytes': '4194304' },
      'max.message.bytes"]: must be 4259840 (spec.proxy.maxMessageBytes and 65536 for headers) to 2147418111',
    ],
    [
      { 'max.message.bytes': '2147483647' },
      'max.message.bytes"]: must be 4259840 (spec.proxy.maxMessageBytes and 65536 for headers) to 2147418111',
    ],
    [{ 'max.message.bytes': '5 MB' }, 'max.message.bytes"]: must be an integer'],
    [{ 'min.insync.replicas': '4' }, 'min.insync.replicas"]: must be 1 to 3, spec.topic.replicationFactor'],
    [{ 'min.insync.replicas': '0' }, 'min.insync.replicas"]: must be 1 to 3, spec.topic.replicationFactor'],
    [
      { 'retention.ms': '2999' },
      'retention.ms"]: must be -1 or at least 3000, the longest timeout of a method: calls would be deleted unread',
    ],
    [{ 'cleanup.policy': 'compact' }, 'cleanup.policy"]: must be delete: compaction drops calls of the same key'],
    [
      { 'cleanup.policy': 'compact,delete' },
      'cleanup.policy"]: must be delete: compaction drops calls of the same key',
    ],
    [{ 'compression.type': 'zstd' }, 'compression.type"]: must be producer, uncompressed, gzip: workers read no other'],
  ]
  for (const [config, problem] of refused) {
    test(`refuses ${JSON.stringify(config)}`, () => {
      assert.throws(
        () => desiredTopics(service({ 'spec.topic.config': config })),
        (error) => {
          assert.ok(error instanceof TopicSettingsError)
          assert.equal(error.code, 'TOPIC_SETTINGS_INVALID')
          assert.deepEqual(error.problems, [`spec.topic.config["${problem}`])
          return true
        },
      )
    })
  }

  test('names all that it refuses at once', () => {
    const config = { 'retention.ms': '1', 'cleanup.policy': 'compact', 'min.insync.replicas': '9' }
    assert.throws(
      () => desiredTopics(service({ 'spec.topic.config': config })),
      (error) => error instanceof TopicSettingsError && error.problems.length === 3,
    )
  })

  test('calls must stay as long as any method may take, dead letters are not waited for', () => {
    const methods = [
      { name: 'A', timeoutMilliseconds: 5000 },
      { name: 'B', timeoutMilliseconds: 90_000 },
    ]
    const [calls, dead] = desiredTopics(service({ 'spec.methods': methods }))
    assert.equal(calls?.shortestRetention, 90_000)
    assert.equal(dead?.shortestRetention, undefined)
  })

  test('retention without end is kept', () => {
    const [calls] = desiredTopics(service({ 'spec.topic.config': { 'retention.ms': '-1' } }))
    assert.equal(calls?.config['retention.ms'], '-1')
  })
})
