import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Fifo } from '../../../../sidecar/worker/fifo.ts'

test('a Fifo is first in, first out, whatever is pushed and taken between', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(fc.constant('shift' as const), fc.constant('clear' as const), fc.integer({ min: 1, max: 900 })),
        { maxLength: 40 },
      ),
      (steps) => {
        const fifo = new Fifo<number>()
        let model: number[] = []
        let next = 0
        for (const step of steps) {
          if (step === 'clear') {
            fifo.clear()
            model = []
          } else if (step === 'shift') {
            for (let count = 0; count < 700; count++) assert.equal(fifo.shift(), model.shift())
          } else {
            for (let count = 0; count < step; count++) {
              fifo.push(next)
              model.push(next++)
            }
          }
          assert.equal(fifo.length, model.length)
          assert.equal(fifo.peek(), model[0])
          assert.deepEqual([...fifo], model)
        }
      },
    ),
    { numRuns: 100 },
  )
})
