import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ItemBackoff } from '../../../../operator/controller/rate-limiter.ts'
import { WorkQueue } from '../../../../operator/controller/work-queue.ts'
import type { QueueMetrics } from '../../../../operator/controller/work-queue.ts'
import { FakeClock, settle } from './fake-clock.ts'

function queueWith(metrics?: QueueMetrics) {
  const clock = new FakeClock()
  return { clock, queue: new WorkQueue(clock, new ItemBackoff(5, 1000), metrics) }
}

/** What `take` gives now, or 'nothing'. */
const takeNow = (queue: WorkQueue): Promise<string | undefined> =>
  Promise.race([queue.take(), settle().then(() => 'nothing')])

describe('WorkQueue', () => {
  test('hands keys out in the order in which they came', async () => {
    const { queue } = queueWith()
    for (const key of ['b', 'a', 'c']) queue.add(key)
    assert.deepEqual([await queue.take(), await queue.take(), await queue.take()], ['b', 'a', 'c'])
  })

  test('holds a key once, however often it is added', async () => {
    const { queue } = queueWith()
    queue.add('a')
    queue.add('a')
    assert.equal(queue.depth, 1)
    assert.equal(await queue.take(), 'a')
    queue.done('a')
    assert.equal(queue.depth, 0)
  })

  test('never hands out a key that is worked on, and hands it out once more when it came meanwhile', async () => {
    const { queue } = queueWith()
    queue.add('a')
    await queue.take()
    queue.add('a')
    queue.add('a')
    assert.equal(queue.depth, 0)
    queue.done('a')
    assert.equal(queue.depth, 1)
    assert.equal(await queue.take(), 'a')
    queue.done('a')
    assert.equal(queue.depth, 0)
  })

  test('wakes who waits for a key', async () => {
    const { queue } = queueWith()
    const first = queue.take()
    const second = queue.take()
    queue.add('a')
    queue.add('b')
    assert.deepEqual([await first, await second], ['a', 'b'])
  })

  test('adds a key later at its time, not before', () => {
    const { clock, queue } = queueWith()
    queue.addAfter('a', 1000)
    clock.advance(999)
    assert.equal(queue.depth, 0)
    clock.advance(1)
    assert.equal(queue.depth, 1)
  })

  test('of two later times the earlier stands, in whichever order they were asked for', () => {
    for (const times of [
      [1000, 3000],
      [3000, 1000],
    ]) {
      const { clock, queue } = queueWith()
      for (const time of times) queue.addAfter('a', time)
      clock.advance(1000)
      assert.equal(queue.depth, 1)
      assert.equal(clock.pending, 0)
    }
  })

  test('lets a key that fails wait longer each time, until it is forgotten', () => {
    const { clock, queue } = queueWith()
    const waits = Array.from({ length: 4 }, (_, round) => {
      if (round === 3) queue.forget('a')
      queue.addRateLimited('a')
      const began = clock.monotonic()
      while (queue.depth === 0) clock.advance(1)
      void queue.take()
      queue.done('a')
      return clock.monotonic() - began
    })
    assert.deepEqual(waits, [5, 10, 20, 5])
  })

  test('done of a key that nobody took changes nothing', () => {
    const { queue } = queueWith()
    queue.add('a')
    queue.done('a')
    assert.equal(queue.depth, 1)
  })

  test('shut down, it hands nothing out, takes nothing in, and lets those who wait go', async () => {
    const { clock, queue } = queueWith()
    const waiting = queue.take()
    queue.addAfter('later', 10)
    const stopped = queue.shutDown()
    queue.add('a')
    queue.addRateLimited('b')
    clock.advance(10_000)
    await stopped
    assert.equal(queue.depth, 0)
    assert.deepEqual([await waiting, await queue.take()], [undefined, undefined])
  })

  test('shut down, it waits for what is worked on and does not hand it out again', async () => {
    const { queue } = queueWith()
    queue.add('a')
    await queue.take()
    queue.add('a')
    let stopped = false
    void queue.shutDown().then(() => (stopped = true))
    await settle()
    assert.equal(stopped, false)
    queue.done('a')
    await settle()
    assert.equal(stopped, true)
    assert.equal(await takeNow(queue), undefined)
  })

  test('counts what it adds, how long keys wait, how long they are worked on, and what is tried again', async () => {
    const seen: string[] = []
    const { clock, queue } = queueWith({
      added: () => seen.push('added'),
      retried: () => seen.push('retried'),
      taken: (milliseconds) => seen.push(`taken after ${milliseconds}`),
      done: (milliseconds) => seen.push(`done after ${milliseconds}`),
    })
    queue.add('a')
    queue.add('a')
    clock.advance(30)
    await queue.take()
    clock.advance(7)
    assert.deepEqual(queue.processingMilliseconds, [7])
    queue.addRateLimited('a')
    queue.done('a')
    assert.deepEqual(queue.processingMilliseconds, [])
    assert.deepEqual(seen, ['added', 'taken after 30', 'retried', 'done after 7'])
  })
})
