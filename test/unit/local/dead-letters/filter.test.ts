import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { matches, statusName, timeOf } from '../../../../local/dead-letters/filter.ts'
import type { LetterFilter } from '../../../../local/dead-letters/filter.ts'
import { AT, letter, raw } from './letters.ts'

suite('a filter', () => {
  const cases: readonly (readonly [filter: LetterFilter, call: boolean, unreadable: boolean])[] = [
    [{}, true, true],
    [{ method: 'C' }, true, false],
    [{ method: 'a.B/C' }, true, false],
    [{ method: 'B/C' }, false, false],
    [{ method: 'D' }, false, false],
    [{ status: 'UNAVAILABLE' }, true, true],
    [{ status: 'INTERNAL' }, false, false],
    [{ callId: Buffer.alloc(16, 7) }, true, false],
    [{ callId: Buffer.alloc(16, 8) }, false, false],
    [{ reason: 'used' }, true, true],
    [{ reason: 'unreadable' }, false, false],
    [{ since: AT }, true, true],
    [{ since: AT + 1 }, false, false],
    [{ until: AT + 1 }, true, true],
    [{ until: AT }, false, false],
    [{ method: 'C', status: 'INTERNAL' }, false, false],
  ]
  for (const [filter, call, unreadable] of cases) {
    test(`${JSON.stringify(filter)} chooses ${call ? 'the call' : 'no call'}${unreadable ? ' and what is none' : ''}`, () => {
      assert.deepEqual([matches(letter(1), filter), matches(raw(2), filter)], [call, unreadable])
    })
  }

  test('reads a status by name or number', () => {
    assert.deepEqual(['UNAVAILABLE', 'unavailable', '14', '17', 'nonsense'].map(statusName), [
      'UNAVAILABLE',
      'UNAVAILABLE',
      'UNAVAILABLE',
      undefined,
      undefined,
    ])
  })

  test('reads a time, or how long ago it was', () => {
    assert.deepEqual(
      ['2027-01-15T08:00:00Z', '90s', '15m', '2h', '3d', '3w', '', 'soon'].map((text) => timeOf(text, AT)),
      [AT, AT - 90_000, AT - 900_000, AT - 7_200_000, AT - 259_200_000, undefined, undefined, undefined],
    )
  })
})
