/** The program behind `npm start` and `grpc-kafka`. */
import { local, LOCAL_USAGE } from './commands/local.ts'
import { start, START_USAGE } from './commands/start.ts'
import { Interrupted, interruptible } from './interrupt.ts'
import { UsageError } from './usage.ts'

const USAGE = `usage:\n${LOCAL_USAGE}\n${START_USAGE}`
const COMMANDS = { start, local }

const [name = '', ...args] = process.argv.slice(2)

async function main(): Promise<number> {
  if (['help', '--help', '-h'].includes(name) || args.includes('--help') || args.includes('-h')) {
    console.log(USAGE)
    return 0
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name as keyof typeof COMMANDS] : undefined
  if (!command) {
    console.error(`${name === '' ? 'a command is missing' : `"${name}" is not a command`}\n${USAGE}`)
    return 2
  }
  try {
    return await interruptible((signal) => command(args, signal))
  } catch (error) {
    if (error instanceof Interrupted) return 130
    if (isUsageError(error)) {
      console.error(`${error.message}\n${USAGE}`)
      return 2
    }
    console.error(describe(error))
    return 1
  }
}

/** Ours, or those of `parseArgs`, whose codes begin alike. */
const isUsageError = (error: unknown): error is Error =>
  error instanceof UsageError ||
  (error instanceof Error && String((error as NodeJS.ErrnoException).code).startsWith('ERR_PARSE_ARGS_'))

/** What was foreseen has a code and speaks for itself; anything else is a fault of ours, whose place matters. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return 'code' in error || error instanceof AggregateError ? error.message : (error.stack ?? error.message)
}

process.exitCode = await main()
