import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  decodeRecord,
  encodeRecord,
  HEADER,
  headerBytes,
  markProducedAgain,
  MAX_HEADER_BYTES,
  rewriteRecord,
  type CallRecord,
  type Decoded,
  type OutgoingRecord,
  type RawRecord,
} from '../../../../sidecar/kafka/record.ts'

const id = Buffer.from('0190163d8694739b8ea1c0ffee15900d', 'hex')

const record = (changes: Partial<CallRecord> = {}): CallRecord => ({
  id,
  deadline: 1_800_000_000_123,
  replyTo: 'proxy-1',
  method: 'calculator.CalculateService/Calculate',
  attempt: 1,
  producedAgain: false,
  enqueuedAt: 1_799_999_997_000,
  firstFailureAt: 0,
  caller: 'café',
  metadata: [],
  message: Buffer.from([1, 2, 3]),
  ...changes,
})

/** What Kafka's client makes of a record on its way: every header value comes back as bytes. */
const throughKafka = ({ key, value, headers }: OutgoingRecord): RawRecord => ({
  key,
  value,
  headers: Object.fromEntries(
    Object.entries(headers).map(([name, one]) => [
      name,
      Array.isArray(one) ? one.map((each) => Buffer.from(each as string)) : Buffer.from(one as string),
    ]),
  ),
})

const packed = (outgoing: OutgoingRecord): Buffer => outgoing.headers[HEADER] as Buffer

/** A record that has nothing but this packed header and a value. */
const rawWith = (header: Buffer): RawRecord => ({ key: null, value: Buffer.alloc(0), headers: { [HEADER]: header } })

/** The header of a version 2 record with these extensions in place of none. */
function withExtensions(header: Buffer, extensions: readonly { tag: number; bytes: Uint8Array }[]): Buffer {
  const area = Buffer.concat(
    extensions.map(({ tag, bytes }) =>
      Buffer.concat([Buffer.from([tag, bytes.length >> 8, bytes.length & 255]), bytes]),
    ),
  )
  return Buffer.concat([header.subarray(0, -2), Buffer.from([area.length >> 8, area.length & 255]), area])
}

const reasonOf = (decoded: Decoded): string => {
  assert.equal(decoded.kind, 'Unreadable')
  return decoded.kind === 'Unreadable' ? decoded.reason : ''
}

// Bytes that stand in topics. When one of these tests fails, the format has drifted: that takes a new version, not new hex.
describe('the bytes of version 1', () => {
  const golden =
    '01' + // version
    '0190163d8694739b8ea1c0ffee15900d' + // call id
    '01a3185c507b' + // deadline
    '07' +
    '70726f78792d31' + // reply channel
    '00' + // flags
    '01' + // attempt
    '01a3185c4448' + // enqueued
    '000000000000' + // first failure
    '0025' +
    '63616c63756c61746f722e43616c63756c617465536572766963652f43616c63756c617465' + // method
    '0005' +
    '636166c3a9' // caller

  test('are written', () => {
    assert.equal(packed(encodeRecord(record())).toString('hex'), golden)
  })

  test('are read', () => {
    const decoded = decodeRecord({
      key: id,
      value: Buffer.from([1, 2, 3]),
      headers: { [HEADER]: Buffer.from(golden, 'hex') },
    })
    assert.deepEqual(decoded, { kind: 'Call', record: record() })
  })

  test('are followed in version 2 by revision, earliest start and extensions', () => {
    const written = record({ redriveRevision: 258, notBefore: 1_799_999_998_000 })
    assert.equal(
      packed(encodeRecord(written, 2)).toString('hex'),
      `02${golden.slice(2)}` + '00000102' + '01a3185c4830' + '0000',
    )
  })

  test('hold the flag of a record produced again, its attempt and its first failure', () => {
    const again = record({
      producedAgain: true,
      attempt: 20,
      firstFailureAt: 1_799_999_998_000,
      replyTo: '',
      caller: '',
      method: 'a.B/C',
    })
    assert.equal(
      packed(encodeRecord(again)).toString('hex'),
      '01' +
        '0190163d8694739b8ea1c0ffee15900d' +
        '01a3185c507b' +
        '00' +
        '01' +
        '14' +
        '01a3185c4448' +
        '01a3185c4830' +
        '0005' +
        '612e422f43' +
        '0000',
    )
  })

  test('have these headers beside them', () => {
    const outgoing = encodeRecord(
      record({
        traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
        tracestate: 'a=1',
        metadata: [
          ['x-tenant', Buffer.from('one')],
          ['x-bin', Buffer.from([0, 255])],
          ['x-tenant', Buffer.from('two')],
          ['x-tenant', Buffer.from('three')],
        ],
      }),
    )
    assert.deepEqual(outgoing.headers, {
      [HEADER]: packed(outgoing),
      traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
      tracestate: 'a=1',
      'm:x-tenant': [Buffer.from('one'), Buffer.from('two'), Buffer.from('three')],
      'm:x-bin': Buffer.from([0, 255]),
    })
    assert.equal(outgoing.key, id)
  })
})

