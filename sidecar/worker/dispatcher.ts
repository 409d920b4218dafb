import { isKeyed } from '../call-id.ts'
import type { CallId } from '../call-id.ts'
import type { Ordering } from '../config.ts'
import type { FetchedRecord } from '../kafka/consumer.ts'
import { VERSION } from '../kafka/record.ts'
import { keyOf } from '../kafka/topic-partition.ts'
import type { TopicPartition } from '../kafka/topic-partition.ts'
import { LEASE_MARGIN_MILLISECONDS } from '../results/claims.ts'
import type { OutcomeStore } from '../results/store.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Counter, Gauge, Metrics } from '../telemetry/metrics.ts'
import type { CallRunner, RecordResult, RunnerEvents } from './call-runner.ts'
import { DrainRate } from './drain-rate.ts'
import { Fifo } from './fifo.ts'
import type { WorkerLoad } from './flow-publisher.ts'
import { Parking } from './parking.ts'
import { WINDOW_RECORDS, finish } from './partition.ts'
import type { Committed, Entry, Partition } from './partition.ts'
import { redriveMilliseconds, redriveOf } from './redrive.ts'
import { Tenure } from './tenure.ts'

/** How often those that wait for an earlier owner are looked up: it stores outcomes meanwhile. */
const LOOK_INTERVAL_MILLISECONDS = 150
const TICK_MILLISECONDS = 50
/** Records read and not started, per partition, at which reading pauses and goes on. */
const PAUSE_AT_RECORDS = 4 * WINDOW_RECORDS
const RESUME_AT_RECORDS = 2 * WINDOW_RECORDS
/** And their bytes. */
const PAUSE_AT_BYTES = 16 * 1024 * 1024
const RESUME_AT_BYTES = PAUSE_AT_BYTES / 2

/** The numbers are read each time they are needed: they may change. */
export interface DispatcherOptions {
  readonly groupId: string
  readonly observer: boolean
  /** Which records wait for each other. Default: none. */
  readonly ordering?: Ordering
  readonly concurrency: number
  readonly maxAttempts: number
  /** How long after its deadline a call may still be run. Default: not at all. */
  readonly beyondDeadlineMilliseconds?: number
  /** How long the count of a call's starts is kept. */
  readonly startsRetentionMilliseconds: number
  /**
   * How long a record of the next version may wait for its reader, whatever deadline it tells: it holds the watermark
   * meanwhile. Default: `startsRetentionMilliseconds`.
   */
  readonly longestWaitMilliseconds?: number
  /** Whether a call is said to be cancelled. Default: none is. */
  readonly isCancelled?: ((id: CallId) => boolean) | undefined
  readonly store: OutcomeStore
  /** Milliseconds since 1970 on the shared clock. */
  readonly now: () => number
  readonly pause: (at: TopicPartition) => void
  readonly resume: (at: TopicPartition) => void
  readonly onHandlerLost: (reason: string) => void
  readonly logger: Logger
  readonly metrics: Metrics
}

/**
 * Decides which record starts when. Gates, in order: the partition is ours and its committed offset known; our word stands in
 * Redis; the record is inside the window; the handler is healthy; a place is free; a record that may have run before is
 * asked about, in that place, because the asking counts a start; one that came back without an answer runs alone. Where calls of
 * one key have an order, before all of these: no earlier one of its key is unfinished, and no other worker's word stands.
 */
export class Dispatcher implements RunnerEvents {
  readonly #options: DispatcherOptions
  readonly #tenure: Tenure
  /** May have run before: each is asked about when a place is free for it. */
  readonly #doubtful = new Fifo<Entry>()
  /** Asked about, and kept from their start in between. */
  readonly #cleared = new Fifo<Entry>()
  readonly #alone = new Fifo<Entry>()
  readonly #parking = new Parking()
  readonly #results: Readonly<Record<RecordResult | 'newer', Counter>>
  readonly #runningGauge: Gauge
  readonly #drainRate = new DrainRate()
  #runner: CallRunner | undefined
  #running = 0
  #unfinished = 0
  #loneRuns = false
  #healthy = false
  #accepting = true
  #turn = 0
  #byAge = false
  #asking: Entry[] = []
  /** Places kept for records that are asked about. */
  #places = 0
  #begun: Promise<void> = Promise.resolve()
  #tick: NodeJS.Timeout | undefined
  #lastLook = -Infinity
  #idle: (() => void) | undefined
  #pumping = false

