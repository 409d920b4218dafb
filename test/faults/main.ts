/**
 * `npm run test:faults [-- --seed N] [--minutes M] [--classes A,B,...]`: breaks real parts under calls and judges what
 * they leave behind. Without a seed and without minutes: the three fixed runs of two minutes that `npm test` has.
 *
 * --seed     what is broken, when and for how long follows from it; chosen when not given, and printed
 * --minutes  how long a run lasts, from the start of its parts to its last fault; 2 when not given
 * --classes  of `FAULT_CLASSES`; all when not given
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Interrupted, interruptible } from '../../local/interrupt.ts'
import { reportToTerminal as report } from '../../local/report.ts'
import { startPlatform } from './platform.ts'
import { run } from './run.ts'
import type { RunOptions } from './run.ts'
import { FAULT_CLASSES } from './schedule.ts'
import type { FaultClass } from './schedule.ts'

/** Together every class. */
const FIXED: readonly RunOptions[] = [
  { seed: 1, minutes: 2, classes: ['kill', 'freeze', 'cut-subscriptions', 'slow-handler'] },
  { seed: 2, minutes: 2, classes: ['restart-broker', 'cut-connections', 'failing-handler'] },
  { seed: 3, minutes: 2, classes: ['restart-redis', 'slow-connections', 'delete-topic'] },
]
const DEFAULT_MINUTES = 2
/** What is wrong is told in so many lines; the ledgers have the rest. */
const MOST_LINES = 40

function planned(): readonly RunOptions[] {
  const { values } = parseArgs({
    options: { seed: { type: 'string' }, minutes: { type: 'string' }, classes: { type: 'string' } },
  })
  if (Object.keys(values).length === 0) return FIXED
  const seed = numberOf('seed', values.seed ?? String(Math.floor(Math.random() * 2 ** 31)))
  const minutes = numberOf('minutes', values.minutes ?? String(DEFAULT_MINUTES))
  const classes = values.classes?.split(',').map(classOf) ?? FAULT_CLASSES
  return [{ seed, minutes, classes }]
}

function numberOf(name: string, text: string): number {
  const number = Number(text)
  if (!Number.isFinite(number) || number < 0) throw new TypeError(`--${name} must be a number, not "${text}"`)
  return number
}

function classOf(text: string): FaultClass {
  const found = FAULT_CLASSES.find((one) => one === text)
  if (found === undefined) throw new TypeError(`--classes: "${text}" is none of ${FAULT_CLASSES.join(', ')}`)
  return found
}

const commandOf = ({ seed, minutes, classes }: RunOptions): string =>
  `npm run test:faults -- --seed ${seed} --minutes ${minutes} --classes ${classes.join(',')}`

async function main(directory: string, signal: AbortSignal): Promise<boolean> {
  const runs = planned()
  await using stack = new AsyncDisposableStack()
  const platform = await startPlatform(directory, stack, report, signal)
  let passed = true
  for (const options of runs) {
    signal.throwIfAborted()
    report(commandOf(options))
    const wrong = await run(platform, options, report, signal)
    for (const line of wrong.slice(0, MOST_LINES)) report(`  WRONG ${line}`)
    report(wrong.length === 0 ? '  passed' : `  FAILED: ${wrong.length} things are wrong; ledgers in ${directory}`)
    passed &&= wrong.length === 0
  }
  return passed
}

const directory = await mkdtemp(join(tmpdir(), 'grpc-kafka-faults-'))
let passed = false
let isWrong = true
try {
  passed = await interruptible((signal) =>
    main(directory, signal).catch((error: unknown) => {
      // Whatever failed then failed for that.
      signal.throwIfAborted()
      throw error
    }),
  )
  isWrong = !passed
} catch (error) {
  isWrong = !(error instanceof Interrupted)
  console.error(isWrong && error instanceof Error ? (error.stack ?? error.message) : String(error))
} finally {
  // Where something is wrong the ledgers are wanted.
  if (!isWrong) await rm(directory, { recursive: true, force: true })
  process.exitCode = passed ? 0 : 1
}
