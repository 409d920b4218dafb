import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Metadata } from '@grpc/grpc-js'
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
})
