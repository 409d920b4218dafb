import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { KeyLines, type Line } from '../../../../sidecar/worker/key-lines.ts'
import { finish, Partition, type Entry } from '../../../../sidecar/worker/partition.ts'
import { at, fetchedWithKey } from './records.ts'

/** Records as a partition makes them. */
function entriesOf(keys: readonly string[]): Entry[] {
  const partition = new Partition(at(0))
  partition.heldUntil = 1
  partition.open({ offset: 0, window: keys.length }, false)
  partition.deliver(
    keys.map((key, offset) => fetchedWithKey(offset, key)),
    keys.length,
  )
  return [...partition.queue]
}

test('a key of which no record is left is forgotten, one of which some are is not', async () => {
  const lines = new KeyLines('Key')
  const [gone, stays] = (() => {
    const [one, two] = entriesOf(['a', 'a']) as [Entry, Entry]
    // Of another partition: a partition keeps its records until the watermark has passed them.
    const [ofOther] = entriesOf(['b']) as [Entry]
    for (const entry of [one, two, ofOther]) lines.join(entry)
    for (const entry of [two, one]) {
      finish(entry)
      lines.next(entry)
    }
    return [new WeakRef<Line>(one.line!), new WeakRef<Line>(ofOther.line!)]
  })()
  // A WeakRef holds its target until the turn in which it was made has ended.
  await nextTurn()
  setFlagsFromString('--expose-gc')
  ;(runInNewContext('gc') as () => void)()
  assert.equal(gone.deref(), undefined)
  assert.notEqual(stays.deref(), undefined)
  assert.equal(lines.waiting, 0)
})

test('a record without a key waits for nobody', () => {
  const lines = new KeyLines('Key')
  const [one, two] = entriesOf(['a', 'a']) as [Entry, Entry]
  for (const entry of [one, two]) {
    entry.raw = { ...entry.raw, key: null }
    lines.join(entry)
  }
  assert.deepEqual(
    [one, two].map((entry) => lines.admits(entry)),
    [true, true],
  )
})

test('keys that differ in one byte that is no text are two', () => {
  const lines = new KeyLines('Key')
  const [one, two] = entriesOf(['a', 'a']) as [Entry, Entry]
  one.raw = { ...one.raw, key: Buffer.from([0xff, 0xfe]) }
  two.raw = { ...two.raw, key: Buffer.from([0xff, 0xfd]) }
  for (const entry of [one, two]) lines.join(entry)
  assert.deepEqual(
    [one, two].map((entry) => lines.admits(entry)),
    [true, true],
  )
})
