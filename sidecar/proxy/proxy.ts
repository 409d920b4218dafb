import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { callIdSource } from '../call-id.ts'
import type { ProxyConfig } from '../config.ts'
import { createKafka } from '../kafka/client.ts'
import { RecordProducer } from '../kafka/producer.ts'
import { MAX_HEADER_BYTES } from '../kafka/record.ts'
import type { LiveConfig } from '../live-config.ts'
import { CLAIM_TOKEN_BYTES } from '../results/call-state.ts'
import { CallHandles } from '../results/call-handles.ts'
import { CallResults } from '../results/call-results.ts'
import { CallClaims } from '../results/claims.ts'
import { FlowBoard } from '../results/flow-board.ts'
import { connectRedis } from '../results/redis.ts'
import { SharedClock } from '../results/shared-clock.ts'
import { OutcomeWaiters } from '../results/waiters.ts'
import { HttpConsulAgent } from '../registry/consul-agent.ts'
import { ConsulKeeper } from '../registry/keeper.ts'
import type { KeeperOptions } from '../registry/keeper.ts'
import type { RunningSidecar } from '../role.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { Admission } from './admission.ts'
import { CallsService } from './calls-service.ts'
import { Enqueuer } from './enqueuer.ts'
import { FlowReader } from './flow-reader.ts'
import { Gate } from './gate.ts'
import { callPipeline } from './pipeline.ts'
import { QueueEstimate } from './queue-estimate.ts'
import { ProxyServer } from './server.ts'

export interface ProxyOptions {
  readonly live: LiveConfig<ProxyConfig>
  readonly logger: Logger
  readonly metrics: Metrics
  /** Milliseconds since 1970 on this machine. */
  readonly localNow: () => number
  /** Milliseconds that never go back. */
  readonly monotonicNow: () => number
}

export interface RunningProxy extends RunningSidecar {
  /** Where calls are taken. */
  readonly port: number
}

/** What a batch's own header and rounding take of the topic's `max.message.bytes`. */
const BATCH_RESERVE_BYTES = 1024
/** When every call was answered: how long clients, of whom a health watch never does, and Kafka get to close their connections. */
const CLOSE_MILLISECONDS = 1000

/**
 * Starts the proxy role. Resolves when it listens; Kafka and Redis are connected behind that, and `ready` tells when.
 * @throws ConfigError, or the reason why the port cannot be listened on.
 */
