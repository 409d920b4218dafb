import type { FlowReport } from '../results/flow-report.ts'

/** A worker reports each second; one that missed two has nothing to say about now. */
const FRESH_MILLISECONDS = 3000
/** By how much a worker's clock may be ahead of this one's (SEMANTICS 4), and a report on its way ahead of its time. */
const AHEAD_MILLISECONDS = 1000
/**
 * What is added to the wait, as a factor: partitions do not drain evenly and rates vary. Without it calls would be
 * admitted that come a moment late, all of them when the queue is as long as it may be.
 */
const CAUTION = 1.25
/**
 * A call lands on any partition. It is refused when it would be late on more than this part of them: one slow worker of many
 * must not make the others idle.
 */
const LATE_SHARE = 0.25
/**
 * Other replicas see a change of the load as this one does, and what they sent since a report is in no report: what this one has
 * in flight stands for its part of all that is unfinished. Not for less than a tenth: few calls tell little of the others.
 */
const SMALLEST_PART = 0.1
const HISTORY = 48

interface Worker {
  readonly report: FlowReport
  /** Its part of the partitions. */
  readonly share: number
  /** Of this replica, when the worker reported. */
  readonly inFlight: number
  /** How many are unfinished with any worker for each that was in flight here. */
  readonly scale: number
}

export interface QueueEstimateOptions {
  /** Milliseconds since 1970 on the shared clock. */
  readonly now: () => number
}

/**
 * How long a call would wait for a worker, from what workers report and what this replica has sent since. Unknown, stale,
 * or no report at all means that nothing is in the way (SEMANTICS 12).
 */
export class QueueEstimate {
  readonly #now: () => number
  readonly #times = new Float64Array(HISTORY)
  readonly #inFlights = new Float64Array(HISTORY)
  #sampled = 0
  #workers: readonly Worker[] = []
  /** Calls of this replica that are on their way to a worker or with it. */
  inFlight = 0

  constructor({ now }: QueueEstimateOptions) {
    this.#now = now
  }

  /** Remembers what is in flight now, so that it is known what a report did not count. Called some ten times a second. */
  sample(): void {
    const index = this.#sampled++ % HISTORY
    this.#times[index] = this.#now()
    this.#inFlights[index] = this.inFlight
  }

  /** What the workers say now. */
  update(reports: readonly FlowReport[]): void {
    const now = this.#now()
    const fresh = reports.filter((report) => report.partitions > 0 && isFresh(report, now))
    const partitions = fresh.reduce((sum, report) => sum + report.partitions, 0)
    const unfinished = fresh.reduce((sum, report) => sum + report.unfinished, 0)
    const places = fresh.reduce((sum, report) => sum + report.places, 0)
    this.#workers = fresh.map((report) => {
      const inFlight = this.#inFlightAt(report.time)
      const part = unfinished > places ? Math.max(inFlight / unfinished, SMALLEST_PART) : 1
      const scale = 1 / Math.min(part, 1)
      return { report, share: report.partitions / partitions, inFlight, scale }
    })
  }

  /**
   * Whether a call would be answered too late.
   * @param method `package.Service/Method`
   * @param remaining milliseconds until its deadline.
   * @returns undefined: it may go; else in how many milliseconds it would be answered where it would be late.
   */
  tooLong(method: string, remaining: number): number | undefined {
    if (this.#workers.length === 0) return undefined
    const now = this.#now()
    const missing = this.#missing()
    let lateShare = 0
    let soonest = Infinity
    for (const worker of this.#workers) {
      const wait = isFresh(worker.report, now) ? waitAt(worker, this.inFlight, missing) : 0
      if (wait === 0) continue
      const milliseconds = wait * CAUTION + (worker.report.serviceMilliseconds.get(method) ?? 0)
      if (milliseconds <= remaining) continue
      lateShare += worker.share
      soonest = Math.min(soonest, milliseconds)
    }
    return lateShare > LATE_SHARE ? soonest : undefined
  }

  /** Milliseconds that a call would wait for a place, in the mean over partitions; undefined: no worker has said anything. */
  get wait(): number | undefined {
    const now = this.#now()
    const fresh = this.#workers.filter(({ report }) => isFresh(report, now))
    if (fresh.length === 0) return undefined
    const missing = this.#missing()
    return fresh.reduce((sum, worker) => sum + worker.share * waitAt(worker, this.inFlight, missing), 0)
  }

  /** Calls of this replica that are in no worker's count yet: there are never fewer unfinished than those. */
  #missing(): number {
    let counted = 0
    for (const worker of this.#workers) counted += unfinishedAt(worker, this.inFlight)
    return Math.max(0, this.inFlight - counted)
  }

  #inFlightAt(time: number): number {
    let nearest = Infinity
    let inFlight = this.inFlight
    for (let index = 0; index < Math.min(this.#sampled, HISTORY); index++) {
      const distance = Math.abs((this.#times[index] ?? 0) - time)
      if (distance >= nearest) continue
      nearest = distance
      inFlight = this.#inFlights[index] ?? 0
    }
    return inFlight
  }
}

const isFresh = ({ time }: FlowReport, now: number): boolean =>
  time <= now + AHEAD_MILLISECONDS && now - time < FRESH_MILLISECONDS

/** What a worker reported, and its part of what this replica and others like it have sent and got answered since. */
const unfinishedAt = ({ report, share, inFlight, scale }: Worker, inFlightNow: number): number =>
  Math.max(0, report.unfinished + (inFlightNow - inFlight) * scale * share)

/** Milliseconds until a place is free. 0: one is, or nothing is known. */
function waitAt(worker: Worker, inFlightNow: number, missing: number): number {
  const { places, rate } = worker.report
  if (rate === undefined || places === 0) return 0
  const waiting = unfinishedAt(worker, inFlightNow) + missing * worker.share - places
  return waiting <= 0 ? 0 : (waiting * 1000) / rate
}
