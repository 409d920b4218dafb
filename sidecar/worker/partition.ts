import type { Ordering } from '../config.ts'
import type { FetchedRecord } from '../kafka/consumer.ts'
import { decodeRecord } from '../kafka/record.ts'
import type { AttemptFailure, Decoded } from '../kafka/record.ts'
import type { TopicPartition } from '../kafka/topic-partition.ts'
import { fromTheBeginning } from './dead-letter-record.ts'
import { Fifo } from './fifo.ts'
import type { Queue } from './fifo.ts'
import { KeyLines } from './key-lines.ts'
import type { Line } from './key-lines.ts'
import { OffsetQueue } from './offset-queue.ts'

/**
 * How far past the committed offset records are started: what a new owner has to look up (SEMANTICS 5). Large enough that
 * commits ten times a second never hold a partition back at thousands of calls a second.
 */
export const WINDOW_RECORDS = 1024

/**
 * The same from what Kafka has, where Redis has the watermarks: Kafka is told more seldom. What falls back to Kafka's offset looks so
 * much up.
 */
export const FALLBACK_WINDOW_RECORDS = 4 * WINDOW_RECORDS

/**
 * Where a record is on its way through the worker.
 * - `Queued`: may start when its turn comes.
 * - `Asking`: may have run before; Redis is asked first.
 * - `Parked`: waits for its next attempt.
 * - `Running`: the handler, or the way of its outcome into Redis.
 * - `Finished`: nothing is left to be done; the offset may pass it.
 */
export type EntryState = 'Queued' | 'Asking' | 'Parked' | 'Running' | 'Finished'

export interface Entry {
  readonly offset: number
  /** As it was read; empty once it is finished. */
  raw: FetchedRecord
  /** Tells nothing any more once it is finished. */
  decoded: Decoded
  /** The partition as this worker holds it now; changes when it was lost and came back. */
  partition: Partition
  state: EntryState
  /** Number of the present or next start. */
  attempt: number
  /** Earlier attempts, as far as they are known. */
  failures: readonly AttemptFailure[]
  /** A copy may have run, or may run elsewhere. */
  mayHaveRun: boolean
  /** The asking that counted the present or next start. */
  counted: string | undefined
  /** It was started elsewhere and nobody came back: it runs alone, so that one that kills its worker takes no neighbour along. */
  alone: boolean
  /** Those of its key; undefined: it waits for nobody. */
  line: Line | undefined
  /** It is ready, and waits for an earlier one of its key. */
  inLine: boolean
}

export interface Committed {
  readonly offset: number
  /** Records at or beyond `offset + window` were never started by the one who committed this. */
  readonly window: number
}

/**
 * The records of one partition between the committed offset and the last one read: completions come in any order, the
 * watermark moves in order (ack tracking, as uForwarder calls it).
 */
export class Partition implements TopicPartition {
  readonly topic: string
  readonly partition: number
  readonly #entries: Entry[] = []
  /** Entries of an earlier time here whose handlers still run. */
  readonly #carried: Map<number, Entry>
  #head = 0
  #next = -1
  #committed: Committed | undefined
  /** What of it Kafka has: it may be less where Redis has the watermarks. */
  #inKafka: Committed | undefined
  /** First offset that no earlier owner can have started. */
  #windowEnd = 0
  #lost = false
  #waitingBytes = 0
  /** Records that were read before the committed offset was known. */
  #unsorted: Entry[] = []
  /** Undefined: records start in any order. */
  readonly #lines: KeyLines | undefined
  /** Records that may start, in order. */
  readonly queue: Queue<Entry>
  /** Records of an earlier owner's window that Redis has to be asked about. */
  readonly suspects: Entry[] = []
  /** Records that are no call of this version, in order: each kind has its own way. */
  readonly unusual = new Fifo<Entry>()
  /** Until then (monotonic milliseconds) our word that work may run here stands in Redis. */
  heldUntil = 0
  /** Other instances that may have work running here. */
  others = 0
  paused = false
  highWatermark = 0
  #readFrom = 0
  /** Where Redis has the watermarks: the id of the topic whose log this is. */
  topicId: string | undefined