export async function startProxy({
  live,
  logger,
  metrics,
  localNow,
  monotonicNow,
}: ProxyOptions): Promise<RunningProxy> {
  const config = live.current
  const kafka = createKafka({
    ...config.kafka,
    clientId: `grpc-kafka-${config.instance}`,
    logger,
    metrics,
  })
  const producer = new RecordProducer(kafka, logger)
  const redis = connectRedis({ config: config.redis, name: `${config.instance}:results`, logger, metrics })
  const subscriber = redis.subscriber(`${config.instance}:reply`)
  const clock = new SharedClock({ redis, localNow, metrics, logger })
  const waiters = new OutcomeWaiters({ redis, subscriber, instance: config.instance, logger, metrics })
  const claims = new CallClaims({
    redis,
    retentionSeconds: () => live.current.service.resultRetentionSeconds,
    monotonicNow,
    logger,
    metrics,
  })
  const enqueuer = new Enqueuer({
    producer,
    topic: config.service.topic,
    maxBatchBytes: config.service.maxMessageBytes + MAX_HEADER_BYTES - BATCH_RESERVE_BYTES,
    logger,
    metrics,
  })
  const known = {
    topic: config.service.topic,
    retentionSeconds: () => live.current.service.resultRetentionSeconds,
    now: () => clock.now(),
  }
  const handles = new CallHandles({ redis, ...known, monotonicNow, logger, metrics })
  const gate = new Gate()
  const admission = new Admission({
    get maxInFlight() {
      return live.current.proxy.maxInFlight
    },
    get maxInFlightBytes() {
      return live.current.proxy.maxInFlightBytes
    },
  })
  const queueEstimate = new QueueEstimate({ now: () => clock.now() })
  const flowReader = new FlowReader(
    new FlowBoard({ redis, topic: config.service.topic, logger, metrics }),
    queueEstimate,
  )
  const pipeline = callPipeline({
    live,
    gate,
    admission,
    queueEstimate,
    enqueuer,
    partitionOf: (key) => producer.partitionOf(config.service.topic, key),
    waiters,
    handles,
    claims,
    nextClaimToken: () => randomBytes(CLAIM_TOKEN_BYTES),
    clock,
    localNow,
    monotonicNow,
    metrics,
  })
  const calls = new CallsService({
    results: new CallResults({ redis, ...known }),
    gate,
    service: config.service.name,
    maxMessageBytes: config.service.maxMessageBytes,
    monotonicNow,
    metrics,
  })
  const server = new ProxyServer({
    live,
    pipeline,
    calls,
    nextCallId: callIdSource(localNow),
    localNow,
    monotonicNow,
    logger,
    metrics,
  })

  const stopping = new AbortController()
  const close = async (): Promise<void> => {
    stopping.abort()
    enqueuer.close()
    flowReader.close()
    server.close()
    waiters.close()
    clock.close()
    const told = Promise.all([claims.close(), handles.close()])
    await Promise.race([told, delay(CLOSE_MILLISECONDS, undefined, { ref: false })])
    redis.disconnect()
    // A broker that is silent would hold this up until its requests time out.
    await Promise.race([producer.disconnect(), delay(CLOSE_MILLISECONDS, undefined, { ref: false })])
  }

  const unknown = new Set(['Kafka', 'the reply channel', 'the shared clock'])
  const learn = async (what: string, done: Promise<void>): Promise<void> => {
    await done
    unknown.delete(what)
  }

  const ofRedis = (): string => (redis.problem === '' ? '' : ` (Redis: ${redis.problem})`)

  let port: number
  try {
    port = await server.listen()
  } catch (error) {
    await close()
    throw error
  }
  logger.info({ host: config.proxy.host, port }, 'listening; not ready yet')

  const prepared = Promise.all([
    learn('Kafka', producer.connect([config.service.topic], stopping.signal)),
    learn('the reply channel', waiters.start()),
    learn(
      'the shared clock',
      clock.start().then(() => flowReader.start()),
    ),
  ])
  prepared.then(
    () => {
      gate.open()
      if (gate.state !== 'Open') return
      server.setServing(true)
      logger.info('ready')
    },
    (error: unknown) => {
      if (!stopping.signal.aborted) logger.error({ err: error }, 'this replica cannot become ready')
    },
  )

  const withProblem = (what: string): string =>
    what === 'Kafka' && producer.problem !== undefined ? `${what} (${producer.problem})` : what

  let isLeaving = false
  const ready: RunningProxy['ready'] = () => {
    if (isLeaving) return { ready: false, reason: 'draining' }
    if (gate.state === 'Starting')
      return { ready: false, reason: `waiting for ${[...unknown].map(withProblem).join(', ')}${ofRedis()}` }
    return waiters.subscribed
      ? { ready: true, reason: '' }
      : { ready: false, reason: `the reply channel is not subscribed${ofRedis()}` }
  }
  const registration = keepRegistered(live, { ready, monotonicNow, logger, metrics })
  registration?.start()

  return {
    port,
    ready,
    drain: async () => {
      isLeaving = true
      // Calls are taken until nobody finds this replica any more.
      await registration?.leave()
      gate.drain()
      calls.drain()
      server.setServing(false)
      const closed = server.stopIntake()
      const enough = new AbortController()
      const within = (milliseconds: number) =>
        delay(milliseconds, undefined, { signal: enough.signal }).catch(() => undefined)
      await Promise.race([gate.empty(), within(live.current.proxy.drainMilliseconds)])
      const cutOff = gate.failAll('CUT_OFF')
      if (cutOff > 0) logger.warn({ calls: cutOff }, 'calls in flight were cut off at the end of the drain')
      await Promise.race([closed, within(CLOSE_MILLISECONDS)])
      enough.abort()
      await close()
      await registration?.end()
      logger.info('drained')
    },
  }
}

function keepRegistered(
  live: LiveConfig<ProxyConfig>,
  parts: Pick<KeeperOptions, 'ready' | 'monotonicNow' | 'logger' | 'metrics'>,
): ConsulKeeper | undefined {
  const { instance, proxy } = live.current
  const first = proxy.registration?.consul
  if (first === undefined) return undefined
  return new ConsulKeeper({
    ...parts,
    agent: new HttpConsulAgent(),
    // That there is one is no hot setting.
    config: () => live.current.proxy.registration?.consul ?? first,
    id: instance,
    after: (milliseconds, run) => {
      const timer = setTimeout(run, milliseconds)
      return () => clearTimeout(timer)
    },
  })
}
