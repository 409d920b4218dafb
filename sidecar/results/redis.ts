import { Redis } from 'ioredis'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

/** A command without an answer is given up after this many milliseconds; ioredis has no limit of its own. */
const COMMAND_TIMEOUT_MILLISECONDS = 5000
const LONGEST_RECONNECT_PAUSE_MILLISECONDS = 1000
const LOG_INTERVAL_MILLISECONDS = 1000

export interface RedisOptions {
  readonly url: string
  /** Shown by CLIENT LIST, so that an operator sees whose connection it is. */
  readonly name: string
  readonly logger: Logger
  readonly metrics: Metrics
}

/**
 * A connection to Redis that reconnects for ever and keeps nothing back: a command fails at once while the
 * connection is away, and one in flight when it breaks is rejected and never sent again by the client. Whoever
 * sends a command decides whether it may run twice.
 */
export function connectRedis({ url, name, logger, metrics }: RedisOptions): Redis {
  const redis = new Redis(url, {
    connectionName: `grpc-kafka:${name}`,
    lazyConnect: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    commandTimeout: COMMAND_TIMEOUT_MILLISECONDS,
    // A connection that went half open is never closed by anyone else. It runs only while a command has no answer, so it
    // cuts no idle connection and no quiet subscription.
    socketTimeout: COMMAND_TIMEOUT_MILLISECONDS,
    connectTimeout: COMMAND_TIMEOUT_MILLISECONDS,
    retryStrategy: (times) => Math.min(25 * 2 ** Math.min(times, 10), LONGEST_RECONNECT_PAUSE_MILLISECONDS),
    // After a failover the old master answers READONLY: a new connection finds the new one.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
  })
  const errors = metrics.counter('grpc_kafka_redis_errors_total', { reason: 'connection' })
  let lastLogged = 0
  redis.on('error', (error: Error) => {
    errors.inc()
    const now = performance.now()
    if (now - lastLogged < LOG_INTERVAL_MILLISECONDS) return
    lastLogged = now
    logger.warn({ connection: name, reason: error.message }, 'Redis connection failed')
  })
  // With lazyConnect the first failure is also a rejection; the reconnect loop goes on after it.
  redis.connect().catch(() => undefined)
  return redis
}

/** Resolves when the connection is usable. */
export function whenReady(redis: Redis, signal?: AbortSignal): Promise<void> {
  if (redis.status === 'ready') return Promise.resolve()
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const settle = (end: () => void) => () => {
    redis.off('ready', onReady)
    signal?.removeEventListener('abort', onAbort)
    end()
  }
  const onReady = settle(resolve)
  const onAbort = settle(() => reject(signal?.reason as Error))
  redis.on('ready', onReady)
  signal?.addEventListener('abort', onAbort)
  return promise
}
