/** `npm test`: everything that CI runs, one part after the other, each to its end; says at last how each went. */
import { interruptible } from '../interrupt.ts'
import { runNode, SKIPPED } from './node-test.ts'

/** kafkajs arms a timer in the past while it is idle; Node would say so once in every process. */
const quiet = '--disable-warning=TimeoutNegativeWarning'

const PARTS: readonly { readonly name: string; readonly args: readonly string[] }[] = [
  { name: 'npm run verify', args: ['local/verify/main.ts'] },
  { name: 'npm run test:unit', args: ['local/commands/test-unit.ts'] },
  { name: 'npm run test:integration', args: [quiet, 'local/commands/test-integration.ts'] },
  { name: 'npm run test:faults', args: [quiet, 'test/faults/main.ts'] },
  { name: 'npm run test:operator', args: [quiet, 'local/commands/test-operator.ts'] },
  { name: 'npm start -- --once', args: [quiet, 'local/cli.ts', 'start', '--once'] },
]

const results: string[] = []
let failed = false
await interruptible(async (signal) => {
  for (const { name, args } of PARTS) {
    if (signal.aborted) {
      results.push(`${name}: not run`)
      failed = true
      continue
    }
    console.log(`\n==== ${name}`)
    const started = Date.now()
    const { code, signal: ending } = await runNode(args, process.env)
    if (code !== 0 && code !== SKIPPED) failed = true
    const how =
      code === 0 ? 'passed' : code === SKIPPED ? 'SKIPPED, see above' : `FAILED (${ending ?? `exit code ${code}`})`
    results.push(`${name}: ${how} in ${((Date.now() - started) / 1000).toFixed(1)} s`)
  }
})
console.log(`\n==== npm test\n${results.join('\n')}`)
process.exitCode = failed ? 1 : 0
