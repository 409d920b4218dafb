import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  decodeOutcome,
  encodeOutcome,
  isSameOutcome,
  OutcomeFormatError,
  type Outcome,
} from '../../../../sidecar/results/outcome.ts'

const answered: Outcome = {
  state: 'Answered',
  status: 0,
  details: '',
  initialMetadata: [['x-a', Buffer.from('b')]],
  trailingMetadata: [['grpc-status-details-bin', Buffer.from([0, 255])]],
  message: Buffer.from([1, 2, 3]),
}

const PLAIN = { noNullPrototype: true } as const
const bytes = fc.uint8Array({ maxLength: 200 }).map((one) => Buffer.from(one))
const pair = fc.tuple(fc.stringMatching(/^[a-z0-9._-]{1,255}$/), bytes)
const pairs = fc.array(pair, { maxLength: 8 })
const answer = {
  status: fc.integer({ min: 0, max: 16 }),
  details: fc.string({ unit: 'grapheme', maxLength: 200 }),
  initialMetadata: pairs,
  trailingMetadata: pairs,
  message: fc.oneof(bytes, fc.constant(null)),
}
const place = fc.record(
  { partition: fc.nat(2 ** 31 - 1), offset: fc.nat(2 ** 48 - 1), attempts: fc.integer({ min: 1, max: 255 }) },
  PLAIN,
)
/** With the record that it came of, and without. */
const placed = <T extends object>(outcome: fc.Arbitrary<T>) =>
  fc.oneof(
    outcome,
    fc.tuple(outcome, place).map(([one, at]) => ({ ...one, place: at })),
  )
const outcomes: fc.Arbitrary<Outcome> = fc.oneof(
  placed(fc.record({ state: fc.constant('Answered' as const), ...answer }, PLAIN)),
  placed(
    fc.record(
      { state: fc.constant('DeadLettered' as const), revision: fc.integer({ min: 0, max: 2 ** 32 - 1 }), ...answer },
      PLAIN,
    ),
  ),
  fc.record(
    { state: fc.constant('Expired' as const), started: fc.constantFrom('No' as const, 'Unknown' as const) },
    PLAIN,
  ),
  fc.record({ state: fc.constant('Cancelled' as const) }, PLAIN),
)

/** Anything but an outcome or the one error that is promised fails the test. */
function decodeOrRefuse(given: Buffer): Outcome | undefined {
  try {
    return decodeOutcome(given)
  } catch (error) {
    assert.ok(error instanceof OutcomeFormatError, String(error))
    assert.equal(error.code, 'OUTCOME_UNREADABLE')
    return undefined
  }
}

// Bytes that stand in Redis while replicas of two versions run. When one of these fails, the format has drifted.
describe('the bytes of format 1', () => {
  const golden: readonly (readonly [Outcome, string])[] = [
    [
      answered,
      '01' +
        '01' +
        '00' +
        '00000000' +
        '0000' + // format, state, status, revision, details
        '0001' +
        '03' +
        '782d61' +
        '00000001' +
        '62' + // initial metadata
        '0001' +
        '17' +
        '677270632d7374617475732d64657461696c732d62696e' +
        '00000002' +
        '00ff' + // trailing metadata
        '01' +
        '010203', // message
    ],
    [
      { state: 'Answered', status: 5, details: 'né', initialMetadata: [], trailingMetadata: [], message: null },
      '010105' + '00000000' + '0003' + '6ec3a9' + '0000' + '0000' + '00',
    ],
    [
      {
        state: 'DeadLettered',
        revision: 258,
        status: 14,
        details: '',
        initialMetadata: [],
        trailingMetadata: [],
        message: null,
      },
      '01020e' + '00000102' + '0000' + '0000' + '0000' + '00',
    ],
    [{ state: 'Expired', started: 'No' }, '010300'],
    [{ state: 'Expired', started: 'Unknown' }, '010301'],
    [{ state: 'Cancelled' }, '0104'],
  ]
  for (const [outcome, hex] of golden) {
    test(hex, () => {
      assert.equal(encodeOutcome(outcome).toString('hex'), hex)
      assert.deepEqual(decodeOutcome(Buffer.from(hex, 'hex')), outcome)
    })
  }
})

test('format 3 is format 1 with the record that it came of after the state', () => {
  const outcome: Outcome = {
    state: 'Answered',
    status: 5,
    details: '',
    initialMetadata: [],
    trailingMetadata: [],
    message: null,
  }
  const withPlace: Outcome = { ...outcome, place: { partition: 258, offset: 2 ** 40 + 1, attempts: 3 } }
  const hex = '0301' + '00000102' + '010000000001' + '03' + '05' + '00000000' + '0000' + '0000' + '0000' + '00'
  assert.equal(encodeOutcome(withPlace).toString('hex'), hex)
  assert.deepEqual(decodeOutcome(Buffer.from(hex, 'hex')), withPlace)
  assert.ok(isSameOutcome(encodeOutcome(withPlace), encodeOutcome(outcome)))
})

