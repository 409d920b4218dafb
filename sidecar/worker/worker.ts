import { lookup } from 'node:dns/promises'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { Callbacks } from '../callback/callbacks.ts'
import { post } from '../callback/post.ts'
import type { WorkerConfig } from '../config.ts'
import { createKafka } from '../kafka/client.ts'
import { GroupConsumer, SESSION_MILLISECONDS } from '../kafka/consumer.ts'
import type { CommittedOffset, FetchedRecord, GroupJoin } from '../kafka/consumer.ts'
import { RecordProducer } from '../kafka/producer.ts'
import { TopicIdError } from '../kafka/topic-ids.ts'
import { deadTopic } from '../kafka/topic-names.ts'
import { keyOf } from '../kafka/topic-partition.ts'
import type { TopicPartition } from '../kafka/topic-partition.ts'
import type { LiveConfig } from '../live-config.ts'
import { FlowBoard } from '../results/flow-board.ts'
import { connectRedis } from '../results/redis.ts'
import type { RedisClient } from '../results/redis.ts'
import { SharedClock } from '../results/shared-clock.ts'
import { OutcomeStore } from '../results/store.ts'
import { Watermarks } from '../results/watermarks.ts'
import { retrySteps } from '../retry-pauses.ts'
import type { RunningSidecar } from '../role.ts'
import { FailureLog } from '../telemetry/failure-log.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Counter, Metrics } from '../telemetry/metrics.ts'
import { Cancellations } from './cancellations.ts'
import { CallRunner } from './call-runner.ts'
import { DeadLetters } from './dead-letters.ts'
import { Dispatcher } from './dispatcher.ts'
import { FlowPublisher } from './flow-publisher.ts'
import type { WorkerLoad } from './flow-publisher.ts'
import { HandlerClient } from './handler-client.ts'
import type { HandlerAddress } from './handler-client.ts'
import { HandlerHealth } from './handler-health.ts'
import { FALLBACK_WINDOW_RECORDS, WINDOW_RECORDS } from './partition.ts'
import type { Committed, Partition } from './partition.ts'
import { Repeated } from './repeated.ts'
import { RedisOffsets } from './redis-offsets.ts'
import type { Restored } from './redis-offsets.ts'
import { RetryTopics } from './retry-topics.ts'
import { readWindow, windowMetadata } from './window.ts'

const COMMIT_INTERVAL_MILLISECONDS = 100
/** With `offsets: Redis`: how often Redis is told, and Kafka, to which a group falls back whose Redis lost everything. */
const ADVANCE_INTERVAL_MILLISECONDS = 20
const FALLBACK_INTERVAL_MILLISECONDS = 1000
const RETRY_MILLISECONDS = 100
/** How often it is looked whether retry topics that the policy needs have come. */
const LOOK_FOR_TOPICS_MILLISECONDS = 5000
/** What is kept free at the end of the grace period for storing, committing and leaving (SEMANTICS 8). */
const LEAVING_MILLISECONDS = 5000
/** Of that: kafkajs waits for a broker that does not answer, and the end must not. */
const LAST_COMMIT_MILLISECONDS = 2000
const LEAVE_GROUP_MILLISECONDS = 2000
const RELEASE_MILLISECONDS = 500
const DISCONNECT_MILLISECONDS = 500

export interface WorkerDependencies {
  readonly live: LiveConfig<WorkerConfig>
  readonly logger: Logger
  readonly metrics: Metrics
  /** Milliseconds since 1970 on this machine. */
  readonly localNow: () => number
  /** From 0 to 1. */
  readonly random: () => number
}

/** Starts a worker. Resolves at once: what it needs is connected in the background, and `ready` tells. */
export function startWorker(dependencies: WorkerDependencies): Promise<RunningSidecar> {
  const worker = new Worker(dependencies)
  worker.start()
  return Promise.resolve(worker)
}

type Stage = 'Connecting' | 'Running' | 'Quiescing' | 'Quiesced' | 'Closed'

