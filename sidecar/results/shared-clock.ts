import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { CLOCK_KEY } from './keys.ts'
import type { RedisClient } from './redis.ts'
import { CLOCK } from './scripts.ts'

const SAMPLES = 5
const INTERVAL_MILLISECONDS = 30_000
const LOOK_INTERVAL_MILLISECONDS = 1000
/** A look that is further off than its own error and this is a step, and not a clock that runs a little faster. */
const STEP_MILLISECONDS = 50
const RETRY_MILLISECONDS = 500

export interface SharedClockOptions {
  readonly redis: RedisClient
  /** Milliseconds since 1970 on this machine; for the metric only. */
  readonly localNow: () => number
  /** Milliseconds on a clock that nobody sets. Default: `performance.now`. */
  readonly monotonicNow?: () => number
  readonly metrics: Metrics
  readonly logger: Logger
}

/**
 * The one clock on which deadlines are written: that of the Redis master which owns one fixed key. Each side measures its own
 * offset, again after every new connection and at least every 30 s. Each second one sample is looked at: a server's clock that was
 * stepped, another server after a failover or a machine that slept are found by it, and measured anew. The sample with the shortest round trip counts, and the
 * server's word is taken to be from its middle (Cristian's algorithm, 1989), so the error is at most half that trip.
 * Between the measurements it goes on with a monotonic clock: a step of this machine's clock moves no deadline.
 */
export class SharedClock {
  readonly #redis: RedisClient
  readonly #monotonicNow: () => number
  readonly #logger: Logger
  readonly #closed = new AbortController()
  readonly #measureAgain = (): void => void this.#measure().catch(() => undefined)
  #offset = 0
  #measured = false
  #measuring = false
  #lastMeasured = 0
  #stopListening = (): void => undefined

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
      await this.#redis.whenReady(this.#closed.signal)
      await this.#measure().catch((error: unknown) => {
        this.#logger.warn({ err: error }, 'the clock of Redis cannot be read yet')
        return pause(RETRY_MILLISECONDS)
      })
    }
    this.#stopListening = this.#redis.onReady(this.#measureAgain)
    const timer = setInterval(() => void this.#look().catch(() => undefined), LOOK_INTERVAL_MILLISECONDS)
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
    this.#stopListening()
    this.#closed.abort()
  }

  async #look(): Promise<void> {
    if (this.#measuring || !this.#redis.ready) return
    if (this.#monotonicNow() - this.#lastMeasured >= INTERVAL_MILLISECONDS) return this.#measure()
    const { offset, trip } = await this.#sample()
    if (Math.abs(offset - this.#offset) > trip / 2 + STEP_MILLISECONDS) await this.#measure()
  }

  async #measure(): Promise<void> {
    if (this.#measuring) return
    this.#measuring = true
    try {
      let best = { offset: 0, trip: Infinity }
      for (let count = 0; count < SAMPLES; count++) {
        const sample = await this.#sample()
        if (sample.trip < best.trip) best = sample
      }
      this.#offset = best.offset
      this.#measured = true
      this.#lastMeasured = this.#monotonicNow()
    } finally {
      this.#measuring = false
    }
  }

  async #sample(): Promise<{ readonly offset: number; readonly trip: number }> {
    const sent = this.#monotonicNow()
    const [seconds, microseconds] = (await this.#redis.script(CLOCK, [CLOCK_KEY], [])) as [string, string]
    const trip = this.#monotonicNow() - sent
    return { offset: Number(seconds) * 1000 + Number(microseconds) / 1000 - (sent + trip / 2), trip }
  }
}
