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

/** A Lua script and the name under which it is known here. It may run twice with the same arguments. */
export interface Script {
  readonly name: string
  readonly lua: string
  /** Its answers hold strings of bytes that are no text. */
  readonly replies?: 'Buffers'
}

export type Argument = string | number | Buffer

/**
 * What the data plane asks of Redis, wherever the keys lie. A command fails at once while its connection is away, and one in
 * flight when it breaks is rejected: whoever sends a command decides whether it is sent again.
 */
export interface RedisClient {
  /** Whether commands can be sent. */
  readonly ready: boolean
  /** Calls the listener each time that commands can be sent again. Returns how to stop that. */
  onReady(listener: () => void): () => void
  /** Resolves when commands can be sent. @throws the signal's reason */
  whenReady(signal?: AbortSignal): Promise<void>
  /** Whether keys lie on several servers, so that one of them may be away. */
  readonly sharded: boolean
  /** What one script may do at once: everything on one server. */
  parts<T>(items: readonly T[]): readonly (readonly T[])[]
  /** Runs a script. */
  script(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown>
  /** The strings of these keys, in their order. */
  getAll(keys: readonly string[]): Promise<readonly (Buffer | null)[]>
  /** Sends a command once for each row, all at once. A row begins with its key. @throws the first failure */
  each(command: string, rows: readonly (readonly [key: string, ...Argument[]])[]): Promise<unknown[]>
  /** Sends an empty message to a channel. */
  poke(channel: string): Promise<unknown>
  disconnect(): void
}

/** A connection to Redis that reconnects for ever. */
export function connectRedis(options: RedisOptions): RedisClient {
  return new OneServer(openConnection(options))
}

/** A connection of its own for a subscription: ioredis' own kind, since that is what it is about. */
export const connectSubscriber = (options: RedisOptions): Redis => openConnection(options)

function openConnection({ url, name, logger, metrics }: RedisOptions): Redis {
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
  const connections = metrics.counter('grpc_kafka_redis_connections_total')
  redis.on('ready', () => connections.inc())
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

type Custom = Record<string, (...args: Argument[]) => Promise<unknown>>

/** One server holds every key, so one script call does a whole batch. */
class OneServer implements RedisClient {
  readonly #redis: Redis
  readonly #known = new Set<string>()
  readonly sharded = false

  constructor(redis: Redis) {
    this.#redis = redis
  }

  get ready(): boolean {
    return this.#redis.status === 'ready'
  }

  onReady(listener: () => void): () => void {
    this.#redis.on('ready', listener)
    return () => this.#redis.off('ready', listener)
  }

  whenReady(signal?: AbortSignal): Promise<void> {
    return whenReady(this.#redis, signal)
  }

  parts<T>(items: readonly T[]): readonly (readonly T[])[] {
    return items.length === 0 ? [] : [items]
  }

  script({ name, lua, replies }: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    if (!this.#known.has(name)) {
      this.#redis.defineCommand(name, { lua })
      this.#known.add(name)
    }
    return (this.#redis as unknown as Custom)[replies === undefined ? name : `${name}Buffer`]!(
      keys.length,
      ...keys,
      ...args,
    )
  }

  getAll(keys: readonly string[]): Promise<readonly (Buffer | null)[]> {
    return this.#redis.mgetBuffer([...keys])
  }

  async each(command: string, rows: readonly (readonly [key: string, ...Argument[]])[]): Promise<unknown[]> {
    const pipeline = this.#redis.pipeline()
    for (const row of rows) pipeline.call(command, ...row)
    const replies = await pipeline.exec()
    if (replies === null) throw new Error('the pipeline was discarded')
    return replies.map(([error, reply]) => {
      if (error !== null) throw error
      return reply
    })
  }

  poke(channel: string): Promise<unknown> {
    return this.#redis.publish(channel, '')
  }

  disconnect(): void {
    this.#redis.disconnect()
  }
}

function whenReady(redis: Redis, signal?: AbortSignal): Promise<void> {
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