describe('a record that was written', () => {
  const time = fc.integer({ min: 0, max: 2 ** 48 - 1 })
  const replyTo = fc.oneof(fc.constant(''), fc.stringMatching(/^[a-zA-Z0-9._-]{1,128}$/))
  const name = fc
    .stringMatching(/^[a-z0-9._-]{1,40}$/)
    .filter((one) => !one.startsWith('grpc-') && !['te', 'host', 'upgrade', 'connection'].includes(one))
  const text = fc.stringMatching(/^[\x20-\x7e]{0,40}$/).map((one) => Buffer.from(one))
  const bytes = fc.uint8Array({ maxLength: 40 }).map((one) => Buffer.from(one))
  const entry = fc.oneof(
    fc.tuple(name, text),
    fc.tuple(
      name.map((one) => `${one}-bin`),
      bytes,
    ),
  )
  const printable = fc.stringMatching(/^[\x21-\x7e]{1,100}$/)
  const any = fc.record(
    {
      id: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((one) => Buffer.from(one)),
      deadline: time,
      replyTo,
      method: fc.stringMatching(/^[a-zA-Z_.]{1,60}\/[a-zA-Z_]{1,60}$/),
      attempt: fc.integer({ min: 1, max: 255 }),
      producedAgain: fc.boolean(),
      enqueuedAt: time,
      firstFailureAt: time,
      caller: fc.string({ unit: 'grapheme', maxLength: 60 }),
      metadata: fc.array(entry, { maxLength: 20 }),
      traceparent: printable,
      tracestate: printable,
      message: bytes,
    },
    {
      requiredKeys: [
        'id',
        'deadline',
        'replyTo',
        'method',
        'attempt',
        'producedAgain',
        'enqueuedAt',
        'firstFailureAt',
        'caller',
        'metadata',
        'message',
      ],
    },
  )
  const grouped = (one: CallRecord) => ({ ...one, metadata: Object.groupBy(one.metadata, ([key]) => key) })

  /** What version 1 does not carry. */
  const ofVersion2 = fc.record({
    redriveRevision: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    notBefore: time,
  })

  for (const version of [1, 2] as const) {
    test(`of version ${version} is read as it was`, () => {
      fc.assert(
        fc.property(any, ofVersion2, (one, more) => {
          // A name decides whether its value is text; half of these names are made for bytes.
          const written = {
            ...one,
            ...(version === 2 && more),
            metadata: one.metadata.filter(
              ([key, value]) => key.endsWith('-bin') || /^[\x20-\x7e]*$/.test(value.toString('latin1')),
            ),
          } as CallRecord
          const decoded = decodeRecord(throughKafka(encodeRecord(written, version)))
          assert.ok(decoded.kind === 'Call', JSON.stringify(decoded))
          // Names lose their order among each other; the values of one name keep theirs.
          assert.deepEqual(grouped(decoded.record), grouped(written))
        }),
        { numRuns: 500 },
      )
    })
  }

  test('cut off at any byte of its header is Unreadable, with its prefix where that is whole', () => {
    fc.assert(
      fc.property(any, (one) => {
        const whole = packed(encodeRecord(one))
        for (let length = 0; length < whole.length; length++) {
          const decoded = decodeRecord(rawWith(whole.subarray(0, length)))
          assert.equal(decoded.kind, 'Unreadable', `${length} of ${whole.length} bytes`)
          const prefix = decoded.kind === 'Unreadable' ? decoded.prefix : undefined
          const expected =
            length < 24 + one.replyTo.length ? undefined : { id: one.id, deadline: one.deadline, replyTo: one.replyTo }
          assert.deepEqual(prefix, expected)
        }
      }),
      { numRuns: 100 },
    )
  })

  for (const version of [1, 2] as const) {
    test(`of version ${version} with a byte too many is Unreadable`, () => {
      const header = Buffer.concat([packed(encodeRecord(record(), version)), Buffer.from([0])])
      assert.equal(reasonOf(decodeRecord(rawWith(header))), 'header has another length than its parts')
    })
  }

  test('of version 2 cut off at any byte of its header is Unreadable', () => {
    fc.assert(
      fc.property(any, (one) => {
        const whole = packed(encodeRecord(one, 2))
        for (let length = 0; length < whole.length; length++)
          assert.equal(decodeRecord(rawWith(whole.subarray(0, length))).kind, 'Unreadable', `${length} bytes`)
      }),
      { numRuns: 100 },
    )
  })

  test('of version 2 keeps its meaning under extensions that nobody knows', () => {
    const extension = fc.record({ tag: fc.integer({ min: 3, max: 255 }), bytes: fc.uint8Array({ maxLength: 300 }) })
    fc.assert(
      fc.property(fc.array(extension, { maxLength: 20 }), (extensions) => {
        const written = record({ redriveRevision: 7, notBefore: 8 })
        const decoded = decodeRecord(rawWith(withExtensions(packed(encodeRecord(written, 2)), extensions)))
        assert.ok(decoded.kind === 'Call')
        const { unknownExtensions, ...known } = decoded.record
        assert.deepEqual(known, { ...written, message: Buffer.alloc(0) })
        // And they go on where it is written again.
        const again = decodeRecord(rawWith(packed(encodeRecord(decoded.record, 2))))
        assert.deepEqual(again.kind === 'Call' && again.record.unknownExtensions, unknownExtensions)
      }),
      { numRuns: 300 },
    )
  })

  test('of version 2 tells whence a call came and which attempts failed', () => {
    const failures = [
      { attempt: 1, at: 1_800_000_000_000, status: 14, worker: 'worker-1' },
      { attempt: 2, at: 1_800_000_000_500, status: 4, worker: '' },
    ]
    const written = record({
      redriveRevision: 0,
      notBefore: 0,
      origin: { partition: 4_294_967_295, offset: 281_474_976_710_655 },
      failures,
    })
    const decoded = decodeRecord(rawWith(packed(encodeRecord(written, 2))))
    assert.deepEqual(decoded.kind === 'Call' && decoded.record, { ...written, message: Buffer.alloc(0) })
  })

  test('of version 2 keeps the newest of very many failed attempts, within the room that a header has', () => {
    const failures = Array.from({ length: 500 }, (_, index) => ({
      attempt: index % 256,
      at: index,
      status: 14,
      worker: 'w'.repeat(300),
    }))
    const header = packed(encodeRecord(record({ failures }), 2))
    assert.ok(header.length < 8192, `${header.length} bytes`)
    const decoded = decodeRecord(rawWith(header))
    assert.deepEqual(decoded.kind === 'Call' && decoded.record.failures?.at(-1), {
      ...failures.at(-1),
      worker: 'w'.repeat(128),
    })
  })

  test('of version 2 whose extensions end inside one of their parts is Unreadable', () => {
    for (const [area, reason] of [
      ['010001ff', 'the origin has another length than its parts'],
      ['0200080100000000000e', 'a failed attempt ends too early'],
      ['020009010000000000000e05', 'a failed attempt ends too early'],
    ] as const) {
      const header = packed(encodeRecord(record(), 2))
      const bytes = Buffer.from(area, 'hex')
      bytes.writeUInt16BE(bytes.length - 3, 1)
      const whole = Buffer.concat([header.subarray(0, -2), Buffer.from([0, bytes.length]), bytes])
      assert.equal(reasonOf(decodeRecord(rawWith(whole))), reason, area)
    }
  })

  test('is written again as it was read, with another header', () => {
    const raw = { key: null, value: Buffer.from('v'), headers: { [HEADER]: 'old', other: [null, 'x'], ce: null } }
    const { headers, ...rest } = rewriteRecord(raw, record({ attempt: 2 }))
    assert.deepEqual(rest, { key: null, value: Buffer.from('v') })
    assert.deepEqual([headers['other'], headers['ce']], [[Buffer.alloc(0), 'x'], Buffer.alloc(0)])
    const decoded = decodeRecord({ ...raw, headers })
    assert.equal(decoded.kind === 'Call' && decoded.record.attempt, 2)
  })

  test('of version 2 with an extension longer than all of them is Unreadable', () => {
    for (const area of ['09', '0900', '090001', '0900000900ff']) {
      const header = packed(encodeRecord(record(), 2))
      const bytes = Buffer.from(area, 'hex')
      const length = Buffer.from([0, bytes.length])
      const whole = Buffer.concat([header.subarray(0, -2), length, bytes])
      assert.equal(reasonOf(decodeRecord(rawWith(whole))), 'an extension is longer than all of them', area)
    }
  })

  test('outlives the buffer that it was read from, as far as its id goes', () => {
    const raw = throughKafka(encodeRecord(record()))
    const decoded = decodeRecord(raw)
    ;(raw.headers[HEADER] as Buffer).fill(0xff)
    assert.deepEqual(decoded.kind === 'Call' && decoded.record.id, id)
  })
})

