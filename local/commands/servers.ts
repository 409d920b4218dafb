/** Which Kafka and Redis a command asks: by its flags, by a sidecar's configuration, or by the environment. */
import { pino } from 'pino'
import { ConfigError, loadConfig } from '../../sidecar/config.ts'
import type { RedisConfig, SidecarConfig } from '../../sidecar/config.ts'
import { createKafka } from '../../sidecar/kafka/client.ts'
import { connectRedis } from '../../sidecar/results/redis.ts'
import type { RedisClient } from '../../sidecar/results/redis.ts'
import { Metrics } from '../../sidecar/telemetry/metrics.ts'
import { UsageError } from '../usage.ts'

/** For `parseArgs`. */
export const SERVER_OPTIONS = {
  kafka: { type: 'string' },
  redis: { type: 'string' },
  config: { type: 'string', short: 'c' },
} as const

export interface ServerFlags {
  readonly kafka?: string | undefined
  readonly redis?: string | undefined
  readonly config?: string | undefined
}

type Environment = Readonly<Record<string, string | undefined>>

/** A server did not answer. `code` is `UNREACHABLE`. */
export class UnreachableError extends Error {
  readonly code = 'UNREACHABLE'
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'UnreachableError'
  }
}

const REDIS_MILLISECONDS = 5000

export class Servers {
  readonly #flags: ServerFlags
  readonly #environment: Environment
  readonly #config: SidecarConfig | undefined

  /** @throws UsageError when the configuration cannot be read. */
  constructor(flags: ServerFlags, environment: Environment) {
    this.#flags = flags
    this.#environment = environment
    this.#config = flags.config === undefined ? undefined : readConfig(flags.config, environment)
  }

  /** The topic of the configuration's service. */
  get topic(): string | undefined {
    return this.#config?.service.topic
  }

  /** How long a call of the method may take, by its short name, where the configuration tells. Milliseconds. */
  timeoutOf(method: string): number | undefined {
    const config = this.#config
    const methods = config === undefined ? [] : config.role === 'proxy' ? config.proxy.methods : config.worker.methods
    return methods.find(({ name }) => name === method)?.timeoutMilliseconds
  }

  /** Of the configuration's proxy. */
  get descriptorSetFile(): string | undefined {
    return this.#config?.role === 'proxy' ? this.#config.proxy.descriptorSetFile : undefined
  }

  /** @throws UsageError when no broker is named. */
  kafka(): ReturnType<typeof createKafka> {
    const given = this.#flags.kafka ?? (this.#config === undefined ? this.#environment['KAFKA_BROKERS'] : undefined)
    const brokers =
      given
        ?.split(',')
        .map((one) => one.trim())
        .filter(Boolean) ??
      this.#config?.kafka.brokers ??
      []
    if (brokers.length === 0)
      throw new UsageError('which Kafka? Give --kafka HOST:PORT[,...], --config FILE, or KAFKA_BROKERS')
    const wrong = brokers.find((one) => !/^.+:\d+$/.test(one))
    if (wrong !== undefined) throw new UsageError(`a broker is HOST:PORT, not "${wrong}"`)
    const { tls, sasl } = this.#config?.kafka ?? {}
    return createKafka({
      brokers,
      tls,
      ...(sasl !== undefined && { sasl }),
      clientId: 'grpc-kafka-cli',
      logger: pino({ level: 'silent' }),
    })
  }

  /**
   * Runs `work` with a connection to Redis that works.
   * @throws UsageError when none is named; UnreachableError.
   */
  async withRedis<T>(signal: AbortSignal, work: (redis: RedisClient) => Promise<T>): Promise<T> {
    const config = this.#redisConfig()
    let reason = 'no answer'
    const logger = pino({ level: 'warn' }, { write: (line: string) => void (reason = reasonOf(line) ?? reason) })
    const redis = openRedis({ config, name: 'cli', logger, metrics: new Metrics() })
    try {
      const late = AbortSignal.timeout(REDIS_MILLISECONDS)
      await redis.whenReady(AbortSignal.any([signal, late])).catch((cause: unknown) => {
        signal.throwIfAborted()
        throw new UnreachableError(`Redis cannot be reached: ${reason}`, { cause })
      })
      return await work(redis)
    } finally {
      redis.disconnect()
    }
  }

  /** @throws UsageError when none is named. */
  #redisConfig(): RedisConfig {
    const { redis } = this.#flags
    if (redis === undefined && this.#config !== undefined) return this.#config.redis
    const url = redis ?? this.#environment['REDIS_URL']
    if (url === undefined || url === '')
      throw new UsageError('which Redis? Give --redis URL, --config FILE, or REDIS_URL')
    // The URL is not repeated: it may hold a password.
    if (!/^rediss?:\/\//.test(url)) throw new UsageError("Redis' URL begins with redis:// or rediss://")
    return { url, commandTimeoutMilliseconds: REDIS_MILLISECONDS }
  }
}

/** What cannot even be tried is the caller's to mend: an URL that is none, a certificate that is not there. */
function openRedis(options: Parameters<typeof connectRedis>[0]): RedisClient {
  try {
    return connectRedis(options)
  } catch (cause) {
    throw new UsageError((cause as Error).message, { cause })
  }
}

function readConfig(file: string, environment: Environment): SidecarConfig {
  try {
    return loadConfig(file, environment)
  } catch (error) {
    if (error instanceof ConfigError) throw new UsageError(error.message, { cause: error })
    throw error
  }
}

const reasonOf = (line: string): string | undefined => {
  const { reason } = JSON.parse(line) as { reason?: unknown }
  return typeof reason === 'string' ? reason : undefined
}
