import { hashOf } from '../applied.ts'
import type { Clock } from '../controller/clock.ts'
import type { KafkaAccess } from './kafka-access.ts'
import type { TopicAdmin } from './topic-admin.ts'

/** A Kafka that nobody asked for so long is left. */
const IDLE_MILLISECONDS = 300_000

interface Client {
  close(): Promise<void>
}

interface Shared<Admin> {
  readonly admin: Admin
  /** Monotonic milliseconds. */
  usedAt: number
  users: number
}

/**
 * One client for each Kafka and each who asks there, shared by all services that say the same. Changed credentials are
 * another client; the one before is closed when it is idle.
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

  /** Runs `work` with a client that is not closed meanwhile. */
  async use<T>(access: KafkaAccess, work: (admin: Admin) => Promise<T>): Promise<T> {
    const key = hashOf(access)
    const shared = this.#shared.get(key) ?? { admin: this.#create(access), usedAt: 0, users: 0 }
    this.#shared.set(key, shared)
    shared.users += 1
    try {
      return await work(shared.admin)
    } finally {
      shared.users -= 1
      shared.usedAt = this.#clock.monotonic()
      this.#schedule()
    }
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
