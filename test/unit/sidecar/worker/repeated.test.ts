import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Repeated } from '../../../../sidecar/worker/repeated.ts'

test('repeated work is begun a pause after the last was done, and no more when it was stopped, which waits for it', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  let begun = 0
  let end = (): void => undefined
  const repeated = new Repeated(20, () => {
    begun += 1
    return new Promise((resolve) => (end = resolve))
  })
  repeated.start()
  t.mock.timers.tick(20)
  t.mock.timers.tick(100)
  assert.equal(begun, 1, 'once at a time')
  end()
  await turn()
  t.mock.timers.tick(19)
  assert.equal(begun, 1)
  t.mock.timers.tick(1)
  assert.equal(begun, 2)
  let stopped = false
  const stop = repeated.stop().then(() => (stopped = true))
  await turn()
  assert.equal(stopped, false)
  end()
  await stop
  t.mock.timers.tick(1000)
  assert.equal(begun, 2)
  repeated.start()
  t.mock.timers.tick(20)
  assert.equal(begun, 3, 'it may be started again')
})
