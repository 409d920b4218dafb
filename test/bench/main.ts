/**
 * `npm run bench [-- --quick] [--ratios] [--json FILE] [--against CHECKOUT] [--profile DIRECTORY]
 * [--layers] [--polling MILLISECONDS,...]`
 *
 * Three ways of the same call on one machine, in turns: `floor`, a bare grpc-js client and server; `relay`, a few lines
 * of grpc-js between them; `queued`, proxy, Kafka, worker, handler. Kafka and Redis are its own, as their CPU is counted.
 *
 * --ratios   measures only what the ratios are made of
 * --against  also measures the sidecar of another checkout in the same turns (`queued-other`), to judge a change
 * --layers   also measures calls with a key, calls whose results are kept, results that are given again, and a rate limit
 * --polling  also measures proxies that ask Redis for outcomes so often instead of being woken
 * --profile  leaves a CPU profile of proxy and worker (see profile.ts) and measures the main cell of `queued` only
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { availableParallelism, cpus } from 'node:os'
import { resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { startInfrastructure } from '../../local/infrastructure.ts'
import { reportToTerminal as report } from '../../local/report.ts'
import { CACHED_METHOD_NAME } from './echo.ts'
import type { Load, LoadResult } from './load.ts'
import { Measurements, cellKey } from './measure.ts'
import type { Cell, Way } from './measure.ts'
import { residentMebibytes } from './proc.ts'
import { ChildError, startProgram } from './program.ts'
import type { Program } from './program.ts'
import { HALF_LOAD, MAIN_CELL, SINGLE_CELL, aimsOf, summarise, tableOf } from './report.ts'
import { startRoute } from './route.ts'
import type { Route } from './route.ts'
import { runBench } from './run.ts'

const ROOT = resolve(import.meta.dirname, '..', '..')
/** As local mode and the images start the sidecar; the other Node processes get the same, so that code is compared. */
const NODE_FLAGS = ['--max-semi-space-size=64', '--disable-warning=TimeoutNegativeWarning']
const CELLS: readonly Cell[] = [128, 4096].flatMap((bytes) =>
  [1, 16, 64, 256].map((concurrency) => ({ concurrency, bytes })),
)
/** What the ratios are made of is measured more often. */
const RATIO_CELLS: readonly Cell[] = [SINGLE_CELL, MAIN_CELL]

/** Times in milliseconds, each of one round. */
interface Plan {
  readonly warmUpCalls: number
  readonly longestWarmUp: number
  readonly rounds: number
  readonly cell: number
  readonly ratioRounds: number
  readonly ratioCell: number
  readonly halfLoadRounds: number
  readonly halfLoad: number
}
const FULL: Plan = {
  warmUpCalls: 30_000,
  longestWarmUp: 15_000,
  rounds: 3,
  cell: 1500,
  ratioRounds: 9,
  ratioCell: 1500,
  halfLoadRounds: 5,
  halfLoad: 3000,
}
const QUICK: Plan = {
  warmUpCalls: 15_000,
  longestWarmUp: 5000,
  rounds: 1,
  cell: 500,
  ratioRounds: 5,
  ratioCell: 700,
  halfLoadRounds: 3,
  halfLoad: 1500,
}
/** The last counts may still be on their way when the last call is answered. */
const SETTLE_MILLISECONDS = 10_000

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    ratios: { type: 'boolean', default: false },
    json: { type: 'string' },
    against: { type: 'string' },
    profile: { type: 'string' },
    layers: { type: 'boolean', default: false },
    polling: { type: 'string' },
  },
})

await runBench('grpc-kafka-bench', bench)

