import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  FALLBACK_WINDOW_RECORDS,
  Partition,
  WINDOW_RECORDS,
  finish,
  type Entry,
} from '../../../../sidecar/worker/partition.ts'
import { at, fetched, newer, poison, range } from './records.ts'

const W = WINDOW_RECORDS
const HELD = { now: 0, until: 1 }

/** A partition of our own whose committed offset is known. */
function opened(offset: number, { window = W, takenOver = false, carried = [] as readonly Entry[] } = {}): Partition {
  const partition = new Partition(at(0), carried)
  partition.heldUntil = HELD.until
  partition.open({ offset, window }, takenOver)
  return partition
}

const takeAll = (partition: Partition): Entry[] => {
  const taken: Entry[] = []
  for (let entry = partition.takeStartable(HELD.now); entry !== undefined; entry = partition.takeStartable(HELD.now)) {
    entry.state = 'Running'
    taken.push(entry)
  }
  return taken
}
const offsets = (entries: Iterable<Entry>): number[] => [...entries].map(({ offset }) => offset)

describe('a partition is held by its first record that is not finished', () => {
  const full = () => {
    const partition = opened(0)
    partition.deliver(range(0, W + 2), W + 2)
    const [first, second] = takeAll(partition) as [Entry, Entry]
    return { partition, first, second }
  }

  test('once all that may start beyond it was started, and no other record holds it', () => {
    const { partition, first, second } = full()
    assert.equal(partition.isHeldBy(first), true)
    assert.equal(partition.isHeldBy(second), false)
  })

  test('but not while another one could still start', () => {
    const { partition, first, second } = full()
    for (const state of ['Queued', 'Asking'] as const) {
      second.state = state
      assert.equal(partition.isHeldBy(first), false, state)
    }
    second.state = 'Parked'
    assert.equal(partition.isHeldBy(first), true, 'its next attempt ends nothing for those beyond')
  })

  test('but not before that is committed: then more may start', () => {
    const { partition, first, second } = full()
    finish(first)
    assert.equal(partition.isHeldBy(second), false)
    partition.committedUpTo({ offset: 1, window: W })
    assert.equal(partition.isHeldBy(second), false, 'one more may start')
    takeAll(partition)
    assert.equal(partition.isHeldBy(second), true)
  })

  test('but not where nothing waits beyond the window, nor once it is lost', () => {
    const idle = opened(0)
    idle.deliver(range(0, W), W)
    assert.equal(idle.isHeldBy(takeAll(idle)[0] as Entry), false)
    const { partition, first } = full()
    partition.lose()
    assert.equal(partition.isHeldBy(first), false)
  })
})

describe('what may start', () => {
  test('is nothing before the committed offset is known', () => {
    const partition = new Partition(at(0))
    partition.heldUntil = HELD.until
    partition.deliver(range(0, 3), 3)
    assert.equal(partition.takeStartable(HELD.now), undefined)
    assert.equal(partition.watermark(), undefined)
    partition.open({ offset: 0, window: W }, false)
    assert.deepEqual(offsets(takeAll(partition)), [0, 1, 2])
  })

  test('is nothing while our word does not stand', () => {
    const partition = opened(0)
    partition.deliver(range(0, 3), 3)
    assert.equal(partition.takeStartable(HELD.until), undefined)
    assert.equal(partition.takeStartable(HELD.now)?.offset, 0)
  })

  test('is nothing in a lost partition', () => {
    const partition = opened(0)
    partition.deliver(range(0, 3), 3)
    const first = takeAll(partition)[0] as Entry
    partition.lose()
    assert.equal(partition.mayStart(first, HELD.now), false)
    assert.equal(partition.takeStartable(HELD.now), undefined)
  })

  test('ends at the committed offset and the window', () => {
    const partition = opened(10)
    partition.deliver(range(10, 10 + W + 5), 10 + W + 5)
    const taken = takeAll(partition)
    assert.deepEqual([taken[0]?.offset, taken.at(-1)?.offset], [10, 10 + W - 1])
    partition.committedUpTo({ offset: 12, window: W })
    assert.deepEqual(offsets(takeAll(partition)), [10 + W, 11 + W])
  })

  test('never lies beyond the window that a commit tells of, nor beyond our own', () => {
    const small = opened(0, { window: 4 })
    small.deliver(range(0, 10), 10)
    assert.deepEqual(offsets(takeAll(small)), [0, 1, 2, 3])
    // The next commit tells of our window at the same offset: what lies beyond it must not have been started.
    const large = opened(0, { window: 2 * W })
    large.deliver(range(0, 2 * W), 2 * W)
    assert.equal(takeAll(large).at(-1)?.offset, W - 1)
  })
})