class Worker implements RunningSidecar {
  readonly #live: LiveConfig<WorkerConfig>
  readonly #logger: Logger
  readonly #clock: SharedClock
  readonly #store: OutcomeStore
  readonly #producer: RecordProducer
  readonly #consumer: GroupConsumer
  readonly #deadLetters: DeadLetters
  readonly #commits = new Repeated(COMMIT_INTERVAL_MILLISECONDS, () => this.#commitToKafka(false))
  /** Undefined where Kafka alone has the watermarks. */
  readonly #redisOffsets: RedisOffsets | undefined
  /** The same. Apart from the commits: a Kafka that is slow or silent does not hold Redis up. */
  readonly #advances: Repeated | undefined
  /** Undefined for an Observer: these topics are the Responder's, and it tries again by itself. */
  readonly #retryTopics: RetryTopics | undefined
  readonly #handler: HandlerClient
  readonly #health: HandlerHealth
  readonly #dispatcher: Dispatcher
  /** Undefined for an Observer: nobody waits for it. */
  readonly #flow: FlowPublisher | undefined
  /** The same. */
  readonly #cancellations: Cancellations | undefined
  /** Undefined where nobody may be told by HTTP, and for an Observer. */
  readonly #callbacks: Callbacks | undefined
  readonly #failures: FailureLog
  readonly #redis: RedisClient
  readonly #closed = new AbortController()
  readonly #rebalances: Counter
  readonly #committedTotal: Counter
  readonly #commitErrors: Counter
  #stage: Stage = 'Connecting'
  #memberId = ''
  #joins = 0
  #lastKafkaCommit = -Infinity
  /** Why partitions could not be opened when it was last tried. */
  #openProblem: string | undefined
  #topicsTimer: NodeJS.Timeout | undefined
  #quiescing: Promise<void> | undefined
  #handlerWentAway = false
  /** Nothing is known of this worker in its group. */
  #leftGroup = true