  constructor({ topic, partition }: TopicPartition, carried: readonly Entry[] = [], ordering: Ordering = 'None') {
    this.topic = topic
    this.partition = partition
    this.#lines = ordering === 'None' ? undefined : new KeyLines(ordering)
    // Whose turn it is may stand before those that are in the queue.
    this.queue = ordering === 'None' ? new Fifo() : new OffsetQueue()
    this.#carried = new Map(carried.map((entry) => [entry.offset, entry]))
    for (const entry of carried.toSorted((a, b) => a.offset - b.offset)) {
      entry.partition = this
      entry.line = undefined
      this.#lines?.join(entry)
    }
  }

  /** Whether records of one key start one after the other. */
  get isOrdered(): boolean {
    return this.#lines !== undefined
  }

  get committed(): Committed | undefined {
    return this.#committed
  }

  get inKafka(): Committed | undefined {
    return this.#inKafka
  }

  /** Reading began here, or further on, when the group was last joined; a record below it is of another log. */
  get readFrom(): number {
    return this.#readFrom
  }

  /** The group was joined again: reading begins at what is committed by now, perhaps much later (while it is paused). */
  readAgain(): void {
    this.#readFrom = this.#inKafka?.offset ?? 0
  }

  get lost(): boolean {
    return this.#lost
  }