describe('where Redis has the watermark, and Kafka less of it', () => {
  const W4 = FALLBACK_WINDOW_RECORDS

  test('nothing starts beyond the window of what Kafka has: it would be unknown should Redis lose the rest', () => {
    const partition = new Partition(at(0))
    partition.heldUntil = HELD.until
    partition.open({ offset: W4 - 10, window: W }, false, { offset: 0, window: W4 })
    partition.deliver(range(W4 - 10, W4 + 10), W4 + 10)
    assert.equal(takeAll(partition).at(-1)?.offset, W4 - 1)
    partition.committedUpTo({ offset: W4 - 10, window: W }, { offset: 2, window: W4 })
    assert.deepEqual(offsets(takeAll(partition)), [W4, W4 + 1])
  })

  test('it is not passed by Kafka, nor Kafka by it', () => {
    const partition = new Partition(at(0))
    partition.open({ offset: 5, window: W }, false, { offset: 2, window: W4 })
    partition.committedUpTo({ offset: 7, window: W }, partition.inKafka)
    partition.committedUpTo(partition.committed!, { offset: 6, window: W4 })
    assert.deepEqual([partition.committed?.offset, partition.inKafka?.offset, partition.watermark()], [7, 6, 7])
  })

  test('reading begins again at what Kafka has: what is below the watermark is no sign of another log', () => {
    const partition = new Partition(at(0))
    partition.open({ offset: 5, window: W }, true, { offset: 2, window: W4 })
    assert.equal(partition.readFrom, 2)
    partition.committedUpTo({ offset: 9, window: W }, { offset: 4, window: W4 })
    partition.readAgain()
    assert.equal(partition.readFrom, 4)
    partition.deliver(range(4, 12), 12)
    assert.equal(partition.watermark(), 9)
  })
})

describe('a partition taken over', () => {
  test('has suspects exactly in the window of the committed offset', () => {
    const partition = opened(5, { window: 4, takenOver: true })
    partition.deliver(range(5, 12), 12)
    assert.deepEqual(offsets(partition.suspects), [5, 6, 7, 8])
    assert.ok(partition.suspects.every(({ state, mayHaveRun }) => state === 'Asking' && mayHaveRun))
    assert.deepEqual(offsets(partition.queue), [9, 10, 11])
    assert.ok([...partition.queue].every(({ mayHaveRun }) => !mayHaveRun))
  })

  test('has the same suspects when records came before the committed offset was known', () => {
    const partition = new Partition(at(0))
    partition.deliver(range(3, 12), 12)
    partition.open({ offset: 5, window: 4 }, true)
    assert.deepEqual(offsets(partition.suspects), [5, 6, 7, 8])
    assert.deepEqual(offsets(partition.queue), [9, 10, 11])
    assert.equal(partition.watermark(), 5)
  })

  test('keeps the window of its first owner while its own commits move on', () => {
    const partition = opened(0, { window: 4, takenOver: true })
    partition.committedUpTo({ offset: 0, window: W })
    partition.deliver(range(0, 6), 6)
    assert.deepEqual(offsets(partition.suspects), [0, 1, 2, 3])
  })

  test('that nobody owned before has none', () => {
    const partition = opened(5)
    partition.deliver(range(5, 8), 8)
    assert.deepEqual(offsets(partition.suspects), [])
  })

  test('may have had its records of another version run, inside the window only', () => {
    const partition = opened(0, { window: 2, takenOver: true })
    partition.deliver([newer(0, 3), poison(1), newer(2, 3)], 3)
    assert.deepEqual(
      [...partition.unusual].map(({ mayHaveRun }) => mayHaveRun),
      [true, true, false],
    )
  })
})

describe('the watermark', () => {
  test('moves in order over completions in any order, and never back', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 1000 }),
        fc.integer({ min: 1, max: 60 }),
        fc.infiniteStream(fc.nat()),
        (start, count, draw) => {
          const partition = opened(start)
          partition.deliver(range(start, start + count), start + count)
          const running = takeAll(partition)
          const finished = new Set<number>()
          let last = start
          while (running.length > 0) {
            const [entry] = running.splice((draw.next().value as number) % running.length, 1) as [Entry]
            entry.state = 'Finished'
            finished.add(entry.offset)
            const watermark = partition.watermark() as number
            assert.ok(watermark >= last)
            for (let offset = start; offset < watermark; offset++)
              assert.ok(finished.has(offset), `${offset} is not finished`)
            assert.ok(!finished.has(watermark), 'all that is finished in a row counts')
            last = watermark
          }
          assert.equal(last, start + count)
        },
      ),
      { numRuns: 200 },
    )
  })

  test('passes over offsets that no record has', () => {
    const partition = opened(0)
    partition.deliver([fetched(2), fetched(5)], 9)
    const [first, second] = takeAll(partition) as [Entry, Entry]
    assert.equal(partition.watermark(), 2)
    first.state = 'Finished'
    assert.equal(partition.watermark(), 5)
    second.state = 'Finished'
    assert.equal(partition.watermark(), 6)
  })

  test('is the committed offset when nothing was read, also when somebody else committed further', () => {
    const partition = opened(7)
    assert.equal(partition.watermark(), 7)
    partition.open({ offset: 9, window: W }, true)
    assert.equal(partition.watermark(), 9)
    partition.committedUpTo({ offset: 8, window: W })
    assert.equal(partition.watermark(), 9)
  })

  test('stays before what was handed back', () => {
    const partition = opened(0)
    partition.deliver(range(0, 4), 4)
    const first = partition.takeStartable(HELD.now) as Entry
    partition.handBack()
    first.state = 'Finished'
    assert.equal(partition.watermark(), 1)
  })

  test('is right after thousands of records', () => {
    const partition = opened(0)
    for (let offset = 0; offset < 5000; offset++) {
      partition.deliver([fetched(offset)], offset + 1)
      const entry = partition.takeStartable(HELD.now) as Entry
      entry.state = 'Finished'
      assert.equal(partition.watermark(), offset + 1)
      partition.committedUpTo({ offset: offset + 1, window: W })
    }
  })

  test('does not go back to what still runs below an offset that somebody else committed', () => {
    const partition = opened(0)
    partition.deliver(range(0, 4), 4)
    takeAll(partition)
    partition.open({ offset: 2, window: W }, true)
    assert.equal(partition.watermark(), 2)
  })

  test('begins at the committed offset, whatever was read before it', () => {
    const partition = new Partition(at(0))
    partition.deliver(range(0, 3), 3)
    partition.open({ offset: 2, window: W }, true)
    assert.equal(partition.watermark(), 2)
  })
})

