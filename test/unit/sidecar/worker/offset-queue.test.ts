import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { OffsetQueue } from '../../../../sidecar/worker/offset-queue.ts'

test('whatever comes and goes in between, the lowest offset comes out first', () => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.nat({ max: 100 })), { maxLength: 200 }), (steps) => {
      const queue = new OffsetQueue<{ readonly offset: number }>()
      const model: number[] = []
      for (const step of steps) {
        if (step === null) {
          assert.equal(queue.peek()?.offset, model[0])
          assert.equal(queue.shift()?.offset, model.shift())
        } else {
          queue.push({ offset: step })
          model.push(step)
          model.sort((a, b) => a - b)
        }
        assert.equal(queue.length, model.length)
        assert.deepEqual(
          [...queue].map(({ offset }) => offset),
          model,
        )
      }
      queue.clear()
      assert.deepEqual([queue.length, queue.peek(), queue.shift()], [0, undefined, undefined])
    }),
    { numRuns: 500 },
  )
})