  constructor({ live, logger, metrics, localNow, random }: WorkerDependencies) {
    const config = live.current
    const { service, worker } = config
    const observer = worker.role === 'Observer'
    this.#live = live
    this.#logger = logger
    const redis = connectRedis({ config: config.redis, name: config.instance, logger, metrics })
    this.#redis = redis
    this.#clock = new SharedClock({ redis, localNow, metrics, logger })
    const now = () => this.#clock.now()
    this.#store = new OutcomeStore({
      redis,
      instance: config.instance,
      ...(observer ? { observerGroup: worker.groupId } : {}),
      retentionSeconds: () => live.current.service.resultRetentionSeconds,
      logger,
      metrics,
    })
    const kafka = createKafka({
      ...config.kafka,
      clientId: `grpc-kafka-${config.instance}`,
      logger,
      metrics,
    })
    this.#producer = new RecordProducer(kafka, logger)
    this.#consumer = new GroupConsumer({
      kafka,
      groupId: worker.groupId,
      topics: async () =>
        worker.topics.length > 0 ? worker.topics : [service.topic, ...((await this.#retryTopics?.look()) ?? [])],
      startFrom: worker.startFrom,
      logger,
      events: {
        joined: (join) => this.#onJoined(join),
        fetched: (at, records, highWatermark) => this.#onFetched(at, records, highWatermark),
      },
    })
    this.#redisOffsets =
      worker.offsets === 'Kafka'
        ? undefined
        : new RedisOffsets({
            consumer: this.#consumer,
            watermarks: new Watermarks({ redis, groupId: worker.groupId, metrics }),
            logger,
            metrics,
          })
    const offsets = this.#redisOffsets
    this.#advances = offsets && new Repeated(ADVANCE_INTERVAL_MILLISECONDS, () => this.#advance(offsets))
    this.#retryTopics = observer
      ? undefined
      : new RetryTopics({ admin: kafka.admin(), producer: this.#producer, topic: service.topic, logger, metrics })
    this.#deadLetters = new DeadLetters({
      producer: this.#producer,
      topic: service.topic,
      groupId: worker.groupId,
      observer,
      now,
      logger,
      metrics,
    })
    this.#handler = new HandlerClient(worker.handler, service.maxMessageBytes)
    this.#health = new HandlerHealth(this.#handler, logger, metrics.gauge('grpc_kafka_handler_healthy'), (healthy) =>
      this.#onHealth(healthy),
    )
    this.#cancellations = observer
      ? undefined
      : new Cancellations({ redis, topic: service.topic, onCancelled: (id) => runner.cancel(id), metrics })
    this.#dispatcher = new Dispatcher({
      groupId: worker.groupId,
      observer,
      ordering: worker.ordering,
      get concurrency() {
        return live.current.worker.concurrency
      },
      get maxAttempts() {
        return live.current.worker.retry.maxAttempts
      },
      get beyondDeadlineMilliseconds() {
        return beyondDeadlineMilliseconds(live.current)
      },
      get startsRetentionMilliseconds() {
        return startsRetentionMilliseconds(live.current)
      },
      get longestWaitMilliseconds() {
        return longestDeadlineMilliseconds(live.current)
      },
      isCancelled: this.#cancellations && ((id) => this.#cancellations?.has(id) === true),
      store: this.#store,
      now,
      pause: (at) => this.#consumer.pause(at),
      resume: (at) => this.#consumer.resume(at),
      onHandlerLost: (reason) => this.#health.suspect(reason),
      logger,
      metrics,
    })
    this.#failures = new FailureLog({ logger, monotonicNow: () => performance.now() })
    this.#callbacks =
      observer || worker.callbacks === undefined
        ? undefined
        : new Callbacks({
            receivers: worker.callbacks.receivers,
            // That there are callbacks is no hot setting.
            giveUpAfterSeconds: () => live.current.worker.callbacks!.giveUpAfterSeconds,
            store: this.#store,
            post: (message, signal) => post(message, (name) => lookup(name, { all: true }), signal),
            readFile: (path) => readFileSync(path, 'utf8'),
            pause: (milliseconds, signal) => pause(milliseconds, undefined, { signal }),
            now,
            random,
            metrics,
          })
    const runner = new CallRunner({
      service: service.name,
      methods: methodNames(config),
      observer,
      get retry() {
        return live.current.worker.retry
      },
      get timeoutMilliseconds() {
        return live.current.worker.timeoutMilliseconds
      },
      handler: this.#handler,
      store: this.#store,
      deadLetters: this.#deadLetters,
      // Those that are there are read to their end; with an order a call waits in its place.
      retryTopics: worker.ordering === 'None' ? this.#retryTopics : undefined,
      callbacks: this.#callbacks,
      get beyondDeadlineMilliseconds() {
        return beyondDeadlineMilliseconds(live.current)
      },
      get startsRetentionMilliseconds() {
        return startsRetentionMilliseconds(live.current)
      },
      instance: config.instance,
      now,
      random,
      failures: this.#failures,
      metrics,
      events: this.#dispatcher,
    })
    this.#dispatcher.start(runner)
    this.#flow = observer
      ? undefined
      : new FlowPublisher({
          board: new FlowBoard({ redis, topic: service.topic, logger, metrics }),
          instance: config.instance,
          load: () => this.#load(),
          now,
        })
    live.subscribe((now, before) => {
      runner.serve(methodNames(now))
      if (!isDeepStrictEqual(now.worker.handler, before.worker.handler)) this.#moveHandler(now.worker.handler)
    })
    this.#rebalances = metrics.counter('grpc_kafka_rebalances_total')
    this.#committedTotal = metrics.counter('grpc_kafka_commits_total')
    this.#commitErrors = metrics.counter('grpc_kafka_commit_errors_total')
  }

  start(): void {
    this.#connect().catch((error: unknown) => {
      if (!this.#closed.signal.aborted) this.#logger.error({ err: error }, 'the worker cannot start')
    })
  }

  ready(): { readonly ready: boolean; readonly reason: string } {
    if (this.#stage !== 'Running') {
      const reason = `the worker is ${this.#stage.toLowerCase()}`
      if (this.#stage !== 'Connecting') return { ready: false, reason }
      return {
        ready: false,
        reason: withProblem(withProblem(reason, 'Kafka', this.#producer.problem), 'Redis', this.#redis.problem),
      }
    }
    if (this.#joins === 0) {
      return {
        ready: false,
        reason: withProblem('the worker has not joined its group yet', 'Kafka', this.#consumer.problem),
      }
    }
    if (!this.#health.healthy) return { ready: false, reason: 'the handler is not healthy' }
    // Else the first call would wait for it: a group without offsets writes its first ones before it starts anything.
    if ([...this.#dispatcher.partitions.values()].some(({ committed }) => committed === undefined)) {
      return {
        ready: false,
        reason: withProblem('the committed offsets are not known yet', 'offsets', this.#openProblem),
      }
    }
    return { ready: true, reason: 'ok' }
  }

  quiesce(): Promise<void> {
    this.#quiescing ??= this.#quiesce()
    return this.#quiescing
  }

  async drain(): Promise<void> {
    await this.quiesce()
    this.#stage = 'Closed'
    this.#closed.abort(new Error('the worker is closed'))
    this.#deadLetters.close()
    this.#callbacks?.close()
    void this.#retryTopics?.close()
    this.#store.close()
    this.#clock.close()
    this.#health.close()
    this.#cancellations?.close()
    this.#dispatcher.close()
    this.#handler.close()
    this.#failures.flush()
    await isDoneWithin(DISCONNECT_MILLISECONDS, this.#producer.disconnect())
    this.#redis.disconnect()
    const marker = this.#live.current.worker.uncleanEndMarker
    if (marker !== undefined && this.#leftGroup) rmSync(marker, { force: true })
  }

  async #connect(): Promise<void> {
    const { signal } = this.#closed
    const { service, worker } = this.#live.current
    const unclean = worker.uncleanEndMarker !== undefined && existsSync(worker.uncleanEndMarker)
    if (worker.uncleanEndMarker !== undefined) writeFileSync(worker.uncleanEndMarker, `${process.pid}\n`)
    this.#health.start()
    const connected = Promise.all([
      this.#redis.whenReady(signal).then(() => this.#clock.start()),
      this.#producer.connect([service.topic, deadTopic(service.topic)], signal),
    ])
    if (unclean) {
      this.#logger.info(
        { milliseconds: SESSION_MILLISECONDS },
        'the last end was unclean: waiting one session before joining',
      )
      // A drain meanwhile ends both; one of them is looked at.
      connected.catch(() => undefined)
      await pause(SESSION_MILLISECONDS, undefined, { signal })
    }
    await connected
    await this.#join()
  }

  async #join(): Promise<void> {
    // A drain may have begun while this was connecting.
    if (this.#stage !== 'Connecting') return
    this.#stage = 'Running'
    this.#commits.start()
    this.#advances?.start()
    this.#flow?.start()
    this.#cancellations?.start()
    await this.#consumer.join()
    this.#lookForTopics()
  }

  /** Topics that come later are read from then on. */
  #lookForTopics(): void {
    const topics = this.#retryTopics
    if (topics === undefined || this.#live.current.worker.ordering !== 'None') return
    const look = async (): Promise<void> => {
      const before = topics.names
      if (before.length >= retrySteps(this.#live.current.worker.retry)) return
      if (isDeepStrictEqual(await topics.look(), before)) return
      this.#logger.info({ topics: topics.names }, 'there are other retry topics: joining again')
      await this.#consumer.rejoin()
    }
    const next = (): void => {
      clearTimeout(this.#topicsTimer)
      this.#topicsTimer = setTimeout(() => {
        look()
          .catch((error: unknown) => this.#logger.debug({ reason: (error as Error).message }, 'Kafka tells no topics'))
          .finally(() => {
            if (this.#stage === 'Running') next()
          })
      }, LOOK_FOR_TOPICS_MILLISECONDS)
    }
    next()
  }

  #moveHandler(handler: HandlerAddress): void {
    this.#logger.info({ handler }, 'the handler moved')
    this.#handler.moveTo(handler)
    this.#health.checkNow()
  }

  #onHealth(healthy: boolean): void {
    this.#dispatcher.setHealthy(healthy)
    if (!healthy) this.#handlerWentAway = true
    else this.#resume()
  }

  /** Only the handler was restarted: no SIGTERM follows a quiesce, and the work goes on. */
  #resume(): void {
    if (this.#stage !== 'Quiesced' || !this.#handlerWentAway || !this.#health.healthy) return
    this.#quiescing = undefined
    this.#stage = 'Connecting'
    this.#join().catch((error: unknown) => this.#logger.error({ err: error }, 'the worker cannot join again'))
  }

  async #quiesce(): Promise<void> {
    const wasRunning = this.#stage === 'Running'
    this.#stage = 'Quiescing'
    // A handler that hangs is away before its container is ended, which is when this is asked for.
    this.#handlerWentAway = !this.#health.healthy
    this.#logger.info('handing back what has not started, waiting for what runs')
    if (wasRunning) {
      this.#flow?.stop()
      clearTimeout(this.#topicsTimer)
      const milliseconds = this.#live.current.worker.graceSeconds * 1000 - LEAVING_MILLISECONDS
      const limit = new AbortController()
      const timer = setTimeout(() => limit.abort(), milliseconds)
      await this.#dispatcher.quiesce(limit.signal)
      clearTimeout(timer)
      await isDoneWithin(LAST_COMMIT_MILLISECONDS, this.#lastCommit())
      this.#leftGroup = await isDoneWithin(LEAVE_GROUP_MILLISECONDS, this.#consumer.leave())
      await isDoneWithin(RELEASE_MILLISECONDS, this.#dispatcher.reset())
      this.#joins = 0
      this.#memberId = ''
    }
    this.#stage = 'Quiesced'
    if (this.#leftGroup) this.#logger.info('left the group')
    else this.#logger.warn('Kafka did not answer: the group gives this member up when its session ends')
    // It may have come back before this was done.
    setImmediate(() => this.#resume())
  }

  async #lastCommit(): Promise<void> {
    const offsets = this.#redisOffsets
    // Each by itself: one that does not answer must not hold the other up.
    await Promise.all([
      this.#commits.stop().then(() => this.#commitToKafka(true)),
      offsets && this.#advances?.stop().then(() => this.#advance(offsets)),
    ])
  }

  #onJoined({ memberId, partitions }: GroupJoin): void {
    this.#rebalances.inc()
    const keep = memberId === this.#memberId
    this.#memberId = memberId
    const join = ++this.#joins
    this.#logger.info({ memberId, partitions: byTopic(partitions), join }, 'joined the group')
    this.#dispatcher.assign(partitions, keep)
    void this.#open(join, partitions)
  }

  #onFetched(at: TopicPartition, records: readonly FetchedRecord[], highWatermark: number): void {
    const partition = this.#dispatcher.partitions.get(keyOf(at))
    const committed = partition?.committed
    const first = records[0]
    // After a join records are read again from what was committed then; below that only where the log itself began anew.
    const anew =
      partition !== undefined &&
      committed !== undefined &&
      first !== undefined &&
      (first.offset < partition.readFrom || highWatermark < committed.offset)
    if (anew) {
      this.#logger.warn({ at: keyOf(at), offset: first.offset }, 'the topic was made anew: reading what it holds')
      this.#dispatcher.renew(at)
      // By the time that it is asked about it may have grown beyond what is kept of it.
      const ends = highWatermark < committed.offset ? [[keyOf(at), highWatermark] as const] : []
      void this.#open(this.#joins, [at], new Map(ends))
    }
    this.#dispatcher.deliver(at, records, highWatermark)
  }

  /**
   * Nothing is started or committed in a partition until its committed offset was read in this membership.
   * @param seenEnds where logs were seen to end, by `keyOf`.
   */
  async #open(
    join: number,
    partitions: readonly TopicPartition[],
    seenEnds: ReadonlyMap<string, number> = new Map(),
  ): Promise<void> {
    const earlier = new Map<string, Restored>()
    while (this.#joins === join && this.#stage === 'Running' && partitions.length > 0) {
      try {
        const known = await this.#consumer.committed(partitions)
        const restored = await this.#redisOffsets?.restore(known, seenEnds, earlier)
        const openings = known.map((at) => ({ at, ...restored?.get(keyOf(at)) }))
        const isInitial = ({ at, anew }: (typeof openings)[number]) => at.offset < 0 || anew !== undefined
        const fresh = openings.filter((one) => isInitial(one) && (one.anew ?? one.watermark) === undefined)
        const starts = fresh.length === 0 ? undefined : await this.#consumer.start(fresh.map(({ at }) => at))
        if (this.#joins !== join) return
        const initial = openings.filter(isInitial).map(({ at, anew, watermark }) => ({
          ...at,
          offset: anew?.start.offset ?? watermark?.offset ?? starts?.get(keyOf(at)) ?? 0,
          metadata: windowMetadata(Math.max(this.#kafkaWindow, anew?.start.window ?? 0)),
        }))
        // A window that nobody can read in Kafka must not be used: a new owner would not know what may have started.
        if (initial.length > 0) await this.#consumer.commit(initial)
        if (restored !== undefined) await this.#redisOffsets?.putBack(partitions, restored)
        if (this.#joins !== join) return
        this.#openProblem = undefined
        const begun = new Map(initial.map((at) => [keyOf(at), at]))
        for (const opening of openings) this.#openOne(opening, begun.get(keyOf(opening.at)))
        return
      } catch (error) {
        this.#tellOpenProblem(error as Error)
        await pause(RETRY_MILLISECONDS, undefined, { signal: this.#closed.signal }).catch(() => undefined)
      }
    }
  }

  /**
   * @param at what Kafka had.
   * @param initial what was put there in its place, because there was none, or none of this log.
   */
  #openOne(
    { at, topicId, watermark, anew }: { readonly at: CommittedOffset } & Partial<Restored>,
    initial: CommittedOffset | undefined,
  ): void {
    const inKafka = { offset: (initial ?? at).offset, window: readWindow((initial ?? at).metadata) }
    const committed = watermark !== undefined && watermark.offset >= inKafka.offset ? watermark : inKafka
    const isNew = initial !== undefined && watermark === undefined && anew === undefined
    const before = this.#dispatcher.partitions.get(keyOf(at))
    // Kafka forgets a group's offsets with the topic: one that was known and is gone belongs to an earlier topic.
    const isAnotherTopic = before?.committed !== undefined && (isNew || before.topicId !== topicId)
    if (isAnotherTopic) this.#logger.warn({ at: keyOf(at) }, 'the topic was made anew: beginning at its start')
    // Reading may have begun further on, and what comes after that would be taken for all that there is.
    const mayBeBehind = anew !== undefined || (watermark !== undefined && at.offset < 0)
    if (isAnotherTopic || mayBeBehind) {
      this.#dispatcher.renew(at)
      this.#consumer.seek(at, committed.offset)
    } else if (topicId !== undefined && committed.offset !== at.offset) this.#consumer.seek(at, committed.offset)
    const partition = this.#dispatcher.partitions.get(keyOf(at))
    if (partition !== undefined) partition.topicId = topicId
    // Reading began at what Kafka had, and may go on there for a moment.
    const readFrom = watermark === undefined ? inKafka.offset : Math.max(0, at.offset)
    this.#dispatcher.open(at, committed, !isNew, inKafka, readFrom)
  }

  #tellOpenProblem(error: Error): void {
    const { message: reason } = error
    const what = 'the partitions cannot be opened yet; trying again'
    if (error instanceof TopicIdError && this.#openProblem !== reason) this.#logger.warn({ reason }, what)
    else this.#logger.debug({ reason }, what)
    this.#openProblem = reason
  }

  async #load(): Promise<WorkerLoad> {
    const unread = [...this.#dispatcher.partitions.values()].filter(({ paused }) => paused)
    if (unread.length > 0) {
      // What is not read does not tell where it ends.
      const ends = await this.#consumer.ends(unread).catch(() => new Map<string, number>())
      for (const partition of unread)
        partition.highWatermark = Math.max(partition.highWatermark, ends.get(keyOf(partition)) ?? 0)
    }
    return this.#dispatcher.load()
  }

  async #advance(offsets: RedisOffsets): Promise<void> {
    try {
      for (const [partition, standing] of await offsets.advance([...this.#dispatcher.partitions.values()]))
        this.#committed(partition, standing, partition.inKafka)
    } catch (error) {
      this.#logger.debug({ reason: (error as Error).message }, 'Redis took no watermarks; it is told the next ones')
    }
  }

  async #commitToKafka(last: boolean): Promise<void> {
    const join = this.#joins
    const behind = [...this.#dispatcher.partitions.values()].flatMap((partition) => {
      const { inKafka, lost } = partition
      const offset = partition.watermark()
      if (inKafka === undefined || lost || offset === undefined) return []
      const window = partition.windowFrom(offset, this.#kafkaWindow)
      if (offset <= inKafka.offset && inKafka.window === window) return []
      return [{ partition, inKafka, offset, window }]
    })
    if (behind.length === 0 || !(last || this.#isKafkaDue(behind))) return
    this.#lastKafkaCommit = performance.now()
    try {
      await this.#consumer.commit(
        behind.map(({ partition: { topic, partition }, offset, window }) => ({
          topic,
          partition,
          offset,
          metadata: windowMetadata(window),
        })),
      )
      this.#committedTotal.inc()
    } catch (error) {
      this.#commitErrors.inc()
      this.#logger.debug({ reason: (error as Error).message }, 'a commit was refused; the next one carries it')
      return
    }
    if (this.#joins !== join) return
    for (const { partition, offset, window } of behind) {
      const inKafka = { offset, window }
      this.#committed(partition, this.#redisOffsets === undefined ? inKafka : partition.committed, inKafka)
    }
  }

  /** Where Redis is told at once, Kafka is told now and then, and before its window holds anything up. */
  #isKafkaDue(
    behind: readonly { readonly inKafka: Committed; readonly offset: number; readonly window: number }[],
  ): boolean {
    if (this.#redisOffsets === undefined) return true
    if (performance.now() - this.#lastKafkaCommit >= FALLBACK_INTERVAL_MILLISECONDS) return true
    if (performance.now() - this.#lastKafkaCommit < COMMIT_INTERVAL_MILLISECONDS) return false
    return behind.some(
      ({ inKafka, offset, window }) =>
        offset - inKafka.offset >= FALLBACK_WINDOW_RECORDS / 2 || inKafka.window < window,
    )
  }

  /** Unless another log has taken the partition's place meanwhile. */
  #committed(partition: Partition, committed: Committed | undefined, inKafka: Committed | undefined): void {
    if (committed === undefined || this.#dispatcher.partitions.get(keyOf(partition)) !== partition) return
    this.#dispatcher.committed(partition, committed, inKafka)
  }

  /** What Kafka is told of how far records may be started. */
  get #kafkaWindow(): number {
    return this.#redisOffsets === undefined ? WINDOW_RECORDS : FALLBACK_WINDOW_RECORDS
  }
}

const withProblem = (text: string, of: string, problem: string | undefined): string =>
  problem === undefined || problem === '' ? text : `${text} (${of}: ${problem})`

/** What takes longer goes on behind. */
const isDoneWithin = (milliseconds: number, work: Promise<unknown>): Promise<boolean> =>
  Promise.race([work.then(() => true), pause(milliseconds, false, { ref: false })])

/** Numbers by topic, for people. */
const byTopic = (partitions: readonly TopicPartition[]): Readonly<Record<string, readonly number[]>> =>
  Object.fromEntries(
    [...Map.groupBy(partitions, ({ topic }) => topic)].map(([topic, ofIt]) => [
      topic,
      ofIt.map(({ partition }) => partition),
    ]),
  )

function longestDeadlineMilliseconds({ worker }: WorkerConfig): number {
  return Math.max(...worker.methods.map(({ timeoutMilliseconds }) => timeoutMilliseconds))
}

/** What is kept of a call ends then: run later, it could run a second time under its idempotency key. */
const beyondDeadlineMilliseconds = ({ service, worker }: WorkerConfig): number =>
  worker.retry.onExpired === 'Continue' ? service.resultRetentionSeconds * 1000 : 0

const startsRetentionMilliseconds = (config: WorkerConfig): number =>
  longestDeadlineMilliseconds(config) + config.service.resultRetentionSeconds * 1000

const methodNames = ({ worker }: WorkerConfig): readonly string[] => worker.methods.map(({ name }) => name)
