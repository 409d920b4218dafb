import { parseCallId } from '../call-id.ts'
import type { CallId } from '../call-id.ts'
import { CANCELLED } from '../results/cancel-board.ts'
import { CommandFailures } from '../results/command-failures.ts'
import { cancelledKey } from '../results/keys.ts'
import type { RedisClient } from '../results/redis.ts'
import type { Metrics } from '../telemetry/metrics.ts'

/** Best effort: what started before it was seen here runs, and its answer is nobody's. */
const LOOK_MILLISECONDS = 500

export interface CancellationsOptions {
  readonly redis: Pick<RedisClient, 'script' | 'ready'>
  readonly topic: string
  /** Told of each call once, when it is seen first. */
  readonly onCancelled: (id: CallId) => void
  readonly metrics: Metrics
}

/**
 * The topic's calls that were cancelled and may still stand on it: their outcome is known, and they need not start. Read from Redis
 * again and again, and not told by messages: a worker that was away, or comes later, learns of them just so.
 */
export class Cancellations {
  readonly #options: CancellationsOptions
  readonly #failures: CommandFailures
  #ids: ReadonlySet<string> = new Set()
  #timer: NodeJS.Timeout | undefined
  #looking = false

  constructor(options: CancellationsOptions) {
    this.#options = options
    this.#failures = new CommandFailures(options.metrics)
  }

  /** A second time nothing more: a worker may join again. */
  start(): void {
    if (this.#timer !== undefined) return
    void this.#look()
    this.#timer = setInterval(() => void this.#look(), LOOK_MILLISECONDS)
    this.#timer.unref()
  }

  close(): void {
    clearInterval(this.#timer)
  }

  /** A hint: whether the call really has its outcome is to be asked. */
  has(id: CallId): boolean {
    return this.#ids.size > 0 && this.#ids.has(id.toString('hex'))
  }

  async #look(): Promise<void> {
    if (this.#looking || !this.#options.redis.ready) return
    this.#looking = true
    try {
      const { redis, topic } = this.#options
      const ids = (await redis.script(CANCELLED, [cancelledKey(topic)], [])) as string[]
      const before = this.#ids
      this.#ids = new Set(ids)
      for (const text of this.#ids) {
        const id = before.has(text) ? undefined : parseCallId(text)
        if (id !== undefined) this.#options.onCancelled(id)
      }
    } catch (error) {
      // What is known stays; the next look is soon.
      this.#failures.add(error)
    } finally {
      this.#looking = false
    }
  }
}
