import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { TopicRecord } from '../../../local/kafka/topic-reader.ts'
import { recordLine, viewRecord } from '../../../local/record-view.ts'
import { encodeRecord } from '../../../sidecar/kafka/record.ts'
import type { CallRecord } from '../../../sidecar/kafka/record.ts'

const AT = Date.parse('2026-01-02T03:04:05.006Z')
const CALL: CallRecord = {
  id: Buffer.from('018f3c1e00007000800000000000000a', 'hex'),
  deadline: AT + 3000,
  replyTo: 'proxy-1',
  method: 'a.B/C',
  attempt: 2,
  producedAgain: true,
  enqueuedAt: AT,
  firstFailureAt: 0,
  caller: '',
  metadata: [
    ['x-tenant', Buffer.from('secret-tenant')],
    ['x-bin', Buffer.from([0, 255])],
  ],
  message: Buffer.from('a request'),
}

function topicRecord(changes: Partial<CallRecord> = {}, headers: TopicRecord['headers'] = {}): TopicRecord {
  const encoded = encodeRecord({ ...CALL, ...changes })
  return {
    partition: 1,
    offset: 42,
    timestamp: AT,
    key: encoded.key,
    value: encoded.value,
    headers: { ...encoded.headers, ...headers },
  }
}

suite('viewRecord', () => {
  test('tells everything of a call but the bytes of its request and the values of its metadata', () => {
    const view = viewRecord(topicRecord(), false)
    assert.deepEqual(view, {
      partition: 1,
      offset: 42,
      timestamp: '2026-01-02T03:04:05.006Z',
      kind: 'Call',
      version: 1,
      id: '018f3c1e-0000-7000-8000-00000000000a',
      deadline: '2026-01-02T03:04:08.006Z',
      replyTo: 'proxy-1',
      method: 'a.B/C',
      attempt: 2,
      producedAgain: true,
      enqueuedAt: '2026-01-02T03:04:05.006Z',
      caller: '',
      metadata: [
        { name: 'x-tenant', bytes: 13 },
        { name: 'x-bin', bytes: 2 },
      ],
      messageBytes: 9,
    })
    assert.doesNotMatch(recordLine(view), /secret-tenant|a request/)
  })

  test('tells values of metadata where they are asked for, bytes in base64', () => {
    assert.deepEqual(viewRecord(topicRecord(), true).metadata, [
      { name: 'x-tenant', bytes: 13, value: 'secret-tenant' },
      { name: 'x-bin', bytes: 2, value: 'AP8=' },
    ])
  })

  test('tells why a record is unreadable, and whence a dead one came', () => {
    const dead = { 'dead-reason': 'unreadable: no grpc-kafka header', 'dead-partition': '2', 'dead-offset': '7' }
    const view = viewRecord({ ...topicRecord({}, dead), headers: dead }, false)
    assert.equal(view.kind, 'Unreadable')
    assert.equal(view.reason, 'no grpc-kafka header')
    assert.deepEqual(view.dead, { reason: 'unreadable: no grpc-kafka header', partition: '2', offset: '7' })
    assert.match(recordLine(view), /^1\/42 {2}\S+ {2}unreadable: no grpc-kafka header .* dead: reason unreadable/)
  })

  test('tells the latest reason of a record that was dead before', () => {
    const view = viewRecord(topicRecord({}, { 'dead-reason': [Buffer.from('first'), Buffer.from('second')] }), false)
    assert.deepEqual(view.dead, { reason: 'second' })
  })

  test('tells the prefix of a record that a newer version wrote', () => {
    const record = topicRecord()
    const header = Buffer.from(record.headers['grpc-kafka'] as Buffer)
    header[0] = 200
    const view = viewRecord({ ...record, headers: { 'grpc-kafka': header } }, false)
    assert.deepEqual([view.kind, view.version, view.id], ['Newer', 200, '018f3c1e-0000-7000-8000-00000000000a'])
    assert.equal(view.method, undefined)
  })

  test('tells times that no date can hold as numbers', () => {
    const view = viewRecord(topicRecord({ deadline: 2 ** 48 - 1 }), false)
    assert.equal(typeof view.deadline, 'string')
  })
})

suite('recordLine', () => {
  test('has no character that a terminal would obey', () => {
    const evil = 'm\u001b[2Jü\n'
    const view = viewRecord(topicRecord({ caller: evil, method: 'a.B/\u001b[31m' }, { 'dead-reason': evil }), true)
    assert.match(recordLine(view), /^[\x20-\x7e]+$/)
  })
})
