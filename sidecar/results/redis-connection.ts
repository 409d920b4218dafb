import { Redis } from 'ioredis'
import type { RedisOptions as IoredisOptions } from 'ioredis'
import type { RedisConfig } from '../config.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Counter, Metrics } from '../telemetry/metrics.ts'
import { TlsFiles } from '../tls.ts'

const LONGEST_PAUSE_MILLISECONDS = 1000
const LOG_INTERVAL_MILLISECONDS = 1000
const SENTINEL_RECONNECT_MILLISECONDS = 5000

export interface Address {
  readonly host: string
  readonly port: number
}

/** @param hostAndPort `host:port`, an IPv6 address in brackets. */
export function parseAddress(hostAndPort: string): Address {
  const colon = hostAndPort.lastIndexOf(':')
  return { host: hostAndPort.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port: Number(hostAndPort.slice(colon + 1)) }
}

/** How long to wait before the n-th try, from 1, to connect again. */
export const reconnectPause = (times: number): number =>
  Math.min(25 * 2 ** Math.min(times, 10), LONGEST_PAUSE_MILLISECONDS)

/** How it goes with connections: counted; what goes wrong logged at most once a second, and the last of it kept for who asks. */
export class ConnectionTroubles {
  readonly #name: string
  readonly #logger: Logger
  readonly #errors: Counter
  readonly #connections: Counter
  #lastLogged = -Infinity
  #last = ''

  constructor(name: string, logger: Logger, metrics: Metrics) {
    this.#name = name
    this.#logger = logger
    this.#errors = metrics.counter('grpc_kafka_redis_errors_total', { reason: 'connection' })
    this.#connections = metrics.counter('grpc_kafka_redis_connections_total')
  }

  /** What went wrong last; empty since it went well. */
  get last(): string {
    return this.#last
  }

  readonly add = (reason: string): void => {
    this.#errors.inc()
    this.#last = reason
    const now = performance.now()
    if (now - this.#lastLogged < LOG_INTERVAL_MILLISECONDS) return
    this.#lastLogged = now
    this.#logger.warn({ connection: this.#name, reason }, 'Redis connection failed')
  }

  /** A connection became usable. */
  readonly connected = (): void => {
    this.#connections.inc()
  }

  readonly over = (): void => {
    this.#last = ''
  }
}

/** RESP3's own shapes are of no use here. */
type PlainOptions = Omit<IoredisOptions, 'replyMapping'>

/** What a connection is told anew each time that it is made: who we are, and whom we trust. */
type Fresh = Pick<
  IoredisOptions,
  'host' | 'port' | 'db' | 'username' | 'password' | 'tls' | 'sentinelUsername' | 'sentinelPassword' | 'sentinelTLS'
>

/** Turns the configuration into what ioredis is told. */
export class ConnectionSettings {
  readonly #config: RedisConfig
  readonly #tls: TlsFiles | undefined
  readonly #onProblem: (problem: string) => void
  #last: Fresh

  /**
   * @param onProblem told when a secret or a certificate that was readable no longer is: the last one is used.
   * @throws SecretError, TlsError
   */
  constructor(config: RedisConfig, onProblem: (problem: string) => void) {
    this.#config = config
    this.#onProblem = onProblem
    this.#tls = config.tls === undefined ? undefined : new TlsFiles(config.tls, onProblem)
    this.#last = this.#read()
  }

  /** What is the same for each connection. */
  fixed(name: string) {
    const { commandTimeoutMilliseconds: milliseconds } = this.#config
    return {
      // Shown by CLIENT LIST, so that an operator sees whose connection it is.
      connectionName: `grpc-kafka:${name}`,
      disableClientInfo: true,
      lazyConnect: true,
      autoResendUnfulfilledCommands: false,
      autoResubscribe: false,
      maxRetriesPerRequest: 0,
      commandTimeout: milliseconds,
      // A connection that went half open is never closed by anyone else. It runs only while a command has no answer, so it
      // cuts no idle connection and no quiet subscription.
      socketTimeout: milliseconds,
      connectTimeout: milliseconds,
      // After a failover the old master answers READONLY: a new connection finds the new one.
      reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
    }
  }