describe('any record whatever', () => {
  const bytes = fc.uint8Array({ maxLength: 300 }).map((one) => Buffer.from(one))
  const value = fc.oneof(bytes, fc.constant(null), fc.string())
  const names = fc.oneof(
    fc.constantFrom(
      HEADER,
      'traceparent',
      'tracestate',
      'm:',
      'm:x',
      'm:x-bin',
      'm:connection',
      'm:__proto__',
      '__proto__',
      'constructor',
      'toString',
    ),
    fc.string(),
  )
  const headers = fc.dictionary(names, fc.oneof(value, fc.array(value, { maxLength: 5 }), fc.constant(undefined)))
  const body = fc.record({ key: fc.oneof(bytes, fc.constant(null)), value: fc.oneof(bytes, fc.constant(null)) })

  test('is read without a throw', () => {
    fc.assert(
      fc.property(body, headers, (one, found) => {
        assert.ok(['Call', 'Newer', 'Unreadable'].includes(decodeRecord({ ...one, headers: found }).kind))
      }),
      { numRuns: 1000 },
    )
  })

  test('is read without a throw also with a header that is nearly right', () => {
    const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }))
    const writable = fc.constantFrom(1 as const, 2 as const)
    fc.assert(
      fc.property(fc.array(change, { maxLength: 4 }), headers, writable, (changes, found, version) => {
        const header = Buffer.from(packed(encodeRecord(record(), version)))
        for (const [at, byte] of changes) header[at % header.length] = byte
        const decoded = decodeRecord({ ...rawWith(header), headers: { ...found, [HEADER]: header } })
        assert.ok(['Call', 'Newer', 'Unreadable'].includes(decoded.kind))
      }),
      { numRuns: 1000 },
    )
  })

  test('with random bytes for its header is never a call by chance of its length', () => {
    fc.assert(
      fc.property(bytes, (header) => {
        const decoded = decodeRecord(rawWith(header))
        if (decoded.kind === 'Call') assert.ok(header[0] === 1 || header[0] === 2)
        if (decoded.kind === 'Newer') assert.ok((header[0] as number) > 2)
      }),
      { numRuns: 1000 },
    )
  })
})