test('the format after an odd one is the same with the hash of the request after the state', () => {
  fc.assert(
    fc.property(outcomes, fc.uint8Array({ minLength: 16, maxLength: 16 }), (outcome, hash) => {
      const plain = encodeOutcome(outcome)
      const keyed = Buffer.concat([Buffer.from([(plain[0] ?? 0) + 1]), plain.subarray(1, 2), hash, plain.subarray(2)])
      assert.deepEqual(decodeOutcome(keyed), outcome)
      assert.ok(isSameOutcome(keyed, plain))
    }),
    { numRuns: 500 },
  )
})

describe('an outcome that was written', () => {
  test('is read as it was', () => {
    fc.assert(
      fc.property(outcomes, (outcome) => assert.deepEqual(decodeOutcome(encodeOutcome(outcome)), outcome)),
      { numRuns: 500 },
    )
  })

  test('with an empty message is not one without a message', () => {
    const outcome: Outcome = { ...answered, message: Buffer.alloc(0) }
    assert.deepEqual(decodeOutcome(encodeOutcome(outcome)), outcome)
  })

  test('keeps at most 8 KiB of its status message, whole characters', () => {
    const outcome = decodeOutcome(encodeOutcome({ ...answered, status: 13, details: 'a' + 'é'.repeat(5000) }))
    assert.ok(outcome.state === 'Answered')
    assert.equal(outcome.details, 'a' + 'é'.repeat(4095))
    assert.deepEqual(outcome.message, answered.message)
  })

  test('cut off anywhere before its message is refused', () => {
    const short = {
      ...answer,
      initialMetadata: fc.array(pair, { maxLength: 2 }),
      trailingMetadata: fc.array(pair, { maxLength: 2 }),
    }
    fc.assert(
      fc.property(fc.record({ state: fc.constant('Answered' as const), ...short }), (outcome) => {
        const whole = encodeOutcome(outcome)
        const head = whole.length - (outcome.message?.length ?? 0)
        for (let length = 0; length < head; length++) {
          assert.equal(decodeOrRefuse(whole.subarray(0, length)), undefined, `${length} of ${head} bytes`)
        }
      }),
      { numRuns: 100 },
    )
  })
})

describe('any bytes whatever', () => {
  test('are an outcome or an OutcomeFormatError', () => {
    fc.assert(
      fc.property(bytes, (given) => void decodeOrRefuse(given)),
      { numRuns: 500 },
    )
  })

  test('that begin like an outcome are one or an OutcomeFormatError', () => {
    const head = fc.tuple(
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 0, max: 5 }),
      fc.integer({ min: 0, max: 20 }),
    )
    fc.assert(
      fc.property(
        head,
        bytes,
        ([format, state, status], rest) =>
          void decodeOrRefuse(Buffer.concat([Buffer.from([format, state, status]), rest])),
      ),
      { numRuns: 500 },
    )
  })

  test('that are nearly an outcome are one or an OutcomeFormatError', () => {
    fc.assert(
      fc.property(outcomes, fc.nat(), fc.integer({ min: 0, max: 255 }), (outcome, at, byte) => {
        const changed = encodeOutcome(outcome)
        changed[at % changed.length] = byte
        decodeOrRefuse(changed)
      }),
      { numRuns: 500 },
    )
  })

  const refused: readonly (readonly [string, string])[] = [
    ['', 'an outcome has at least two bytes'],
    ['01', 'an outcome has at least two bytes'],
    ['0201', 'the outcome ends too early'],
    ['0001', 'outcome format 0 is not known here'],
    ['0301', 'the outcome ends too early'],
    ['0501', 'outcome format 5 is not known here'],
    ['0100', 'outcome state 0 is not known here'],
    ['0105', 'outcome state 5 is not known here'],
    ['0103', 'an expired outcome has one byte after its head'],
    ['01030000', 'an expired outcome has one byte after its head'],
    ['010111000000000000000000000000', '17 is no gRPC status'],
    ['010100000000000000ffff00', 'the outcome ends too early'],
    ['0101000000000000000001' + '03782d61' + 'ffffffff' + '62', 'the outcome ends too early'],
  ]
  for (const [hex, message] of refused) {
    test(`${hex || 'no bytes'}: ${message}`, () => {
      assert.throws(() => decodeOutcome(Buffer.from(hex, 'hex')), {
        name: 'OutcomeFormatError',
        code: 'OUTCOME_UNREADABLE',
        message,
      })
    })
  }
})
