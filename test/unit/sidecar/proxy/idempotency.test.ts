import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Metadata, logVerbosity, setLogVerbosity } from '@grpc/grpc-js'
import fc from 'fast-check'
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

  const RUNS = 2000

  test(`is any printable text but one with a comma (${RUNS} runs)`, () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[\x20-\x2b\x2d-\x7e]{1,255}$/), (value) =>
        assert.deepEqual(idempotencyKey(metadataOf(value)), { value }),
      ),
      { numRuns: RUNS },
    )
  })

  test(`is there, not there or refused, whatever the header fields hold (${RUNS} runs)`, () => {
    // What it cannot read grpc-js writes to the console.
    setLogVerbosity(logVerbosity.NONE)
    const text = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.string({ minLength: 250, maxLength: 260 }))
    fc.assert(
      fc.property(fc.oneof(text, fc.array(text, { maxLength: 3 })), (given) => {
        const key = idempotencyKey(Metadata.fromHttp2Headers({ 'idempotency-key': given }))
        if (typeof key === 'object') {
          assert.equal(key.value, Array.isArray(given) ? given.find((one) => one === key.value) : given)
          assert.match(key.value, /^[\x20-\x7e]{1,255}$/)
          assert.ok(!key.value.includes(','))
        }
      }),
      { numRuns: RUNS },
    )
  })
})
