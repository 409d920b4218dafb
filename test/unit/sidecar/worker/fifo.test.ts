import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
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

test('a Fifo keeps nothing of what was taken out of it', async () => {
  setFlagsFromString('--expose-gc')
  const collectGarbage = runInNewContext('gc') as () => void
  const fifo = new Fifo<{ readonly number: number }>()
  for (let number = 0; number < 100; number++) fifo.push({ number })
  const taken = Array.from({ length: 50 }, () => new WeakRef(fifo.shift() as WeakKey))
  // A target lives until the turn in which its reference was made is over.
  await turn()
  collectGarbage()
  assert.equal(taken.filter((one) => one.deref() !== undefined).length, 0)
  assert.equal(fifo.length, 50)
})
