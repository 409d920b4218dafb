import { hashOf } from '../applied.ts'
import type { Clock } from '../controller/clock.ts'
import type { KafkaAccess } from './kafka-access.ts'
import { KafkaProblem } from './kafka-problem.ts'
import type { TopicAdmin } from './topic-admin.ts'

/** A Kafka that nobody asked for so long is left. */
const IDLE_MILLISECONDS = 300_000

/** A Kafka that did not answer is asked again after so long, by one who asks; all others are told the same at once. */
const AWAY_MILLISECONDS = 5_000

interface Client {
  close(): Promise<void>
}

interface Shared<Admin> {
  readonly admin: Admin
  /** That it did not answer last time. */
  away: KafkaProblem | undefined
  /** Monotonic milliseconds. */
  awaySince: number
  /** Somebody finds out whether it is back. */
  probed: boolean
  /** Monotonic milliseconds. */
  usedAt: number
  users: number
}

/**
 * One client for each Kafka and each who asks there, shared by all services that say the same. Changed credentials are
 * another client; the one before is closed when it is idle. A Kafka that is away takes the time of one who asks it, not of
 * all: those of other Kafkas wait behind them.
 */
export class TopicAdmins<Admin extends Client = TopicAdmin> {
  readonly #clock: Clock
  readonly #create: (access: KafkaAccess) => Admin
  readonly #shared = new Map<string, Shared<Admin>>()
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
    const { away } = shared
    if (away !== undefined) {
      if (shared.probed || this.#clock.monotonic() - shared.awaySince < AWAY_MILLISECONDS) throw away
      shared.probed = true
    }
    shared.users += 1
    try {
      const result = await work(shared.admin)
      shared.away = undefined
      return result
    } catch (error) {
      shared.away = error instanceof KafkaProblem && isAway(error) ? error : undefined
      shared.awaySince = this.#clock.monotonic()
      throw error
    } finally {
      if (away !== undefined) shared.probed = false
      shared.users -= 1
      shared.usedAt = this.#clock.monotonic()
      this.#schedule()
    }
  }

  #sharedFor(access: KafkaAccess): Shared<Admin> {
    const key = hashOf(access)
    const known = this.#shared.get(key)
    if (known !== undefined) return known
    const admin = this.#create(access)
    const made = { admin, away: undefined, awaySince: 0, probed: false, usedAt: 0, users: 0 }
    this.#shared.set(key, made)
    return made
  }

  /** Closes all. */
  async close(): Promise<void> {
    this.#cancel?.()
    this.#cancel = undefined
    const all = [...this.#shared.values()]
    this.#shared.clear()
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
    this.#schedule()
  }
}

/** What a broker answered belongs to who asked: it names a topic of theirs. */
const isAway = ({ noAnswer }: KafkaProblem): boolean => noAnswer === 'Unreachable' || noAnswer === 'Silent'
