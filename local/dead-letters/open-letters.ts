import type { DeadLetter, DeadLetterMark } from './dead-letter.ts'

/** What is remembered of a letter, so that a long topic is not held in memory. */
interface Known {
  readonly partition: number
  readonly place: string
  /** Letters of one call share it. */
  readonly call: string
  readonly revision: number
}

/**
 * Which dead letters are not done with. A letter is done with when it was marked, when a letter of its call has a higher revision
 * (so it was redriven, and whoever did it was interrupted before the mark), or when it is a copy: a worker that was killed
 * before it could store the outcome writes a letter twice.
 */
export class OpenLetters {
  readonly #letters: Known[] = []
  readonly #marked = new Set<string>()
  #open: readonly Known[] | undefined

  add(record: DeadLetter | DeadLetterMark): void {
    this.#open = undefined
    if (record.kind === 'Mark') this.#marked.add(record.of)
    else this.#letters.push(known(record))
  }

  /** Their places, in the order in which they were added. */
  get places(): ReadonlySet<string> {
    return new Set(this.#all().map(({ place }) => place))
  }

  /** How many there are in a partition of the failure topic. */
  countOf(partition: number): number {
    return this.#all().filter((letter) => letter.partition === partition).length
  }

  #all(): readonly Known[] {
    this.#open ??= this.#find()
    return this.#open
  }

  #find(): readonly Known[] {
    const highest = new Map<string, number>()
    const closed = new Set<string>()
    const keyOf = ({ call, revision }: Known): string => `${call} ${revision}`
    for (const letter of this.#letters) {
      highest.set(letter.call, Math.max(letter.revision, highest.get(letter.call) ?? 0))
      if (this.#marked.has(letter.place)) closed.add(keyOf(letter))
    }
    return this.#letters.filter((letter) => {
      const isOpen = highest.get(letter.call) === letter.revision && !closed.has(keyOf(letter))
      closed.add(keyOf(letter))
      return isOpen
    })
  }
}

function known({ place, record: { partition }, decoded, ofObserver, group }: DeadLetter): Known {
  if (decoded.kind !== 'Call') return { partition, place, call: place, revision: 0 }
  const id = decoded.record.id.toString('hex')
  const call = ofObserver ? `${id} of ${group}` : id
  return { partition, place, call, revision: decoded.record.redriveRevision ?? 0 }
}
