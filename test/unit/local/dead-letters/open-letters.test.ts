import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { OpenLetters } from '../../../../local/dead-letters/open-letters.ts'
import { letter, mark, raw } from './letters.ts'

function open(...records: Parameters<OpenLetters['add']>[0][]): string[] {
  const letters = new OpenLetters()
  for (const record of records) letters.add(record)
  return [...letters.places]
}
const other = { id: Buffer.alloc(16, 8) }

suite('of the letters of a failure topic', () => {
  test('those that no mark names are open', () => {
    assert.deepEqual(open(letter(1), raw(2), letter(3, other), mark('0/2')), ['0/1', '0/3'])
    assert.deepEqual(open(letter(1), letter(3, other), mark('0/1')), ['0/3'])
  })

  test('one whose mark is read first is not open', () => {
    assert.deepEqual(open(mark('0/1'), letter(1)), [])
  })

  test('one that a letter of a higher revision follows was redriven, marked or not', () => {
    assert.deepEqual(open(letter(1), letter(2, { redriveRevision: 1 })), ['0/2'])
    assert.deepEqual(open(letter(2, { redriveRevision: 1 }), letter(1)), ['0/2'])
    assert.deepEqual(open(letter(1), letter(2, { redriveRevision: 1 }), mark('0/2')), [])
  })

  test('copies of one are one, and done with together', () => {
    assert.deepEqual(open(letter(1), letter(2)), ['0/1'])
    assert.deepEqual(open(letter(1), letter(2), mark('0/2')), [])
    assert.deepEqual(open(raw(1), raw(2)), ['0/1', '0/2'], "what has no id is nobody's copy")
  })

  test("a call's and an Observer's of the same call are two", () => {
    const observers = letter(2, {}, { 'dead-role': 'Observer', 'dead-group': 'audit' })
    const others = letter(3, {}, { 'dead-role': 'Observer', 'dead-group': 'copy' })
    assert.deepEqual(open(letter(1), observers, others, mark('0/2')), ['0/1', '0/3'])
  })

  test('are counted by partition, anew after more were read', () => {
    const letters = new OpenLetters()
    letters.add(letter(1))
    assert.deepEqual([letters.countOf(0), letters.countOf(1)], [1, 0])
    letters.add(mark('0/1'))
    assert.equal(letters.countOf(0), 0)
  })
})
