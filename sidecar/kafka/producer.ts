import { createRequire } from 'node:module'
import { setTimeout as pause } from 'node:timers/promises'
import type { Admin, Kafka } from 'kafkajs'
import type { Logger } from '../telemetry/log.ts'
import { createCluster, exchange, isOpen, requestHeaderBytes } from './cluster.ts'
import type { Cluster, ClusterBroker, Connection, PartitionMetadata } from './cluster.ts'
import { partitionOfKey } from './partitioner.ts'
import {
  FIRST_THROTTLING_VERSION,
  LAST_PRODUCE_VERSION,
  PRODUCE,
  decodeProduceReply,
  encodeProduce,
} from './produce-request.ts'
import type { OutgoingRecord, RawOutgoingRecord } from './record.ts'
import { endConnections, isSilence } from './silence.ts'

const RETRY_MILLISECONDS = 250
const ACKNOWLEDGE_TIMEOUT_MILLISECONDS = 10_000
/** Of the two connections that kafkajs keeps to a broker the one that is not for fetches. */
const CONNECTION = 0

/**
 * Why a produce failed.
 * - `TOO_LARGE`: the broker refused the batch for its size; nothing was written.
 * - `REFUSED`: the broker or the client refused it for another reason; nothing was written.
 * - `AMBIGUOUS`: no answer came; the records may have been written.
 */
export type ProduceFailure = 'TOO_LARGE' | 'REFUSED' | 'AMBIGUOUS'

export class ProduceError extends Error {
  readonly code: ProduceFailure
  constructor(code: ProduceFailure, reason: string, options?: ErrorOptions) {
    super(`Kafka did not take the records: ${reason}`, options)
    this.name = 'ProduceError'
    this.code = code
  }
}

/** The leader of a partition, connected. */
interface Leader {
  readonly topic: string
  readonly partition: number
  readonly broker: ClusterBroker
  readonly connection: Connection
}

/**
 * Produces records, never again by itself: whoever produces decides whether a record may stand twice.
 * Every produce goes to a single partition, so its answer holds for all of its records, and brokers, which pay by
 * the batch, see one batch and not one for each partition.
 */
export class RecordProducer {
  readonly #cluster: Cluster
  readonly #admin: Admin
  readonly #logger: Logger
  readonly #localNow: () => number
  /** What is known of leaders is renewed: after a failure, and when it is old. */
  #renewal: Promise<void> | undefined
  /** Partitions that a produce has failed for since leaders were renewed: meanwhile the others are produced to. */
  readonly #failed = new Set<string>()
  /** Node ids of leaders that are being connected again behind the produces to others. */
  readonly #reconnecting = new Set<number>()
  #batches = 0
  #closed = false
  #problem: string | undefined

  /** @param localNow milliseconds since 1970 on this machine: the records' timestamps. */
  constructor(kafka: Kafka, logger: Logger, localNow: () => number = Date.now) {
    this.#cluster = createCluster(kafka)
    this.#admin = kafka.admin({ retry: { retries: 0 } })
    this.#logger = logger
    this.#localNow = localNow
  }

  /** Why it is not connected yet, for people; undefined before the first attempt and once it is. */
  get problem(): string | undefined {
    return this.#problem
  }

