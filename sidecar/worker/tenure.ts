import type { Ordering } from '../config.ts'
import { keyOf } from '../kafka/topic-partition.ts'
import type { TopicPartition } from '../kafka/topic-partition.ts'
import type { OutcomeStore } from '../results/store.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { Partition } from './partition.ts'

/** SEMANTICS 5: the word that work may run here is renewed each second and lives for three. */
const HOLD_INTERVAL_MILLISECONDS = 1000
const HOLD_MILLISECONDS = 3000
/** Starting stops this long before the word lapses: the renewal may be on its way. */
const HOLD_MARGIN_MILLISECONDS = 500
/** While another's word stands in a partition: how often it is looked whether it still does. */
const OTHERS_INTERVAL_MILLISECONDS = 150

export interface TenureEvents {
  /** The partition went elsewhere, or nowhere: what has not started in it is forgotten already. */
  lost(partition: Partition): void
  /** Our word stands anew, and who else's does is known. */
  held(): void
}

export interface TenureOptions {
  readonly groupId: string
  readonly ordering?: Ordering | undefined
  readonly store: Pick<OutcomeStore, 'hold' | 'release'>
  readonly logger: Logger
  readonly metrics: Metrics
  readonly events: TenureEvents
}

/**
 * Which partitions this worker has, and its word in Redis that work may run in them: from the moment it owns one until it is
 * lost and nothing runs in it any more (docs/adr/0004).
 */
export class Tenure {
  readonly #options: TenureOptions
  readonly #partitions = new Map<string, Partition>()
  /** Lost partitions in which handlers still run here. */
  readonly #ending = new Map<string, Partition>()
  #owned: readonly Partition[] = []
  #lastHold = -Infinity
  #holding = false

  constructor(options: TenureOptions) {
    this.#options = options
  }

  /** The partitions owned now, by `keyOf`. */
  get partitions(): ReadonlyMap<string, Partition> {
    return this.#partitions
  }

  /** The same, in a row. */
  get owned(): readonly Partition[] {
    return this.#owned
  }

  /** The group has shared its partitions out. `keep` says that the group never gave this member up. */
  assign(partitions: readonly TopicPartition[], keep: boolean): void {
    const keys = new Set(partitions.map(keyOf))
    for (const [key, partition] of this.#partitions) {
      if (!keep || !keys.has(key)) this.#lose(partition)
    }
    for (const at of partitions) {
      const kept = this.#partitions.get(keyOf(at))
      if (kept === undefined) this.#take(at)
      else kept.readAgain()
    }
    this.#holdSoon()
    void this.#hold()
  }

  /** What was read of the partition is forgotten, also what runs: it belongs to a topic that is no more. */
  renew(at: TopicPartition): void {
    const partition = this.#partitions.get(keyOf(at))
    if (partition === undefined) return
    this.#lose(partition)
    this.#ending.delete(keyOf(at))
    this.#take(at)
    this.#holdSoon()
  }

  /** All partitions are given up, also those in which something still runs. Resolves when Redis was told. */
  async giveUp(): Promise<void> {
    for (const partition of this.#partitions.values()) this.#lose(partition)
    this.#owned = []
    await this.#options.store.release(this.#options.groupId, [...this.#ending.values()])
  }

  /** The word on a lost partition is taken back as soon as nothing runs there: the new owner waits for it. */
  endIfNothingRuns(partition: Partition): void {
    const key = keyOf(partition)
    if (!partition.lost || this.#ending.get(key) !== partition || partition.running().length > 0) return
    this.#ending.delete(key)
    void this.#options.store.release(this.#options.groupId, [partition])
  }

  /** Renews the word when it is time. @param now monotonic milliseconds. */
  tick(now: number): void {
    const othersStand = this.#owned.some(
      ({ others, suspects, isOrdered }) => others > 0 && (isOrdered || suspects.length > 0),
    )
    const interval = othersStand ? OTHERS_INTERVAL_MILLISECONDS : HOLD_INTERVAL_MILLISECONDS
    if (now - this.#lastHold >= interval) void this.#hold()
  }

  #take(at: TopicPartition): void {
    const key = keyOf(at)
    const before = this.#ending.get(key)
    this.#ending.delete(key)
    this.#partitions.set(key, new Partition(at, before?.running(), this.#options.ordering))
    const labels = { topic: at.topic, partition: String(at.partition) }
    this.#options.metrics.gaugeFrom('grpc_kafka_consumer_lag', labels, () => this.#lag(key))
  }

  #lose(partition: Partition): void {
    partition.lose()
    this.#partitions.delete(keyOf(partition))
    this.#ending.set(keyOf(partition), partition)
    this.#options.events.lost(partition)
    this.endIfNothingRuns(partition)
  }

  #holdSoon(): void {
    this.#owned = [...this.#partitions.values()]
    this.#lastHold = -Infinity
  }

  async #hold(): Promise<void> {
    if (this.#holding) return
    const held = [...this.#partitions.values(), ...this.#ending.values()]
    if (held.length === 0) return
    this.#holding = true
    const sent = performance.now()
    this.#lastHold = sent
    try {
      const others = await this.#options.store.hold(this.#options.groupId, held, HOLD_MILLISECONDS)
      held.forEach((partition, index) => {
        partition.others = others[index] ?? 0
        // Lapsed with others about: this worker may have been away so long that the group gave its partitions to them.
        const lapsed = partition.heldUntil !== 0 && sent > partition.heldUntil && partition.others > 0
        if (!lapsed) partition.heldUntil = sent + HOLD_MILLISECONDS - HOLD_MARGIN_MILLISECONDS
      })
    } catch (error) {
      this.#options.logger.warn({ reason: (error as Error).message }, 'the word on the partitions cannot be renewed')
    } finally {
      this.#holding = false
    }
    // Partitions that came while this was on its way.
    if (this.#owned.some(({ heldUntil }) => heldUntil === 0)) this.#lastHold = -Infinity
    this.#options.events.held()
  }

  /** Undefined where the partition is not owned: its owner tells. */
  #lag(key: string): number | undefined {
    const partition = this.#partitions.get(key)
    const watermark = partition?.watermark()
    return partition === undefined || watermark === undefined
      ? undefined
      : Math.max(0, partition.highWatermark - watermark)
  }
}
