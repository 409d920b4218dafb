/** The program behind `npm start` and `grpc-kafka`. */
import { Interrupted, interruptible } from './interrupt.ts'
import { UsageError } from './usage.ts'

const USAGE = `usage:
grpc-kafka local -f DIR_OR_FILE [-f ...] [--proto FILE ...] [--port PORT]
    runs the route of these resources on this machine until Ctrl-C
    -f, --filename   resources, as for kubectl apply; *.proto files of a folder give the proxy reflection
    --proto          a *.proto file besides
    --port           where the first proxy listens, in place of its spec.proxy.port
grpc-kafka calls show ID [--topic TOPIC] [--depth N] [--json] [--values] [SERVERS]
    prints where a call is: its outcome or claim in Redis, its records on the topic and its failure topic;
    the exit code is 1 when nothing is known of it
    --topic          the topic to search; without it only Redis is asked
    --depth          how many records of each partition are looked through, from its end; 10000
grpc-kafka records TOPIC [--partition N] [--from OFFSET | --last N] [--json] [--values] [SERVERS]
    prints records decoded, also those of a failure topic and unreadable ones
    --last           so many of each partition; 10
    --values         also the values of metadata: they may be somebody's data
grpc-kafka dead-letters list|show|redrive|discard [PLACE ...] [--topic TOPIC] [FILTER] [SERVERS]
    looks after the dead letters of a service: the failure topic is TOPIC.dead; a PLACE is PARTITION/OFFSET there, as list prints it
    list             prints those that are not done with
    show PLACE ...   prints them with the history of their attempts, and with --values the request
    redrive          runs their calls again, under their ids and with a fresh deadline, and marks them as done with
    discard          only marks them as done with: the records stay until the topic's retention is over
    FILTER           --method NAME  --status CODE  --call ID  --reason TEXT  --since TIME  --until TIME
                     a TIME is 2026-01-31T12:00:00Z, or so long ago: 90s, 15m, 2h, 3d
    --all            redrive or discard all of them; else give places or a filter
    --rate           redrives a second, at most; 10
    --deadline       seconds that a redriven call has; else its method's timeout where a configuration tells, else 60
    --descriptors    a FileDescriptorSet, or --proto FILE: requests are printed as JSON
    --json, --values as for records
SERVERS, for all three:
    --kafka          HOST:PORT[,...]; else KAFKA_BROKERS
    --redis          URL; else REDIS_URL (a password in a flag is seen by all users of the machine)
    -c, --config     a sidecar's configuration file: its Kafka, its Redis and its topic
npm start [-- --port PORT]
    runs the calculator's route on this machine until Ctrl-C
npm start -- --once
    makes 20 calls, checks the answers, stops
npm start -- --chaos [--rounds N]
    breaks one thing every 20 s under a stream of calls; a round breaks each thing once`

type Command = (args: readonly string[], signal: AbortSignal) => Promise<number>

/** Loaded when asked for: the example is no part of the installed package. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  calls: async () => (await import('./commands/calls.ts')).calls,
  'dead-letters': async () => (await import('./commands/dead-letters.ts')).deadLetters,
  local: async () => (await import('./commands/local.ts')).local,
  records: async () => (await import('./commands/records.ts')).records,
  start: async () => (await import('./commands/start.ts')).start,
}

const [name = '', ...args] = process.argv.slice(2)

async function main(): Promise<number> {
  if (['help', '--help', '-h'].includes(name) || args.includes('--help') || args.includes('-h')) {
    console.log(USAGE)
    return 0
  }
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!load) {
    console.error(`${name === '' ? 'a command is missing' : `"${name}" is not a command`}\n${USAGE}`)
    return 2
  }
  try {
    const command = await load()
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
