/** One run: a route, calls, faults, and the judgement on what they left behind. */
import { setTimeout as pause } from 'node:timers/promises'
import type { Report } from '../../local/report.ts'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { until } from '../integration/support/route.ts'
import type { Process } from '../integration/support/route.ts'
import { answerKind } from './answer-kind.ts'
import { check, repeats } from './checker.ts'
import { idsOf, readClients, readDelays, readHandlers, readKafka, readRedis } from './collect.ts'
import type { OnKafka } from './collect.ts'
import { deleteTopic, joined } from './deleted-topic.ts'
import { exposureOf, exposures } from './exposure.ts'
import type { Fault, History } from './history.ts'
import { LoopDelay } from './loop-delay.ts'
import { BROKERS } from './platform.ts'
import type { Platform } from './platform.ts'
import { randomOf } from './random.ts'
import { backAtRest, restOf, untilIdle } from './rest.ts'
import type { Rest } from './rest.ts'
import { MAX_ATTEMPTS, PROXIES, Scene, WORKERS } from './scene.ts'
import { roundOf, scheduleOf } from './schedule.ts'
import type { FaultClass } from './schedule.ts'
import { strike } from './strike.ts'

export interface RunOptions {
  readonly seed: number
  readonly minutes: number
  readonly classes: readonly FaultClass[]
}

const RULES = {
  maxAttempts: MAX_ATTEMPTS,
  retryableCodes: [GrpcStatus.UNAVAILABLE],
  lateMilliseconds: 250,
  clockMilliseconds: 5,
}
const CLIENTS = 2
const CALLS_PER_SECOND = 25
const WARM_UP_CALLS = 150
/** A fault waits until so many requests are on their way. */
const LEAST_IN_FLIGHT = 5
/** Of each class, all of its faults together. */
const LEAST_ACKNOWLEDGED = 5
/** After a fault calls are answered again before the next one comes. */
const CALLS_BETWEEN = 25
/** Of the time, where the topic is deleted: for that. */
const DELETION_MILLISECONDS = 25_000
/** A machine that gave nobody any time for so long is a fault itself: sessions and words lapse meanwhile. */
const STOOD_STILL_MILLISECONDS = 1000
/** A client ends when its last call has. */
const CLIENT_END_MILLISECONDS = 90_000

/** Resolves with all that is wrong; empty: the run passed. */
export async function run(
  platform: Platform,
  options: RunOptions,
  report: Report,
  signal: AbortSignal,
): Promise<readonly string[]> {
  await using stack = new AsyncDisposableStack()
  const scene = await Scene.start(platform, stack)
  let wrong: readonly string[] | undefined
  try {
    wrong = await judge(scene, options, stack, report, signal)
    return wrong
  } finally {
    if (wrong?.length === 0) scene.discard()
    else scene.keep()
  }
}

