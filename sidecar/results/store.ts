import { randomUUID } from 'node:crypto'
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'
import type { CallId } from '../call-id.ts'
import type { TopicPartition } from '../kafka/topic-partition.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Counter, Histogram, Metrics } from '../telemetry/metrics.ts'
import { STORE_OUTCOMES, isOutcome, yieldsTo } from './call-state.ts'
import { CommandFailures } from './command-failures.ts'
import { callKey, observedKey, observedStartsKey, replyChannel, startsKey, workingKey } from './keys.ts'
import { STATES, decodeOutcome } from './outcome.ts'
import type { Outcome } from './outcome.ts'
import type { Argument, RedisClient } from './redis.ts'
import { BEGIN, HAND_ON, HOLD_PARTITIONS, OWN_REDRIVE, TAKE_BACK } from './scripts.ts'

/** An outcome up to this size rides along with its notification; a larger one is read by the replica itself. */
const RIDE_ALONG_BYTES = 16_384
const LARGEST_BATCH = 256
/** An outcome above this goes alone: a batch must reach Redis before the limit of a command's time. */
const LARGEST_BATCH_BYTES = 1_048_576
const SHORTEST_PAUSE_MILLISECONDS = 25
const LONGEST_PAUSE_MILLISECONDS = 1000
const WARN_INTERVAL_MILLISECONDS = 1000

export interface OutcomeStoreOptions {
  readonly redis: RedisClient
  /** The worker's instance: names its word on partitions and its askings. */
  readonly instance: string
  /** An Observer's group: its records have no outcomes here and their starts are counted apart. */
  readonly observerGroup?: string
  /** Seconds an outcome that is stored now is kept. */
  readonly retentionSeconds: () => number
  readonly logger: Logger
  readonly metrics: Metrics
}

interface PendingOutcome {
  readonly id: CallId
  readonly replyTo: string
  readonly outcome: Buffer
  readonly done: (raised: number | undefined) => void
  readonly expiredAt: number | undefined
  readonly revision: number
}

/** What a redriven record is. */
export interface Redrive {
  /** From 1. */
  readonly revision: number
  /** Where the record that was redriven stands, also for the attempts that follow: tells copies of it apart. */
  readonly record: string
}

export interface Start {
  readonly id: CallId
  readonly redrive?: Redrive | undefined
  /** The number of this start by what is known here. */
  readonly attempt: number
  /** The attempt that the record itself asks for. */
  readonly own: number
}

export interface BeginOptions {
  /** Starts that are allowed. */
  readonly maxAttempts: number
  /** Whether nothing runs beside. */
  readonly alone: boolean
  /** How long the count is kept. */
  readonly keepMilliseconds: number
}

/** What became of asking for a start. Only `Counted` starts. */
export type Begun =
  | { readonly kind: 'Counted'; readonly start: number; readonly token: string }
  /** The call has an outcome. */
  | { readonly kind: 'Done' }
  /** Another record has the call's next attempt. */
  | { readonly kind: 'HandedOn' }
  /** It was started elsewhere and nobody came back: it may start alone only. */
  | { readonly kind: 'OnlyAlone' }
  | { readonly kind: 'UsedUp'; readonly starts: number }

const NOTHING = Buffer.alloc(0)

/**
 * What a worker writes and asks in Redis. Outcomes of one turn of the event loop go out as one script call; it is
 * repeated until Redis took it, for as long as the store is open: the offset waits for it.
 */
export class OutcomeStore {
  readonly #redis: RedisClient
  readonly #instance: string
  readonly #outcomeKey: (id: CallId) => string
  readonly #startsKey: (id: CallId, revision: number | undefined) => string
  readonly #retentionSeconds: () => number
  readonly #logger: Logger
  readonly #outcomes: Counter
  readonly #batch: Histogram
  readonly #failures: CommandFailures
  readonly #closed = new AbortController()
  readonly #pending: PendingOutcome[] = []
  #flushing = false
  #lastWarned = -Infinity
  /** An instance that comes back under its name must not ask with the tokens of its earlier life. */
  readonly #life = randomUUID()
  #askings = 0
  /** Starts keys of calls that have their outcome. */
  readonly #forgotten: string[] = []
  #forgetting: Promise<void> = Promise.resolve()

