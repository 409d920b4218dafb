import type { Redis } from 'ioredis'
import type { Logger } from '../telemetry/log.ts'
import type { RedisClient } from './redis.ts'

const PROBE_INTERVAL_MILLISECONDS = 5000
const PROBE_ANSWER_MILLISECONDS = 2000

export interface SubscriptionOptions {
  /** The connection that listens, and nothing else. */
  readonly connection: Redis
  /** Where probes are sent from. */
  readonly redis: RedisClient
  readonly channel: string
  readonly logger: Logger
  /** Called after every subscription: what was published before it may have been missed. */
  readonly onSubscribed: () => Promise<void>
  readonly onMessage: (message: Buffer) => void
}

/**
 * One channel, subscribed again on every new connection. Now and then an empty message is published on it: a subscriber that does
 * not hear it is deaf for whatever reason (half open, on a server that was cut off from its master or its Cluster), although its
 * connection looks well, and gets a new connection.
 */
export class Subscription {
  readonly #options: SubscriptionOptions
  readonly #closed = new AbortController()
  #subscribed = false
  #heard = 0

  constructor(options: SubscriptionOptions) {
    this.#options = options
  }

  /** Resolves at the first subscription. */
  start(): Promise<void> {
    const { connection, onMessage } = this.#options
    connection.on('messageBuffer', (_channel: Buffer, message: Buffer) => {
      this.#heard += 1
      if (message.length > 0) onMessage(message)
    })
    connection.on('close', () => {
      this.#subscribed = false
    })
    const { promise, resolve } = Promise.withResolvers<void>()
    const subscribe = () => void this.#subscribe().then((done) => done && resolve())
    connection.on('ready', subscribe)
    if (connection.status === 'ready') subscribe()
    const timer = setInterval(() => void this.#probe(), PROBE_INTERVAL_MILLISECONDS)
    timer.unref()
    this.#closed.signal.addEventListener('abort', () => clearInterval(timer))
    return promise
  }

  get subscribed(): boolean {
    return this.#subscribed
  }

  close(): void {
    this.#closed.abort()
    this.#options.connection.disconnect()
  }

  async #subscribe(): Promise<boolean> {
    const { connection, channel, logger, onSubscribed } = this.#options
    if (this.#closed.signal.aborted) return false
    try {
      await connection.subscribe(channel)
    } catch (error) {
      // A subscription that failed on a connection that lives would leave this replica deaf: a new connection tries again.
      logger.warn({ reason: (error as Error).message }, 'the reply channel cannot be subscribed; connecting again')
      this.#connectAgain()
      return false
    }
    this.#subscribed = true
    await onSubscribed()
    return true
  }

  async #probe(): Promise<void> {
    const { redis, channel, logger } = this.#options
    if (!this.#subscribed || !redis.ready) return
    const heard = this.#heard
    try {
      await redis.poke(channel)
    } catch {
      // That tells nothing of this connection.
      return
    }
    setTimeout(() => {
      // A process that stood still has what came meanwhile yet to read.
      setImmediate(() => {
        if (this.#heard > heard || !this.#subscribed) return
        logger.warn('the reply channel does not hear what is published; connecting again')
        this.#connectAgain()
      })
    }, PROBE_ANSWER_MILLISECONDS).unref()
  }

  #connectAgain(): void {
    const { connection } = this.#options
    if (!this.#closed.signal.aborted && connection.status === 'ready') connection.disconnect(true)
  }
}
