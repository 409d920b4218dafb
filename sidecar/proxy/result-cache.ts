import { LRUCache } from 'lru-cache'
import { GrpcStatus } from '../errors.ts'
import { decodeOutcome, encodeOutcome } from '../results/outcome.ts'
import type { Outcome } from '../results/outcome.ts'
import type { Metrics } from '../telemetry/metrics.ts'

/**
 * What an entry costs beside its bytes: its key, its place in the cache's lists, the objects of the decoded answer. Measured
 * with entries of 100 bytes; a metadata value costs more than its bytes as well.
 */
const ENTRY_BYTES = 700
const METADATA_VALUE_BYTES = 250

export interface ResultCacheOptions {
  readonly maxBytes: number
  /** The largest message that is answered at all. */
  readonly maxMessageBytes: number
  /** Milliseconds that never go back. */
  readonly monotonicNow: () => number
  readonly metrics: Metrics
}

/**
 * The handler's good answers of this replica, by `cacheKey`: what was used least recently goes when the bytes are used up. It
 * is in memory only and nothing survives a restart.
 */
export class ResultCache {
  readonly #options: ResultCacheOptions
  readonly #onEvicted: () => void
  #maxBytes: number
  #entries: LRUCache<string, Outcome>

  constructor(options: ResultCacheOptions) {
    const { metrics } = options
    const evictions = metrics.counter('grpc_kafka_cache_evictions_total')
    this.#options = options
    this.#onEvicted = () => evictions.inc()
    this.#maxBytes = options.maxBytes
    this.#entries = this.#make()
    metrics.gaugeFrom('grpc_kafka_cache_bytes', {}, () => this.#entries.calculatedSize)
    metrics.gaugeFrom('grpc_kafka_cache_entries', {}, () => this.#entries.size)
  }

  /** Bytes that the entries take, an estimate; those that ran out count until they are asked for or evicted. */
  get bytes(): number {
    return this.#entries.calculatedSize
  }

  get(key: string): Outcome | undefined {
    return this.#entries.get(key)
  }

  /** Keeps an answer for so long when it is OK, and nothing else: no failure is ever kept. */
  keep(key: string, outcome: Outcome, seconds: number): void {
    if (seconds <= 0 || !isGood(outcome) || outcome.message.length > this.#options.maxMessageBytes) return
    const encoded = encodeOutcome(outcome)
    // Outcomes arrive as parts of larger buffers, which must not stay for one of them.
    const own = Buffer.allocUnsafeSlow(encoded.length)
    encoded.copy(own)
    const values = outcome.initialMetadata.length + outcome.trailingMetadata.length
    this.#entries.set(key, decodeOutcome(own), {
      ttl: seconds * 1000,
      size: own.length + ENTRY_BYTES + METADATA_VALUE_BYTES * values,
    })
  }

  /** Forgets everything: what may be kept, or for how long, has changed. */
  reset(maxBytes: number): void {
    this.#maxBytes = maxBytes
    this.#entries = this.#make()
  }

  #make(): LRUCache<string, Outcome> {
    const { monotonicNow } = this.#options
    return new LRUCache({
      maxSize: this.#maxBytes,
      // An entry made at 0 would never run out: lru-cache takes that for "no time".
      perf: { now: () => monotonicNow() + 1 },
      ttlResolution: 0,
      dispose: (_outcome, _key, reason) => {
        if (reason === 'evict') this.#onEvicted()
      },
    })
  }
}

type GoodAnswer = Extract<Outcome, { state: 'Answered' }> & { readonly message: Buffer }

const isGood = (outcome: Outcome): outcome is GoodAnswer =>
  outcome.state === 'Answered' && outcome.status === GrpcStatus.OK && outcome.message !== null
