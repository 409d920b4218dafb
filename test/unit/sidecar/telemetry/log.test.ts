import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test, type TestContext } from 'node:test'

const MODULE = new URL('../../../../sidecar/telemetry/log.ts', import.meta.url).href

/** A program that writes so many lines, says so on stderr, and ends once its stdin has. */
function program(t: TestContext, lines: number) {
  const child = spawn(
    process.execPath,
    [
      '--input-type=module',
      '--eval',
      `import { createLogger, endLog } from ${JSON.stringify(MODULE)}
       const logger = createLogger('info', { instance: 'one' })
       for (let line = 0; line < ${lines}; line++) logger.info({ line, password: 'hidden' }, 'x'.repeat(1000))
       process.stderr.write('written')
       process.stdin.resume().on('end', () => endLog(logger).then(() => process.exit(0)))`,
    ],
    { stdio: 'pipe' },
  )
  t.after(() => child.kill('SIGKILL'))
  return child
}

test('every line is written before the end, without what is secret', async (t) => {
  const child = program(t, 3000)
  child.stdin.end()
  const written = (await child.stdout.toArray()).join('').trimEnd().split('\n')
  assert.deepEqual(
    written.map((line) => (JSON.parse(line) as { line: number }).line),
    Array.from({ length: 3000 }, (_, line) => line),
  )
  assert.ok(!written.some((line) => line.includes('hidden')))
})

test('a program ends though nobody reads what it said', async (t) => {
  const child = program(t, 3000)
  await once(child.stderr, 'data')
  child.stdin.end()
  assert.deepEqual(await once(child, 'exit'), [0, null])
})

test('a program ends though its reader went away with lines on their way', async (t) => {
  const child = program(t, 3000)
  await once(child.stderr, 'data')
  child.stdout.destroy()
  child.stdin.end()
  assert.deepEqual(await once(child, 'exit'), [0, null])
})
