import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { LARGEST_RESPONSE_BYTES, messageOf } from '../../../../sidecar/callback/message.ts'
import { ERRORS } from '../../../../sidecar/errors.ts'
import type { Outcome } from '../../../../sidecar/results/outcome.ts'

const ID = Buffer.from('018f3c1e000070008000000000000001', 'hex')
const TEXT = '018f3c1e-0000-7000-8000-000000000001'
const METHOD = 'test.Work/Do'
const NOW = Date.UTC(2026, 0, 2, 3, 4, 5, 6)

const answer = (status: number, details: string, message: Buffer | null) =>
  ({ status, details, initialMetadata: [], trailingMetadata: [], message }) as const

function told(outcome: Outcome, revision = 0) {
  const { id, body } = messageOf({ id: ID, revision, method: METHOD }, outcome, NOW)
  return { webhook: id, ...(JSON.parse(body.toString()) as { type: string; timestamp: string; data: object }) }
}

describe('the message of', () => {
  test('an answer has its response, its attempts and its place in time', () => {
    const place = { partition: 1, offset: 2, attempts: 3 }
    assert.deepEqual(told({ state: 'Answered', ...answer(0, '', Buffer.from('done')), place }), {
      webhook: TEXT,
      type: 'grpckafka.call.completed',
      timestamp: '2026-01-02T03:04:05.006Z',
      data: {
        id: TEXT,
        method: METHOD,
        state: 'ANSWERED',
        status: { code: 0, name: 'OK', message: '' },
        attempts: 3,
        responseBytes: 4,
        response: 'ZG9uZQ==',
      },
    })
  })

  test('a status has no response', () => {
    assert.deepEqual(told({ state: 'Answered', ...answer(5, 'not here', null) }).data, {
      id: TEXT,
      method: METHOD,
      state: 'ANSWERED',
      status: { code: 5, name: 'NOT_FOUND', message: 'not here' },
    })
  })

  test('a response that is too large says so, and one that just fits is there', () => {
    const dataOf = (bytes: number) =>
      told({ state: 'Answered', ...answer(0, '', Buffer.alloc(bytes)) }).data as Readonly<Record<string, unknown>>
    assert.equal(String(dataOf(LARGEST_RESPONSE_BYTES)['response']).length, Math.ceil(LARGEST_RESPONSE_BYTES / 3) * 4)
    const { response, responseOmitted, responseBytes } = dataOf(LARGEST_RESPONSE_BYTES + 1)
    assert.deepEqual([response, responseOmitted, responseBytes], [undefined, true, LARGEST_RESPONSE_BYTES + 1])
  })

  test('a dead letter, and of its redrive, which is another one', () => {
    const outcome: Outcome = { state: 'DeadLettered', revision: 0, ...answer(14, 'gone', null) }
    const { webhook, data } = told(outcome)
    assert.deepEqual(
      [webhook, data],
      [
        TEXT,
        {
          id: TEXT,
          method: METHOD,
          state: 'DEAD_LETTERED',
          status: { code: 14, name: 'UNAVAILABLE', message: 'gone' },
        },
      ],
    )
    const redriven = told({ ...outcome, revision: 2 }, 2)
    assert.equal(redriven.webhook, `${TEXT}-2`)
    assert.equal((redriven.data as { redrive?: number }).redrive, 2)
  })

  for (const [outcome, state, code, error] of [
    [{ state: 'Expired', started: 'No' }, 'EXPIRED', 4, 'EXPIRED_NOT_STARTED'],
    [{ state: 'Expired', started: 'Unknown' }, 'EXPIRED', 4, 'EXPIRED'],
    [{ state: 'Cancelled' }, 'CANCELLED', 1, 'CALL_CANCELLED'],
  ] as const)
    test(`what is ${error} has the status that its caller gets`, () => {
      const { status: name, message } = ERRORS[error]
      assert.deepEqual(told(outcome).data, { id: TEXT, method: METHOD, state, status: { code, name, message } })
    })

  test('what never started has another id than the outcome of the call that its key starts afterwards', () => {
    assert.equal(told({ state: 'Expired', started: 'No' }).webhook, `${TEXT}-not-started`)
    assert.equal(told({ state: 'Expired', started: 'Unknown' }).webhook, TEXT)
  })
})