describe('what is wrong with a record is named', () => {
  const good = throughKafka(encodeRecord(record()))
  const prefix = { id, deadline: 1_800_000_000_123, replyTo: 'proxy-1' }
  const changed = (at: number, byte: number): RawRecord => {
    const header = Buffer.from(good.headers[HEADER] as Buffer)
    header[at] = byte
    return { ...good, headers: { ...good.headers, [HEADER]: header } }
  }
  const withHeaders = (headers: RawRecord['headers']): RawRecord => ({
    ...good,
    headers: { ...good.headers, ...headers },
  })

  const cases: readonly (readonly [what: string, raw: RawRecord, reason: string, withPrefix: boolean])[] = [
    ['no headers', { ...good, headers: {} }, 'no grpc-kafka header', false],
    ['a header without a value', withHeaders({ [HEADER]: null }), 'the grpc-kafka header is not bytes', false],
    [
      'two packed headers',
      withHeaders({ [HEADER]: [Buffer.from([1]), Buffer.from([1])] }),
      'several grpc-kafka headers',
      false,
    ],
    ['an empty packed header', withHeaders({ [HEADER]: Buffer.alloc(0) }), 'header ends inside its prefix', false],
    [
      'a reply channel that would name another key',
      changed(24, 0x7b),
      'reply channel has characters that no instance name has',
      false,
    ],
    ['version 0', changed(0, 0), 'header has version 0', true],
    ['attempt 0', changed(32, 0), 'attempt is 0', true],
    ['no value', { ...good, value: null }, 'no value', true],
    [
      'a name that is no metadata',
      withHeaders({ 'm:grpc-timeout': Buffer.from('1S') }),
      'a metadata header is not gRPC metadata',
      true,
    ],
    [
      'a name that HTTP/2 forbids',
      withHeaders({ 'm:connection': Buffer.from('close') }),
      'a metadata header is not gRPC metadata',
      true,
    ],
    [
      'a pseudo-header',
      withHeaders({ 'm::path': Buffer.from('/other') }),
      'a metadata header is not gRPC metadata',
      true,
    ],
    [
      'a value with a line break',
      withHeaders({ 'm:x': Buffer.from('a\r\nb: c') }),
      'a metadata header is not gRPC metadata',
      true,
    ],
    ['metadata without a value', withHeaders({ 'm:x': null }), 'a metadata header is not gRPC metadata', true],
    [
      '10,000 headers',
      withHeaders({ other: Array.from({ length: 10_000 }, () => Buffer.from('a')) }),
      'more than 1024 headers',
      true,
    ],
  ]
  for (const [what, raw, reason, withPrefix] of cases) {
    test(what, () => {
      assert.deepEqual(
        decodeRecord(raw),
        withPrefix ? { kind: 'Unreadable', reason, prefix } : { kind: 'Unreadable', reason },
      )
    })
  }

  test('but a missing key is not wrong, and headers of others are passed over', () => {
    const raw = { ...withHeaders({ other: Buffer.from('x'), M: null }), key: null }
    assert.deepEqual(decodeRecord(raw), { kind: 'Call', record: record() })
  })

  test('but as many metadata values as a proxy takes are read', () => {
    const metadata = Array.from({ length: 992 }, () => ['x', Buffer.alloc(0)] as const)
    const decoded = decodeRecord(throughKafka(encodeRecord(record({ metadata }))))
    assert.equal(decoded.kind === 'Call' && decoded.record.metadata.length, 992)
  })

  test('a trace context that no header may hold, or that stands twice, is left out and the call kept', () => {
    for (const value of [Buffer.from('00-a\r\nx: y'), Buffer.alloc(0), null, [Buffer.from('a'), Buffer.from('b')]]) {
      assert.deepEqual(decodeRecord(withHeaders({ traceparent: value, tracestate: value })), {
        kind: 'Call',
        record: record(),
      })
    }
  })
})

