import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { cacheKey } from '../../../../sidecar/proxy/cache-key.ts'
import type { CacheKeyParts } from '../../../../sidecar/proxy/cache-key.ts'

const EMPTY: CacheKeyParts = { method: 's.S/M', caller: '', metadata: [], message: Buffer.alloc(0) }
const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array))
/** Few and short values, so that what is cut elsewhere and joined to the same bytes comes up often. */
const parts: fc.Arbitrary<CacheKeyParts> = fc.record({
  method: fc.constantFrom('M', 'Ma', 'MM', 'é'),
  caller: fc.constantFrom('', 'a', 'M', 'aa', 'é'),
  metadata: fc.array(
    fc.tuple(
      fc.constantFrom('a', 'aa', 'b'),
      fc.constantFrom('', 'a', 'b').map((text) => Buffer.from(text)),
    ),
    {
      maxLength: 3,
    },
  ),
  message: fc.oneof(
    fc.constantFrom('', 'a', 'aa', 'b').map((text) => Buffer.from(text)),
    bytes(4),
  ),
})
const plain = ({ method, caller, metadata, message }: CacheKeyParts) =>
  JSON.stringify([
    method,
    caller,
    metadata.map(([name, value]) => [name, value.toString('hex')]),
    message.toString('hex'),
  ])

suite('cacheKey', () => {
  test('is the same for the same parts and for no others (5,000 runs)', () => {
    fc.assert(
      fc.property(parts, parts, (one, other) => {
        assert.equal(cacheKey(one) === cacheKey(other), plain(one) === plain(other))
        assert.equal(cacheKey(one), cacheKey(structuredCopy(one)))
      }),
      { numRuns: 5000 },
    )
  })

  test('tells parts apart that are the same bytes in a row', () => {
    const keys = [
      { ...EMPTY, caller: 'ab' },
      { ...EMPTY, message: Buffer.from('ab') },
      { ...EMPTY, caller: 'a', message: Buffer.from('b') },
      { ...EMPTY, metadata: [['a', Buffer.from('b')]] as const },
      { ...EMPTY, metadata: [['ab', Buffer.alloc(0)]] as const },
    ].map(cacheKey)
    assert.equal(new Set(keys).size, keys.length)
  })
})

const structuredCopy = ({ metadata, message, ...rest }: CacheKeyParts): CacheKeyParts => ({
  ...rest,
  metadata: metadata.map(([name, value]) => [name, Buffer.from(value)]),
  message: Buffer.from(message),
})
