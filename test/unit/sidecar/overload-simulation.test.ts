/**
 * Overload in virtual time: replicas with the estimate as it is, workers with the rate as it is, which take records as the
 * dispatcher does. What is simulated is the rest: callers, Kafka, handlers, reports each second at times of their own.
 */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { QueueEstimate } from '../../../sidecar/proxy/queue-estimate.ts'
import type { FlowReport } from '../../../sidecar/results/flow-report.ts'
import { DrainRate } from '../../../sidecar/worker/drain-rate.ts'

const METHOD = 's.S/M'
const STEP = 2
const SECOND = 1000
/** Nothing is known at first, and more is let in than can be done. */
const LEARNING = 10 * SECOND
const DURATION = 50 * SECOND

interface Overload {
  readonly replicas: number
  readonly workers: number
  /** Of each worker. */
  readonly places?: number
  readonly serviceMilliseconds?: number
  /** What is offered, as a multiple of what can be done. */
  readonly times?: number
  readonly deadlineMilliseconds?: number
  /** How much more the first replica is offered than each of the others. */
  readonly uneven?: number
  readonly withoutEstimate?: boolean
}

interface Call {
  readonly replica: Replica
  readonly at: number
  readonly deadline: number
  ended: boolean
}
interface Replica {
  readonly estimate: QueueEstimate
  readonly phase: number
  readonly perStep: number
  readonly open: Call[]
  owed: number
}
interface Worker {
  readonly rate: DrainRate
  readonly phase: number
  readonly partitions: readonly Call[][]
  running: { readonly call: Call; readonly from: number; readonly until: number }[]
  report: FlowReport | undefined
  turn: number
  starts: number
}

/** @returns the part of the capacity that was answered in time, and the part of the calls let in that was not. */
function simulate({
  replicas: replicaCount,
  workers: workerCount,
  places = 20,
  serviceMilliseconds = 20,
  times = 3,
  deadlineMilliseconds = 2000,
  uneven = 1,
  withoutEstimate = false,
}: Overload): { readonly goodput: number; readonly late: number } {
  let now = 1_000_000
  const began = now
  // Numerical Recipes' linear congruence: the same run each time.
  let seed = 42
  const random = () => (seed = (seed * 1664525 + 1013904223) >>> 0) / 2 ** 32
  const phase = () => Math.floor((random() * SECOND) / STEP) * STEP
  const partitions = Array.from({ length: 3 * workerCount }, (): Call[] => [])
  const workers = Array.from({ length: workerCount }, (_, index): Worker => ({
    rate: new DrainRate(() => now),
    phase: phase(),
    partitions: partitions.filter((_calls, number) => number % workerCount === index),
    running: [],
    report: undefined,
    turn: 0,
    starts: 0,
  }))
  const perStep = (workerCount * places * times * STEP) / serviceMilliseconds
  const replicas = Array.from({ length: replicaCount }, (_, index): Replica => ({
    estimate: new QueueEstimate({ now: () => now }),
    phase: phase(),
    perStep: (perStep * (index === 0 ? uneven : 1)) / (replicaCount - 1 + uneven),
    open: [],
    owed: 0,
  }))
  let good = 0
  let late = 0
  const end = (call: Call, inTime: boolean): void => {
    if (call.ended) return
    call.ended = true
    call.replica.estimate.inFlight -= 1
    if (now - began < LEARNING) return
    if (inTime) good += 1
    else late += 1
  }
  const dropExpired = (calls: Call[]): void => {
    while (calls[0] !== undefined && calls[0].deadline <= now) end(calls.shift() as Call, false)
  }

  const send = (replica: Replica): void => {
    const batch = partitions[Math.floor(random() * partitions.length)]
    for (replica.owed += replica.perStep; replica.owed >= 1; replica.owed -= 1) {
      if (!withoutEstimate && replica.estimate.tooLong(METHOD, deadlineMilliseconds) !== undefined) continue
      const call = { replica, at: now, deadline: now + deadlineMilliseconds, ended: false }
      replica.estimate.inFlight += 1
      replica.open.push(call)
      batch?.push(call)
    }
  }

  const next = (worker: Worker): Call | undefined => {
    for (const calls of worker.partitions) dropExpired(calls)
    const waiting = worker.partitions.filter((calls) => calls.length > 0)
    const oldest = waiting.toSorted(([a], [b]) => (a?.at ?? 0) - (b?.at ?? 0))[0]
    return (worker.starts++ % 2 === 0 ? oldest : waiting[worker.turn++ % waiting.length])?.shift()
  }

  const work = (worker: Worker): void => {
    worker.running = worker.running.filter(({ call, from, until }) => {
      if (until > now) return true
      if (call.deadline > now) worker.rate.answered(METHOD, until - from)
      end(call, call.deadline > now)
      return false
    })
    while (worker.running.length < places) {
      const call = next(worker)
      if (call === undefined) break
      worker.running.push({ call, from: now, until: Math.min(now + serviceMilliseconds, call.deadline) })
    }
    worker.rate.setFull(worker.running.length >= places)
  }

  const report = ({ rate, partitions: own, running }: Worker): FlowReport => ({
    time: now,
    unfinished: own.reduce((sum, calls) => sum + calls.length, running.length),
    places,
    partitions: own.length,
    rate: rate.perSecond(places),
    serviceMilliseconds: new Map(rate.serviceMilliseconds),
  })

  for (; now < began + DURATION; now += STEP) {
    for (const replica of replicas) {
      if ((now - began) % 100 === 0) replica.estimate.sample()
      if ((now - began) % SECOND === replica.phase) {
        replica.estimate.update(workers.flatMap((worker) => worker.report ?? []))
      }
      send(replica)
      while (replica.open[0]?.ended === true) replica.open.shift()
      dropExpired(replica.open)
    }
    for (const worker of workers) {
      work(worker)
      if ((now - began) % SECOND === worker.phase) worker.report = report(worker)
    }
  }
  const capacity = (workerCount * places * SECOND) / serviceMilliseconds
  return { goodput: (good * SECOND) / (DURATION - LEARNING) / capacity, late: late / (good + late) }
}

const percent = (part: number): string => `${(100 * part).toFixed(1)} %`

suite('in an overload, as simulated,', () => {
  for (const [what, overload] of [
    ['one replica and one worker', { replicas: 1, workers: 1 }],
    ['four replicas and one worker', { replicas: 4, workers: 1 }],
    ['four replicas and four workers', { replicas: 4, workers: 4 }],
    ['ten replicas at ten times the load', { replicas: 10, workers: 1, times: 10 }],
    ['ten replicas at a little too much', { replicas: 10, workers: 1, times: 1.2 }],
    ['ten replicas of which one has most of the load', { replicas: 10, workers: 1, uneven: 20 }],
    ['half a second of time', { replicas: 4, workers: 1, deadlineMilliseconds: 500 }],
    ['a slow handler with few places', { replicas: 4, workers: 1, places: 4, serviceMilliseconds: 200 }],
  ] as const) {
    test(`${what}: nine tenths of the capacity are used, and one admitted call of a hundred comes late at most`, (t) => {
      const { goodput, late } = simulate(overload)
      t.diagnostic(`${percent(goodput)} of the capacity, ${percent(late)} late`)
      assert.ok(goodput >= 0.9, percent(goodput))
      assert.ok(late <= 0.01, percent(late))
    })
  }

  test('without the estimate hardly a call is answered in time', () => {
    const { goodput } = simulate({ replicas: 1, workers: 1, withoutEstimate: true })
    assert.ok(goodput < 0.3, percent(goodput))
  })
})
