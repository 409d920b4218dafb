/** The operator: `node operator/main.ts --help` lists its flags. */
import { hostname } from 'node:os'
import { OperatorConfigError, readConfig, usage } from './config.ts'
import type { OperatorConfig } from './config.ts'
import { runOperator } from './run.ts'

if (process.argv.includes('--help')) {
  process.stdout.write(usage())
  process.exit(0)
}
await runOperator(configuration(), { written: [], addControllers: () => undefined })

function configuration(): OperatorConfig {
  try {
    return readConfig(process.argv.slice(2), process.env, hostname())
  } catch (error) {
    if (!(error instanceof OperatorConfigError)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exit(1)
  }
}
