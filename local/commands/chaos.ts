import type { ServiceError } from '@grpc/grpc-js'
import { status } from '@grpc/grpc-js'
import { Redis } from 'ioredis'
import { connect } from '../../examples/calculator/client.ts'
import { freePort } from '../platform/free-port.ts'
import { reportToTerminal } from '../report.ts'
import type { Route } from '../resources/resolve.ts'
import { withSession, type Session } from '../session.ts'
import { CallStream } from './call-stream.ts'

const TIMEOUT_MILLISECONDS = 30_000
const FAULT_INTERVAL_MILLISECONDS = 20_000
const CALLS_PER_SECOND = 50
const WORKERS = 2

type Fault = {
  readonly name: string
  /** Why it cannot be done in this session, if so. */
  readonly impossible?: string
  /** Breaks the thing and mends it; resolves with what was done. */
  readonly run: (session: Session, round: number) => Promise<string>
}

/**
 * `npm start -- --chaos`: breaks one thing every 20 s under a stream of calls and shows that they are answered.
 *
 * @param options.rounds  ends after breaking each thing so often; without it, when the signal says so
 * @returns the exit code: 0 when every call was answered with the right value
 */
export async function chaos(
  options: {
    readonly paths: readonly string[]
    readonly port: number | undefined
    readonly rounds: number | undefined
  },
  signal: AbortSignal,
): Promise<number> {
  const proxyPort = options.port ?? (await freePort())
  const stream = await withSession(
    {
      paths: options.paths,
      proxyPort,
      adapt: withWorkers,
      report: reportToTerminal,
      handlerLine: () => undefined,
    },
    signal,
    async (session) => breakThings(session, options.rounds, signal),
  )
  for (const failure of stream.failures.slice(0, 20)) console.log(`not answered: ${failure}`)
  console.log(`longest wait: ${seconds(stream.longestWait)}`)
  console.log(`calls: ${stream.started} answered: ${stream.answered}`)
  return stream.answered === stream.started && stream.started > 0 ? 0 : 1
}

async function breakThings(session: Session, rounds: number | undefined, signal: AbortSignal): Promise<CallStream> {
  const [proxy] = session.routes.proxies
  if (!proxy) throw new Error('the example has no proxy')
  const faults = faultsOf(session)
  for (const { name, impossible } of faults)
    if (impossible !== undefined) console.log(`left out: ${name}: ${impossible}`)
  const possible = faults.filter(({ impossible }) => impossible === undefined)

  const calculator = connect(proxy.address)
  const stream = new CallStream({
    callsPerSecond: CALLS_PER_SECOND,
    call: async (number) => {
      const name = `caller-${number}`
      const reply = await calculator.calculate({ name, method: 'add', num1: number, num2: 1 }, TIMEOUT_MILLISECONDS)
      if (reply.result !== number + 1 || !reply.message.startsWith(`${name}: `)) {
        throw new Error(`answered with another call's value: ${reply.message}`)
      }
    },
    describe: (error) => {
      const { code, details } = error as Partial<ServiceError>
      return code === undefined ? (error as Error).message : `${status[code]}: ${details}`
    },
  })
  console.log(
    `${CALLS_PER_SECOND} calls a second to ${proxy.address}, each with a deadline of ${TIMEOUT_MILLISECONDS / 1000} s; one thing breaks every ${FAULT_INTERVAL_MILLISECONDS / 1000} s`,
  )
  stream.start()
  try {
    await pause(FAULT_INTERVAL_MILLISECONDS / 4, signal)
    for (let round = 0; (rounds === undefined || round < rounds) && !signal.aborted; round += 1) {
      for (const fault of possible) {
        if (signal.aborted) break
        const window = stream.open()
        const next = pause(FAULT_INTERVAL_MILLISECONDS, signal)
        const done = await fault.run(session, round)
        console.log(`${new Date().toISOString().slice(11, 19)}  ${done}`)
        await next
        const { settled, answered, longestWait, mostInFlight } = await window.close()
        console.log(
          `          up to ${mostInFlight} calls in flight; ${answered} of ${settled} answered, longest wait ${seconds(longestWait)}`,
        )
      }
    }
  } finally {
    await stream.stop()
    calculator.close()
    if (stream.failures.length > 0) session.keepFiles()
  }
  return stream
}

const withWorkers = (routes: readonly Route[]): readonly Route[] =>
  routes.map(({ service, groups }) => ({
    service,
    groups: groups.map((route) => ({
      ...route,
      group: { ...route.group, spec: { ...route.group.spec, replicas: WORKERS } },
    })),
  }))

function faultsOf({ infrastructure }: Session): readonly Fault[] {
  const { kafka, redis, redisUrl } = infrastructure
  return [
    {
      name: 'a handler killed',
      run: async ({ routes }, round) => {
        const worker = routes.workers[round % routes.workers.length]
        if (!worker) throw new Error('no worker runs')
        const before = worker.handlerAddress
        await worker.moveHandler()
        return `handler ${before} killed with SIGKILL, started again on ${worker.handlerAddress}`
      },
    },
    {
      name: 'a worker killed',
      run: async ({ routes }, round) => {
        const worker = routes.workers[(round + 1) % routes.workers.length]
        worker?.process.child?.kill('SIGKILL')
        return `${worker?.name ?? 'no worker'} killed with SIGKILL`
      },
    },
    {
      name: "Redis' connections cut",
      ...(redis ? {} : { impossible: 'the Redis of REDIS_URL may be used by others' }),
      run: async () => `Redis: ${await cutConnections(redisUrl)} connections cut with CLIENT KILL`,
    },
    {
      name: 'Kafka restarted',
      ...(kafka ? {} : { impossible: 'the Kafka of KAFKA_BROKERS is not ours to restart' }),
      run: async () => {
        const started = performance.now()
        await kafka?.stop()
        await kafka?.start()
        return `Kafka restarted, away for ${seconds(performance.now() - started)}`
      },
    },
  ]
}

/** How many connections were cut: every one but its own, those that wait for messages included. */
async function cutConnections(url: string): Promise<number> {
  const redis = new Redis(url)
  try {
    const normal = Number(await redis.call('CLIENT', 'KILL', 'TYPE', 'normal'))
    return normal + Number(await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub'))
  } finally {
    redis.disconnect()
  }
}

const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(2)} s`

/** Resolves after the time, or at once when the signal is aborted. */
const pause = (milliseconds: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, milliseconds)
    if (signal.aborted) done()
    else signal.addEventListener('abort', done)
  })
