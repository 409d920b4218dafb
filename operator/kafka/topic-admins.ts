import { hashOf } from '../applied.ts'
import type { Clock } from '../controller/clock.ts'
import type { KafkaAccess } from './kafka-access.ts'
import { KafkaProblem } from './kafka-problem.ts'
import type { TopicAdmin } from './topic-admin.ts'

/** A Kafka that nobody asked for so long is left. */
const IDLE_MILLISECONDS = 300_000

/** A Kafka that did not answer is asked again after so long, by one who asks; all others are told the same at once. */
const FIRST_PAUSE_MILLISECONDS = 5_000
/** The pause doubles up to this while it stays away. */
const LONGEST_PAUSE_MILLISECONDS = 60_000

interface Client {
  close(): Promise<void>
}

/** That there was no answer last time. */
interface Absence {
  readonly problem: KafkaProblem
  /** Monotonic milliseconds. */
  readonly since: number
  readonly pauseMilliseconds: number
  /** Somebody finds out whether it is back. */
  probed: boolean
}

interface Asked {
  absence: Absence | undefined
}

interface Shared<Admin> extends Asked {
  readonly admin: Admin
  /** The servers, whoever asks there: they may be away for all. */
  readonly place: Asked
  /** Monotonic milliseconds. */
  usedAt: number
  users: number
}

/**
 * One client for each Kafka and each who asks there, shared by all services that say the same. Changed credentials are
 * another client; the one before is closed when it is idle. A Kafka that is away takes the time of one who asks it, not of
 * all: those of other Kafkas wait behind them. Servers that cannot be reached are away for all who name them; ones that take
 * connections and say nothing, or are not trusted, for those only who ask in the same way.
 */
export class TopicAdmins<Admin extends Client = TopicAdmin> {
  readonly #clock: Clock
  readonly #create: (access: KafkaAccess) => Admin
  readonly #shared = new Map<string, Shared<Admin>>()
  readonly #places = new Map<string, Asked>()
  /** Ends the wait for the next look at who is idle; undefined where nobody waits. */
  #cancel: (() => void) | undefined

  constructor(clock: Clock, create: (access: KafkaAccess) => Admin) {
    this.#clock = clock
    this.#create = create
  }

  /**
   * Runs `work` with a client that is not closed meanwhile.
   * @throws what `work` throws; or what it threw a moment before, where that was that Kafka is away.
   */
  async use<T>(access: KafkaAccess, work: (admin: Admin) => Promise<T>): Promise<T> {
    const shared = this.#sharedFor(access)
    const before = { own: shared.absence, place: shared.place.absence }
    const absences = [before.own, before.place].filter((absence) => absence !== undefined)
    const now = this.#clock.monotonic()
    for (const { problem, probed, since, pauseMilliseconds } of absences) {
      if (probed || now - since < pauseMilliseconds) throw problem
    }
    for (const absence of absences) absence.probed = true
    shared.users += 1
    try {
      const result = await work(shared.admin)
      isBack(shared)
      return result
    } catch (error) {
      if (error instanceof KafkaProblem) {
        if (error.noAnswer === undefined) isBack(shared)
        if (error.noAnswer === 'Silent') this.#isAway(shared, before.own, error)
        if (error.noAnswer === 'Unreachable') this.#isAway(shared.place, before.place, error)
      }
      throw error
    } finally {
      for (const absence of absences) absence.probed = false
      shared.users -= 1
      shared.usedAt = this.#clock.monotonic()
      this.#schedule()
    }
  }

  /** @param before what was known when it was asked: of several who asked at once, one counts. */
  #isAway(asked: Asked, before: Absence | undefined, problem: KafkaProblem): void {
    const { absence } = asked
    if (absence !== undefined && absence !== before) return
    const pauseMilliseconds =
      absence === undefined
        ? FIRST_PAUSE_MILLISECONDS
        : Math.min(2 * absence.pauseMilliseconds, LONGEST_PAUSE_MILLISECONDS)
    asked.absence = { problem, since: this.#clock.monotonic(), pauseMilliseconds, probed: false }
  }

  #sharedFor(access: KafkaAccess): Shared<Admin> {
    const key = hashOf(access)
    const known = this.#shared.get(key)
    if (known !== undefined) return known
    const admin = this.#create(access)
    const place = this.#placeOf(access)
    const made = { admin, place, absence: undefined, usedAt: 0, users: 0 }
    this.#shared.set(key, made)
    return made
  }

  #placeOf({ servers }: KafkaAccess): Asked {
    const key = [...new Set(servers)].sort().join(',')
    const place = this.#places.get(key) ?? { absence: undefined }
    this.#places.set(key, place)
    return place
  }

  /** Closes all. */
  async close(): Promise<void> {
    this.#cancel?.()
    this.#cancel = undefined
    const all = [...this.#shared.values()]
    this.#shared.clear()
    this.#places.clear()
    await Promise.all(all.map(({ admin }) => admin.close()))
  }

  get size(): number {
    return this.#shared.size
  }

  #schedule(): void {
    if (this.#shared.size > 0) this.#cancel ??= this.#clock.after(IDLE_MILLISECONDS, () => this.#sweep())
  }

  #sweep(): void {
    this.#cancel = undefined
    const now = this.#clock.monotonic()
    for (const [key, { admin, users, usedAt }] of this.#shared) {
      if (users > 0 || now - usedAt < IDLE_MILLISECONDS) continue
      this.#shared.delete(key)
      void admin.close()
    }
    const named = new Set([...this.#shared.values()].map(({ place }) => place))
    for (const [key, place] of this.#places) if (!named.has(place)) this.#places.delete(key)
    this.#schedule()
  }
}

/** A broker answered. What it answered belongs to who asked: it names a topic of theirs. */
function isBack(shared: Shared<unknown>): void {
  shared.absence = undefined
  shared.place.absence = undefined
}
