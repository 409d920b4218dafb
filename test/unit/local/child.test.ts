import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { spawn } from 'node:child_process'
import test from 'node:test'
import { startChild, StartError, tail, type ChildOptions } from '../../../local/child.ts'
import { findOnPath } from '../../../local/bootstrap/which.mjs'
import { folder } from './resources/files.ts'

const node = (script: string, output: ChildOptions['output']): ChildOptions => ({
  name: 'test',
  command: process.execPath,
  args: ['-e', script],
  directory: process.cwd(),
  output,
})

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test('its lines and its exit code arrive', async () => {
  const lines: string[] = []
  const child = await startChild(
    node('console.log("one\\ntwo"); console.error("three"); process.exitCode = 4', {
      line: (text) => lines.push(text),
    }),
  )
  assert.deepEqual(await child.exited, { code: 4, signal: null })
  assert.deepEqual(lines.toSorted(), ['one', 'three', 'two'])
})

test('a log file is appended to, and its end can be read', async (context) => {
  const file = join(await folder(context, { log: 'before\n' }), 'log')
  const child = await startChild(node('console.log("x\\n".repeat(9000) + "last")', { file }))
  await child.exited
  assert.ok((await readFile(file, 'utf8')).startsWith('before\nx\n'))
  assert.equal(await tail(file, 2), 'x\nlast')
  assert.equal(await tail(join(file, 'absent'), 2), '')
})

test('stop asks first and kills what does not listen', async () => {
  const ready = Promise.withResolvers<void>()
  const child = await startChild(
    node('process.on("SIGTERM", () => {}); console.log("up"); setInterval(() => {}, 1000)', {
      line: () => ready.resolve(),
    }),
  )
  await ready.promise
  assert.deepEqual(await child.stop(50), { code: null, signal: 'SIGKILL' })
  assert.deepEqual(await child.stop(50), { code: null, signal: 'SIGKILL' }, 'may be called again')
})

test('what it started ends with it', async () => {
  const started = Promise.withResolvers<number>()
  const child = await startChild(
    node(
      'const { pid } = require("node:child_process").spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]); console.log(pid); setInterval(() => {}, 1000)',
      { line: (text) => started.resolve(Number(text)) },
    ),
  )
  const grandchild = await started.promise
  assert.ok(isAlive(grandchild))
  child.kill('SIGKILL')
  await child.exited
  await until(() => !isAlive(grandchild))
})

test(
  'it ends with a parent that is killed',
  { skip: findOnPath('setpriv') === undefined && 'no setpriv here' },
  async () => {
    const script = `
    import { startChild } from ${JSON.stringify(new URL('../../../local/child.ts', import.meta.url).href)}
    await startChild({
      name: 'x', command: process.execPath, args: ['-e', 'console.log(process.pid); setInterval(() => {}, 1000)'], directory: '.',
      // Not before it runs: until then its parent's end is not yet its own.
      output: { line: (text) => console.log(text) },
    })
    setInterval(() => {}, 1000)`
    const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [text] = (await once(parent.stdout, 'data')) as [Buffer]
    const child = Number(text.toString())
    assert.ok(isAlive(child))
    parent.kill('SIGKILL')
    await until(() => !isAlive(child))
  },
)

test('a program that is not there is an error that names it', async () => {
  const options = { ...node('', { line: () => undefined }), command: 'no-such-program' }
  await assert.rejects(startChild(options), (error) => {
    assert.ok(error instanceof StartError)
    assert.equal(error.message, 'test: the program "no-such-program" is not on PATH')
    return true
  })
  await assert.rejects(startChild({ ...node('', { line: () => undefined }), directory: '/no/such/folder' }), StartError)
})

/** Resolves when it is true; the test's own time limit ends a wait in vain. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5))
}