describe('records that are read again', () => {
  test('are passed over', () => {
    const partition = opened(0)
    partition.deliver(range(0, 3), 3)
    partition.deliver(range(0, 5), 5)
    assert.deepEqual(offsets(takeAll(partition)), [0, 1, 2, 3, 4])
  })

  test('below the committed offset are passed over', () => {
    const partition = opened(2)
    partition.deliver(range(0, 4), 4)
    assert.deepEqual(offsets(takeAll(partition)), [2, 3])
  })
})

describe('a finished record', () => {
  const isEmpty = ({ raw, decoded }: Entry): boolean =>
    raw.value === null && raw.key === null && Object.keys(raw.headers).length === 0 && decoded.kind === 'Unreadable'

  test('keeps nothing of what it carried while it waits behind one that runs', () => {
    const partition = opened(0)
    partition.deliver(range(0, 3), 3)
    const [first, second, third] = takeAll(partition) as [Entry, Entry, Entry]
    finish(second)
    assert.deepEqual([first, second, third].map(isEmpty), [false, true, false])
    assert.equal(partition.watermark(), 0)
    finish(first)
    assert.equal(partition.watermark(), 2)
  })

  test('below the offset that turns out to be committed keeps nothing either', () => {
    const before = opened(0)
    before.deliver(range(0, 2), 2)
    const running = takeAll(before)
    before.lose()
    // Known to the next time here, and read again before the committed offset is known.
    const partition = new Partition(at(0), before.running())
    const [first, second] = running as [Entry, Entry]
    first.state = 'Queued'
    partition.deliver(range(0, 2), 2)
    partition.open({ offset: 2, window: W }, true)
    assert.deepEqual([isEmpty(first), isEmpty(second)], [true, false])
  })
})

describe('where reading began', () => {
  test('is the committed offset at the time of the last join', () => {
    const partition = opened(5)
    assert.equal(partition.readFrom, 5)
    partition.committedUpTo({ offset: 9, window: W })
    assert.equal(partition.readFrom, 5, 'a commit does not move what was asked for')
    partition.readAgain()
    assert.equal(partition.readFrom, 9)
  })
})

describe('a partition that was lost and came back', () => {
  function lostWithTwoRunning(): { readonly before: Partition; readonly running: Entry[] } {
    const before = opened(0)
    before.deliver(range(0, 4), 4)
    const running = [before.takeStartable(HELD.now) as Entry, before.takeStartable(HELD.now) as Entry]
    for (const entry of running) entry.state = 'Running'
    before.lose()
    return { before, running }
  }

  test('knows what still runs, and forgets what had not started', () => {
    const { before, running } = lostWithTwoRunning()
    assert.deepEqual(before.running(), running)
    assert.equal(before.queue.length, 0)
  })

  test('keeps the running entries and does not start them again', () => {
    const { before, running } = lostWithTwoRunning()
    const after = opened(0, { takenOver: true, carried: before.running() })
    assert.deepEqual(after.running(), running)
    assert.ok(running.every(({ partition }) => partition === after))
    after.deliver(range(0, 4), 4)
    assert.deepEqual(after.running(), running)
    assert.deepEqual(offsets(after.suspects), [2, 3])
    assert.equal(after.watermark(), 0)
    ;(running[0] as Entry).state = 'Finished'
    assert.equal(after.watermark(), 1)
  })

  test('counts what ended before it was read again as finished', () => {
    const { before, running } = lostWithTwoRunning()
    const after = opened(0, { takenOver: true, carried: before.running() })
    for (const entry of running) entry.state = 'Finished'
    assert.deepEqual(after.running(), [])
    after.deliver(range(0, 4), 4)
    assert.deepEqual(offsets(after.suspects), [2, 3])
    assert.equal(after.watermark(), 2)
  })

  test('that is lost once more still knows what runs', () => {
    const { before, running } = lostWithTwoRunning()
    const between = opened(0, { takenOver: true, carried: before.running() })
    between.lose()
    assert.deepEqual(between.running(), running)
  })
})
