import assert from 'node:assert/strict'
import test from 'node:test'
import { CallStream } from '../../../../local/commands/call-stream.ts'

/** A stream whose calls the test answers. */
function controlled() {
  const calls: PromiseWithResolvers<void>[] = []
  const stream = new CallStream({
    callsPerSecond: 100,
    call: () => {
      const call = Promise.withResolvers<void>()
      calls.push(call)
      return call.promise
    },
    describe: (error) => (error as Error).message,
  })
  return { stream, calls }
}

const untilCalls = async (calls: readonly unknown[], count: number): Promise<void> => {
  while (calls.length < count) await new Promise((resolve) => setTimeout(resolve, 1))
}

test('calls are made whether or not those before were answered', async () => {
  const { stream, calls } = controlled()
  stream.start()
  await untilCalls(calls, 5)
  for (const call of calls) call.resolve()
  await stream.stop()
  assert.equal(stream.started, calls.length)
  assert.equal(stream.answered, calls.length)
  assert.deepEqual(stream.failures, [])
})

test('a window waits for every call that was in flight while it was open', async () => {
  const { stream, calls } = controlled()
  stream.start()
  await untilCalls(calls, 3)
  const window = stream.open()
  let closed = false
  const closing = window.close().then((tally) => {
    closed = true
    return tally
  })
  calls[0]?.resolve()
  calls[1]?.reject(new Error('lost'))
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(closed, false)
  for (const call of calls) call.resolve()
  const { settled, answered, mostInFlight } = await closing
  assert.equal(settled - answered, 1)
  assert.ok(mostInFlight >= 3)
  const stopping = stream.stop()
  for (const call of calls) call.resolve()
  await stopping
  assert.deepEqual(stream.failures, ['call 1: lost'])
})