describe('a record of a newer version', () => {
  test('gives its version and its prefix, whatever follows', () => {
    for (const version of [3, 4, 255]) {
      const header = Buffer.concat([packed(encodeRecord(record())).subarray(0, 31), Buffer.from('anything')])
      header[0] = version
      assert.deepEqual(decodeRecord(rawWith(header)), {
        kind: 'Newer',
        version,
        prefix: { id, deadline: 1_800_000_000_123, replyTo: 'proxy-1' },
      })
    }
  })

  test('whose prefix is cut off is Unreadable', () => {
    const header = packed(encodeRecord(record())).subarray(0, 30)
    const newer = Buffer.from(header)
    newer[0] = 3
    assert.equal(reasonOf(decodeRecord(rawWith(newer))), 'header ends inside its prefix')
  })
})

describe('markProducedAgain', () => {
  test('sets the flag in a copy and changes nothing else', () => {
    const first = encodeRecord(record({ metadata: [['x', Buffer.from('y')]] }))
    const before = Buffer.from(packed(first))
    const second = markProducedAgain(first)
    assert.deepEqual(packed(first), before)
    const decoded = decodeRecord(throughKafka(second))
    assert.deepEqual(decoded, {
      kind: 'Call',
      record: record({ metadata: [['x', Buffer.from('y')]], producedAgain: true }),
    })
    assert.deepEqual(markProducedAgain(second), second)
  })

  test('finds the flag behind a reply channel of any length', () => {
    for (const replyTo of ['', 'a', 'b'.repeat(128)]) {
      for (const version of [1, 2] as const) {
        const later = version === 1 ? {} : { redriveRevision: 3, notBefore: 4 }
        const decoded = decodeRecord(
          throughKafka(markProducedAgain(encodeRecord(record({ replyTo, ...later }), version))),
        )
        assert.deepEqual(decoded, { kind: 'Call', record: record({ replyTo, ...later, producedAgain: true }) })
      }
    }
  })
})

test('headerBytes is at least what the headers take in a record batch, and fits the room that topics leave', () => {
  const metadata = Array.from({ length: 900 }, () => ['x-value', Buffer.from('abc')] as const)
  const outgoing = encodeRecord(record({ metadata, traceparent: 'a'.repeat(55), tracestate: 'b'.repeat(512) }))
  // Record batch, version 2: a varint of at most 5 bytes before each name and each value.
  let exact = 0
  for (const [name, value] of Object.entries(throughKafka(outgoing).headers)) {
    for (const one of Array.isArray(value) ? value : [value]) exact += name.length + (one as Buffer).length + 2
  }
  assert.ok(headerBytes(outgoing) >= exact)
  assert.ok(headerBytes(outgoing) <= MAX_HEADER_BYTES)
})