  /** How the master is found through Sentinels. */
  sentinels(): PlainOptions {
    const { sentinel, tls, commandTimeoutMilliseconds } = this.#config
    if (sentinel === undefined) return {}
    return {
      sentinels: sentinel.nodes.map(parseAddress),
      name: sentinel.master,
      enableTLSForSentinelMode: tls !== undefined,
      sentinelCommandTimeout: commandTimeoutMilliseconds,
      sentinelRetryStrategy: reconnectPause,
      sentinelReconnectStrategy: () => SENTINEL_RECONNECT_MILLISECONDS,
      // They tell of a failover: a master whose machine is gone would be noticed by its silence only.
      failoverDetector: true,
    }
  }

  /** What is read anew for each connection. */
  fresh(): Fresh {
    try {
      this.#last = this.#read()
    } catch (error) {
      this.#onProblem((error as Error).message)
    }
    return this.#last
  }

  #read(): Fresh {
    const { url, sentinel, username, password } = this.#config
    const tls = this.#tls?.read()
    return {
      ...(url !== undefined && fromUrl(typeof url === 'string' ? url : url.read())),
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password: password.read() }),
      ...(tls !== undefined && { tls }),
      ...(sentinel !== undefined && {
        ...(sentinel.username !== undefined && { sentinelUsername: sentinel.username }),
        ...(sentinel.password !== undefined && { sentinelPassword: sentinel.password.read() }),
        ...(tls !== undefined && { sentinelTLS: tls }),
      }),
    }
  }
}

/** Thrown for a Redis URL that is none. It does not quote it: it may hold a password. */
class RedisUrlError extends Error {
  readonly code = 'REDIS_URL_INVALID'
}

/** @throws RedisUrlError */
function fromUrl(text: string): Fresh {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^rediss?:$/.test(url.protocol) || url.hostname === '' || !/^\/?\d*$/.test(url.pathname)) {
    throw new RedisUrlError('the Redis URL is not redis://[user:password@]host:port[/database]')
  }
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? 6379 : Number(url.port),
    db: Number(url.pathname.slice(1)),
    ...(url.username !== '' && { username: decodeURIComponent(url.username) }),
    ...(url.password !== '' && { password: decodeURIComponent(url.password) }),
    ...(url.protocol === 'rediss:' && { tls: {} }),
  }
}

/** Reads what a connection is told anew each time that it connects, and connects for ever. */
export class LiveRedis extends Redis {
  readonly #fresh: () => Fresh
  #closed = false

  constructor(options: PlainOptions, fresh: () => Fresh, troubles: ConnectionTroubles) {
    super({ ...options, ...fresh(), enableOfflineQueue: false, retryStrategy: reconnectPause })
    this.#fresh = fresh
    this.on('error', (error: Error) => troubles.add(error.message))
    this.on('sentinelError', (error: Error) => troubles.add(error.message))
    this.on('ready', () => {
      troubles.connected()
      troubles.over()
    })
    // What fails before there is a socket is an end for ioredis.
    this.on('end', () => {
      if (!this.#closed) setTimeout(() => this.#start(), LONGEST_PAUSE_MILLISECONDS)
    })
    this.#start()
  }

  override connect(callback?: Parameters<Redis['connect']>[0]): Promise<void> {
    Object.assign(this.options, this.#fresh())
    return super.connect(callback)
  }

  override disconnect(reconnect = false): void {
    this.#closed ||= !reconnect
    super.disconnect(reconnect)
  }

  /** A first failure is also a rejection; connecting goes on after it. */
  #start(): void {
    if (!this.#closed) this.connect().catch(() => undefined)
  }
}
