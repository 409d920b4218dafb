import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { ERRORS } from '../../../../sidecar/errors.ts'
import type { ErrorCode } from '../../../../sidecar/errors.ts'
import { replyTo } from '../../../../sidecar/proxy/respond.ts'
import type { Answer } from '../../../../sidecar/results/outcome.ts'

const LIMIT = 100
const answer = (part: Partial<Answer>): Answer => ({
  status: 0,
  details: '',
  initialMetadata: [],
  trailingMetadata: [],
  message: Buffer.from('m'),
  ...part,
})
const outcome = (outcome: Extract<Parameters<typeof replyTo>[0], { kind: 'Outcome' }>['outcome']) =>
  replyTo({ kind: 'Outcome', outcome }, LIMIT)

suite('replyTo', () => {
  test('a call that Kafka has is answered with nothing, and where it stands before and after', () => {
    const reply = replyTo({ kind: 'Accepted', place: { partition: 3, offset: 2 ** 40 } }, LIMIT)
    const place = { 'grpc-kafka-partition': ['3'], 'grpc-kafka-offset': [String(2 ** 40)] }
    assert.deepEqual(
      [reply.status, reply.message, reply.initialMetadata?.toJSON(), reply.trailingMetadata?.toJSON()],
      [0, Buffer.alloc(0), place, place],
    )
    const { initialMetadata, message } = replyTo({ kind: 'Accepted', place: undefined }, LIMIT)
    assert.deepEqual([initialMetadata?.toJSON(), message], [{}, Buffer.alloc(0)])
  })

  test("the handler's answer comes back as it is", () => {
    const reply = outcome({
      state: 'Answered',
      ...answer({ initialMetadata: [['a', Buffer.from('1')]], trailingMetadata: [['b-bin', Buffer.from([0, 255])]] }),
    })
    assert.deepEqual(
      {
        ...reply,
        initialMetadata: reply.initialMetadata?.toJSON(),
        trailingMetadata: reply.trailingMetadata?.toJSON(),
      },
      {
        status: 0,
        details: '',
        initialMetadata: { a: ['1'] },
        trailingMetadata: { 'b-bin': [Buffer.from([0, 255])] },
        message: Buffer.from('m'),
      },
    )
  })

  test("so does the handler's error, and the last one of a dead letter", () => {
    for (const state of ['Answered', 'DeadLettered'] as const) {
      const reply = outcome({ state, revision: 1, ...answer({ status: 9, details: 'überzogen\n', message: null }) })
      assert.deepEqual(reply, { status: 9, details: 'überzogen\n' })
    }
  })

  test('an empty message is a message', () => {
    assert.deepEqual(outcome({ state: 'Answered', ...answer({ message: Buffer.alloc(0) }) }).message, Buffer.alloc(0))
  })

  for (const [what, given, code] of [
    ['a call that expired before its start', { state: 'Expired', started: 'No' }, 'EXPIRED_NOT_STARTED'],
    ['a call that expired', { state: 'Expired', started: 'Unknown' }, 'EXPIRED'],
    ['a cancelled call', { state: 'Cancelled' }, 'CALL_CANCELLED'],
    ['OK without a message', { state: 'Answered', ...answer({ message: null }) }, 'HANDLER_PROTOCOL'],
    [
      'a result that is too large',
      { state: 'Answered', ...answer({ message: Buffer.alloc(LIMIT + 1) }) },
      'RESULT_TOO_LARGE',
    ],
  ] as const) {
    test(`${what} is ${code}`, () => assert.equal(outcome(given).code, code))
  }

  test('a result of exactly the limit goes out', () => {
    assert.equal(outcome({ state: 'Answered', ...answer({ message: Buffer.alloc(LIMIT) }) }).status, 0)
  })

  test('every row of the error table becomes its status and message, and nothing else', () => {
    for (const code of Object.keys(ERRORS) as ErrorCode[]) {
      const reply = replyTo({ kind: 'Failed', code, retryAfterMilliseconds: undefined }, LIMIT)
      assert.equal(reply.details, ERRORS[code].message)
      assert.ok(reply.status > 0 && reply.status <= 16)
      assert.equal(reply.trailingMetadata, undefined)
    }
  })

  test('a refusal that knows when to try again says so, and which limit it was', () => {
    const reply = replyTo({ kind: 'Failed', code: 'TOO_MANY_WAITING', retryAfterMilliseconds: 40 }, LIMIT)
    assert.equal(reply.status, 8)
    assert.match(reply.details, /rateLimit\.maxWaiting/)
    assert.deepEqual(reply.trailingMetadata?.get('grpc-retry-pushback-ms'), ['40'])
    assert.equal(reply.trailingMetadata?.get('grpc-status-details-bin').length, 1)
  })
})
