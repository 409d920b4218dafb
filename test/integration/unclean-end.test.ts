import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { startRoute } from './support/route.ts'

const SESSION_MILLISECONDS = 6000

test('a worker that ended uncleanly lets its old session run out before it joins again', async (t) => {
  const route = await startRoute(t, { workers: 0, proxies: 0 })
  const uncleanEndMarker = join(route.directory, 'unclean-end')

  const clean = await route.startWorker({ uncleanEndMarker })
  assert.ok(existsSync(uncleanEndMarker), 'the marker stands while the worker runs')
  assert.equal(await clean.process.end(), 0)
  assert.ok(!existsSync(uncleanEndMarker), 'a clean end removes it')

  const killed = await route.startWorker({ uncleanEndMarker })
  killed.process.kill('SIGKILL')
  await killed.process.exited
  assert.ok(existsSync(uncleanEndMarker), 'a killed worker leaves it behind')

  const started = performance.now()
  const next = await route.startWorker({ uncleanEndMarker })
  const milliseconds = performance.now() - started
  assert.ok(milliseconds >= SESSION_MILLISECONDS, `it joined after ${Math.round(milliseconds)} ms`)
  assert.ok(next.process.lines.some((line) => line.includes('the last end was unclean')))
})