  constructor({ redis, instance, observerGroup, retentionSeconds, logger, metrics }: OutcomeStoreOptions) {
    this.#redis = redis
    this.#instance = instance
    this.#outcomeKey = observerGroup === undefined ? callKey : (id) => observedKey(id, observerGroup)
    this.#startsKey =
      observerGroup === undefined ? startsKey : (id, revision) => observedStartsKey(id, observerGroup, revision)
    this.#retentionSeconds = retentionSeconds
    this.#logger = logger
    this.#outcomes = metrics.counter('grpc_kafka_outcomes_total')
    metrics.gaugeFrom('grpc_kafka_outcomes_pending', {}, () => this.#pending.length)
    this.#batch = metrics.histogram('grpc_kafka_outcome_batch_records')
    this.#failures = new CommandFailures(metrics)
  }

  /**
   * Stores an outcome and wakes the replica that waits, if any. `done` is called once Redis has it (or already had
   * another: the first wins), and never if the store is closed before.
   * @param done is told a deadline (milliseconds since 1970 on the shared clock) when the call has not expired: a later claimant
   * of its idempotency key raised its deadline to that.
   * @param expiredAt the deadline that passed, for an outcome that says so.
   * @param revision of the redrive that it comes of: it replaces that of a dead letter of a lower one. 0: it comes of none.
   */
  store(
    id: CallId,
    replyTo: string,
    outcome: Buffer,
    done: (raised: number | undefined) => void,
    expiredAt?: number,
    revision = 0,
  ): void {
    this.#pending.push({ id, replyTo, outcome, done, expiredAt, revision })
    this.#schedule()
  }

  /** Tells a replica again about an outcome that stands: its worker may have died before it was told. */
  tellAgain(id: CallId, replyTo: string): void {
    if (replyTo !== '') this.store(id, replyTo, NOTHING, () => undefined)
  }

  /** For each id whether an outcome stands. Repeated until Redis answers. @throws the reason, once closed. */
  async haveOutcomes(ids: readonly CallId[]): Promise<boolean[]> {
    if (ids.length === 0) return []
    const states = await this.#persist('look', () =>
      this.#redis.each(
        'getrange',
        ids.map((id) => [this.#outcomeKey(id), 1, 1]),
      ),
    )
    return states.map((state) => state !== '' && String(state).charCodeAt(0) < STATES.Claimed)
  }

  /**
   * The outcome that stands; undefined: none does. Repeated until Redis answers.
   * @throws OutcomeFormatError; the reason, once closed.
   */
  async outcomeOf(id: CallId): Promise<Outcome | undefined> {
    const [bytes] = await this.#persist('look', () => this.#redis.getAll([this.#outcomeKey(id)]))
    return bytes == null || !isOutcome(bytes) ? undefined : decodeOutcome(bytes)
  }

  /**
   * For each record whether nothing is left to be done: an outcome stands, or, where it is redriven, one that it does not replace,
   * or another copy of it does the work. Repeated until Redis answers.
   * @throws the reason, once closed.
   */
  async areDone(calls: readonly Pick<Start, 'id' | 'redrive'>[], keepMilliseconds: number): Promise<boolean[]> {
    const redriven = calls.flatMap(({ id, redrive }) => (redrive === undefined ? [] : [{ id, redrive }]))
    const others = calls.filter(({ redrive }) => redrive === undefined)
    const [answers, ofRedriven] = await Promise.all([
      this.haveOutcomes(others.map(({ id }) => id)),
      this.#areRedrivesDone(redriven, keepMilliseconds),
    ])
    const next = { others: answers.values(), redriven: ofRedriven.values() }
    return calls.map(({ redrive }) => (redrive === undefined ? next.others : next.redriven).next().value === true)
  }

  async #areRedrivesDone(
    calls: readonly { readonly id: CallId; readonly redrive: Redrive }[],
    keepMilliseconds: number,
  ): Promise<boolean[]> {
    if (calls.length === 0) return []
    const own = (part: typeof calls) =>
      this.#redis.script(
        OWN_REDRIVE,
        part.map(({ id, redrive }) => this.#startsKey(id, redrive.revision)),
        [keepMilliseconds, ...part.map(({ redrive }) => redrive.record)],
      ) as Promise<number[]>
    const owned = await this.#inParts(calls, (part) => this.#persist('own a redrive', () => own(part)))
    const keys = calls.map(({ id }) => this.#outcomeKey(id))
    const states = await this.#persist('look', () => this.#redis.getAll(keys))
    return calls.map(({ redrive }, index) => owned[index] !== 1 || !yieldsTo(states[index] ?? null, redrive.revision))
  }

  /**
   * Asks whether records that may have run before may start.
   * @throws the reason, once closed.
   */
  async begin(starts: readonly Start[], { maxAttempts, alone, keepMilliseconds }: BeginOptions): Promise<Begun[]> {
    const asking = `${this.#instance}/${this.#life}/${++this.#askings}`
    const asked = starts.map((start, index) => ({ ...start, token: `${asking}/${index}` }))
    const finished = await this.areDone(starts, keepMilliseconds)
    const ask = (part: readonly (typeof asked)[number][]) =>
      this.#redis.script(
        BEGIN,
        part.map(({ id, redrive }) => this.#startsKey(id, redrive?.revision)),
        [
          keepMilliseconds,
          maxAttempts,
          alone ? 1 : 0,
          ...part.flatMap(({ token, attempt, own }) => [token, attempt, own]),
        ],
      ) as Promise<number[]>
    const open = asked.filter((_start, index) => !finished[index])
    const answers = (await this.#inParts(open, (part) => this.#persist('begin', () => ask(part)))).values()
    return finished.map((isDone, index) => {
      const { token } = asked[index]!
      if (isDone) return { kind: 'Done' }
      const answer = answers.next().value!
      if (answer > 0) return { kind: 'Counted', start: answer, token }
      if (answer === 0) return { kind: 'HandedOn' }
      return answer === -1 ? { kind: 'OnlyAlone' } : { kind: 'UsedUp', starts: -answer - 1 }
    })
  }

  /**
   * Says that another record has the call's next attempt: whoever reads the one of this attempt again leaves it alone.
   * Repeated until Redis took it.
   * @throws the reason, once closed.
   */
  async handedOn(id: CallId, attempt: number, keepMilliseconds: number, revision = 0): Promise<void> {
    await this.#persist('hand on', () =>
      this.#redis.script(HAND_ON, [this.#startsKey(id, revision)], [keepMilliseconds, attempt]),
    )
  }

  /**
   * Forgets the starts of a call that has its outcome: they must not be held against a later call with the same idempotency key.
   * Those of redrives are of their revision. Repeated until Redis took it; the calls of one turn of the event loop go together.
   * @throws the reason, once closed.
   */
  forgetStarts(id: CallId): Promise<void> {
    if (this.#forgotten.length === 0) this.#forgetting = nextTurn().then(() => this.#forgetAll())
    this.#forgotten.push(this.#startsKey(id, undefined))
    return this.#forgetting
  }

  async #forgetAll(): Promise<void> {
    const rows = this.#forgotten.splice(0).map((key) => [key, 0] as const)
    // Ends them at once; the commands that an ACL has to allow stay the same.
    await this.#persist('forget starts', () => this.#redis.each('pexpire', rows))
  }

  /** Takes starts back that were counted and not made. A failure leaves them counted. */
  async takeBack(starts: readonly (Pick<Start, 'id' | 'redrive'> & { readonly token: string })[]): Promise<void> {
    const take = (part: typeof starts) =>
      this.#redis.script(
        TAKE_BACK,
        part.map(({ id, redrive }) => this.#startsKey(id, redrive?.revision)),
        part.map(({ token }) => token),
      )
    await Promise.allSettled(this.#redis.parts(starts).map(take))
  }

  /** Says that work may run here in these partitions. Returns for each how many other instances said so. Not repeated. */
  async hold(groupId: string, partitions: readonly TopicPartition[], milliseconds: number): Promise<number[]> {
    const say = (part: readonly TopicPartition[]) =>
      this.#redis.script(
        HOLD_PARTITIONS,
        part.map(({ topic, partition }) => workingKey(groupId, topic, partition)),
        [this.#instance, milliseconds],
      ) as Promise<number[]>
    return this.#inParts(partitions, say)
  }

  /** Takes that word back. A failure is left to its lapse. */
  async release(groupId: string, partitions: readonly TopicPartition[]): Promise<void> {
    if (partitions.length === 0) return
    await this.#redis
      .each(
        'zrem',
        partitions.map(({ topic, partition }) => [workingKey(groupId, topic, partition), this.#instance]),
      )
      .catch(() => undefined)
  }

  /** Gives up what is not stored yet: the caller stores everything first where it can. */
  close(): void {
    this.#closed.abort(new Error('the outcome store is closed'))
  }

  #schedule(): void {
    if (this.#flushing) return
    this.#flushing = true
    setImmediate(() => void this.#flush())
  }

  /**
   * One batch after the other: while one is on its way the next one grows, which is what keeps Redis cheap under load. In a
   * Cluster nothing is gained by that, and an outcome whose master is away must not hold up those of the others.
   */
  async #flush(): Promise<void> {
    try {
      while (this.#pending.length > 0) {
        const parts = this.#redis.parts(this.#pending.splice(0, this.#nextBatchLength()))
        for (const part of parts) {
          const stored = this.#store(part)
          if (this.#redis.sharded) stored.catch(this.#unlessClosed)
          else await stored
        }
      }
    } catch (error) {
      this.#unlessClosed(error)
    } finally {
      this.#flushing = false
    }
  }

  readonly #unlessClosed = (error: unknown): void => {
    if (!this.#closed.signal.aborted) throw error
  }

  async #store(batch: readonly PendingOutcome[]): Promise<void> {
    const raised = await this.#persist('store', () => this.#send(batch))
    this.#outcomes.inc(batch.length - raised.size)
    this.#batch.observe(batch.length)
    batch.forEach(({ done }, index) => done(raised.get(index)))
  }

  #nextBatchLength(): number {
    const most = Math.min(this.#pending.length, LARGEST_BATCH)
    let bytes = 0
    for (let length = 0; length < most; length++) {
      bytes += this.#pending[length]!.outcome.length
      if (bytes > LARGEST_BATCH_BYTES) return Math.max(1, length)
    }
    return most
  }

  /** @returns the deadlines of those that have not expired after all, by their place in the batch. */
  async #send(batch: readonly PendingOutcome[]): Promise<ReadonlyMap<number, number>> {
    const args: Argument[] = [this.#retentionSeconds(), RIDE_ALONG_BYTES]
    for (const { id, replyTo, outcome, expiredAt, revision } of batch)
      args.push(id, replyTo === '' ? '' : replyChannel(replyTo), outcome, expiredAt ?? '', revision)
    const [, ...raised] = (await this.#redis.script(
      STORE_OUTCOMES,
      batch.map(({ id }) => callKey(id)),
      args,
    )) as number[]
    const deadlines = new Map<number, number>()
    for (let at = 0; at < raised.length; at += 2) deadlines.set((raised[at] as number) - 1, raised[at + 1] as number)
    return deadlines
  }

  async #inParts<Item, Reply>(
    items: readonly Item[],
    ask: (part: readonly Item[]) => Promise<readonly Reply[]>,
  ): Promise<Reply[]> {
    return (await Promise.all(this.#redis.parts(items).map(ask))).flat()
  }

  async #persist<T>(what: string, work: () => Promise<T>): Promise<T> {
    for (
      let milliseconds = SHORTEST_PAUSE_MILLISECONDS;
      ;
      milliseconds = Math.min(milliseconds * 2, LONGEST_PAUSE_MILLISECONDS)
    ) {
      this.#closed.signal.throwIfAborted()
      try {
        return await work()
      } catch (error) {
        this.#failures.add(error)
        this.#warn(what, error)
        await pause(milliseconds, undefined, { signal: this.#closed.signal })
      }
    }
  }

  /** At most one line a second: in a Cluster each outcome of a master that is away is asked for on its own. */
  #warn(what: string, error: unknown): void {
    const now = performance.now()
    if (now - this.#lastWarned < WARN_INTERVAL_MILLISECONDS) return
    this.#lastWarned = now
    this.#logger.warn({ what, reason: (error as Error).message }, 'Redis did not take it; asking again')
  }
}
