import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import test from 'node:test'
import { withLock } from '../../../../local/bootstrap/lock.mjs'

const name = (): string => `test ${process.pid} ${Math.random()}`

test('one at a time, and everyone gets a turn', async () => {
  const lock = name()
  let inside = 0
  let waits = 0
  const turns = Array.from({ length: 5 }, (_, index) =>
    withLock(
      lock,
      async () => {
        inside += 1
        assert.equal(inside, 1)
        await new Promise((resolve) => setImmediate(resolve))
        inside -= 1
        return index
      },
      { onWait: () => (waits += 1) },
    ),
  )
  assert.deepEqual(await Promise.all(turns), [0, 1, 2, 3, 4])
  assert.equal(waits, 4)
})

test('an error of the work is passed on and frees the lock', async () => {
  const lock = name()
  await assert.rejects(
    withLock(lock, () => Promise.reject(new Error('failed'))),
    /failed/,
  )
  assert.equal(await withLock(lock, () => Promise.resolve(1)), 1)
})

test('a holder that is killed frees the lock', async () => {
  const lock = name()
  const script = `
    import { withLock } from ${JSON.stringify(new URL('../../../../local/bootstrap/lock.mjs', import.meta.url).href)}
    await withLock(${JSON.stringify(lock)}, () => { console.log('held'); return new Promise(() => setInterval(() => {}, 1000)) })`
  const holder = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(holder.stdout, 'data')
  const waiting = Promise.withResolvers<void>()
  const turn = withLock(lock, () => Promise.resolve('mine'), { onWait: () => waiting.resolve() })
  await waiting.promise
  holder.kill('SIGKILL')
  assert.equal(await turn, 'mine')
})
