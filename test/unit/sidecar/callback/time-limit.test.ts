import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { describe, test } from 'node:test'
import { withTimeLimit } from '../../../../sidecar/callback/time-limit.ts'

describe('a time limit', () => {
  test('ends the work that it was given for', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    let limited: AbortSignal | undefined
    const ended = withTimeLimit(100, new AbortController().signal, (signal) => {
      limited = signal
      return new Promise((resolve) => signal.addEventListener('abort', () => resolve('ended')))
    })
    t.mock.timers.tick(99)
    assert.equal(limited?.aborted, false)
    t.mock.timers.tick(1)
    assert.equal(await ended, 'ended')
    assert.match(String(limited.reason), /no answer in 100 ms/)
  })

  test('ends it with the signal, also with one that was aborted before', async () => {
    const reason = new Error('closed')
    const closed = new AbortController()
    const reasonOf = (signal: AbortSignal) =>
      new Promise((resolve) => {
        if (signal.aborted) resolve(signal.reason)
        signal.addEventListener('abort', () => resolve(signal.reason))
      })
    const ended = withTimeLimit(3_600_000, closed.signal, reasonOf)
    closed.abort(reason)
    assert.deepEqual([await ended, await withTimeLimit(3_600_000, closed.signal, reasonOf)], [reason, reason])
  })

  test('leaves nothing behind, whether the work is well or not', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const { signal } = new AbortController()
    const seen: AbortSignal[] = []
    const run = (result: Promise<void>) =>
      withTimeLimit(100, signal, (limited) => {
        seen.push(limited)
        return result
      })
    await run(Promise.resolve())
    await assert.rejects(run(Promise.reject(new Error('cut'))), /cut/)
    t.mock.timers.tick(100)
    assert.deepEqual(
      seen.map(({ aborted }) => aborted),
      [false, false],
    )
    assert.equal(getEventListeners(signal, 'abort').length, 0)
  })
})
