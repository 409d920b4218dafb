import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Metadata } from '@grpc/grpc-js'
import { MAX_METADATA_VALUES } from '../../../../sidecar/metadata.ts'
import { MAX_METADATA_BYTES, declaredMetadata, toGrpcMetadata } from '../../../../sidecar/proxy/metadata.ts'

suite('declaredMetadata', () => {
  test('takes what is declared and nothing else, text and bytes, several values in order', () => {
    const metadata = new Metadata()
    metadata.add('tenant', 'a')
    metadata.add('tenant', 'b')
    metadata.add('key-bin', Buffer.from([0, 255]))
    metadata.add('authorization', 'Bearer secret')
    assert.deepEqual(declaredMetadata(metadata, ['key-bin', 'tenant', 'absent']), [
      ['key-bin', Buffer.from([0, 255])],
      ['tenant', Buffer.from('a')],
      ['tenant', Buffer.from('b')],
    ])
    assert.deepEqual(declaredMetadata(metadata, []), [])
  })

  test('is bounded, names and the cost of a field counted', () => {
    const metadata = new Metadata()
    const room = MAX_METADATA_BYTES - 'big'.length - 32
    metadata.set('big', 'x'.repeat(room))
    assert.equal(declaredMetadata(metadata, ['big'])?.length, 1)
    metadata.set('big', 'x'.repeat(room + 1))
    assert.equal(declaredMetadata(metadata, ['big']), undefined)
    assert.deepEqual(declaredMetadata(metadata, ['other']), [])
  })

  test('is bounded in its values: many a handler takes 128 header fields and no more', () => {
    const metadata = new Metadata()
    for (let index = 0; index < MAX_METADATA_VALUES; index++) metadata.add('many', 'v')
    assert.equal(declaredMetadata(metadata, ['many'])?.length, MAX_METADATA_VALUES)
    metadata.add('one-more', 'v')
    assert.equal(declaredMetadata(metadata, ['many', 'one-more']), undefined)
  })
})

suite('toGrpcMetadata', () => {
  test('gives back what declaredMetadata took', () => {
    const metadata = new Metadata()
    metadata.add('tenant', 'a')
    metadata.add('tenant', 'b')
    metadata.add('grpc-status-details-bin', Buffer.from([8, 5]))
    const names = ['tenant', 'grpc-status-details-bin']
    assert.deepEqual(toGrpcMetadata(declaredMetadata(metadata, names) ?? []).toJSON(), metadata.toJSON())
  })

  test('leaves out what no header may hold and what HTTP/2 keeps for itself', () => {
    const text = Buffer.from('x')
    const pairs = ['Upper', 'a b', ':status', 'grpc-status', 'connection', 'te', 'content-type', ''].map(
      (name) => [name, text] as const,
    )
    assert.deepEqual(toGrpcMetadata([...pairs, ['bell', Buffer.from([7])], ['kept', text]]).toJSON(), { kept: ['x'] })
  })

  test('joins what node:http2 would refuse to send twice', () => {
    const pairs = [...SINGLE, 'tenant'].flatMap((name) => [
      [name, Buffer.from('a')] as const,
      [name, Buffer.from('b')] as const,
    ])
    const headers = toGrpcMetadata(pairs).toHttp2Headers()
    assert.deepEqual(headers['tenant'], ['a', 'b'])
    for (const name of SINGLE) assert.equal(headers[name], 'a, b', name)
  })
})

const SINGLE = ['etag', 'age', 'location', 'authorization', 'x-content-type-options', 'dnt', 'tk', 'expires']
