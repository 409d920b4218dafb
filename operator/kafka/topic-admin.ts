/** The one place where the operator talks to Kafka about topics. kafkajs makes the connections; the requests are our own. */
import { createCluster, exchange, requestHeaderBytes } from '../../sidecar/kafka/cluster.ts'
import type { Cluster } from '../../sidecar/kafka/cluster.ts'
import { pause, systemClock } from '../controller/clock.ts'
import type { Clock } from '../controller/clock.ts'
import { withTimeout } from '../controller/linked-abort.ts'
import type { KafkaAccess } from './kafka-access.ts'
import { assertUsable, kafkaClient } from './kafka-client.ts'
import { asProblem, KAFKA_ERRORS, KafkaProblem, problemOf, tooLate } from './kafka-problem.ts'
import { sameValue } from './topic-plan.ts'
import type { ObservedCluster, ObservedTopic, TopicAction } from './topic-plan.ts'
import { alterTopic, createTopic, deleteTopic, growTopic, metadataOf, readReply, settingsOf } from './topic-requests.ts'
import type { Result, TopicMetadata, TopicRequest } from './topic-requests.ts'
import type { DesiredTopic } from './topics.ts'

/** For all that is asked to observe, and the connection for it. A worker of the controller waits so long. */
const OBSERVE_MILLISECONDS = 6000
/** Less than a request may take, so that Kafka itself tells that it took too long. */
const KAFKA_TIMEOUT_MILLISECONDS = 10_000
/** How long a broker may take to hear of a topic that another one has made. */
const APPEARANCE_MILLISECONDS = 10_000
/** And of settings. One that Kafka writes in other words than anybody expects would be waited for in vain. */
const IN_FORCE_MILLISECONDS = 2000
const LOOK_AGAIN_MILLISECONDS = 50
const NEVER = new AbortController().signal
/** What may be asked twice. */
const READS: ReadonlySet<string> = new Set(['Metadata', 'DescribeConfigs'])

/**
 * A topic that was made, as Kafka says it is, where it does. `WasThere`: the topic that was to be made was there, and Kafka
 * did not make it for this request.
 */
export type TopicResult = 'Done' | 'WasThere' | ObservedTopic

/** What the operator asks of one Kafka, as one user. Each method throws KafkaProblem, or the signal's reason. */
export interface TopicAdmin {
  /** The cluster, and those of the named topics that are there. Takes 6 s at most; connecting goes on behind. */
  observe(topics: readonly string[], signal?: AbortSignal): Promise<ObservedCluster>
  /**
   * Does one thing of a plan. A topic that was to be made or to be deleted and is so already is no error.
   */
  execute(action: TopicAction, signal?: AbortSignal): Promise<TopicResult>
  close(): Promise<void>
}

export interface KafkaTopicAdminOptions {
  readonly requestTimeoutMilliseconds?: number
  readonly clock?: Clock
  /** Told of each request, as Kafka names it. */
  readonly asked?: (request: string) => void
}

export class KafkaTopicAdmin implements TopicAdmin {
  readonly #access: KafkaAccess
  readonly #clock: Clock
  readonly #asked: (request: string) => void
  readonly #cluster: Cluster
  /** The same for all who come while it is made. */
  #connected: Promise<void> | undefined
  /** The attempts to connect that have not ended. */
  readonly #attempts = new Set<Promise<void>>()

  constructor(access: KafkaAccess, options: KafkaTopicAdminOptions = {}) {
    const { requestTimeoutMilliseconds, clock = systemClock, asked = () => undefined } = options
    this.#access = access
    this.#clock = clock
    this.#asked = asked
    this.#cluster = createCluster(kafkaClient(access, requestTimeoutMilliseconds))
  }

