import assert from 'node:assert/strict'
import test from 'node:test'
import { runTool, ToolError } from '../../../../local/platform/tool.ts'

test('its lines are passed on', async () => {
  const lines: string[] = []
  await runTool(process.execPath, ['-e', 'console.log("a\\n\\nb")'], { onLine: (line) => lines.push(line) })
  assert.deepEqual(lines, ['a', 'b'])
})

test('a bad end is an error that holds the end of the output', async () => {
  const script = 'for (let i = 0; i < 30; i += 1) console.log(`line ${i}`); process.exitCode = 3'
  await assert.rejects(runTool(process.execPath, ['-e', script]), (error) => {
    assert.ok(error instanceof ToolError)
    assert.match(error.message, /ended with exit code 3:\n {4}line 15\n/)
    assert.match(error.message, /line 29$/)
    return true
  })
})

test('it ends when it is no longer wanted', async () => {
  const abort = new AbortController()
  const run = runTool(process.execPath, ['-e', 'console.log("up"); setInterval(() => {}, 1000)'], {
    signal: abort.signal,
    onLine: () => abort.abort(new Error('interrupted')),
  })
  await assert.rejects(run, /^Error: interrupted$/)
})