  constructor(options: DispatcherOptions) {
    this.#options = options
    const { metrics } = options
    this.#tenure = new Tenure({
      ...options,
      events: { lost: (partition) => this.#onLost(partition), held: () => this.#onHeld() },
    })
    const result = (name: RecordResult | 'newer') => metrics.counter('grpc_kafka_records_total', { result: name })
    this.#results = {
      answered: result('answered'),
      dead_lettered: result('dead_lettered'),
      expired: result('expired'),
      skipped: result('skipped'),
      observed: result('observed'),
      handed_on: result('handed_on'),
      newer: result('newer'),
    }
    this.#runningGauge = metrics.gauge('grpc_kafka_running_calls')
    metrics.gaugeFrom('grpc_kafka_parked_records', {}, () => this.#parking.size)
    metrics.gaugeFrom('grpc_kafka_assigned_partitions', {}, () => this.#tenure.owned.length)
    metrics.gaugeFrom(
      'grpc_kafka_paused_partitions',
      {},
      () => this.#tenure.owned.filter(({ paused }) => paused).length,
    )
    metrics.gaugeFrom('grpc_kafka_held_partitions', {}, () => this.#tenure.owned.filter(({ isHeld }) => isHeld).length)
    metrics.gaugeFrom('grpc_kafka_records_in_line', {}, () =>
      this.#tenure.owned.reduce((sum, { waitingInLine }) => sum + waitingInLine, 0),
    )
    metrics.gaugeFrom('grpc_kafka_oldest_record_seconds', {}, () => {
      const times = this.#tenure.owned.flatMap((partition) => partition.oldestEnqueuedAt ?? [])
      return Math.max(0, (options.now() - Math.min(...times)) / 1000)
    })
    metrics.gaugeFrom('grpc_kafka_drain_rate', {}, () => this.#drainRate.perSecond(options.concurrency))
    metrics.gaugeFrom('grpc_kafka_buffered_records', {}, () =>
      this.#tenure.owned.reduce((sum, { waiting, suspects }) => sum + waiting + suspects.length, 0),
    )
  }

  /** What there is to do and how fast it goes, but for the time. */
  load(): WorkerLoad {
    const places = this.#options.concurrency
    const { owned } = this.#tenure
    // What waits for its own key waits however many places are free: nobody else's call comes later for it.
    const unfinished = owned.reduce(
      (sum, { unread, waiting, waitingInLine, suspects }) => sum + unread + waiting - waitingInLine + suspects.length,
      this.#running + this.#places + this.#doubtful.length + this.#cleared.length + this.#alone.length,
    )
    return {
      unfinished,
      places: this.#healthy ? places : 0,
      partitions: owned.length,
      rate: this.#drainRate.perSecond(places),
      serviceMilliseconds: this.#drainRate.serviceMilliseconds,
    }
  }

  start(runner: CallRunner): void {
    this.#runner = runner
    this.#tick = setInterval(() => this.#onTick(), TICK_MILLISECONDS)
  }

  close(): void {
    clearInterval(this.#tick)
    this.#parking.clear()
  }

  /** Partitions that this worker owns, by `keyOf`. */
  get partitions(): ReadonlyMap<string, Partition> {
    return this.#tenure.partitions
  }

  get running(): number {
    return this.#running
  }

  setHealthy(healthy: boolean): void {
    this.#healthy = healthy
    if (healthy) this.#pump()
  }

  /** The group has shared its partitions out. `keep` says that the group never gave this member up. */
  assign(partitions: readonly TopicPartition[], keep: boolean): void {
    this.#tenure.assign(partitions, keep)
  }

  /** The topic was made anew under the same name: what was read of the old one is forgotten. */
  renew(at: TopicPartition): void {
    this.#tenure.renew(at)
  }

  /** What is committed is known; see `Partition.open`. */
  open(at: TopicPartition, ...known: Parameters<Partition['open']>): void {
    const partition = this.#tenure.partitions.get(keyOf(at))
    if (partition === undefined) return
    partition.open(...known)
    this.#sorted(partition)
  }

  /** @param inKafka what of it Kafka has. */
  committed(at: TopicPartition, committed: Committed, inKafka = committed): void {
    const partition = this.#tenure.partitions.get(keyOf(at))
    if (partition === undefined) return
    partition.committedUpTo(committed, inKafka)
    this.#takeOut(partition)
    this.#pump()
  }

  deliver(at: TopicPartition, records: readonly FetchedRecord[], highWatermark: number): void {
    const partition = this.#tenure.partitions.get(keyOf(at))
    if (partition === undefined || !this.#accepting) return
    partition.deliver(records, highWatermark)
    this.#sorted(partition)
  }

  /** Nothing starts any more; what has not started is handed back. Resolves when nothing runs. */
  async quiesce(signal: AbortSignal): Promise<void> {
    this.#accepting = false
    for (const partition of this.#tenure.owned) partition.handBack()
    this.#parking.clear()
    const handedBack = this.#takeBack([...this.#cleared])
    for (const entries of [this.#doubtful, this.#cleared, this.#alone]) entries.clear()
    const idle = Promise.withResolvers<void>()
    this.#idle = idle.resolve
    if (this.#unfinished === 0) idle.resolve()
    const { promise: late, resolve: giveUp } = Promise.withResolvers<void>()
    signal.addEventListener('abort', () => giveUp())
    await Promise.race([Promise.all([idle.promise, handedBack, this.#begun]), late])
  }

  /** All partitions are given up; a later `assign` begins anew. */
  async reset(): Promise<void> {
    this.#accepting = true
    await this.#tenure.giveUp()
  }

  // The runner's words.

  answered(method: string, milliseconds: number): void {
    this.#drainRate.answered(method, milliseconds)
  }

  handlerFree(): void {
    this.#running -= 1
    this.#loneRuns = false
    this.#runningGauge.set(this.#running)
    this.#pump()
  }

  finished(entry: Entry, result: RecordResult | 'newer'): void {
    finish(entry)
    this.#results[result].inc()
    this.#unfinished -= 1
    if (this.#unfinished === 0) this.#idle?.()
    this.#tenure.endIfNothingRuns(entry.partition)
    if (entry.partition.passTurn(entry)) this.#pump()
  }

  retry(entry: Entry, milliseconds: number): void {
    this.#unfinished -= 1
    entry.attempt += 1
    entry.counted = undefined
    this.#await(entry, milliseconds)
    if (this.#unfinished === 0) this.#idle?.()
    this.#tenure.endIfNothingRuns(entry.partition)
  }

  notReached(entry: Entry, reason: string): void {
    this.#unfinished -= 1
    this.#options.onHandlerLost(reason)
    entry.state = 'Queued'
    // Its partition may have gone while it was on its way: then nobody else takes the start back.
    const stays = !entry.partition.lost && this.#accepting
    if (entry.alone || !stays) void this.#takeBack([entry])
    if (stays) (entry.alone ? this.#alone : this.#cleared).push(entry)
    if (this.#unfinished === 0) this.#idle?.()
    this.#tenure.endIfNothingRuns(entry.partition)
  }

  raised(entry: Entry, deadline: number): void {
    this.#unfinished -= 1
    entry.counted = undefined
    entry.state = 'Asking'
    const { decoded } = entry
    if (decoded.kind === 'Newer') {
      entry.decoded = { ...decoded, prefix: { ...decoded.prefix, deadline } }
      void this.#awaitReader([entry])
    } else if (decoded.kind === 'Call') {
      // The claimant produced it again, or died before it could.
      entry.decoded = { ...decoded, record: { ...decoded.record, deadline, producedAgain: true } }
      if (!entry.partition.lost && this.#accepting) this.#doubt([entry])
      this.#pump()
    }
    if (this.#unfinished === 0) this.#idle?.()
    this.#tenure.endIfNothingRuns(entry.partition)
  }

  // The ways of a record to its start.

  #sorted(partition: Partition): void {
    this.#takeOut(partition)
    if (partition.suspects.length > 0) void this.#clear(partition)
    this.#pressure(partition)
    this.#pump()
  }

  /** What is no call of this version takes its own way, inside the window and whether or not the handler is there. */
  #takeOut(partition: Partition): void {
    if (partition.unusual.length === 0 || !this.#accepting) return
    const now = performance.now()
    const newer: Entry[] = []
    for (let entry = partition.takeUnusual(now); entry !== undefined; entry = partition.takeUnusual(now)) {
      if (this.#divert(entry) === 'AwaitsReader') newer.push(entry)
    }
    if (newer.length > 0) void this.#awaitReader(newer)
    this.#pressure(partition)
  }

  #divert(entry: Entry): 'AwaitsReader' | undefined {
    const { decoded } = entry
    const runner = this.#runner
    if (runner === undefined) return undefined
    const { observer } = this.#options
    if (decoded.kind === 'Newer') {
      this.#results.newer.inc()
      if (!observer && decoded.version <= VERSION + 1) {
        entry.state = 'Asking'
        return 'AwaitsReader'
      }
    }
    entry.state = 'Running'
    this.#unfinished += 1
    if (observer) this.finished(entry, 'skipped')
    else if (decoded.kind === 'Unreadable') runner.bury(entry, 'UNREADABLE_RECORD', `unreadable: ${decoded.reason}`)
    else if (decoded.kind === 'Newer') runner.bury(entry, 'UNREADABLE_RECORD', `written by version ${decoded.version}`)
    return undefined
  }

  /** A reader of the next version may come within the call's time, or have come before; else nobody has run them. */
  async #awaitReader(entries: readonly Entry[]): Promise<void> {
    const {
      store,
      now,
      startsRetentionMilliseconds,
      longestWaitMilliseconds = startsRetentionMilliseconds,
    } = this.#options
    const done = await store.haveOutcomes(entries.map(callIdOf)).catch(() => undefined)
    entries.forEach((entry, index) => {
      if (entry.partition.lost || !this.#accepting) return
      if (done?.[index] === true) {
        this.#skip(entry)
        return
      }
      const remaining = entry.decoded.kind === 'Newer' ? entry.decoded.prefix.deadline - now() : 0
      this.#park(entry, Math.min(remaining, longestWaitMilliseconds), () => {
        this.#expire(entry)
      })
    })
  }

  #park(entry: Entry, milliseconds: number, then: () => void): void {
    // Also where it goes no further: a partition that is lost waits only for what runs.
    entry.state = 'Parked'
    if (entry.partition.lost || !this.#accepting) return
    this.#parking.park(entry, milliseconds, then)
  }

  /** Asks about the suspects of a partition: those with an outcome are done, the others wait until nobody else runs there. */
  async #clear(partition: Partition): Promise<void> {
    const suspects = partition.suspects.splice(0)
    if (suspects.length === 0) return
    let waiting = suspects
    if (!this.#options.observer) {
      const done = await this.#options.store.haveOutcomes(suspects.map(callIdOf)).catch(() => undefined)
      if (done === undefined || partition.lost || !this.#accepting) return
      waiting = []
      suspects.forEach((entry, index) => {
        // What stands may be what a redrive is to replace: it is asked about when it would start.
        if (done[index] === true && redriveOf(entry) === undefined) this.#skip(entry)
        else waiting.push(entry)
      })
    }
    if (partition.others > 0 || performance.now() >= partition.heldUntil) partition.suspects.push(...waiting)
    else {
      this.#doubt(waiting)
      this.#pump()
    }
  }

  #skip(entry: Entry): void {
    entry.state = 'Running'
    this.#unfinished += 1
    this.#runner?.skip(entry)
  }

  #doubt(entries: readonly Entry[]): void {
    for (const entry of entries) {
      const early = this.#earlyMilliseconds(entry)
      if (early > 0) {
        this.#await(entry, early)
        continue
      }
      if (entry.partition.isOrdered) {
        entry.partition.ready(entry)
        continue
      }
      entry.state = 'Queued'
      this.#doubtful.push(entry)
    }
  }

  /** Records that may have run and would start now: asked about together, once for each turn of the event loop. */
  #ask(entry: Entry): void {
    entry.state = 'Asking'
    this.#places += 1
    if (this.#asking.length === 0) {
      setImmediate(() => {
        const entries = this.#asking
        this.#asking = []
        this.#begun = this.#begin(entries, false)
      })
    }
    this.#asking.push(entry)
  }

  /** Nothing runs, and nothing starts until it has run or may not. */
  #askAlone(entry: Entry): void {
    entry.state = 'Asking'
    this.#places += 1
    this.#loneRuns = true
    this.#begun = this.#begin([entry], true)
  }

  async #begin(all: readonly Entry[], alone: boolean): Promise<void> {
    const { store, maxAttempts, startsRetentionMilliseconds, now } = this.#options
    const entries = all.filter(({ partition }) => !partition.lost && this.#accepting)
    // A record of an earlier owner's window may have had its first start there. With one attempt allowed that is not held
    // against it: at least one run comes first (SEMANTICS 13, promise 1).
    const asked = entries.map((entry) => ({
      id: callIdOf(entry),
      redrive: redriveOf(entry),
      own: ownAttempt(entry),
      attempt: entry.mayHaveRun && maxAttempts > 1 && entry.attempt === 1 ? 2 : entry.attempt,
    }))
    const longest = Math.max(0, ...entries.map((entry) => redriveMilliseconds(entry, now())))
    const options = { maxAttempts, alone, keepMilliseconds: startsRetentionMilliseconds + longest }
    const answers = entries.length === 0 ? [] : await store.begin(asked, options).catch(() => undefined)
    this.#places -= all.length
    if (alone) this.#loneRuns = false
    if (answers === undefined) return
    const handedBack: Entry[] = []
    entries.forEach((entry, index) => {
      const begun = answers[index]
      if (begun === undefined) return
      if (begun.kind === 'Counted') entry.counted = begun.token
      if (entry.partition.lost || !this.#accepting) {
        handedBack.push(entry)
        return
      }
      entry.state = 'Queued'
      switch (begun.kind) {
        case 'Done':
          this.#skip(entry)
          return
        case 'HandedOn':
          entry.state = 'Running'
          this.#unfinished += 1
          this.finished(entry, 'skipped')
          return
        case 'UsedUp':
          entry.state = 'Running'
          this.#unfinished += 1
          this.#runner?.bury(entry, 'ATTEMPTS_USED_UP', `started ${begun.starts} times without an answer`)
          return
        case 'OnlyAlone':
          entry.alone = true
          this.#alone.push(entry)
          return
        case 'Counted':
          entry.attempt = begun.start
          if (!alone) this.#cleared.push(entry)
          else if (this.#healthy) {
            this.#loneRuns = true
            this.#run(entry)
          } else {
            handedBack.push(entry)
            this.#alone.push(entry)
          }
      }
    })
    this.#pump()
    await this.#takeBack(handedBack)
  }

  /** Starts that were counted and will not be made here are not held against the record where it goes. */
  #takeBack(entries: readonly Entry[]): Promise<void> {
    return this.#options.store.takeBack(
      entries.flatMap((entry) => {
        const token = entry.counted
        entry.counted = undefined
        return token === undefined ? [] : [{ id: callIdOf(entry), redrive: redriveOf(entry), token }]
      }),
    )
  }

  /** Starts what may start. What ends at once while it does so only frees a place for the next turn of its loop. */
  #pump(): void {
    if (this.#pumping) return
    if (!this.#accepting || !this.#healthy || this.#runner === undefined) {
      this.#drainRate.setFull(false)
      return
    }
    this.#pumping = true
    try {
      this.#startAll()
    } finally {
      this.#pumping = false
      // Places of records that are asked about are not with the handler: while Redis stands still, it is not slow.
      this.#drainRate.setFull(this.#running >= this.#options.concurrency)
    }
  }

  #startAll(): void {
    while (this.#running + this.#places < this.#options.concurrency && !this.#loneRuns) {
      // Read for each: the process may have been stopped in between, for longer than our word stands.
      const now = performance.now()
      if (this.#alone.length > 0) {
        // One that has to run alone waits until what runs is done, and nothing new goes before it.
        if (this.#running + this.#places > 0) return
        const lone = takeFrom(this.#alone, now)
        if (lone !== undefined) {
          this.#askAlone(lone)
          return
        }
      }
      const entry = this.#next(now)
      if (entry === undefined) return
      if (isDoubtful(entry) || this.#isLate(entry) || this.#isCancelled(entry)) this.#ask(entry)
      else this.#run(entry)
    }
  }

  /**
   * Whether somebody may have taken the call's idempotency key over before this record came: its proxy may have stood still while it
   * put it on Kafka.
   */
  #isLate({ counted, decoded }: Entry): boolean {
    return (
      counted === undefined &&
      decoded.kind === 'Call' &&
      isKeyed(decoded.record.id) &&
      !this.#options.observer &&
      this.#options.now() - decoded.record.enqueuedAt >= LEASE_MARGIN_MILLISECONDS
    )
  }

  /** Its outcome stands, unless the word is old; it is asked. */
  #isCancelled(entry: Entry): boolean {
    const { isCancelled } = this.#options
    return entry.counted === undefined && isCancelled !== undefined && isCancelled(callIdOf(entry))
  }

  #run(entry: Entry): void {
    entry.state = 'Running'
    this.#running += 1
    this.#unfinished += 1
    this.#runningGauge.set(this.#running)
    this.#runner?.start(entry)
  }

  /**
   * Every other record is the one that waits longest, so that queues of which each gets its part of the places do not drift
   * apart; the others come from the partitions in turn, so that one with old records holds none of the others up.
   */
  #next(now: number): Entry | undefined {
    const before = takeFrom(this.#cleared, now) ?? takeFrom(this.#doubtful, now)
    if (before !== undefined) return before
    const { owned } = this.#tenure
    this.#byAge = !this.#byAge
    const entry = this.#byAge && owned.length > 1 ? this.#take(longestWaiting(owned, now), now) : undefined
    if (entry !== undefined) return entry
    for (let count = owned.length; count > 0; count--) {
      const next = this.#take(owned[this.#turn++ % owned.length], now)
      if (next !== undefined) return next
    }
    return undefined
  }

  #take(partition: Partition | undefined, now: number): Entry | undefined {
    for (;;) {
      const entry = partition?.takeStartable(now)
      if (entry === undefined || partition === undefined) return undefined
      this.#pressure(partition)
      if (entry.state !== 'Queued') continue
      const early = this.#earlyMilliseconds(entry)
      if (early <= 0) return entry
      this.#await(entry, early)
    }
  }

  /** How long it is until the record may start, by its own word. */
  #earlyMilliseconds({ decoded }: Entry): number {
    const notBefore = decoded.kind === 'Call' ? (decoded.record.notBefore ?? 0) : 0
    return notBefore === 0 ? 0 : notBefore - this.#options.now()
  }

  /** Those behind it go on: its offset waits, inside the window. */
  #await(entry: Entry, milliseconds: number): void {
    this.#park(entry, milliseconds, () => {
      this.#doubt([entry])
      this.#pump()
    })
  }

  /** Reading stops while too much is read and not started. */
  #pressure(partition: Partition): void {
    const { waiting, waitingBytes } = partition
    const full = waiting >= PAUSE_AT_RECORDS || waitingBytes >= PAUSE_AT_BYTES
    const roomy = waiting <= RESUME_AT_RECORDS && waitingBytes <= RESUME_AT_BYTES
    if (!partition.paused && full) {
      partition.paused = true
      this.#options.pause(partition)
    } else if (partition.paused && roomy) {
      partition.paused = false
      this.#options.resume(partition)
    }
  }

  #onLost(partition: Partition): void {
    if (partition.paused) this.#options.resume(partition)
    void this.#takeBack([...this.#cleared].filter((entry) => entry.partition === partition))
    this.#parking.release(partition)
  }

  #onHeld(): void {
    for (const partition of this.#tenure.owned) {
      this.#takeOut(partition)
      if (partition.committed !== undefined) void this.#clear(partition)
    }
    this.#pump()
  }

  #onTick(): void {
    const now = performance.now()
    this.#tenure.tick(now)
    if (now - this.#lastLook >= LOOK_INTERVAL_MILLISECONDS) {
      this.#lastLook = now
      for (const partition of this.#tenure.owned) if (partition.committed !== undefined) void this.#clear(partition)
    }
    for (const partition of this.#tenure.owned) this.#takeOut(partition)
    this.#expireQueued()
    this.#pump()
  }

  /** A call that can no longer be run in time gets its outcome now, also while the handler is away. */
  #expireQueued(): void {
    if (this.#options.observer || !this.#accepting || this.#runner === undefined) return
    const clock = this.#options.now() - (this.#options.beyondDeadlineMilliseconds ?? 0)
    const now = performance.now()
    for (const partition of this.#tenure.owned) {
      for (;;) {
        const entry = partition.queue.peek()
        if (entry === undefined || entry.decoded.kind !== 'Call' || entry.decoded.record.deadline > clock) break
        if (!partition.isInReach(entry, now)) break
        partition.takeFirst()
        if (entry.state === 'Queued') this.#expire(entry)
      }
      for (const entry of partition.takeOverdue(clock, now)) this.#expire(entry)
      this.#pressure(partition)
    }
    for (const entries of [this.#cleared, this.#doubtful, this.#alone]) {
      for (let count = entries.length; count > 0; count--) {
        const entry = entries.shift()
        if (entry === undefined || entry.partition.lost) continue
        if (
          entry.decoded.kind !== 'Call' ||
          entry.decoded.record.deadline > clock ||
          !entry.partition.isInReach(entry, now)
        ) {
          entries.push(entry)
          continue
        }
        this.#expire(entry)
      }
    }
  }

  #expire(entry: Entry): void {
    entry.state = 'Running'
    this.#unfinished += 1
    this.#runner?.expire(entry)
  }
}

function longestWaiting(partitions: readonly Partition[], now: number): Partition | undefined {
  let since = Infinity
  let longest: Partition | undefined
  for (const partition of partitions) {
    const enqueuedAt = partition.waitingSince(now)
    if (enqueuedAt >= since) continue
    since = enqueuedAt
    longest = partition
  }
  return longest
}

/** The first that may start now; those of lost partitions are dropped, the others keep their order. */
function takeFrom(entries: Fifo<Entry>, now: number): Entry | undefined {
  for (let count = entries.length; count > 0; count--) {
    const entry = entries.shift()
    if (entry === undefined || entry.partition.lost) continue
    if (entry.partition.mayStart(entry, now)) return entry
    entries.push(entry)
  }
  return undefined
}

/** Whether a start of the record has to be asked for: another may have been made, here or elsewhere. */
function isDoubtful(entry: Entry): boolean {
  const { counted, mayHaveRun, attempt, decoded } = entry
  if (counted !== undefined) return false
  if (mayHaveRun || attempt > 1) return true
  return decoded.kind === 'Call' && (decoded.record.producedAgain || redriveOf(entry) !== undefined)
}

/** The number that the record itself gives. */
const ownAttempt = ({ decoded }: Entry): number => (decoded.kind === 'Call' ? decoded.record.attempt : 1)

function callIdOf({ decoded }: Entry): Buffer {
  switch (decoded.kind) {
    case 'Call':
      return decoded.record.id
    case 'Newer':
      return decoded.prefix.id
    case 'Unreadable':
      throw new Error('only calls are asked about')
  }
}