  async observe(topics: readonly string[], signal?: AbortSignal): Promise<ObservedCluster> {
    const late = (): KafkaProblem =>
      tooLate(this.#cluster.isConnected() ? 'Silent' : 'Unreachable', this.#access.servers)
    return withTimeout(this.#clock, OBSERVE_MILLISECONDS, late, signal, (own) =>
      orAborted(this.#observe(topics, own), own),
    )
  }

  async #observe(topics: readonly string[], signal: AbortSignal): Promise<ObservedCluster> {
    const { clusterId, brokers, topics: found } = await this.#ask(metadataOf(topics), signal)
    const present = found.filter((topic) => isThere(topic))
    const settings = present.length === 0 ? [] : await this.#ask(settingsOf(present.map(({ name }) => name)), signal)
    const observed = present.flatMap((topic): readonly ObservedTopic[] => {
      const setting = settings.find(({ name }) => name === topic.name)
      // Deleted between the two questions.
      if (setting === undefined || setting.errorCode === KAFKA_ERRORS.UNKNOWN_TOPIC_OR_PARTITION) return []
      assertDone(`the settings of topic ${topic.name}`, setting)
      const { name, id, partitions } = topic
      return [
        {
          name,
          id,
          partitions: partitions.length,
          replicationFactor: Math.max(0, ...partitions.map(({ replicas }) => replicas)),
          config: setting.config,
        },
      ]
    })
    return { id: clusterId, brokers, topics: new Map(observed.map((topic) => [topic.name, topic])) }
  }

  async execute(action: TopicAction, signal?: AbortSignal): Promise<TopicResult> {
    switch (action.type) {
      case 'CreateTopic':
        return this.#create(action.topic, signal)
      case 'GrowTopic': {
        const result = await this.#ask(growTopic(action.name, action.to, KAFKA_TIMEOUT_MILLISECONDS), signal)
        assertDone(`partitions of topic ${action.name}`, result)
        await this.#untilThere(action.name, action.to, signal)
        return 'Done'
      }
      case 'AlterTopic': {
        const result = await this.#ask(alterTopic(action.name, action.set, action.unset), signal)
        assertDone(`the settings of topic ${action.name}`, result)
        await this.#untilInForce(action, signal)
        return 'Done'
      }
      case 'DeleteTopic': {
        const result = await this.#ask(deleteTopic(action.topicId, KAFKA_TIMEOUT_MILLISECONDS), signal)
        if (result.errorCode !== KAFKA_ERRORS.UNKNOWN_TOPIC_ID) assertDone(`deleting topic ${action.name}`, result)
        return 'Done'
      }
    }
  }

  /** What an attempt that goes on behind still connects is closed when it has ended. */
  async close(): Promise<void> {
    const attempts = [...this.#attempts]
    await this.#cluster.disconnect().catch(() => undefined)
    if (attempts.length > 0) void Promise.allSettled(attempts).then(() => this.close())
  }

  async #create(topic: DesiredTopic, signal: AbortSignal | undefined): Promise<TopicResult> {
    const result = await this.#ask(createTopic(topic, KAFKA_TIMEOUT_MILLISECONDS), signal)
    const wasThere = result.errorCode === KAFKA_ERRORS.TOPIC_ALREADY_EXISTS
    if (!wasThere) assertDone(`creating topic ${topic.name}`, result)
    // Somebody else's may have fewer partitions.
    await this.#untilThere(topic.name, wasThere ? 1 : topic.partitions, signal)
    if (wasThere) return 'WasThere'
    const { id, partitions, replicationFactor, config } = result
    return config === undefined ? 'Done' : { name: topic.name, id, partitions, replicationFactor, config }
  }

  /** The answer to a change comes before all brokers have heard of it. */
  async #untilThere(name: string, partitions: number, signal: AbortSignal | undefined): Promise<void> {
    const isSo = await this.#look(APPEARANCE_MILLISECONDS, signal, async () => {
      const { topics } = await this.#ask(metadataOf([name]), signal)
      return topics.some((topic) => isThere(topic) && topic.partitions.length >= partitions && hasLeaders(topic))
    })
    if (!isSo) throw new KafkaProblem('KafkaUnavailable', `topic ${name}: it was made and has no leader yet`)
  }

  /** The same for settings: who looks before that takes what was there for drift. */
  async #untilInForce(
    { name, set, unset }: Extract<TopicAction, { type: 'AlterTopic' }>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    await this.#look(IN_FORCE_MILLISECONDS, signal, async () => {
      const [found] = await this.#ask(settingsOf([name]), signal)
      if (found === undefined || found.errorCode !== 0) return true
      const isSet = Object.entries(set).every(([key, value]) => sameValue(found.config[key]?.value, value))
      return isSet && unset.every((key) => found.config[key]?.isSet !== true)
    })
  }

  /** Asks again until it is so, or so long is over; the answer is which of them. */
  async #look(milliseconds: number, signal: AbortSignal | undefined, isSo: () => Promise<boolean>): Promise<boolean> {
    const late = this.#clock.monotonic() + milliseconds
    while (!(await isSo())) {
      if (this.#clock.monotonic() > late) return false
      await pause(this.#clock, LOOK_AGAIN_MILLISECONDS, signal ?? NEVER)
    }
    return true
  }

  /**
   * Asks the controller, and the next one where that is no longer it. One of several brokers that went is no reason to say
   * that none answers: what changes nothing is asked once more, of those that are found then.
   */
  async #ask<Reply>(request: TopicRequest<Reply>, signal: AbortSignal | undefined): Promise<Reply> {
    signal?.throwIfAborted()
    const wasConnected = this.#connected !== undefined && this.#cluster.isConnected()
    try {
      await this.#connect()
      // Nobody waits any more: close may have been called.
      signal?.throwIfAborted()
      const reply = await this.#send(request)
      if (!isOfAnother(reply)) return reply
      await this.#cluster.refreshMetadata()
      return await this.#send(request)
    } catch (error) {
      // An answer that is a refusal came over a connection that works.
      const isLost = !(error instanceof KafkaProblem) || error.errorCode === undefined
      if (isLost) this.#connected = undefined
      signal?.throwIfAborted()
      if (isLost && wasConnected && READS.has(request.apiName)) return this.#ask(request, signal)
      throw asProblem(error, this.#access.servers)
    }
  }

  #connect(): Promise<void> {
    if (this.#connected !== undefined && this.#cluster.isConnected()) return this.#connected
    const attempt = (async () => {
      assertUsable(this.#access.tls)
      await this.#cluster.connect()
      await this.#cluster.refreshMetadata()
    })()
    this.#connected = attempt
    this.#attempts.add(attempt)
    const end = (): boolean => this.#attempts.delete(attempt)
    void attempt.then(end, end)
    return attempt
  }

  async #send<Reply>(request: TopicRequest<Reply>): Promise<Reply> {
    const broker = await this.#cluster.findControllerBroker()
    const { maxVersion = -1 } = broker.versions?.[request.apiKey] ?? {}
    if (maxVersion < request.apiVersion) {
      const message = `this Kafka does not know ${request.apiName} v${request.apiVersion}: Kafka 2.8 or later is needed`
      throw new KafkaProblem('NotSupported', message)
    }
    const connection = await broker.connectionPool.getConnection(0)
    const header = requestHeaderBytes(connection)
    const bytes = Buffer.concat([Buffer.alloc(header), request.body])
    this.#asked(request.apiName)
    return readReply(request, await exchange(connection, request, bytes, () => undefined))
  }
}

/** What the work comes to; or the signal's reason, and the work goes on unheard. */
function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
    work.then(resolve, reject)
  })
}

const isOfAnother = (reply: unknown): boolean =>
  typeof reply === 'object' && reply !== null && 'errorCode' in reply && reply.errorCode === KAFKA_ERRORS.NOT_CONTROLLER

const hasLeaders = ({ partitions }: TopicMetadata): boolean =>
  partitions.every(({ errorCode, leader }) => errorCode === 0 && leader >= 0)

/** @throws KafkaProblem where Kafka does not say. */
function isThere(topic: TopicMetadata): boolean {
  if (topic.errorCode === KAFKA_ERRORS.UNKNOWN_TOPIC_OR_PARTITION) return false
  // Just made: it is there, though nobody leads it yet.
  if (topic.errorCode !== KAFKA_ERRORS.LEADER_NOT_AVAILABLE) assertDone(`topic ${topic.name}`, topic)
  return true
}

function assertDone(what: string, { errorCode, errorMessage }: Result): void {
  if (errorCode !== 0) throw problemOf(what, errorCode, errorMessage)
}
