/**
 * `npm run bench:operator [-- --services 250] [--rounds 3] [--steady 1000] [--steady-seconds 65] [--resync-seconds 20]
 * [--ready 20] [--concurrency 4] [--operator CHECKOUT] [--operator-flag NAME=VALUE]...
 * [--cpu-prof DIRECTORY] [--json FILE]`
 *
 * Three things about the operator, on a real API server with its controller-manager and a real Kafka (those of CONTROL_PLANE
 * and KAFKA_BROKERS where they are set): services made, changed and deleted, beside a bare script that does the same;
 * services that nobody touches; the time from the apply of one to Ready. A number of 0 leaves its part out.
 *
 * Ends with 1 where something was left out or left behind, or services that nobody touched were written.
 *
 * --concurrency    reconciles at once, and as many jobs of the script
 * --operator       measures the operator of another checkout, to judge a change
 * --operator-flag  is given to the operator in all parts
 * --cpu-prof       leaves a CPU profile of the operator of each part
 */
import { writeFile } from 'node:fs/promises'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { missingPart, startOperatorParts, type OperatorPart } from '../../../local/operator-parts.ts'
import type { ControlPlaneAccess } from '../../../local/platform/control-plane.ts'
import { reportToTerminal as report } from '../../../local/report.ts'
import type { Lifetime } from '../../integration/support/clean-up.ts'
import { Cluster } from '../../operator/support/cluster.ts'
import { churn } from './churn.ts'
import { untilReady } from './ready.ts'
import { churnTable, readyLine, steadyTable } from './report.ts'
import { steady } from './steady.ts'
import { runBench } from '../run.ts'

const PARTS: readonly OperatorPart[] = ['Kubernetes', 'Kafka']

const { values: options } = parseArgs({
  options: {
    services: { type: 'string', default: '250' },
    rounds: { type: 'string', default: '3' },
    steady: { type: 'string', default: '1000' },
    'steady-seconds': { type: 'string', default: '65' },
    'resync-seconds': { type: 'string', default: '20' },
    ready: { type: 'string', default: '20' },
    concurrency: { type: 'string', default: '4' },
    operator: { type: 'string', default: resolve(import.meta.dirname, '..', '..', '..') },
    'operator-flag': { type: 'string', multiple: true, default: [] },
    'cpu-prof': { type: 'string' },
    json: { type: 'string' },
  },
})

await runBench('grpc-kafka-bench-operator', bench)
// What waited for something when it was broken off must not keep the process.
process.exit()

async function bench(directory: string, signal: AbortSignal): Promise<void> {
  const missing = await missingPart(PARTS, process.env, report, signal)
  if (missing !== undefined) throw missing
  const parts = await startOperatorParts(PARTS, directory, process.env, report, signal)
  await using everything = new AsyncDisposableStack()
  everything.defer(() => parts.stop())
  const { CONTROL_PLANE = '', KAFKA_BROKERS = '' } = parts.environment
  const cluster = new Cluster(JSON.parse(CONTROL_PLANE) as ControlPlaneAccess, false)
  everything.defer(() => cluster.api.close())
  const profile = options['cpu-prof']
  const common = {
    cluster,
    brokers: KAFKA_BROKERS.split(','),
    program: resolve(options.operator, 'operator', 'main.ts'),
    operatorFlags: Object.fromEntries(options['operator-flag'].map((flag) => flag.split('=', 2))) as Record<
      string,
      string
    >,
    nodeFlags: profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${resolve(profile)}`],
    report,
  }
  console.log(
    `${availableParallelism()} cores (${cpus()[0]?.model ?? 'unknown'}), everything on them; Node ${process.version}; load ${loadavg()[0]?.toFixed(1)} at the start`,
  )
  const numberOf = (
    name: 'services' | 'rounds' | 'steady' | 'steady-seconds' | 'resync-seconds' | 'ready' | 'concurrency',
  ) => Number(options[name])
  const results: Record<string, unknown> = {}
  /** Each part ends all that it started before the next begins. */
  const part = async <T>(
    name: string,
    isWanted: boolean,
    run: (life: Lifetime) => Promise<T>,
    print: (result: T) => string,
  ): Promise<void> => {
    if (!isWanted) return
    await using stack = new AsyncDisposableStack()
    const result = await Promise.race([run({ after: (end) => stack.defer(end) }), rejected(signal)])
    results[name] = result
    console.log(`\n${print(result)}`)
  }
  await part(
    'churn',
    numberOf('services') > 0,
    (life) =>
      churn(life, {
        ...common,
        services: numberOf('services'),
        rounds: numberOf('rounds'),
        concurrency: numberOf('concurrency'),
      }),
    (rounds) => churnTable(rounds, numberOf('services')),
  )
  await part(
    'ready',
    numberOf('ready') > 0,
    (life) => untilReady(life, { ...common, services: numberOf('ready') }),
    readyLine,
  )
  await part(
    'steady',
    numberOf('steady') > 0,
    (life) =>
      steady(life, {
        ...common,
        services: numberOf('steady'),
        seconds: numberOf('steady-seconds'),
        resyncSeconds: numberOf('resync-seconds'),
      }),
    (result) => {
      if (result.writes.length > 0) process.exitCode = 1
      return steadyTable(result)
    },
  )
  console.log(`\nload ${loadavg()[0]?.toFixed(1)} at the end`)
  if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(results)}\n`)
}

function rejected(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
  })
}
