import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { NotRedrivableError, redriven } from '../../../../local/dead-letters/redriven.ts'
import type { DeadLetter } from '../../../../local/dead-letters/dead-letter.ts'
import { decodeRecord } from '../../../../sidecar/kafka/record.ts'
import { AT, letter, raw } from './letters.ts'

suite('a dead letter that is redriven', () => {
  test('is its call from the first attempt, under its id, with a fresh deadline and nobody who waits', () => {
    const call = redriven(letter(5), 1)
    const written = call.record(AT + 90_000, AT + 30_000)
    assert.deepEqual(Object.keys(written.headers).toSorted(), ['grpc-kafka', 'm:x-tenant', 'traceparent'])
    const decoded = decodeRecord(written)
    assert.deepEqual(decoded, {
      kind: 'Call',
      record: {
        id: Buffer.alloc(16, 7),
        deadline: AT + 90_000,
        replyTo: '',
        method: 'a.B/C',
        attempt: 1,
        producedAgain: false,
        enqueuedAt: AT + 30_000,
        firstFailureAt: 0,
        redriveRevision: 1,
        notBefore: 0,
        caller: 'me',
        metadata: [['x-tenant', Buffer.from('one')]],
        traceparent: '00-a-b-01',
        message: Buffer.from('request'),
      },
    })
    assert.equal(call.method, 'a.B/C')
    assert.deepEqual(written.key, Buffer.alloc(16, 7))
  })

  test('keeps the key that orders it, and has its id where it had none', () => {
    const keyOf = (key: Buffer | null) => {
      const dead = letter(5)
      return redriven({ ...dead, record: { ...dead.record, key } }, 1).record(AT, AT).key
    }
    assert.deepEqual(keyOf(Buffer.from('alice')), Buffer.from('alice'))
    assert.deepEqual(keyOf(null), Buffer.alloc(16, 7))
  })

  const refused: readonly (readonly [what: string, of: DeadLetter, why: RegExp])[] = [
    ['is no call', raw(5), /^0\/5 cannot be redriven: it is no call: no grpc-kafka header$/],
    [
      'was cut off',
      raw(6, { 'dead-reason': 'r', 'dead-truncated': '5000' }),
      /^0\/6 cannot be redriven: only the first 3 of its 5000 bytes/,
    ],
    [
      "is an Observer's",
      letter(7, {}, { 'dead-role': 'Observer' }),
      /^0\/7 cannot be redriven: it is of the Observer g,/,
    ],
    ['is of a newer version', newer(), /^0\/8 cannot be redriven: it was written by version 9/],
  ]
  for (const [what, of, why] of refused) {
    test(`is refused by its place when it ${what}`, () => {
      assert.throws(
        () => redriven(of, 1),
        (error) => error instanceof NotRedrivableError && why.test(error.message),
      )
    })
  }
})

function newer(): DeadLetter {
  const prefix = { id: Buffer.alloc(16), deadline: AT, replyTo: '' }
  return { ...letter(8), decoded: { kind: 'Newer', version: 9, prefix } }
}
