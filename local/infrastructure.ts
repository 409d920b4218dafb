/** Kafka and Redis for what runs on one machine: those that the environment names, else some of our own. */
import { join } from 'node:path'
import { untilKafkaAnswers } from './kafka/admin.ts'
import { startKafka, type KafkaServer } from './platform/kafka.ts'
import { PartFailedError } from './platform/part-failed.ts'
import { startRedis, untilRedisAnswers, type RedisServer } from './platform/redis.ts'
import type { Report } from './report.ts'

const ANSWER_MILLISECONDS = 15_000

export type Infrastructure = {
  /** `host:port` */
  readonly brokers: readonly string[]
  /** May hold a password: it is passed on by environment, never written or shown. */
  readonly redisUrl: string
  /** Set where the broker is our own. */
  readonly kafka: KafkaServer | undefined
  /** Set where the server is our own. */
  readonly redis: RedisServer | undefined
  /** Ends what was started here, and nothing else. */
  stop(): Promise<void>
}

/**
 * @param directory  for the data and logs of what is started
 * @param signal  gives up: its reason is thrown and nothing is left running
 * @throws PartMissingError, PartFailedError
 */
export async function startInfrastructure(
  directory: string,
  environment: NodeJS.ProcessEnv,
  report: Report,
  signal: AbortSignal,
): Promise<Infrastructure> {
  const givenBrokers = splitBrokers(environment['KAFKA_BROKERS'])
  const givenRedis = environment['REDIS_URL'] || undefined
  // One that fails must not leave the other running.
  const [kafka, redis] = await Promise.allSettled([
    givenBrokers ? useKafka(givenBrokers, report, signal) : ownKafka(directory, report, signal),
    givenRedis ? useRedis(givenRedis, report, signal) : ownRedis(directory, report, signal),
  ])
  if (kafka.status === 'rejected' || redis.status === 'rejected') {
    await Promise.all([kafka, redis].map(async (part) => part.status === 'fulfilled' && part.value?.stop()))
    const failures = [kafka, redis].flatMap((part) => (part.status === 'rejected' ? [part.reason as Error] : []))
    signal.throwIfAborted()
    const [only] = failures
    if (only && failures.length === 1) throw only
    throw new AggregateError(failures, failures.map((failure) => failure.message).join('\n'))
  }
  return {
    brokers: givenBrokers ?? kafka.value?.brokers ?? [],
    redisUrl: givenRedis ?? redis.value?.url ?? '',
    kafka: kafka.value,
    redis: redis.value,
    stop: async () => {
      await Promise.all([kafka.value?.stop(), redis.value?.stop()])
    },
  }
}

/** `KAFKA_BROKERS=host:port,host:port`; undefined when empty or not set. */
export function splitBrokers(value: string | undefined): readonly string[] | undefined {
  const brokers = (value ?? '')
    .split(',')
    .map((one) => one.trim())
    .filter((one) => one !== '')
  return brokers.length > 0 ? brokers : undefined
}

async function ownKafka(directory: string, report: Report, signal: AbortSignal): Promise<KafkaServer> {
  const started = Date.now()
  report('Kafka: starting')
  const kafka = await startKafka({ directory: join(directory, 'kafka'), report }, signal)
  report(`Kafka: ready on ${kafka.brokers.join(',')} (${((Date.now() - started) / 1000).toFixed(1)} s)`)
  return kafka
}

async function ownRedis(directory: string, report: Report, signal: AbortSignal): Promise<RedisServer> {
  const redis = await startRedis({ directory: join(directory, 'redis'), report }, signal)
  report(`Redis: ready on ${redis.url}`)
  return redis
}

async function useKafka(brokers: readonly string[], report: Report, signal: AbortSignal): Promise<undefined> {
  report(`Kafka: using ${brokers.join(',')} (KAFKA_BROKERS)`)
  await orLate('Kafka', `KAFKA_BROKERS=${brokers.join(',')} did not answer`, signal, (given) =>
    untilKafkaAnswers(brokers, given),
  )
}

async function useRedis(url: string, report: Report, signal: AbortSignal): Promise<undefined> {
  report('Redis: using the one of REDIS_URL')
  await orLate('Redis', 'the Redis of REDIS_URL did not answer', signal, (given) => untilRedisAnswers(url, given))
}

async function orLate(
  part: string,
  reason: string,
  signal: AbortSignal,
  ask: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const late = AbortSignal.timeout(ANSWER_MILLISECONDS)
  try {
    await ask(AbortSignal.any([signal, late]))
  } catch (cause) {
    if (signal.aborted) throw signal.reason
    throw new PartFailedError(part, `${reason} within ${ANSWER_MILLISECONDS / 1000} s`, '', { cause })
  }
}
