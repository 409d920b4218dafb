import type { Redis } from 'ioredis'
import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { whenReady } from './redis.ts'

const SAMPLES = 5
const INTERVAL_MILLISECONDS = 30_000
const RETRY_MILLISECONDS = 500

export interface SharedClockOptions {
  readonly redis: Redis
  /** Milliseconds since 1970 on this machine; for the metric only. */
  readonly localNow: () => number
  /** Milliseconds on a clock that nobody sets. Default: `performance.now`. */
  readonly monotonicNow?: () => number
  readonly metrics: Metrics
  readonly logger: Logger
}

/**
 * The one clock on which deadlines are written: that of the Redis master. Each side measures its own offset, again
 * after every new connection (a failover may have changed the clock). The sample with the shortest round trip counts, and the
 * server's word is taken to be from its middle (Cristian's algorithm, 1989), so the error is at most half that trip.
 * Between the measurements it goes on with a monotonic clock: a step of this machine's clock moves no deadline.
 */
export class SharedClock {
  readonly #redis: Redis
  readonly #monotonicNow: () => number
  readonly #logger: Logger
  readonly #closed = new AbortController()
  readonly #measureAgain = (): void => void this.#measure().catch(() => undefined)
  #offset = 0
  #measured = false

  constructor({ redis, localNow, monotonicNow = () => performance.now(), metrics, logger }: SharedClockOptions) {
    this.#redis = redis
    this.#monotonicNow = monotonicNow
    this.#logger = logger
    metrics.gaugeFrom('grpc_kafka_clock_offset_seconds', {}, () =>
      this.#measured ? (this.#monotonicNow() + this.#offset - localNow()) / 1000 : 0,
    )
  }

  /** Resolves when the offset is known; then keeps it fresh until `close`. */
  async start(): Promise<void> {
    while (!this.#measured && !this.#closed.signal.aborted) {
      await whenReady(this.#redis, this.#closed.signal)
      await this.#measure().catch((error: unknown) => {
        this.#logger.warn({ err: error }, 'the clock of Redis cannot be read yet')
        return pause(RETRY_MILLISECONDS)
      })
    }
    this.#redis.on('ready', this.#measureAgain)
    const timer = setInterval(this.#measureAgain, INTERVAL_MILLISECONDS)
    timer.unref()
    this.#closed.signal.addEventListener('abort', () => clearInterval(timer))
  }

  get measured(): boolean {
    return this.#measured
  }

  /** Milliseconds since 1970 on the shared clock, an integer. */
  now(): number {
    return Math.round(this.#monotonicNow() + this.#offset)
  }

  close(): void {
    this.#redis.off('ready', this.#measureAgain)
    this.#closed.abort()
  }

  async #measure(): Promise<void> {
    let shortest = Infinity
    let offset = 0
    for (let sample = 0; sample < SAMPLES; sample++) {
      const sent = this.#monotonicNow()
      const [seconds, microseconds] = await this.#redis.time()
      const trip = this.#monotonicNow() - sent
      if (trip >= shortest) continue
      shortest = trip
      offset = Number(seconds) * 1000 + Number(microseconds) / 1000 - (sent + trip / 2)
    }
    this.#offset = offset
    this.#measured = true
  }
}