  /** Entries whose handlers run, here or carried over. */
  running(): Entry[] {
    const running = [...this.#carried.values()].filter(({ state }) => state === 'Running')
    for (let index = this.#head; index < this.#entries.length; index++) {
      const entry = this.#entries[index]
      if (entry?.state === 'Running') running.push(entry)
    }
    return running
  }

  /**
   * What is committed is known: records may start. At the first time, those of the window that the committed offset
   * tells of are suspects.
   * @param takenOver false when nobody can have started a record that is not committed.
   * @param inKafka what of it Kafka has.
   * @param readFrom where reading begins, at the lowest.
   */
  open(committed: Committed, takenOver: boolean, inKafka = committed, readFrom = inKafka.offset): void {
    if (this.#committed === undefined) {
      this.#windowEnd = takenOver ? committed.offset + committed.window : committed.offset
      this.#committed = committed
      this.#inKafka = inKafka
      this.#readFrom = readFrom
      this.#forgetBelow(committed.offset)
      const unsorted = this.#unsorted
      this.#unsorted = []
      this.#waitingBytes = 0
      // And no others: one that ran here before may wait for its next start already.
      for (const entry of unsorted) this.#sort(entry)
    } else {
      if (committed.offset > this.#committed.offset) this.#committed = committed
      if (inKafka.offset > (this.#inKafka?.offset ?? -1)) this.#inKafka = inKafka
    }
  }

  /** @param inKafka what of it Kafka has. */
  committedUpTo(committed: Committed, inKafka = committed): void {
    if (this.#committed === undefined || committed.offset >= this.#committed.offset) this.#committed = committed
    if (this.#inKafka === undefined || inKafka.offset >= this.#inKafka.offset) this.#inKafka = inKafka
  }

  /**
   * How far beyond a watermark records may have been started, here or by an earlier owner whose window was larger.
   * @param own how far they are started here.
   */
  windowFrom(watermark: number, own: number): number {
    return Math.max(own, this.#windowEnd - watermark)
  }

  /**
   * The first offset that must not be started, because nothing tells of its start: neither what is committed, nor what Kafka has, should
   * Redis lose the rest.
   */
  get #reach(): number {
    const committed = this.#committed
    const inKafka = this.#inKafka
    if (committed === undefined || inKafka === undefined) return -1
    return Math.min(
      committed.offset + Math.min(committed.window, WINDOW_RECORDS),
      inKafka.offset + Math.min(inKafka.window, FALLBACK_WINDOW_RECORDS),
    )
  }

  /** Takes records in. Those known already (a rebalance reads again from the committed offset) are passed over. */
  deliver(records: readonly FetchedRecord[], highWatermark: number): void {
    this.highWatermark = highWatermark
    for (const raw of records) {
      if (raw.offset < this.#next || (this.#committed !== undefined && raw.offset < this.#committed.offset)) continue
      this.#next = raw.offset + 1
      const known = this.#carried.get(raw.offset)
      if (known !== undefined) {
        this.#carried.delete(raw.offset)
        this.#entries.push(known)
        continue
      }
      const decoded = fromTheBeginning(decodeRecord(raw), raw)
      const entry: Entry = {
        offset: raw.offset,
        raw,
        decoded,
        partition: this,
        state: 'Queued',
        attempt: decoded.kind === 'Call' ? decoded.record.attempt : 1,
        failures: decoded.kind === 'Call' ? (decoded.record.failures ?? []) : [],
        mayHaveRun: false,
        counted: undefined,
        alone: false,
        line: undefined,
        inLine: false,
      }
      this.#entries.push(entry)
      if (this.#committed !== undefined) this.#sort(entry)
      else {
        this.#unsorted.push(entry)
        this.#waitingBytes += bytesOf(entry)
      }
    }
  }

  #sort(entry: Entry): void {
    if (entry.state !== 'Queued') return
    entry.mayHaveRun = entry.offset < this.#windowEnd
    // What nobody can ever run holds nobody up.
    if (entry.decoded.kind !== 'Unreadable') this.#lines?.join(entry)
    if (entry.decoded.kind !== 'Call') {
      this.unusual.push(entry)
      this.#waitingBytes += bytesOf(entry)
    } else if (entry.mayHaveRun) {
      entry.state = 'Asking'
      this.suspects.push(entry)
    } else this.ready(entry)
  }

  /** The record may start when its turn comes. */
  ready(entry: Entry): void {
    entry.state = 'Queued'
    this.#waitingBytes += bytesOf(entry)
    if (this.#lines === undefined || this.#lines.admits(entry)) this.queue.push(entry)
  }

  /** The record is finished. @returns whether that made it another one's turn. */
  passTurn(entry: Entry): boolean {
    const next = this.#lines?.next(entry)
    if (next === undefined) return false
    this.queue.push(next)
    return true
  }

  /**
   * Records that wait for earlier ones of their key, and whose deadline has passed: they will not start.
   * @param clock milliseconds since 1970 on the shared clock.
   * @param now monotonic milliseconds.
   */
  takeOverdue(clock: number, now: number): Entry[] {
    const overdue: Entry[] = []
    if (this.#lines === undefined || this.#lines.waiting === 0) return overdue
    for (let index = this.#head; index < this.#entries.length; index++) {
      const entry = this.#entries[index] as Entry
      if (!this.isInReach(entry, now)) break
      if (!entry.inLine || entry.decoded.kind !== 'Call' || entry.decoded.record.deadline > clock) continue
      this.#lines.leave(entry)
      this.#waitingBytes -= bytesOf(entry)
      overdue.push(entry)
    }
    return overdue
  }

  /** The next record that may start, taken out of the queue. */
  takeStartable(now: number): Entry | undefined {
    const entry = this.queue.peek()
    if (entry === undefined || !this.mayStart(entry, now)) return undefined
    return this.takeFirst()
  }

  /** When the next record that may start was enqueued, as it says; Infinity: there is none. */
  waitingSince(now: number): number {
    const entry = this.queue.peek()
    return entry?.decoded.kind === 'Call' && this.mayStart(entry, now) ? entry.decoded.record.enqueuedAt : Infinity
  }

  takeFirst(from: Queue<Entry> = this.queue): Entry | undefined {
    const entry = from.shift()
    if (entry !== undefined) this.#waitingBytes -= bytesOf(entry)
    return entry
  }

  /** The next record that is no call of this version and may take its way. */
  takeUnusual(now: number): Entry | undefined {
    const entry = this.unusual.peek()
    if (entry === undefined || !this.isInReach(entry, now)) return undefined
    return this.takeFirst(this.unusual)
  }

  /** Records that were read and wait for their turn; suspects, which end with their window, are not among them. */
  get waiting(): number {
    return this.#unsorted.length + this.queue.length + this.unusual.length + this.waitingInLine
  }

  /** Those of them that wait for an earlier one of their key. */
  get waitingInLine(): number {
    return this.#lines?.waiting ?? 0
  }

  /** Whether records that wait for their next attempt, and those of their keys, leave nothing in the window to be done. */
  get isHeld(): boolean {
    const end = this.#reach
    if (this.#committed === undefined || this.#lost || this.#next <= end) return false
    for (let index = this.#head; index < this.#entries.length; index++) {
      const { offset, state, inLine } = this.#entries[index] as Entry
      if (offset >= end) break
      if (state !== 'Finished' && state !== 'Parked' && !inLine) return false
    }
    return true
  }

  /** Whether all before this entry is finished, and nothing is left in the window that could start before it is finished, too. */
  isHeldBy({ offset }: Entry): boolean {
    const end = this.#reach
    if (this.#committed?.offset !== offset || this.#lost || this.#next <= end) return false
    for (let index = this.#head; index < this.#entries.length; index++) {
      const { offset: other, state, inLine } = this.#entries[index] as Entry
      if (other >= end) break
      if ((state === 'Queued' && !inLine) || state === 'Asking') return false
    }
    return true
  }

  /** Records of the log that were not read yet, as far as its end is known. */
  get unread(): number {
    return this.#next < 0 ? 0 : Math.max(0, this.highWatermark - this.#next)
  }

  /** Bytes of their messages. */
  get waitingBytes(): number {
    return this.#waitingBytes
  }

  mayStart(entry: Entry, now: number): boolean {
    // Another may have an earlier one of its key running, wherever the window of its commits ended.
    return this.isInReach(entry, now) && (this.others === 0 || this.#lines === undefined)
  }

  /** Whether its outcome may be decided here. */
  isInReach(entry: Entry, now: number): boolean {
    // Our next commit tells of our window: nothing that it leaves out may have been started.
    return !this.#lost && now < this.heldUntil && entry.offset < this.#reach
  }

  /** Everything below this offset is finished. Undefined until the committed offset is known. */
  watermark(): number | undefined {
    if (this.#committed === undefined) return undefined
    while (this.#head < this.#entries.length && this.#entries[this.#head]?.state === 'Finished') this.#head += 1
    if (this.#head > 1024 && this.#head * 2 > this.#entries.length) {
      this.#entries.splice(0, this.#head)
      this.#head = 0
    }
    const first = this.#entries[this.#head]
    const watermark = first?.offset ?? Math.max(this.#next, this.#committed.offset)
    return Math.max(watermark, this.#committed.offset)
  }

  /** When the first record that is not finished was enqueued; undefined where there is none, or none that tells. */
  get oldestEnqueuedAt(): number | undefined {
    for (let index = this.#head; index < this.#entries.length; index++) {
      const { state, decoded } = this.#entries[index] as Entry
      if (state !== 'Finished' && decoded.kind === 'Call') return decoded.record.enqueuedAt
    }
    return undefined
  }

  /** Another member owns it now, or nobody: what has not started is handed back. */
  lose(): void {
    this.#lost = true
    this.handBack()
  }

  /** What has not started is forgotten here: whoever owns the partition next reads it again. */
  handBack(): void {
    this.queue.clear()
    this.#lines?.clear()
    this.#unsorted = []
    this.#waitingBytes = 0
    this.suspects.length = 0
    this.unusual.clear()
  }

  #forgetBelow(offset: number): void {
    while (this.#head < this.#entries.length && (this.#entries[this.#head] as Entry).offset < offset) {
      const entry = this.#entries[this.#head] as Entry
      if (entry.state !== 'Running') finish(entry)
      this.#head += 1
    }
  }
}

/** Nothing is left to be done: what it carried is dropped, because the entry itself stays until the watermark has passed it. */
export function finish(entry: Entry): void {
  entry.state = 'Finished'
  entry.raw = { offset: entry.offset, key: null, value: null, headers: {} }
  entry.decoded = FINISHED
}

const FINISHED: Decoded = { kind: 'Unreadable', reason: 'finished' }

const bytesOf = ({ raw }: Entry): number => raw.value?.length ?? 0
