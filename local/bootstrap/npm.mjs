/**
 * What every script of package.json calls: `node local/bootstrap/npm.mjs COMMAND [args]`. Plain JavaScript that
 * Node 20 runs before anything is installed: it installs the dependencies, chooses a Node that runs TypeScript, and
 * hands over to the command.
 */
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ensureDependencies } from './dependencies.mjs'
import { chooseNode, withNodeFirst } from './node.mjs'
import { endLike, run } from './run.mjs'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..')
/** @param {string} name */
const tool = (name) => join(root, 'node_modules', '.bin', name)
/** kafkajs arms a timer in the past while it is idle; Node would say so once in every process. */
const quiet = '--disable-warning=TimeoutNegativeWarning'

/** What each command runs, with Node first on PATH. */
const COMMANDS = /** @type {Readonly<Record<string, readonly string[]>>} */ ({
  start: ['node', quiet, join(root, 'local/cli.ts'), 'start'],
  test: ['node', join(root, 'local/commands/test.ts')],
  verify: ['node', join(root, 'local/verify/main.ts')],
  'test:unit': ['node', join(root, 'local/commands/test-unit.ts')],
  'test:integration': ['node', quiet, join(root, 'local/commands/test-integration.ts')],
  'test:operator': ['node', quiet, join(root, 'local/commands/test-operator.ts')],
  'test:faults': ['node', quiet, join(root, 'test/faults/main.ts')],
  bench: ['node', quiet, join(root, 'test/bench/main.ts')],
  'bench:operator': ['node', quiet, join(root, 'test/bench/operator/main.ts')],
  generate: ['node', join(root, 'crds/generate.ts')],
  format: [tool('prettier'), '--write', '.'],
  build: ['node', join(root, 'local/commands/build.ts')],
})

const [name, ...rest] = process.argv.slice(2)
const command = name === undefined ? undefined : COMMANDS[name]
if (!command) {
  console.error(`usage: node local/bootstrap/npm.mjs COMMAND [args]\ncommands: ${Object.keys(COMMANDS).join(', ')}`)
  process.exit(2)
}

try {
  await ensureDependencies(root)
  const node = chooseNode()
  const [program = 'node', ...args] = command
  endLike(
    await run(program === 'node' ? node : program, [...args, ...rest], {
      cwd: root,
      env: withNodeFirst(node, process.env),
    }),
  )
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
