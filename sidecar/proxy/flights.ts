/** What is asked of a call that shares its answer with those like it. */
export interface Passenger {
  readonly ended: boolean
  /** Monotonic milliseconds. */
  readonly patienceEndsAt: number
}

interface Flight<Member> {
  readonly key: string
  leader: Member | undefined
  readonly followers: Set<Member>
}

/**
 * Collapses identical calls into one: the first leads, those that come while it is in flight follow it. Each keeps its own
 * deadline and its own caller.
 */
export class Flights<Member extends Passenger> {
  readonly #lead: (member: Member) => void
  readonly #byKey = new Map<string, Flight<Member>>()
  readonly #byMember = new Map<Member, Flight<Member>>()
  readonly #handingOver = new Set<Flight<Member>>()

  /** @param lead sends a follower that now leads on its way. It may end before this returns. */
  constructor(lead: (member: Member) => void) {
    this.#lead = lead
  }

  /** Calls that lead or follow. */
  get size(): number {
    return this.#byMember.size
  }

  /** @returns whether the call leads: then whoever asked sends it on its way. */
  join(key: string, member: Member): boolean {
    const flight = this.#byKey.get(key)
    if (flight !== undefined) {
      flight.followers.add(member)
      this.#byMember.set(member, flight)
      return false
    }
    const begun = { key, leader: member, followers: new Set<Member>() }
    this.#byKey.set(key, begun)
    this.#byMember.set(member, begun)
    return true
  }

  /**
   * The call has ended.
   * @param answered whether it ended with what holds for every call like it. If it did not, and led, the lead goes to the
   *   follower that can wait longest: the answer that it gets reaches most of the others.
   * @returns the key, where it led to an answer, and those that followed: they get the same.
   */
  leave(
    member: Member,
    answered: boolean,
  ): { readonly key: string; readonly followers: readonly Member[] } | undefined {
    const flight = this.#byMember.get(member)
    if (flight === undefined) return undefined
    this.#byMember.delete(member)
    if (flight.leader !== member) {
      flight.followers.delete(member)
      return undefined
    }
    flight.leader = undefined
    if (!answered) {
      this.#handOver(flight)
      return undefined
    }
    this.#byKey.delete(flight.key)
    const followers = [...flight.followers]
    for (const follower of followers) this.#byMember.delete(follower)
    return { key: flight.key, followers }
  }

  /** In a loop and not by recursion: a new leader may be refused at once, and thousands may follow. */
  #handOver(flight: Flight<Member>): void {
    if (this.#handingOver.has(flight)) return
    this.#handingOver.add(flight)
    const candidates = [...flight.followers].toSorted((a, b) => b.patienceEndsAt - a.patienceEndsAt)
    for (const candidate of candidates) {
      if (!flight.followers.delete(candidate)) continue
      flight.leader = candidate
      this.#lead(candidate)
      if (this.#byMember.get(candidate) === flight) break
    }
    this.#handingOver.delete(flight)
    if (flight.leader === undefined && this.#byKey.get(flight.key) === flight) this.#byKey.delete(flight.key)
  }
}
