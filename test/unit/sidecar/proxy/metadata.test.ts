import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Metadata, logVerbosity, setLogVerbosity } from '@grpc/grpc-js'
import fc from 'fast-check'
import { MAX_METADATA_VALUES, isMetadata } from '../../../../sidecar/metadata.ts'
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

/** Runs of each property below. */
const RUNS = 1000

suite('header fields as they come from anybody', () => {
  // What it cannot read grpc-js writes to the console.
  setLogVerbosity(logVerbosity.NONE)
  const NAMES = ['tenant', 'key-bin', 'constructor', '__proto__', 'te']
  const text = fc.oneof(
    fc.string({ maxLength: 40 }),
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc.base64String({ maxLength: 40 }),
    fc.constantFrom('', ',', ',,', 'AA==,AA', '=', 'a\r\nb: c', '\u0080', 'x'.repeat(40_000)),
  )
  const headers = fc.dictionary(
    fc.oneof(fc.constantFrom(...NAMES, ':path', 'authorization'), fc.string({ maxLength: 10 })),
    fc.oneof(text, fc.array(text, { maxLength: 120 })),
    { maxKeys: 6 },
  )

  test(`travel as gRPC metadata or are refused, and within bounds (${RUNS} runs)`, () => {
    fc.assert(
      fc.property(headers, (given) => {
        const pairs = declaredMetadata(Metadata.fromHttp2Headers(given), NAMES.slice(0, -1))
        if (pairs === undefined) return
        assert.ok(pairs.length <= MAX_METADATA_VALUES)
        assert.ok(
          pairs.reduce((bytes, [name, value]) => bytes + name.length + value.length + 32, 0) <= MAX_METADATA_BYTES,
        )
        for (const [name, value] of pairs) assert.ok(isMetadata(name, value), name)
      }),
      { numRuns: RUNS },
    )
  })

  test(`come back as they were (${RUNS} runs)`, () => {
    const printable = fc.stringMatching(/^[\x20-\x7e]{0,20}$/)
    const binary = fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes))
    const value = fc.oneof(
      fc.tuple(fc.constantFrom('tenant', 'constructor'), printable),
      fc.tuple(fc.constant('key-bin'), binary),
    )
    fc.assert(
      fc.property(fc.array(value, { maxLength: 20 }), (values) => {
        const metadata = new Metadata()
        for (const [name, one] of values) metadata.add(name, one)
        const pairs = declaredMetadata(metadata, NAMES)
        assert.ok(pairs)
        for (const name of NAMES) assert.deepEqual(toGrpcMetadata(pairs).get(name), metadata.get(name), name)
      }),
      { numRuns: RUNS },
    )
  })

  test(`of an answer, whatever stands in Redis, are such as HTTP/2 carries (${RUNS} runs)`, () => {
    const pair = fc.tuple(
      fc.oneof(fc.constantFrom(...NAMES, 'etag', 'grpc-status', ':status'), fc.string({ maxLength: 10 })),
      fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
    )
    fc.assert(
      fc.property(fc.array(pair, { maxLength: 20 }), (pairs) => {
        for (const [name, value] of Object.entries(toGrpcMetadata(pairs).toHttp2Headers())) {
          assert.match(name, /^[0-9a-z_.-]+$/)
          for (const one of [value ?? ''].flat()) assert.match(String(one), /^[\x20-\x7e]*$/)
        }
      }),
      { numRuns: RUNS },
    )
  })
})
