import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'

const root = join(import.meta.dirname, '..', '..', '..', '..')
const program = join(root, 'local', 'bootstrap', 'npm.mjs')

type Ran = { readonly code: number; readonly stdout: string; readonly stderr: string }
const run = (...args: readonly string[]): Promise<Ran> =>
  new Promise((resolve) => {
    execFile(process.execPath, [program, ...args], (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr })
    })
  })

test('every script of package.json is a command of it', async () => {
  const { scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>
  }
  const { code, stderr } = await run('no-such-command')
  assert.equal(code, 2)
  const commands = /commands: (.*)/.exec(stderr)?.[1]?.split(', ') ?? []
  const called = Object.values(scripts).map((script) => /^node local\/bootstrap\/npm\.mjs (\S+)$/.exec(script)?.[1])
  assert.deepEqual(new Set(called), new Set(commands))
})

test('arguments and the exit code pass through', async () => {
  const { code, stderr } = await run('start', '--no-such-option')
  assert.equal(code, 2)
  assert.match(stderr, /Unknown option '--no-such-option'/)
  assert.equal((await run('start', '--help')).code, 0)
})
