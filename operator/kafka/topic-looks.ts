/**
 * What Kafka said of the topics of services that have nothing left to do there, so that not every wake of a service asks
 * Kafka. It is asked again for all of them every so often, many topics in one request (as Strimzi's topic operator does);
 * whose topics are no longer as they were is woken, and asks for itself.
 */
import { isDeepStrictEqual } from 'node:util'
import { hashOf } from '../applied.ts'
import type { Clock } from '../controller/clock.ts'
import type { ObjectKey } from '../controller/object.ts'
import type { KafkaAccess } from './kafka-access.ts'
import { KafkaProblem } from './kafka-problem.ts'
import type { TopicAdmins } from './topic-admins.ts'
import type { ObservedCluster } from './topic-plan.ts'

/** Which topics, and where. */
export interface TopicQuestion {
  readonly access: KafkaAccess
  readonly topics: readonly string[]
  /** Of who asks: another resource of the same name has seen nothing yet. */
  readonly uid: string
}

/** What a reconciler needs of it. */
export interface KeptLooks {
  /** What Kafka said when it was asked this for the key last; undefined: it has to be asked. */
  kept(key: ObjectKey, question: TopicQuestion): ObservedCluster | undefined
  keep(key: ObjectKey, question: TopicQuestion, cluster: ObservedCluster): void
  /** Kafka is to be asked at the next wake. */
  forget(key: ObjectKey): void
}

export interface TopicLooksParts {
  readonly clock: Pick<Clock, 'after'>
  readonly kafka: Pick<TopicAdmins, 'use'>
  /** From the end of one look at all to the beginning of the next. */
  readonly everyMilliseconds: number
  /** Called for whose topics are not as they were, or cannot be asked for. */
  readonly changed: (key: ObjectKey) => void
  /** Told of what is no problem of Kafka's: a fault of ours. */
  readonly failed: (error: unknown) => void
}

interface Look {
  readonly question: TopicQuestion
  readonly hash: string
  readonly cluster: ObservedCluster
}

type Kept = readonly [ObjectKey, Look]

/** In one request: some 100 kB of answer. */
const MOST_TOPICS = 100

export class TopicLooks implements KeptLooks {
  readonly #parts: TopicLooksParts
  readonly #looks = new Map<ObjectKey, Look>()
  #isPlanned = false

  constructor(parts: TopicLooksParts) {
    this.#parts = parts
  }

  kept(key: ObjectKey, question: TopicQuestion): ObservedCluster | undefined {
    const look = this.#looks.get(key)
    return look?.hash === hashOf(question) ? look.cluster : undefined
  }

  keep(key: ObjectKey, question: TopicQuestion, cluster: ObservedCluster): void {
    this.#looks.set(key, { question, hash: hashOf(question), cluster })
    this.#plan()
  }

  forget(key: ObjectKey): void {
    this.#looks.delete(key)
  }

  #plan(): void {
    if (this.#isPlanned || this.#looks.size === 0) return
    this.#isPlanned = true
    this.#parts.clock.after(this.#parts.everyMilliseconds, () => {
      void this.#lookAtAll().then(() => {
        this.#isPlanned = false
        this.#plan()
      })
    })
  }

  async #lookAtAll(): Promise<void> {
    const byKafka = Map.groupBy(this.#looks, ([, { question }]) => hashOf(question.access))
    await Promise.all([...byKafka.values()].map((kept) => this.#lookAtOne(kept)))
  }

  /** @param kept all of one Kafka. */
  async #lookAtOne(kept: readonly Kept[]): Promise<void> {
    const left = [...kept]
    for (let some = take(left); some.length > 0; some = take(left)) {
      const isAnswered = await this.#lookAtSome(some)
      if (isAnswered) continue
      for (const one of left) this.#wake(one)
      return
    }
  }

  /** @returns false: nobody answered, and would not for the next ones. */
  async #lookAtSome(some: readonly Kept[]): Promise<boolean> {
    const { kafka, failed } = this.#parts
    const access = some[0]![1].question.access
    const topics = some.flatMap(([, { question }]) => question.topics)
    try {
      const now = await kafka.use(access, (admin) => admin.observe(topics))
      for (const one of some) if (!isAsBefore(one[1], now)) this.#wake(one)
      return true
    } catch (error) {
      if (!(error instanceof KafkaProblem)) failed(error)
      // The trouble may be with one topic: each finds out for itself.
      for (const one of some) this.#wake(one)
      return error instanceof KafkaProblem && error.noAnswer === undefined
    }
  }

  #wake([key, look]: Kept): void {
    // Asked anew meanwhile, or gone.
    if (this.#looks.get(key) !== look) return
    this.#looks.delete(key)
    this.#parts.changed(key)
  }
}

/** Takes the next ones out, as many as one request may ask for. */
function take(left: Kept[]): readonly Kept[] {
  let topics = 0
  const end = left.findIndex(([, { question }]) => (topics += question.topics.length) > MOST_TOPICS)
  return left.splice(0, end === -1 ? left.length : Math.max(1, end))
}

/** How many brokers there are is no matter of topics that are there. */
const isAsBefore = ({ question, cluster }: Look, now: ObservedCluster): boolean =>
  cluster.id === now.id &&
  question.topics.every((name) => isDeepStrictEqual(cluster.topics.get(name), now.topics.get(name)))
