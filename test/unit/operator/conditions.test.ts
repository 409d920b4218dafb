import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { CONDITIONS, finding, readiness, toConditions } from '../../../operator/conditions.ts'

const T0 = Date.UTC(2026, 0, 1)
const good = finding('CalculateService', 'TopicReady', 'TopicsReady', 'two topics')
const down = finding('CalculateService', 'TopicReady', 'KafkaUnavailable', 'kafka:9092: refused')

describe('a finding', () => {
  test('has the status of its reason', () => {
    assert.deepEqual([good.status, down.status], ['True', 'Unknown'])
  })

  test('cuts a message that nobody would read', () => {
    assert.equal(finding('CalculateService', 'TopicReady', 'TopicRefused', 'x'.repeat(5000)).message.length, 1024)
  })
})

test('reasons are words as the API server takes them', () => {
  const words = Object.values<Readonly<Record<string, object>>>(CONDITIONS).flatMap((types) =>
    Object.entries(types).flatMap(([type, reasons]) => [type, ...Object.keys(reasons)]),
  )
  assert.deepEqual(
    words.filter((word) => !/^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$/.test(word)),
    [],
  )
})

describe('Ready', () => {
  test('is True when the others are', () => {
    assert.deepEqual(readiness([good]), { type: 'Ready', status: 'True', reason: 'Ready', message: '' })
  })

  test('says what the first says that is not True', () => {
    const proxy = finding('CalculateService', 'ProxyAvailable', 'ProxiesRollingOut', '0 of 1')
    assert.deepEqual(readiness([good, down, proxy]), { ...down, type: 'Ready' })
  })
})

describe('conditions', () => {
  const before = toConditions([good], undefined, 1, T0)

  test('begin now', () => {
    assert.deepEqual(before, [{ ...good, observedGeneration: 1, lastTransitionTime: '2026-01-01T00:00:00Z' }])
  })

  test('keep their time while the status stays, whatever else is said', () => {
    const [after] = toConditions([{ ...good, message: 'three topics' }], before, 2, T0 + 60_000)
    assert.deepEqual(after, {
      ...good,
      message: 'three topics',
      observedGeneration: 2,
      lastTransitionTime: '2026-01-01T00:00:00Z',
    })
  })

  test('take a new time with a new status', () => {
    assert.equal(toConditions([down], before, 1, T0 + 60_500)[0]?.lastTransitionTime, '2026-01-01T00:01:00Z')
  })
})
