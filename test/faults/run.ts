/** One run: a route, calls, faults, and the judgement on what they left behind. */
import { setTimeout as pause } from 'node:timers/promises'
import type { Report } from '../../local/report.ts'
import { until } from '../integration/support/route.ts'
import type { Process } from '../integration/support/route.ts'
import { readClients, readKafka } from './collect.ts'
import type { OnKafka } from './collect.ts'
import { deleteTopic, joined } from './deleted-topic.ts'
import type { Fault, History } from './history.ts'
import { LEAST_IN_FLIGHT, STOOD_STILL, judge } from './judge.ts'
import { LoopDelay } from './loop-delay.ts'
import { BROKERS } from './platform.ts'
import type { Platform } from './platform.ts'
import { randomOf } from './random.ts'
import { backAtRest, restOf, untilIdle } from './rest.ts'
import { PROXIES, Scene, WORKERS } from './scene.ts'
import { roundOf, scheduleOf } from './schedule.ts'
import type { FaultClass } from './schedule.ts'
import { strike } from './strike.ts'
import { restLine, summary } from './summary.ts'

export interface RunOptions {
  readonly seed: number
  /** From the start of its parts until nothing more is broken. */
  readonly minutes: number
  readonly classes: readonly FaultClass[]
}

const CLIENTS = 2
const CALLS_PER_SECOND = 25
const WARM_UP = { name: 'w', perSecond: 100, calls: 150 }
/** After a fault calls are answered again before the next one comes. */
const CALLS_BETWEEN = 25
/** Of the time, where the topic is deleted: for that. */
const DELETION_MILLISECONDS = 15_000
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
  const startedAt = performance.now()
  await using stack = new AsyncDisposableStack()
  const scene = await Scene.start(platform, stack)
  // Whoever interrupts does not wait until something has healed.
  const onAbort = (): void => void scene.route.close()
  signal.addEventListener('abort', onAbort, { once: true })
  stack.defer(() => signal.removeEventListener('abort', onAbort))
  const one = new Run(scene, options, startedAt, report, signal)
  let wrong: readonly string[] | undefined
  try {
    wrong = await one.toItsEnd(stack)
    report(`  after ${((performance.now() - startedAt) / 1000).toFixed(0)} s:`)
    return wrong
  } finally {
    if (wrong?.length !== 0) scene.keep(one.history)
  }
}

class Run {
  readonly #scene: Scene
  readonly #options: RunOptions
  /** Monotonic milliseconds. */
  readonly #startedAt: number
  readonly #report: Report
  readonly #signal: AbortSignal
  readonly #faults: Fault[] = []
  #history: History | undefined

  constructor(scene: Scene, options: RunOptions, startedAt: number, report: Report, signal: AbortSignal) {
    this.#scene = scene
    this.#options = options
    this.#startedAt = startedAt
    this.#report = report
    this.#signal = signal
  }

  /** What was judged. */
  get history(): History | undefined {
    return this.#history
  }

