import { Cluster } from 'ioredis'
import type { Redis } from 'ioredis'
import type { RedisConfig } from '../config.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { ConnectionSettings, ConnectionTroubles, LiveRedis, parseAddress, reconnectPause } from './redis-connection.ts'
import type { Address } from './redis-connection.ts'

export interface RedisOptions {
  readonly config: RedisConfig
  /** Shown by CLIENT LIST, and in logs. */
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
  /** Why not, in the server's or the system's words; empty where nothing failed since it was. Holds no secret. */
  readonly problem: string
  /** Calls the listener each time that commands can be sent again. Returns how to stop that. */
  onReady(listener: () => void): () => void
  /** Resolves when commands can be sent. @throws the signal's reason */
  whenReady(signal?: AbortSignal): Promise<void>
  /** Whether keys lie on several servers, so that one of them may be away. */
  readonly sharded: boolean
  /** What one script may do at once: everything on one server, each item alone in a Cluster. */
  parts<T>(items: readonly T[]): readonly (readonly T[])[]
  /** Runs a script. */
  script(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown>
  /** The strings of these keys, in their order. */
  getAll(keys: readonly string[]): Promise<readonly (Buffer | null)[]>
  /** Sends a command once for each row, all at once. A row begins with its key. @throws the first failure */
  each(command: string, rows: readonly (readonly [key: string, ...Argument[]])[]): Promise<unknown[]>
  /** Sends an empty message to a channel. */
  poke(channel: string): Promise<unknown>
  /** Opens a connection of its own that hears every channel; ioredis' own kind, since that is what it is about. */
  subscriber(name: string): Redis
  disconnect(): void
}

/**
 * Connects, behind what it returns, for ever.
 * @throws SecretError, TlsError when the configuration refers to what cannot be read
 */
export const connectRedis = (options: RedisOptions): RedisClient =>
  options.config.cluster === undefined ? new OneServer(options) : new ManyServers(options, options.config.cluster.nodes)

type Custom = Record<string, (...args: Argument[]) => Promise<unknown>>
type RunScript = RedisClient['script']

/** Runs scripts by their digest; a server that does not know one yet is sent its text. */
function scriptsOf(redis: Redis | Cluster): RunScript {
  const known = new Set<string>()
  return ({ name, lua, replies }, keys, args) => {
    if (!known.has(name)) {
      redis.defineCommand(name, { lua })
      known.add(name)
    }
    return (redis as unknown as Custom)[replies === undefined ? name : `${name}Buffer`]!(keys.length, ...keys, ...args)
  }
}

/** One server, or the master of several, holds every key, so one script call does a whole batch. */
class OneServer implements RedisClient {
  readonly #options: RedisOptions
  readonly #settings: ConnectionSettings
  readonly #troubles: ConnectionTroubles
  readonly #redis: Redis
  readonly #run: RunScript
  readonly sharded = false

  constructor(options: RedisOptions) {
    this.#options = options
    this.#troubles = new ConnectionTroubles(options.name, options.logger, options.metrics)
    this.#settings = new ConnectionSettings(options.config, this.#troubles.add)
    this.#redis = this.#open(options.name, this.#troubles)
    this.#run = scriptsOf(this.#redis)
  }

  get ready(): boolean {
    return this.#redis.status === 'ready'
  }

