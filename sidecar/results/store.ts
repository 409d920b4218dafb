import type { Redis } from 'ioredis'
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { CallId } from '../call-id.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Counter, Histogram, Metrics } from '../telemetry/metrics.ts'
import { callKey, observedKey, observedStartsKey, replyChannel, startsKey, workingKey } from './keys.ts'
import { BEGIN, HOLD_PARTITIONS, STORE_OUTCOMES, TAKE_BACK } from './scripts.ts'

/** An outcome up to this size rides along with its notification; a larger one is read by the replica itself. */
const RIDE_ALONG_BYTES = 16_384
const LARGEST_BATCH = 256
/** An outcome above this goes alone: a batch must reach Redis before the limit of a command's time. */
const LARGEST_BATCH_BYTES = 1_048_576
const SHORTEST_PAUSE_MILLISECONDS = 25
const LONGEST_PAUSE_MILLISECONDS = 1000

export interface OutcomeStoreOptions {
  readonly redis: Redis
  /** The worker's instance: names its word on partitions and its askings. */
  readonly instance: string
  /** An Observer's group: its records have no outcomes here and their starts are counted apart. */
  readonly observerGroup?: string
  /** Seconds an outcome is kept. */
  readonly retentionSeconds: number
  readonly logger: Logger
  readonly metrics: Metrics
}

interface PendingOutcome {
  readonly id: CallId
  readonly replyTo: string
  readonly outcome: Buffer
  readonly done: () => void
}

export interface Start {
  readonly id: CallId
  /** The number of this start by what is known here. */
  readonly attempt: number
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
  | { readonly kind: 'HasOutcome' }
  /** It was started elsewhere and nobody came back: it may start alone only. */
  | { readonly kind: 'OnlyAlone' }
  | { readonly kind: 'UsedUp'; readonly starts: number }

export interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

const NOTHING = Buffer.alloc(0)

interface Scripts {
  storeOutcomes(...args: (string | number | Buffer)[]): Promise<number>
  begin(...args: (string | number | Buffer)[]): Promise<number[]>
  takeBack(...args: (string | number)[]): Promise<number>
  holdPartitions(...args: (string | number)[]): Promise<number[]>
}

/**
 * What a worker writes and asks in Redis. Outcomes of one turn of the event loop go out as one script call; it is
 * repeated until Redis took it, for as long as the store is open: the offset waits for it.
 */
export class OutcomeStore {
  readonly #redis: Redis & Scripts
  readonly #instance: string
  readonly #outcomeKey: (id: CallId) => string
  readonly #startsKey: (id: CallId) => string
  readonly #retentionSeconds: number
  readonly #logger: Logger
  readonly #outcomes: Counter
  readonly #batch: Histogram
  readonly #failures: Counter
  readonly #closed = new AbortController()
  readonly #pending: PendingOutcome[] = []
  #flushing = false
  /** An instance that comes back under its name must not ask with the tokens of its earlier life. */
  readonly #life = randomUUID()
  #askings = 0

  constructor({ redis, instance, observerGroup, retentionSeconds, logger, metrics }: OutcomeStoreOptions) {
    redis.defineCommand('storeOutcomes', { lua: STORE_OUTCOMES })
    redis.defineCommand('begin', { lua: BEGIN })
    redis.defineCommand('takeBack', { lua: TAKE_BACK })
    redis.defineCommand('holdPartitions', { lua: HOLD_PARTITIONS })
    this.#redis = redis as Redis & Scripts
    this.#instance = instance
    this.#outcomeKey = observerGroup === undefined ? callKey : (id) => observedKey(id, observerGroup)
    this.#startsKey = observerGroup === undefined ? startsKey : (id) => observedStartsKey(id, observerGroup)
    this.#retentionSeconds = retentionSeconds
    this.#logger = logger
    this.#outcomes = metrics.counter('grpc_kafka_outcomes_total')
    this.#batch = metrics.histogram('grpc_kafka_outcome_batch_records')
    this.#failures = metrics.counter('grpc_kafka_redis_errors_total', { reason: 'command' })
  }

  /**
   * Stores an outcome and wakes the replica that waits, if any. `done` is called once Redis has it (or already had
   * another: the first wins), and never if the store is closed before.
   */
  store(id: CallId, replyTo: string, outcome: Buffer, done: () => void): void {
    this.#pending.push({ id, replyTo, outcome, done })
    this.#schedule()
  }