  async toItsEnd(stack: AsyncDisposableStack): Promise<readonly string[]> {
    const { route } = this.#scene
    const loop = this.#watchForStandstill()
    stack.defer(() => loop.stop())
    await ended(this.#scene.startClient({ ...WARM_UP, seed: this.#options.seed }))
    await untilIdle(route)
    const before = { proxies: await restOf(route, 'proxies'), workers: await restOf(route, 'workers') }

    await this.#breakThings()
    const { onKafka, exempt } = this.#options.classes.includes('delete-topic')
      ? await this.#deletion()
      : { onKafka: await readKafka(this.#scene, this.#signal), exempt: new Set<string>() }
    loop.stop()

    await untilIdle(route)
    const { history, wrong } = await judge(this.#scene, onKafka, this.#faults, exempt)
    this.#history = history
    const all = [...wrong]
    for (const line of summary(history)) this.#report(`  ${line}`)
    for (const kind of ['proxies', 'workers'] as const) {
      const { rest, more } = await backAtRest(route, kind, before[kind])
      this.#report(`  at rest, most of ${kind}: ${restLine(rest)}; before: ${restLine(before[kind])}`)
      all.push(...more)
    }
    return all
  }

  async #breakThings(): Promise<void> {
    const { seed, minutes, classes } = this.#options
    const others = classes.filter((one) => one !== 'delete-topic')
    if (others.length === 0) return
    const milliseconds = minutes * 60_000 - (others.length < classes.length ? DELETION_MILLISECONDS : 0)
    const end = this.#startedAt + milliseconds
    const clients = await this.#startClients('c')
    const sizes = { proxies: PROXIES, workers: WORKERS, brokers: BROKERS }
    let left = roundOf(others)
    for (const { quietMilliseconds, plan } of scheduleOf(others, sizes, randomOf(seed))) {
      if (performance.now() > end && left <= 0) break
      await pause(quietMilliseconds, undefined, { signal: this.#signal })
      await this.#struck(JSON.stringify(plan), () => strike(this.#scene, plan))
      left -= 1
    }
    await this.#endClients(clients)
  }

  /** By itself and last: the records of before are read first, and those of calls in between are gone for good. */
  async #deletion(): Promise<{ readonly onKafka: OnKafka; readonly exempt: ReadonlySet<string> }> {
    const scene = this.#scene
    const kept = await readKafka(scene, this.#signal)
    const readAt = Date.now()
    const clients = await this.#startClients('d')
    const fault = await this.#struck('the topic is deleted', () => deleteTopic(scene))
    await this.#endClients(clients)
    const onKafka = joined(kept, await readKafka(scene, this.#signal), scene.route.topic, fault)
    const { sent } = readClients(scene)
    const gone = sent.filter(({ at }) => at >= readAt && at <= fault.until)
    return { onKafka, exempt: new Set(gone.map(({ call }) => call)) }
  }

  async #startClients(phase: string): Promise<readonly Process[]> {
    const { seed } = this.#options
    const clients = Array.from({ length: CLIENTS }, (_, number) =>
      this.#scene.startClient({ name: `${phase}${number}`, seed: seed + number, perSecond: CALLS_PER_SECOND }),
    )
    await this.#scene.goesOn(CALLS_BETWEEN)
    return clients
  }

  /** Resolves when every call has ended and every offset is committed. */
  async #endClients(clients: readonly Process[]): Promise<void> {
    for (const client of clients) client.kill('SIGTERM')
    await Promise.all(clients.map(ended))
    await this.#scene.untilDrained()
  }

  async #struck(what: string, make: () => Promise<Fault>): Promise<Fault> {
    this.#signal.throwIfAborted()
    await this.#scene.until('enough calls are on their way', () => this.#scene.clients.inFlight >= LEAST_IN_FLIGHT)
    // Said before: where it does not heal, it is known what was done.
    this.#report(`  ${new Date().toISOString()} ${what}`)
    const fault = await make()
    this.#faults.push(fault)
    this.#report(`    ${fault.what}; ${fault.until - fault.at} ms; whole after ${Date.now() - fault.at} ms`)
    await this.#scene.goesOn(CALLS_BETWEEN)
    return fault
  }

  #watchForStandstill(): LoopDelay {
    return new LoopDelay((milliseconds) => {
      if (milliseconds < STOOD_STILL_MILLISECONDS) return
      const until = Date.now()
      const what = `for ${milliseconds.toFixed(0)} ms`
      this.#faults.push({ kind: STOOD_STILL, what, at: until - milliseconds, until })
    })
  }
}

/** Resolves when the client has its last answer. */
async function ended(client: Process): Promise<void> {
  await until(`client ${client.child.pid} ends`, () => !client.running, CLIENT_END_MILLISECONDS)
  if (client.child.exitCode !== 0) throw new Error(`a client failed:\n${client.lines.slice(-20).join('\n')}`)
}