  get problem(): string {
    return this.#troubles.last
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

  script(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    return this.#run(script, keys, args)
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

  subscriber(name: string): Redis {
    return this.#open(name, new ConnectionTroubles(name, this.#options.logger, this.#options.metrics))
  }

  disconnect(): void {
    this.#redis.disconnect()
  }

  #open(name: string, troubles: ConnectionTroubles): Redis {
    const options = { ...this.#settings.fixed(name), ...this.#settings.sentinels() }
    return new LiveRedis(options, () => this.#settings.fresh(), troubles)
  }
}

/** How often the Cluster is asked who owns what; a MOVED tells it sooner. */
const SLOTS_INTERVAL_MILLISECONDS = 15_000

/**
 * The masters of a Redis Cluster. Each item of a script goes to the owner of its keys, on its own; redirections (MOVED, ASK) and the
 * seconds of a failover are ioredis' business, so a command may be sent twice.
 */
class ManyServers implements RedisClient {
  readonly #options: RedisOptions
  readonly #settings: ConnectionSettings
  readonly #troubles: ConnectionTroubles
  readonly #startNodes: readonly Address[]
  readonly #cluster: Cluster
  readonly #run: RunScript
  readonly sharded = true

  constructor(options: RedisOptions, nodes: readonly string[]) {
    const { name, logger, metrics, config } = options
    this.#options = options
    this.#startNodes = nodes.map(parseAddress)
    this.#troubles = new ConnectionTroubles(name, logger, metrics)
    this.#settings = new ConnectionSettings(config, this.#troubles.add)
    this.#cluster = new Cluster([...this.#startNodes], {
      lazyConnect: true,
      enableOfflineQueue: false,
      clusterRetryStrategy: reconnectPause,
      slotsRefreshInterval: SLOTS_INTERVAL_MILLISECONDS,
      slotsRefreshTimeout: config.commandTimeoutMilliseconds,
      // Names stay names: certificates are made out to them.
      dnsLookup: (host, callback) => callback(null, host),
      redisOptions: this.#settings.fixed(name),
    })
    this.#run = scriptsOf(this.#cluster)
    this.#cluster.on('error', (error: Error & { readonly lastNodeError?: Error }) =>
      this.#troubles.add((error.lastNodeError ?? error).message),
    )
    this.#cluster.on('node error', (error: Error, address: string) =>
      this.#troubles.add(`${address}: ${error.message}`),
    )
    this.#cluster.on('ready', this.#troubles.over)
    // Told before it connects. ioredis copies these options when it asks a node for the slots, so they are read when they are.
    this.#cluster.on('+node', (node: Redis) => {
      node.on('ready', this.#troubles.connected)
      // ioredis does not look at what becomes of ASKING: the command after it tells. Refused or cut off it would end the process.
      const asking = node.asking.bind(node)
      node.asking = () => {
        const asked = asking()
        asked.catch(() => undefined)
        return asked
      }
      for (const what of ['username', 'password', 'tls'] as const) {
        Object.defineProperty(node.options, what, { enumerable: true, get: () => this.#settings.fresh()[what] })
      }
    })
    this.#cluster.connect().catch(() => undefined)
  }

  get ready(): boolean {
    return this.#cluster.status === 'ready'
  }

  get problem(): string {
    return this.#troubles.last
  }

  onReady(listener: () => void): () => void {
    this.#cluster.on('ready', listener)
    return () => this.#cluster.off('ready', listener)
  }

  whenReady(signal?: AbortSignal): Promise<void> {
    return whenReady(this.#cluster, signal)
  }

  parts<T>(items: readonly T[]): readonly (readonly T[])[] {
    return items.map((item) => [item])
  }

  script(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    return this.#run(script, keys, args)
  }

  getAll(keys: readonly string[]): Promise<readonly (Buffer | null)[]> {
    return Promise.all(keys.map((key) => this.#cluster.getBuffer(key)))
  }

  each(command: string, rows: readonly (readonly [key: string, ...Argument[]])[]): Promise<unknown[]> {
    return Promise.all(rows.map((row) => this.#cluster.call(command, ...row)))
  }

  poke(channel: string): Promise<unknown> {
    return this.#cluster.publish(channel, '')
  }

  /** What is published at one node is told by all, so any will do: the next one at each connection. */
  subscriber(name: string): Redis {
    const { logger, metrics } = this.#options
    let turn = Math.floor(Math.random() * 1024)
    const nextNode = (): Address => {
      const nodes = this.#cluster.nodes().map(({ options: { host = '', port = 0 } }) => ({ host, port }))
      const all = nodes.length > 0 ? nodes : this.#startNodes
      return all[turn++ % all.length]!
    }
    const connection = new LiveRedis(
      this.#settings.fixed(name),
      () => ({ ...this.#settings.fresh(), ...nextNode() }),
      new ConnectionTroubles(name, logger, metrics),
    )
    // A node that left the Cluster hears nothing any more.
    this.#cluster.on('-node', ({ options: { host, port } }: Redis) => {
      const { options, status } = connection
      if (status === 'ready' && options.host === host && options.port === port) connection.disconnect(true)
    })
    return connection
  }

  disconnect(): void {
    this.#cluster.disconnect()
  }
}

function whenReady(redis: Redis | Cluster, signal?: AbortSignal): Promise<void> {
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
