import type { DeadLetter, DeadLetterMark } from './dead-letter.ts'

/** What is remembered of a letter, so that a long topic is not held in memory. */
interface Known {
  readonly partition: number
  readonly place: string
  /** Letters of one call share it. */
  readonly call: string
  readonly revision: number
  /** Milliseconds since 1970 on the shared clock. */
  readonly enqueuedAt: number
  /** The same: when it died. */
  readonly at: number
}

/** A call from its enqueueing to its outcome, redrives included. With an idempotency key several may share one id. */
interface Life {
  readonly endedAt: number
  /** Revisions that redrives of the lives before it may have had: their starts may still be remembered under those. */
  readonly used: number
  highest: number
  readonly letters: Known[]
}

/** How far two machines' readings of the shared clock may differ: twice SEMANTICS 4's tolerance. */
const CLOCKS_DIFFER_MILLISECONDS = 1000

/**
 * Which dead letters are not done with. A letter is done with when it was marked, when a letter of its call has a higher revision
 * (so it was redriven, and whoever did it was interrupted before the mark), when it is a copy (a worker that was killed
 * before it could store the outcome writes a letter twice), or when its call was made anew with its idempotency key, after the
 * outcome was kept no longer, and died again: then the later letter is the one.
 */
export class OpenLetters {
  readonly #letters: Known[] = []
  readonly #marked = new Set<string>()
  #found: Found | undefined

  add(record: DeadLetter | DeadLetterMark): void {
    this.#found = undefined
    if (record.kind === 'Mark') this.#marked.add(record.of)
    else this.#letters.push(known(record))
  }

  has(place: string): boolean {
    return this.#all().redrives.has(place)
  }

  /** How many there are in a partition of the failure topic. */
  countOf(partition: number): number {
    return this.#all().counts.get(partition) ?? 0
  }

  /** The revision that a redrive of an open letter has, however often it is begun; undefined: the letter is not open. */
  redriveOf(place: string): number | undefined {
    return this.#all().redrives.get(place)
  }

  #all(): Found {
    this.#found ??= this.#find()
    return this.#found
  }

  #find(): Found {
    const lives = new Map<string, Life>()
    for (const letter of this.#letters.toSorted((a, b) => a.at - b.at)) {
      const { call, revision, at } = letter
      const life = lives.get(call)
      if (life === undefined || (revision === 0 && letter.enqueuedAt > life.endedAt + CLOCKS_DIFFER_MILLISECONDS))
        lives.set(call, {
          endedAt: at,
          used: life === undefined ? 0 : usedBy(life),
          highest: revision,
          letters: [letter],
        })
      else {
        life.highest = Math.max(life.highest, revision)
        life.letters.push(letter)
      }
    }
    const found: Found = { redrives: new Map(), counts: new Map() }
    for (const life of lives.values()) {
      const last = life.letters.filter(({ revision }) => revision === life.highest)
      const [letter] = last
      if (letter === undefined || last.some(({ place }) => this.#marked.has(place))) continue
      found.redrives.set(letter.place, usedBy(life))
      found.counts.set(letter.partition, (found.counts.get(letter.partition) ?? 0) + 1)
    }
    return found
  }
}

interface Found {
  /** Places of open letters, and the revisions of their redrives. */
  readonly redrives: Map<string, number>
  /** Of open letters, by partition. */
  readonly counts: Map<number, number>
}

const usedBy = ({ used, highest }: Life): number => Math.max(used, highest) + 1

function known({ place, record: { partition }, decoded, ofObserver, group, at }: DeadLetter): Known {
  if (decoded.kind !== 'Call') return { partition, place, call: place, revision: 0, enqueuedAt: 0, at }
  const id = decoded.record.id.toString('hex')
  const call = ofObserver ? `${id} of ${group}` : id
  const { redriveRevision: revision = 0, enqueuedAt } = decoded.record
  return { partition, place, call, revision, enqueuedAt, at }
}
