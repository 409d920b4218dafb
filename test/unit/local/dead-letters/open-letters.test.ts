import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { OpenLetters } from '../../../../local/dead-letters/open-letters.ts'
import { AT, letter, mark, raw } from './letters.ts'

type Known = Parameters<OpenLetters['add']>[0]

function lettersOf(records: readonly Known[]): OpenLetters {
  const letters = new OpenLetters()
  for (const record of records) letters.add(record)
  return letters
}

function open(...records: Known[]): string[] {
  const letters = lettersOf(records)
  return records.flatMap((one) => (one.kind === 'Letter' && letters.has(one.place) ? [one.place] : []))
}

const redriveOf = (place: string, ...records: Known[]) => lettersOf(records).redriveOf(place)

/** Of a call that was made with the key again, a minute after the letters above. */
const again = (offset: number, redriveRevision = 0) =>
  letter(offset, { enqueuedAt: AT + 60_000, redriveRevision }, { 'dead-at': String(AT + 61_000) })

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

  test('a call that was made anew with its key and died again has a letter of its own, whatever was done with those before', () => {
    assert.deepEqual(open(letter(1), mark('0/1'), again(2)), ['0/2'])
    assert.deepEqual(open(letter(1, { redriveRevision: 3 }), again(2)), ['0/2'])
    assert.deepEqual(open(letter(1), again(2)), ['0/2'], 'it is the same operation')
    assert.deepEqual(open(again(2), letter(1), mark('0/2')), [], 'in whatever order they are read')
    assert.deepEqual(open(letter(1), again(2), again(3, 2)), ['0/3'], 'its redrive died')
  })

  test('a redrive has the revision above all that its call had, however often it is begun', () => {
    assert.equal(redriveOf('0/1', letter(1)), 1)
    assert.equal(redriveOf('0/2', letter(1), letter(2, { redriveRevision: 3 })), 4)
    assert.equal(redriveOf('0/2', letter(1), mark('0/1'), again(2)), 2, 'starts of redrive 1 may be remembered')
    assert.equal(redriveOf('0/3', letter(1), again(2), again(3, 2)), 3)
    assert.equal(redriveOf('0/1', letter(1), mark('0/1')), undefined)
  })

  test('are counted by partition, anew after more were read', () => {
    const letters = new OpenLetters()
    letters.add(letter(1))
    assert.deepEqual([letters.countOf(0), letters.countOf(1)], [1, 0])
    letters.add(mark('0/1'))
    assert.equal(letters.countOf(0), 0)
  })
})
