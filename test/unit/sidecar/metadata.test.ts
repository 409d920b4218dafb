import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { isMetadata, isPrintable } from '../../../sidecar/metadata.ts'

const value = Buffer.from('value')

describe('isMetadata', () => {
  for (const name of [
    'a',
    'x-tenant',
    'trace_id',
    'v1.2',
    '0',
    'grpc-status-details-bin',
    'blob-bin',
    'x'.repeat(128),
  ]) {
    test(`takes the name ${name.slice(0, 30)}`, () => assert.equal(isMetadata(name, value), true))
  }

  for (const name of [
    '',
    'X-Tenant',
    'a b',
    'a:b',
    ':path',
    'ä',
    'a\n',
    'x'.repeat(129),
    'grpc-timeout',
    'grpc-status',
    'grpc-',
    '__proto__\0',
  ]) {
    test(`refuses the name ${JSON.stringify(name.slice(0, 30))}`, () => assert.equal(isMetadata(name, value), false))
  }

  // RFC 9113, section 8.2.2: such a field makes a request malformed; content-type and user-agent are this hop's own.
  for (const name of [
    'connection',
    'keep-alive',
    'proxy-connection',
    'transfer-encoding',
    'upgrade',
    'http2-settings',
    'te',
    'content-type',
    'content-length',
    'user-agent',
    'host',
  ]) {
    test(`refuses ${name}, which belongs to a hop`, () => assert.equal(isMetadata(name, value), false))
  }

  test('takes any bytes under a -bin name', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => isMetadata('x-bin', Buffer.from(bytes))),
      { numRuns: 200 },
    )
  })

  test('takes printable ASCII and nothing else under any other name', () => {
    for (let byte = 0; byte < 256; byte++) {
      assert.equal(isMetadata('x', Buffer.from([65, byte])), byte >= 0x20 && byte <= 0x7e, `byte ${byte}`)
    }
    assert.equal(isMetadata('x', Buffer.alloc(0)), true)
  })
})

test('isPrintable looks at the whole text', () => {
  assert.equal(isPrintable(''), true)
  assert.equal(isPrintable('00-abc ~'), true)
  for (const text of ['a\n', '\na', 'a\nb', 'a\r\nb: c', 'é', '\0', '\x7f'])
    assert.equal(isPrintable(text), false, JSON.stringify(text))
})
