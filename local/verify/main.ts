/**
 * `npm run verify`: the one static gate. All checks run side by side, each is printed with its time as it ends, and
 * all that is wrong is printed at the end. Exits 1 when anything is.
 */
import { resolve } from 'node:path'
import { inspect } from 'node:util'
import type { Check } from './check.ts'
import { generatedFiles } from './generated.ts'
import { importDirections } from './imports.ts'
import { lockFile } from './lock-file.ts'
import { toolCheck } from './tool.ts'

const root = resolve(import.meta.dirname, '..', '..')

const CHECKS: readonly Check[] = [
  toolCheck('types', 'tsc', ['--project', '.', '--pretty', 'false']),
  toolCheck('lint', 'oxlint', ['--type-aware', '--deny-warnings', '--format=unix']),
  toolCheck('format', 'prettier', ['--check', '--log-level=warn', '--cache', '.']),
  toolCheck('unused', 'knip', ['--no-progress', '--treat-config-hints-as-errors']),
  generatedFiles,
  importDirections,
  lockFile,
]

const width = Math.max(...CHECKS.map(({ name }) => name.length))

async function perform(check: Check): Promise<readonly string[]> {
  const { name } = check
  const start = performance.now()
  // A check that cannot be made has not passed, and must not hide what the others found.
  const problems = await check.run(root).catch((error: unknown) => [inspect(error)])
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  console.log(`${problems.length === 0 ? 'ok    ' : 'FAILED'} ${name.padEnd(width)} ${seconds.padStart(5)} s`)
  return problems.length === 0 ? [] : [`\n${name}:`, ...problems]
}

const problems = (await Promise.all(CHECKS.map(perform))).flat()
if (problems.length > 0) {
  console.error(problems.join('\n'))
  process.exitCode = 1
}