async function bench(directory: string, signal: AbortSignal): Promise<void> {
  const plan = options.quick ? QUICK : FULL
  await using stack = new AsyncDisposableStack()
  // Always its own: the CPU of what runs elsewhere cannot be told.
  const infrastructure = await startInfrastructure(directory, {}, report, signal)
  stack.defer(() => infrastructure.stop())
  const { kafka, redis } = infrastructure
  if (kafka === undefined || redis === undefined) throw new ChildError('Kafka and Redis are not its own')

  const start = <Request extends object, Reply>(name: string, file: string): Program<Request, Reply> => {
    const program = startProgram<Request, Reply>(name, file, NODE_FLAGS)
    stack.defer(() => program.stop())
    signal.addEventListener('abort', () => void program.stop(), { once: true })
    return program
  }
  const load = start<Load, LoadResult>('load generator', 'load.ts')
  const server = start<object, number>('floor server', 'server.ts')
  const handler = start<object, number>('handler', 'server.ts')
  const relay = start<object, number>('relay', 'relay.ts')
  const serverPort = await server.ask({ kind: 'Listen' })
  const handlerPort = await handler.ask({ kind: 'Listen' })
  const relayPort = await relay.ask({ kind: 'Listen', handlerPort })

  const profileDirectory = options.profile === undefined ? undefined : resolve(options.profile)
  if (profileDirectory !== undefined) await mkdir(profileDirectory, { recursive: true })
  const variants: {
    readonly name: string
    readonly root: string
    readonly flags: readonly string[]
    rateLimit?: true
  }[] = [{ name: 'queued', root: ROOT, flags: [] }]
  if (options.against !== undefined) variants.push({ name: 'queued-other', root: resolve(options.against), flags: [] })
  if (options.layers) variants.push({ name: 'queued-rate-limit', root: ROOT, flags: [], rateLimit: true })
  for (const every of options.polling?.split(',') ?? []) {
    const url = new URL('polling.ts', import.meta.url)
    url.search = new URLSearchParams({ every, redis: infrastructure.redisUrl }).toString()
    variants.push({ name: `queued-polling-${every}`, root: ROOT, flags: ['--import', url.href] })
  }
  const routes = new Map<string, Route>()
  for (const { name, root, flags, rateLimit = false } of variants) {
    const route = await startRoute(
      {
        name,
        root,
        directory,
        handlerPort,
        brokers: infrastructure.brokers,
        redisUrl: infrastructure.redisUrl,
        nodeFlags: [...NODE_FLAGS, ...flags],
        rateLimit,
        ...(profileDirectory !== undefined && { profileDirectory }),
      },
      signal,
    )
    stack.defer(() => route.stop())
    routes.set(name, route)
  }
  const queuedWay = ([name, { port, proxy, worker }]: readonly [string, Route]): Way => ({
    name,
    port,
    parts: { proxy: proxy.pid, worker: worker.pid, handler: handler.pid, kafka: kafka.pid, redis: redis.pid },
  })
  const floorWay: Way = { name: 'floor', port: serverPort, parts: { server: server.pid } }
  const relayWay: Way = { name: 'relay', port: relayPort, parts: { relay: relay.pid, handler: handler.pid } }
  const queuedWays = [...routes].map(queuedWay)
  const [queued] = queuedWays
  const layerWays: Way[] = []
  if (options.layers && queued !== undefined) {
    layerWays.push(
      { ...queued, name: 'queued-keyed', keyed: true },
      { ...queued, name: 'queued-cache-miss', method: CACHED_METHOD_NAME },
    )
  }
  const ways = profileDirectory === undefined ? [floorWay, relayWay, ...queuedWays, ...layerWays] : queuedWays
  const measurements = new Measurements(load)

  report(
    'layers on: gate, deadline, admission, idempotency (calls have no keys), cache (the method keeps nothing), enqueue, await; off: rate limit',
  )
  report('load: one grpc-js client process with one channel to each way')
  report('warming up')
  for (const way of ways) {
    await measurements.warmUp(way, MAIN_CELL, plan.warmUpCalls, plan.longestWarmUp)
    // Many small requests: it is by their number that the broker's virtual machine compiles.
    await measurements.warmUp(way, SINGLE_CELL, plan.warmUpCalls / 3, plan.longestWarmUp)
    await measurements.warmUp(way, { concurrency: 64, bytes: 4096 }, plan.warmUpCalls / 10, plan.longestWarmUp / 4)
    signal.throwIfAborted()
  }

  const turns = async (cells: readonly Cell[], rounds: number, milliseconds: number): Promise<void> => {
    for (let round = 1; round <= rounds; round++) {
      for (const cell of cells) {
        for (const way of ways) {
          signal.throwIfAborted()
          await measurements.closedLoop(way, cell, milliseconds)
        }
      }
      report(
        `${cells.length === CELLS.length ? 'all sizes' : 'what the ratios are made of'}: round ${round} of ${rounds}`,
      )
    }
  }
  if (profileDirectory === undefined) {
    if (!options.ratios) await turns(CELLS, plan.rounds, plan.cell)
    await turns(RATIO_CELLS, plan.ratioRounds, plan.ratioCell)
    const rate = Math.max(...CELLS.map((cell) => measurements.of('queued', cellKey(cell))?.callsPerSecond ?? 0)) / 2
    report(`half load: ${rate.toFixed(0)} calls/s, beginning at random times`)
    for (let round = 1; round <= plan.halfLoadRounds; round++) {
      for (const way of queuedWays) await measurements.openLoop(way, HALF_LOAD, MAIN_CELL.bytes, rate, plan.halfLoad)
      signal.throwIfAborted()
    }
  } else await turns([MAIN_CELL], plan.ratioRounds, plan.ratioCell)

  const counted: string[] = []
  for (const [name, route] of routes) counted.push(await assertCounts(name, route, measurements.callsOf(route.port)))

  // These calls leave no records to be counted.
  if (options.layers && queued !== undefined) {
    const hits: Way = { ...queued, name: 'queued-cache-hit', method: CACHED_METHOD_NAME, same: true }
    await measurements.warmUp(hits, MAIN_CELL, plan.warmUpCalls / 3, plan.longestWarmUp)
    ways.push(hits)
    for (let round = 1; round <= plan.halfLoadRounds; round++) {
      for (const cell of RATIO_CELLS) await measurements.closedLoop(hits, cell, plan.ratioCell)
    }
  }

  const processes: Readonly<Record<string, { readonly pid: number; readonly gc?: () => Promise<number> }>> = {
    'load generator': { pid: load.pid, gc: () => load.gcMilliseconds() },
    'floor server': { pid: server.pid, gc: () => server.gcMilliseconds() },
    relay: { pid: relay.pid, gc: () => relay.gcMilliseconds() },
    handler: { pid: handler.pid, gc: () => handler.gcMilliseconds() },
    ...Object.fromEntries(
      [...routes].flatMap(([name, route]) =>
        (['proxy', 'worker'] as const).map((role) => [
          `${role} (${name})`,
          { pid: route[role].pid, gc: async () => 1000 * (await route[role].metric('nodejs_gc_duration_seconds_sum')) },
        ]),
      ),
    ),
    Kafka: { pid: kafka.pid },
    Redis: { pid: redis.pid },
  }

  console.log(
    `${availableParallelism()} cores (${cpus()[0]?.model ?? 'unknown'}), everything on them; Node ${process.version}`,
  )
  console.log(
    `\n${tableOf(
      measurements,
      ways.map(({ name }) => name),
      CELLS,
    )}`,
  )
  console.log('\nprocess                 RSS MiB   peak   garbage collection, ms in the whole run')
  for (const [name, { pid, gc }] of Object.entries(processes)) {
    const { now, peak } = residentMebibytes(pid)
    const collected = gc === undefined ? 'not asked' : (await gc()).toFixed(0)
    console.log(`${name.padEnd(22)} ${now.toFixed(0).padStart(8)} ${peak.toFixed(0).padStart(6)}   ${collected}`)
  }
  for (const line of counted) console.log(line)
  if (profileDirectory !== undefined) {
    console.log(`profiles of the sidecars are in ${profileDirectory}`)
    return
  }
  if (routes.has('queued-other'))
    console.log(`\nqueued-other (${options.against})\n${aimsOf(summarise(measurements, CELLS, 'queued-other'))}`)
  const summary = summarise(measurements, CELLS)
  console.log(`\n${aimsOf(summary)}`)
  const json = JSON.stringify(summary)
  if (options.json !== undefined) await writeFile(options.json, `${json}\n`)
  console.log(json)
}

/** @throws ChildError when records, outcomes and calls are not the same number. */
async function assertCounts(name: string, route: Route, calls: number): Promise<string> {
  const late = AbortSignal.timeout(SETTLE_MILLISECONDS)
  for (;;) {
    const [records, outcomes] = await Promise.all([route.records(), route.worker.metric('grpc_kafka_outcomes_total')])
    const text = `${name}: ${calls} calls answered, ${records} records on Kafka, ${outcomes} outcomes stored`
    if (records === calls && outcomes === calls) return `\n${text}; every reply was that of its request`
    if (late.aborted || records > calls || outcomes > calls) throw new ChildError(`the counts differ: ${text}`)
    await pause(100)
  }
}
