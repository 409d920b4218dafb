/** Kafka's word on consumer groups, kept so that no reconcile waits for Kafka: one that is away slows nobody down. */
import type { ObjectKey } from '../controller/object.ts'
import { hashOf } from '../applied.ts'
import type { Clock } from '../controller/clock.ts'
import type { GroupAdmin } from '../kafka/group-admin.ts'
import type { KafkaAccess } from '../kafka/kafka-access.ts'
import { KafkaProblem } from '../kafka/kafka-problem.ts'
import type { AskedGroup, Readings } from './observe.ts'
import type { GroupReading } from './observed.ts'

export interface GroupReadingsParts {
  readonly clock: Pick<Clock, 'monotonic'>
  /** Runs `work` with a client for this Kafka that is not closed meanwhile. */
  readonly use: <T>(access: KafkaAccess, work: (admin: GroupAdmin) => Promise<T>) => Promise<T>
  /** Called when Kafka has answered, or failed to, with something else than before. */
  readonly changed: (key: ObjectKey) => void
  /** Told of what is no problem of Kafka's: a fault of ours. */
  readonly failed: (error: unknown) => void
}

interface Entry {
  /** Of where was asked for what: another question is another entry. */
  readonly question: string
  readonly reading?: GroupReading
  /** Monotonic milliseconds. */
  readonly at: number
  readonly asking: boolean
}

/** A Kafka that did not answer is asked again after so long. */
const FAILED_MILLISECONDS = 9000

export class GroupReadings implements Readings {
  readonly #parts: GroupReadingsParts
  readonly #entries = new Map<ObjectKey, Entry>()

  constructor(parts: GroupReadingsParts) {
    this.#parts = parts
  }

  latest(key: ObjectKey, asked: AskedGroup, maxAgeMilliseconds: number): GroupReading | undefined {
    const question = hashOf(asked)
    const known = this.#entries.get(key)
    const entry = known?.question === question ? known : undefined
    const now = this.#parts.clock.monotonic()
    const maxAge =
      entry?.reading?.known === false ? Math.min(maxAgeMilliseconds, FAILED_MILLISECONDS) : maxAgeMilliseconds
    if (entry === undefined || (!entry.asking && now - entry.at >= maxAge)) {
      this.#entries.set(key, { at: now, question, ...entry, asking: true })
      void this.#ask(key, question, asked)
    }
    return entry?.reading
  }

  forget(key: ObjectKey): void {
    this.#entries.delete(key)
  }

  async #ask(key: ObjectKey, question: string, { access, ...group }: AskedGroup): Promise<void> {
    const { use, clock, changed, failed } = this.#parts
    let reading: GroupReading
    try {
      reading = { known: true, ...(await use(access, (admin) => admin.read(group))) }
    } catch (error) {
      if (!(error instanceof KafkaProblem)) failed(error)
      reading = { known: false, message: error instanceof Error ? error.message : String(error) }
    }
    const entry = this.#entries.get(key)
    // Gone, or asked for something else meanwhile.
    if (entry?.question !== question) return
    this.#entries.set(key, { question, reading, at: clock.monotonic(), asking: false })
    if (hashOf(reading) !== hashOf(entry.reading ?? null)) changed(key)
  }
}
