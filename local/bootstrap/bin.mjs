#!/usr/bin/env node
/**
 * The command `grpc-kafka`. In a clone it runs the sources as they are; installed as somebody's dependency it runs
 * what `npm run build` compiled, because Node strips no types under node_modules.
 */
import { existsSync } from 'node:fs'
import { dirname, join, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ensureDependencies } from './dependencies.mjs'
import { chooseNode, withNodeFirst } from './node.mjs'
import { endLike, run } from './run.mjs'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..')
const installed = root.split(sep).includes('node_modules')
const program = installed ? join(root, 'dist', 'local', 'cli.js') : join(root, 'local', 'cli.ts')

try {
  if (!installed) await ensureDependencies(root)
  else if (!existsSync(program))
    throw new Error(`${program} is missing: the package was packed without "npm run build"`)
  const node = chooseNode()
  const args = ['--disable-warning=TimeoutNegativeWarning', program, ...process.argv.slice(2)]
  endLike(await run(node, args, { env: withNodeFirst(node, process.env) }))
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