  /** Tells a replica again about an outcome that stands: its worker may have died before it was told. */
  tellAgain(id: CallId, replyTo: string): void {
    if (replyTo !== '') this.store(id, replyTo, NOTHING, () => undefined)
  }

  /** For each id whether an outcome stands. Repeated until Redis answers. @throws the reason, once closed. */
  async haveOutcomes(ids: readonly CallId[]): Promise<boolean[]> {
    if (ids.length === 0) return []
    return this.#persist('exists', async () => {
      const pipeline = this.#redis.pipeline()
      for (const id of ids) pipeline.exists(this.#outcomeKey(id))
      const replies = await pipeline.exec()
      if (replies === null) throw new Error('the pipeline was discarded')
      return replies.map(([error, count]) => {
        if (error !== null) throw error
        return count === 1
      })
    })
  }

  /**
   * Asks whether records that may have run before may start.
   * @throws the reason, once closed.
   */
  async begin(starts: readonly Start[], { maxAttempts, alone, keepMilliseconds }: BeginOptions): Promise<Begun[]> {
    const token = `${this.#instance}/${this.#life}/${++this.#askings}`
    const keys = starts.flatMap(({ id }) => [this.#outcomeKey(id), this.#startsKey(id)])
    const attempts = starts.map(({ attempt }) => attempt)
    const answers = await this.#persist('begin', () =>
      this.#redis.begin(keys.length, ...keys, keepMilliseconds, token, maxAttempts, alone ? 1 : 0, ...attempts),
    )
    return answers.map((answer) => {
      if (answer > 0) return { kind: 'Counted', start: answer, token }
      if (answer === 0) return { kind: 'HasOutcome' }
      return answer === -1 ? { kind: 'OnlyAlone' } : { kind: 'UsedUp', starts: -answer - 1 }
    })
  }

  /** Takes starts back that were counted and not made. A failure leaves them counted. */
  async takeBack(starts: readonly { readonly id: CallId; readonly token: string }[]): Promise<void> {
    if (starts.length === 0) return
    const keys = starts.map(({ id }) => this.#startsKey(id))
    await this.#redis.takeBack(keys.length, ...keys, ...starts.map(({ token }) => token)).catch(() => undefined)
  }

  /** Says that work may run here in these partitions. Returns for each how many other instances said so. Not repeated. */
  async hold(groupId: string, partitions: readonly TopicPartition[], milliseconds: number): Promise<number[]> {
    if (partitions.length === 0) return []
    const keys = partitions.map(({ topic, partition }) => workingKey(groupId, topic, partition))
    return this.#redis.holdPartitions(keys.length, ...keys, this.#instance, milliseconds)
  }

  /** Takes that word back. A failure is left to its lapse. */
  async release(groupId: string, partitions: readonly TopicPartition[]): Promise<void> {
    if (partitions.length === 0) return
    const pipeline = this.#redis.pipeline()
    for (const { topic, partition } of partitions) pipeline.zrem(workingKey(groupId, topic, partition), this.#instance)
    await pipeline.exec().catch(() => undefined)
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

  /** One batch after the other: while one is on its way the next one grows, which is what keeps Redis cheap under load. */
  async #flush(): Promise<void> {
    try {
      while (this.#pending.length > 0) {
        const batch = this.#pending.splice(0, this.#nextBatchLength())
        await this.#persist('store', () => this.#send(batch))
        this.#outcomes.inc(batch.length)
        this.#batch.observe(batch.length)
        for (const { done } of batch) done()
      }
    } catch (error) {
      if (!this.#closed.signal.aborted) throw error
    } finally {
      this.#flushing = false
    }
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

  #send(batch: readonly PendingOutcome[]): Promise<number> {
    const args: (string | number | Buffer)[] = [batch.length]
    for (const { id } of batch) args.push(callKey(id))
    args.push(this.#retentionSeconds, RIDE_ALONG_BYTES)
    for (const { id, replyTo, outcome } of batch) args.push(id, replyTo === '' ? '' : replyChannel(replyTo), outcome)
    return this.#redis.storeOutcomes(...args)
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
        this.#failures.inc()
        this.#logger.warn({ what, reason: (error as Error).message }, 'Redis did not answer; asking again')
        await pause(milliseconds, undefined, { signal: this.#closed.signal })
      }
    }
  }
}
