import type { Ordering } from '../config.ts'
import type { FetchedRecord } from '../kafka/consumer.ts'
import { Fifo } from './fifo.ts'
import type { Entry } from './partition.ts'

/** The unfinished records of one key, in the order of their offsets; what finished in its middle leaves when it is first. */
export interface Line {
  readonly key: string
  readonly entries: Fifo<Entry>
}

/**
 * Where records of one partition wait for the earlier ones of their key (SEMANTICS 6): only the first of a line that is not
 * finished may start. A record stands in its line from the time it is known until it is finished, whatever it waits for, so one
 * that is parked, asked about, or still runs for an earlier tenure holds those behind it.
 */
export class KeyLines {
  readonly #keyOf: (record: FetchedRecord) => string | undefined
  readonly #lines = new Map<string, Line>()
  #waiting = 0

  constructor(ordering: Exclude<Ordering, 'None'>) {
    // As text without loss, and cheap.
    this.#keyOf = ordering === 'Partition' ? () => '' : ({ key }) => key?.toString('latin1')
  }

  /** Records that are ready and wait for an earlier one. */
  get waiting(): number {
    return this.#waiting
  }

  /** The record stands behind those of its key that came before. Without a key it stands in no line. */
  join(entry: Entry): void {
    const key = this.#keyOf(entry.raw)
    if (key === undefined) return
    let line = this.#lines.get(key)
    if (line === undefined) {
      line = { key, entries: new Fifo() }
      this.#lines.set(key, line)
    }
    entry.line = line
    line.entries.push(entry)
  }

  /** Whether it is the record's turn; if not, `next` will name it when it is. */
  admits(entry: Entry): boolean {
    if (entry.line === undefined || entry.line.entries.peek() === entry) return true
    entry.inLine = true
    this.#waiting += 1
    return false
  }

  /** The record is dealt with out of its turn, without a start. */
  leave(entry: Entry): void {
    if (!entry.inLine) return
    entry.inLine = false
    this.#waiting -= 1
  }

  /** The record is finished. @returns the one whose turn it is now, if that waits for it. */
  next({ line }: Entry): Entry | undefined {
    if (line === undefined) return undefined
    const { entries } = line
    while (entries.peek()?.state === 'Finished') entries.shift()
    const first = entries.peek()
    if (first === undefined && this.#lines.get(line.key) === line) this.#lines.delete(line.key)
    if (first?.inLine !== true) return undefined
    this.leave(first)
    return first
  }

  /** Nobody waits here any more. */
  clear(): void {
    for (const { entries } of this.#lines.values()) for (const entry of entries) entry.inLine = false
    this.#lines.clear()
    this.#waiting = 0
  }
}