  /**
   * Resolves when every partition of the topics has a leader that is known here.
   * @throws the signal's reason.
   */
  async connect(topics: readonly string[], signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        await this.#admin.connect()
        const { topics: found } = await this.#admin.fetchTopicMetadata({ topics: [...topics] })
        const headless = found.flatMap(({ name, partitions }) =>
          partitions.filter(({ leader }) => leader < 0).map(({ partitionId }) => `${name}/${partitionId}`),
        )
        if (headless.length > 0) throw new Error(`no leader for ${headless.join(', ')}`)
        await this.#cluster.connect()
        await this.#cluster.addMultipleTargetTopics(topics)
        // So that the first call does not pay for a connection.
        for (const topic of topics) {
          for (const { leader } of this.#led(topic)) await this.#cluster.findBroker({ nodeId: leader })
        }
        await this.#admin.disconnect()
        this.#problem = undefined
        return
      } catch (error) {
        this.#problem = (error as Error).message.trimEnd()
        this.#logger.warn({ topics, reason: this.#problem }, 'Kafka is not ready; trying again')
        await pause(RETRY_MILLISECONDS, undefined, { signal })
      }
    }
  }

  /** The partition of records with this key. Once connected; partitions that were added are known five minutes later. */
  partitionOf(topic: string, key: Buffer): number {
    return partitionOfKey(key, this.#cluster.findTopicPartitionMetadata(topic).length)
  }

  /**
   * Writes records, all of them to one partition of the topic, acknowledged by all in-sync replicas.
   * @param only the partition, where it may be no other.
   * @throws ProduceError
   */
  async produce(topic: string, records: readonly (OutgoingRecord | RawOutgoingRecord)[], only?: number): Promise<void> {
    const spread = only ?? this.#batches++
    let sent = false
    let leader: Leader | undefined
    try {
      leader = this.#knownLeader(topic, spread, only) ?? (await this.#findLeader(topic, spread, only))
      const { partition, broker, connection } = leader
      const apiVersion = Math.min(LAST_PRODUCE_VERSION, broker.versions?.[PRODUCE]?.maxVersion ?? 0)
      const bytes = encodeProduce(
        { topic, partition },
        records,
        requestHeaderBytes(connection),
        ACKNOWLEDGE_TIMEOUT_MILLISECONDS,
        this.#localNow(),
      )
      const reply = await exchange(connection, { apiKey: PRODUCE, apiName: 'Produce', apiVersion }, bytes, () => {
        sent = true
      })
      const { errorCode, throttleMilliseconds } = decodeProduceReply(reply)
      if (apiVersion >= FIRST_THROTTLING_VERSION) connection.requestQueue.maybeThrottle(throttleMilliseconds)
      if (errorCode !== 0) throw errors.createErrorFromCode(errorCode)
    } catch (error) {
      const failure = classify(error, sent)
      if (failure.code !== 'TOO_LARGE') this.#afterFailure(error as Error, leader)
      throw failure
    }
  }

  async disconnect(): Promise<void> {
    this.#closed = true
    await Promise.allSettled([this.#cluster.disconnect(), this.#admin.disconnect()])
  }

  /** At once, where nothing has to be asked or connected first. What has failed or is not connected is passed over. */
  #knownLeader(topic: string, spread: number, only: number | undefined): Leader | undefined {
    const { brokers, metadata, metadataExpireAt } = this.#cluster.brokerPool
    if (this.#closed || metadata === null) return undefined
    // Behind: the leaders that are known serve meanwhile.
    if (metadataExpireAt !== null && Date.now() > metadataExpireAt) this.#renew()
    const led = this.#led(topic, only)
    for (let index = 0; index < led.length; index++) {
      const { partitionId: partition, leader } = led[(spread + index) % led.length]!
      if (this.#failed.has(`${topic}/${partition}`)) continue
      const broker = brokers[leader]
      const connection = broker?.connectionPool.pool[CONNECTION]
      if (broker?.isConnected() === true && connection !== undefined && isOpen(connection))
        return { topic, partition, broker, connection }
      this.#reconnect(leader)
    }
    return undefined
  }

  /** Waits for leaders that are asked for, and tries each of them: what can be produced somewhere is not refused. */
  async #findLeader(topic: string, spread: number, only: number | undefined): Promise<Leader> {
    if (!this.#closed && this.#cluster.brokerPool.metadataExpireAt === null) this.#renew()
    // Where it fails, what was known before is still worth a try.
    await this.#renewal?.catch(() => undefined)
    this.#failIfClosed()
    await this.#cluster.addMultipleTargetTopics([topic])
    const led = this.#led(topic, only)
    const what = only === undefined ? `no partition of ${topic} has a leader` : `${topic}/${only} has no leader`
    let reason: unknown = new Error(what)
    const tried = new Set<number>()
    for (let index = 0; index < led.length; index++) {
      const { partitionId: partition, leader } = led[(spread + index) % led.length]!
      if (tried.has(leader)) continue
      tried.add(leader)
      try {
        this.#failIfClosed()
        const broker = await this.#cluster.findBroker({ nodeId: leader })
        const connection = await broker.connectionPool.getConnection(CONNECTION)
        return { topic, partition, broker, connection }
      } catch (error) {
        if (tried.size === 1) reason = error
      }
    }
    this.#renew()
    throw reason
  }

  #failIfClosed(): void {
    if (this.#closed) throw new Error('the producer is closed')
  }

  #led(topic: string, only?: number): readonly PartitionMetadata[] {
    return this.#cluster
      .findTopicPartitionMetadata(topic)
      .filter(({ leader, partitionId }) => leader !== -1 && (only === undefined || partitionId === only))
  }

  /** Leaders may have moved; a connection that ended is made anew. */
  #afterFailure(failure: Error, leader: Leader | undefined): void {
    if (this.#closed || leader === undefined) return
    const { topic, partition, broker, connection } = leader
    this.#failed.add(`${topic}/${partition}`)
    if (isSilence(failure)) endConnections(broker.connectionPool)
    if (failure.name === 'KafkaJSConnectionClosedError' || !isOpen(connection)) {
      void broker.disconnect().catch(() => undefined)
      // By its address: another one may have taken its place meanwhile.
      if (Object.values(this.#cluster.brokerPool.brokers).includes(broker))
        this.#cluster.removeBroker(broker.connectionPool)
    }
    this.#renew()
  }

  /** Produces for which no leader is left wait for it. */
  #renew(): void {
    if (this.#renewal !== undefined || this.#closed) return
    const ended = (): void => {
      this.#renewal = undefined
      this.#failed.clear()
    }
    const renewal = this.#renewLeaders()
    renewal.then(ended, ended)
    this.#renewal = renewal
  }

  async #renewLeaders(): Promise<void> {
    try {
      if (!this.#cluster.isConnected()) await this.#cluster.connect()
      await this.#cluster.refreshMetadata()
    } finally {
      await this.#letGo()
    }
  }

  #reconnect(leader: number): void {
    if (this.#reconnecting.has(leader)) return
    this.#reconnecting.add(leader)
    void this.#cluster
      .findBroker({ nodeId: leader })
      .then((broker) => broker.connectionPool.getConnection(CONNECTION))
      .catch(() => pause(RETRY_MILLISECONDS, undefined, { ref: false }))
      .then(() => this.#letGo())
      .finally(() => this.#reconnecting.delete(leader))
  }

  /** Of what was connected while this was closed. */
  async #letGo(): Promise<void> {
    if (this.#closed) await this.#cluster.disconnect().catch(() => undefined)
  }
}

const errors = createRequire(import.meta.url)('kafkajs/src/protocol/error') as {
  createErrorFromCode(code: number): Error
}

/**
 * Answers to a produce request that mean "written nowhere" (kafka.apache.org/protocol, error codes). What is not listed may
 * have been written: REQUEST_TIMED_OUT and NOT_ENOUGH_REPLICAS_AFTER_APPEND surely were, on the leader. So may have been what is
 * answered NOT_LEADER_FOR_PARTITION: a leader that loses its place while it waits for its followers says so, too, and one of
 * these may lead with the records in its log (Kafka's DelayedProduce.tryComplete, case B).
 */
const NOT_WRITTEN: ReadonlySet<string> = new Set([
  'CORRUPT_MESSAGE',
  'UNKNOWN_TOPIC_OR_PARTITION',
  'TOPIC_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
  'NOT_ENOUGH_REPLICAS',
  'INVALID_RECORD',
  'POLICY_VIOLATION',
])

function classify(error: unknown, sent: boolean): ProduceError {
  let cause = error as { type?: string; cause?: unknown; message?: string }
  while (cause.cause != null && cause.type === undefined && cause.cause !== cause) cause = cause.cause
  const reason = cause.type ?? cause.message ?? 'unknown'
  const options = { cause: error }
  if (cause.type === 'MESSAGE_TOO_LARGE' || cause.type === 'RECORD_LIST_TOO_LARGE')
    return new ProduceError('TOO_LARGE', reason, options)
  if (!sent || (cause.type !== undefined && NOT_WRITTEN.has(cause.type)))
    return new ProduceError('REFUSED', reason, options)
  return new ProduceError('AMBIGUOUS', reason, options)
}
