import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { LoopDelay } from '../../faults/loop-delay.ts'

function block(milliseconds: number): void {
  const end = performance.now() + milliseconds
  while (performance.now() < end);
}

test('a loop that was blocked is told, before and after its timer fires, for the time since then', async (t) => {
  const told: number[] = []
  const loop = new LoopDelay((milliseconds) => told.push(milliseconds))
  t.after(() => loop.stop())
  const start = performance.now()
  block(200)
  assert.ok(loop.since(start) >= 189, 'it is late already')
  while (told.length === 0) await pause(1)
  const after = performance.now()
  assert.ok(told.some((milliseconds) => milliseconds >= 189))
  assert.ok(loop.since(start) >= 189)
  assert.ok(loop.since(after) < loop.since(start) - 150, 'what was before is not counted')
})