async function judge(
  scene: Scene,
  { seed, minutes, classes }: RunOptions,
  stack: AsyncDisposableStack,
  report: Report,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { route } = scene
  const faults: Fault[] = []
  const loop = new LoopDelay((milliseconds) => {
    const until = Date.now()
    if (milliseconds > STOOD_STILL_MILLISECONDS)
      faults.push({ kind: STOOD_STILL, what: `for ${milliseconds.toFixed(0)} ms`, at: until - milliseconds, until })
  })
  stack.defer(() => loop.stop())

  await ended(scene.startClient({ name: 'w', seed, perSecond: 100, calls: WARM_UP_CALLS }))
  await untilIdle(route)
  const before = { proxies: await restOf(route, 'proxies'), workers: await restOf(route, 'workers') }

  const struck = async (what: string, make: () => Promise<Fault>): Promise<void> => {
    signal.throwIfAborted()
    // Said before: where it does not heal, it is known what was done.
    report(`  ${new Date().toISOString()} ${what}`)
    await until('enough calls are on their way', () => scene.clients.inFlight >= LEAST_IN_FLIGHT)
    const fault = await make()
    faults.push(fault)
    report(`    ${fault.what}; ${fault.until - fault.at} ms; whole after ${Date.now() - fault.at} ms`)
    await scene.goesOn(CALLS_BETWEEN)
  }
  const clientsOf = (phase: string): readonly Process[] =>
    Array.from({ length: CLIENTS }, (_, number) =>
      scene.startClient({ name: `${phase}${number}`, seed: seed + number, perSecond: CALLS_PER_SECOND }),
    )

  const sizes = { proxies: PROXIES, workers: WORKERS, brokers: BROKERS }
  const random = randomOf(seed)
  const others = classes.filter((one) => one !== 'delete-topic')
  const deletes = classes.includes('delete-topic')
  const end = performance.now() + minutes * 60_000 - (deletes ? DELETION_MILLISECONDS : 0)
  const clients = clientsOf('c')
  await scene.goesOn(CALLS_BETWEEN)
  if (others.length > 0) {
    let steps = 0
    for (const { quietMilliseconds, plan } of scheduleOf(others, sizes, random)) {
      if (performance.now() > end && steps >= roundOf(others)) break
      await pause(quietMilliseconds, undefined, { signal })
      await struck(JSON.stringify(plan), () => strike(scene, plan))
      steps += 1
    }
  }
  await endAll(clients)
  await scene.untilDrained()

  let onKafka: OnKafka
  let exempt: ReadonlySet<string> = new Set()
  if (deletes) {
    const kept = await readKafka(scene, signal)
    const readAt = Date.now()
    const late = clientsOf('d')
    await scene.goesOn(CALLS_BETWEEN)
    await struck('{"kind":"delete-topic"}', () => deleteTopic(scene))
    await endAll(late)
    await scene.untilDrained()
    const fault = faults.find(({ kind }) => kind === 'delete-topic')!
    onKafka = joined(kept, await readKafka(scene, signal), route.topic, fault)
    const { sent } = readClients(scene)
    exempt = new Set(sent.flatMap(({ call, at }) => (at >= readAt && at <= fault.until ? [call] : [])))
  } else onKafka = await readKafka(scene, signal)

  await untilIdle(route)
  const rests = await Promise.all(
    (['proxies', 'workers'] as const).map((kind) => backAtRest(route, kind, before[kind])),
  )
  const { sent, answered } = readClients(scene)
  const runs = readHandlers(scene)
  const delays = readDelays(scene)
  const { records, buried, commits, ids } = onKafka
  const stored = await readRedis(scene, idsOf(sent, answered, runs, ids))
  const history: History = { sent, answered, delays, runs, records, buried, stored, commits, faults, exempt }

  const found = check(history, RULES).map(({ kind, text }) => `${kind}: ${text}`)
  const idle = [...exposures(history)].flatMap(([kind, { inFlight, acknowledged }]) =>
    kind !== STOOD_STILL && (inFlight < LEAST_IN_FLIGHT || acknowledged < LEAST_ACKNOWLEDGED)
      ? [`${kind} hit too little: ${inFlight} in flight, ${acknowledged} acknowledged`]
      : [],
  )
  for (const line of summary(
    history,
    rests.map(({ rest }) => rest),
    before,
  ))
    report(`  ${line}`)
  return [...found, ...idle, ...rests.flatMap(({ more }) => more)]
}

const STOOD_STILL = 'the machine stood still'

/** Resolves when the client has its last answer. */
async function ended(client: Process): Promise<void> {
  await until(`client ${client.child.pid} ends`, () => !client.running, CLIENT_END_MILLISECONDS)
  if (client.child.exitCode !== 0) throw new Error(`a client failed:\n${client.lines.slice(-20).join('\n')}`)
}

async function endAll(clients: readonly Process[]): Promise<void> {
  for (const client of clients) client.kill('SIGTERM')
  await Promise.all(clients.map(ended))
}

function summary(history: History, rests: readonly Rest[], before: Readonly<Record<string, Rest>>): readonly string[] {
  const { sent, answered, runs, records, stored, commits, faults } = history
  const kinds = Map.groupBy(answered, (one) => answerKind(one))
  const states = [...Map.groupBy(stored, ({ state }) => state)].map(([state, all]) => `${state} ${all.length}`)
  const classes = [...exposures(history)].map(
    ([kind, { inFlight, acknowledged }]) => `${kind} (in flight ${inFlight}, acknowledged ${acknowledged})`,
  )
  const text = ({ sockets, timers, heapMebibytes, residentMebibytes }: Rest): string =>
    `sockets ${sockets}, timers ${timers}, heap ${heapMebibytes.toFixed(0)} MiB, resident ${residentMebibytes.toFixed(0)} MiB`
  return [
    `requests ${sent.length}: ${['Outcome', 'Refused', 'Unknown'].map((kind) => `${kind} ${kinds.get(kind as 'Outcome')?.length ?? 0}`).join(', ')}`,
    `in Redis: ${states.join(', ')}; records ${records.length}, commits ${commits.length}`,
    `runs ${runs.length}, calls that ran again ${repeats(history).size}`,
    `${faults.length} faults: ${classes.join(', ')}`,
    `fewest in flight at one: ${Math.min(...faults.map((fault) => exposureOf(fault, history).inFlight))}`,
    ...rests.map(
      (rest, index) =>
        `at rest, a ${index === 0 ? 'proxy' : 'worker'}: ${text(rest)}; before: ${text(before[index === 0 ? 'proxies' : 'workers']!)}`,
    ),
  ]
}
