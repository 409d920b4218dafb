import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Metadata } from '@grpc/grpc-js'
import { idempotencyKey } from '../../../../sidecar/proxy/idempotency.ts'

function metadataOf(...values: readonly string[]): Metadata {
  const metadata = new Metadata()
  for (const value of values) metadata.add('idempotency-key', value)
  return metadata
}

suite('the idempotency key of a request', () => {
  test('is what the field says', () => {
    assert.deepEqual(idempotencyKey(metadataOf('6b7c "and more"')), { value: '6b7c "and more"' })
    assert.deepEqual(idempotencyKey(metadataOf('k'.repeat(255))), { value: 'k'.repeat(255) })
  })

  test('is not asked for', () => {
    assert.equal(idempotencyKey(new Metadata()), undefined)
  })

  const refused: readonly (readonly [string, readonly string[]])[] = [
    ['empty', ['']],
    ['longer than 255 characters', ['k'.repeat(256)]],
    ['two values', ['a', 'b']],
    ['two values that HTTP has joined', ['a, b']],
  ]
  for (const [what, values] of refused)
    test(`${what}: refused`, () => assert.equal(idempotencyKey(metadataOf(...values)), 'INVALID'))
})
