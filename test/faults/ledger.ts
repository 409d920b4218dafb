/** A file of lines of JSON that are on disk before what they tell of goes on: what a killed process did is not forgotten. */
import { closeSync, fdatasync, openSync, readFileSync, writeSync } from 'node:fs'
import { promisify } from 'node:util'

const sync = promisify(fdatasync)

/** Several processes may append to one file: each flush is one write at the end. */
export class Ledger {
  readonly #file: number
  readonly #waiting: string[] = []
  #flushing: Promise<void> | undefined

  constructor(path: string) {
    this.#file = openSync(path, 'a')
  }

  /** Resolves when the line is on disk; lines that come meanwhile go together. */
  write(entry: object): Promise<void> {
    this.#waiting.push(`${JSON.stringify(entry)}\n`)
    // A flush that runs took its lines already: ours go with the next one.
    this.#flushing = this.#flushing === undefined ? this.#flush() : this.#flushing.then(() => this.#flush())
    return this.#flushing
  }

  close(): void {
    closeSync(this.#file)
  }

  async #flush(): Promise<void> {
    if (this.#waiting.length === 0) return
    writeSync(this.#file, this.#waiting.splice(0).join(''))
    await sync(this.#file)
  }
}

/** @returns its lines; one that a kill cut off is none. */
export function readLedger<Entry>(path: string): readonly Entry[] {
  return readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Entry)
}
