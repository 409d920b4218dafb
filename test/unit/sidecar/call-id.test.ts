import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { callIdSource, formatCallId, isKeyed, keyedCallId, parseCallId } from '../../../sidecar/call-id.ts'

test('an id is a UUIDv7 with the time in front', () => {
  const nextId = callIdSource(() => 0x0123_4567_89ab)
  const id = nextId()
  assert.equal(id.length, 16)
  assert.match(formatCallId(id), /^01234567-89ab-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
})

test('ids differ, also where the pool of random bytes is drawn again, and none changes afterwards', () => {
  const nextId = callIdSource(() => 1_700_000_000_000)
  const ids: Buffer[] = []
  const texts: string[] = []
  for (let count = 0; count < 1000; count++) {
    const id = nextId()
    ids.push(id)
    texts.push(formatCallId(id))
  }
  assert.equal(new Set(texts).size, 1000)
  assert.deepEqual(ids.map(formatCallId), texts)
})

test('version and variant leave all other bits random', () => {
  const nextId = callIdSource(() => 0)
  const seen = Buffer.alloc(16)
  const missing = Buffer.alloc(16)
  for (let count = 0; count < 500; count++) {
    const id = nextId()
    for (let at = 6; at < 16; at++) {
      seen[at] = (seen[at] as number) | (id[at] as number)
      missing[at] = (missing[at] as number) | (~(id[at] as number) & 0xff)
    }
  }
  assert.equal(seen.toString('hex', 6), '7fff' + 'bfff' + 'ffffffffffff')
  assert.equal(missing.toString('hex', 6), '8fff' + '7fff' + 'ffffffffffff')
})

test('the text form holds the sixteen bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
      const text = formatCallId(Buffer.from(bytes))
      assert.match(text, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
      assert.equal(text.replaceAll('-', ''), Buffer.from(bytes).toString('hex'))
    }),
    { numRuns: 200 },
  )
})

test('the id of a key is a UUIDv8, the same each time, and another one where any part differs', () => {
  const parts: [string, string, string, string] = ['s.S', 'client', 's.S/M', 'key']
  const id = keyedCallId(...parts)
  assert.match(formatCallId(id), /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  assert.deepEqual(keyedCallId(...parts), id)
  for (const at of parts.keys()) assert.notDeepEqual(keyedCallId(...(parts.with(at, 'other') as typeof parts)), id)
})

test('parts that are the same when put together give different ids', () => {
  assert.notDeepEqual(keyedCallId('s', 'ab', 'c', 'k'), keyedCallId('s', 'a', 'bc', 'k'))
  assert.notDeepEqual(keyedCallId('s', '', '1:a', 'k'), keyedCallId('s', '1:a', '', 'k'))
})

test('an id tells whether its call has a key', () => {
  assert.equal(isKeyed(keyedCallId('s', '', 'm', 'k')), true)
  assert.equal(isKeyed(callIdSource(() => 0)()), false)
})

test('the text form is read again, with and without dashes, and no other text is (2000 runs)', () => {
  const good = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes))
  const text = fc.oneof(fc.string(), fc.stringMatching(/^[0-9a-f-]{30,40}$/))
  fc.assert(
    fc.property(good, text, (id, other) => {
      assert.deepEqual(parseCallId(formatCallId(id)), id)
      assert.deepEqual(parseCallId(id.toString('hex').toUpperCase()), id)
      const read = parseCallId(other)
      if (read !== undefined) assert.ok([formatCallId(read), read.toString('hex')].includes(other.toLowerCase()))
    }),
    { numRuns: 2000 },
  )
})
