import { KafkaProblem } from '../../../operator/kafka/kafka-problem.ts'
import type { TopicAdmin, TopicResult } from '../../../operator/kafka/topic-admin.ts'
import type { ObservedCluster, ObservedTopic, TopicAction } from '../../../operator/kafka/topic-plan.ts'

/** A Kafka in memory that does what it is asked, or fails as it is told to. */
export class FakeKafka implements TopicAdmin {
  readonly topics = new Map<string, ObservedTopic>()
  readonly done: string[] = []
  brokers = 3
  /** Kafka's own id of itself. */
  cluster = 'cluster'
  /** Thrown at every question. */
  down: KafkaProblem | undefined
  /** Thrown at actions of this type. */
  refuses: Partial<Record<TopicAction['type'], KafkaProblem>> = {}
  /** Ends the operator right behind an action of this type, before it hears of it. */
  crashAfter: TopicAction['type'] | undefined
  /** What somebody else does right before the next action. */
  meanwhile: (() => void) | undefined
  /** The next action is done, and its answer lost. */
  losesAnswer = false
  /** How often somebody looked. */
  asked = 0
  #ids = 0

  /** Somebody makes a topic. */
  make(name: string, partitions: number, replicationFactor: number, config: Readonly<Record<string, string>>): void {
    this.#ids += 1
    this.topics.set(name, {
      name,
      id: `id-${this.#ids}`,
      partitions,
      replicationFactor,
      config: Object.fromEntries(Object.entries(config).map(([key, value]) => [key, { value, isSet: true }])),
    })
  }

  /** Somebody changes a topic. */
  change(name: string, put: Partial<ObservedTopic>): void {
    this.topics.set(name, { ...this.topics.get(name)!, ...put })
  }

  async observe(names: readonly string[]): Promise<ObservedCluster> {
    this.asked += 1
    if (this.down !== undefined) throw this.down
    const present = names.flatMap((name) => this.topics.get(name) ?? [])
    return { id: this.cluster, brokers: this.brokers, topics: new Map(present.map((topic) => [topic.name, topic])) }
  }

  async execute(action: TopicAction): Promise<TopicResult> {
    this.meanwhile?.()
    this.meanwhile = undefined
    const refusal = this.down ?? this.refuses[action.type]
    if (refusal !== undefined) throw refusal
    this.done.push(`${action.type} ${action.type === 'CreateTopic' ? action.topic.name : action.name}`)
    const wasThere = action.type === 'CreateTopic' && this.topics.has(action.topic.name)
    this.#change(action)
    if (this.losesAnswer) {
      this.losesAnswer = false
      throw unavailable
    }
    if (this.crashAfter === action.type) {
      this.crashAfter = undefined
      throw new Error('the operator is gone')
    }
    if (wasThere) return 'WasThere'
    return (action.type === 'CreateTopic' ? this.topics.get(action.topic.name) : undefined) ?? 'Done'
  }

  async close(): Promise<void> {}

  #change(action: TopicAction): void {
    switch (action.type) {
      case 'CreateTopic': {
        const { name, partitions, replicationFactor, config } = action.topic
        if (!this.topics.has(name)) this.make(name, partitions, replicationFactor, config)
        return
      }
      case 'GrowTopic':
        this.change(action.name, { partitions: action.to })
        return
      case 'AlterTopic': {
        const config = { ...this.topics.get(action.name)?.config }
        for (const [key, value] of Object.entries(action.set)) config[key] = { value, isSet: true }
        for (const key of action.unset) delete config[key]
        this.change(action.name, { config })
        return
      }
      case 'DeleteTopic':
        if (this.topics.get(action.name)?.id === action.topicId) this.topics.delete(action.name)
    }
  }
}

export const unavailable = new KafkaProblem('KafkaUnavailable', 'kafka:9092: no broker answers', {
  noAnswer: 'Unreachable',
})
