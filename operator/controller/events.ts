/**
 * What happened, told where `kubectl describe` and `kubectl events` find it: events.k8s.io/v1. The same thing said again
 * becomes a series of one event, as client-go's `tools/events` does it; how often one object may speak is bounded as
 * client-go's older `EventSourceObjectSpamFilter` does it. An event that cannot be stored is lost, and hurts nobody.
 */
import type { Logger } from 'pino'
import { LRUCache } from 'lru-cache'
import { microTime } from './clock.ts'
import type { Clock } from './clock.ts'
import { collectionPath, keyOf, objectKey, objectPath, resourceName } from './object.ts'
import type { KubeObject, Resource } from './object.ts'
import { TokenBucket } from './rate-limiter.ts'
import type { RestClient } from './rest-client.ts'

const EVENTS: Resource = { apiVersion: 'events.k8s.io/v1', kind: 'Event', plural: 'events', namespaced: true }

export interface KubeEvent {
  readonly type: 'Normal' | 'Warning'
  /** Why, in one word as in a condition: `TopicCreated`. At most 128 characters. */
  readonly reason: string
  /** What was done or tried, in one word: `CreateTopic`. At most 128 characters. */
  readonly action: string
  /** For people; said again word by word, it counts as the same event. What is longer than 1024 bytes is cut. */
  readonly note: string
}

/** How reconcilers tell what happened. */
export interface EventRecorder {
  /** Returns at once. Never throws. */
  record(regarding: KubeObject, event: KubeEvent): void
}

export interface EventSinkOptions {
  readonly client: Pick<RestClient, 'request'>
  readonly clock: Clock
  readonly random: () => number
  readonly logger: Logger
  /** `grpckafka.dev/operator` */
  readonly reportingController: string
  /** The pod. */
  readonly reportingInstance: string
}

/** One event of the API server, and how often it happened. */
interface Series {
  readonly path: string
  count: number
  /** How often as far as the API server knows; 0 until it has the event. */
  stored: number
  /** RFC 3339. */
  lastTime: string
  /** Monotonic milliseconds. */
  lastAt: number
  /** Whether it will be written without being asked. */
  scheduled: boolean
}

/** Longer notes are refused by the API server. */
const MOST_NOTE_BYTES = 1024
/** client-go keeps as many. */
const MOST_SERIES = 4096
/** What happens again after six minutes of silence is a new event (client-go's `finishTime`). */
const SERIES_MILLISECONDS = 6 * 60_000
/** A series is written so often, however much it counts. */
const SERIES_WRITE_MILLISECONDS = 60_000
/** An object has 25 different things to say, and one more each five minutes (client-go's defaults). */
const OBJECT_BURST = 25
const OBJECT_PER_SECOND = 1 / 300
/** What waits to be stored beyond it is lost (client-go's broadcaster keeps as many). */
const MOST_WAITING = 1000

export class EventSink implements EventRecorder {
  readonly #options: EventSinkOptions
  readonly #series = new LRUCache<string, Series>({ max: MOST_SERIES })
  readonly #buckets = new LRUCache<string, TokenBucket>({ max: MOST_SERIES })
  /** Requests go one after the other. */
  #last: Promise<void> = Promise.resolve()
  #waiting = 0
  #names = 0

  constructor(options: EventSinkOptions) {
    this.#options = options
  }

  record(regarding: KubeObject, event: KubeEvent): void {
    const { clock } = this.#options
    const now = clock.monotonic()
    const object = regarding.metadata.uid ?? objectKey(regarding)
    const key = JSON.stringify([object, resourceName(regarding), event])
    const known = this.#series.get(key)
    if (known !== undefined && now - known.lastAt < SERIES_MILLISECONDS) {
      known.count += 1
      known.lastAt = now
      known.lastTime = microTime(clock)
      this.#schedule(key, known)
      return
    }
    const bucket = this.#buckets.get(object) ?? new TokenBucket(OBJECT_PER_SECOND, OBJECT_BURST, clock.monotonic)
    this.#buckets.set(object, bucket)
    if (!bucket.tryTake()) return
    const namespace = regarding.metadata.namespace ?? 'default'
    const name = this.#name(regarding.metadata.name)
    const path = objectPath(EVENTS, keyOf(namespace, name))
    const series: Series = { path, count: 1, stored: 0, lastTime: microTime(clock), lastAt: now, scheduled: false }
    this.#series.set(key, series)
    this.#enqueue(key, () => this.#create(namespace, name, regarding, event, series))
  }

  /** Resolves when what waits now was tried. Counts of series that are not due yet are lost. */
  flush(): Promise<void> {
    return this.#last
  }

  /** Distinct and short enough, whatever the object is called. */
  #name(object: string): string {
    const { clock, random } = this.#options
    this.#names += 1
    const unique = [clock.now(), Math.floor(random() * 2 ** 32), this.#names].map((part) => part.toString(16)).join('')
    return `${object.slice(0, 200).replace(/[^a-z0-9]+$/, '')}.${unique}`
  }

  #schedule(key: string, series: Series): void {
    if (series.scheduled) return
    series.scheduled = true
    this.#options.clock.after(SERIES_WRITE_MILLISECONDS, () => {
      series.scheduled = false
      if (series.count > series.stored) this.#enqueue(key, () => this.#count(series))
    })
  }

  #enqueue(key: string, write: () => Promise<void>): void {
    if (this.#waiting >= MOST_WAITING) {
      this.#series.delete(key)
      return
    }
    this.#waiting += 1
    this.#last = this.#last.then(write).then(
      () => {
        this.#waiting -= 1
      },
      (error: unknown) => {
        this.#waiting -= 1
        // Told anew when it happens again: the API server was away, the namespace is being deleted, or the event is gone.
        this.#series.delete(key)
        this.#options.logger.debug({ err: error }, 'an event was lost')
      },
    )
  }

  async #create(
    namespace: string,
    name: string,
    { apiVersion, kind, metadata }: KubeObject,
    { type, reason, action, note }: KubeEvent,
    series: Series,
  ): Promise<void> {
    const { client, reportingController, reportingInstance } = this.#options
    const regarding = { apiVersion, kind, namespace: metadata.namespace, name: metadata.name, uid: metadata.uid }
    const body = {
      apiVersion: EVENTS.apiVersion,
      kind: EVENTS.kind,
      metadata: { name, namespace },
      eventTime: series.lastTime,
      reportingController,
      reportingInstance,
      regarding,
      type,
      reason,
      action,
      note: cutToBytes(note, MOST_NOTE_BYTES),
    }
    await client.request({ method: 'POST', path: collectionPath(EVENTS, namespace), body })
    series.stored = 1
  }

  async #count(series: Series): Promise<void> {
    const { count, lastTime, path } = series
    await this.#options.client.request({
      method: 'PATCH',
      path,
      contentType: 'application/merge-patch+json',
      body: { series: { count, lastObservedTime: lastTime } },
    })
    series.stored = count
  }
}

/** The longest beginning that is no longer than so many bytes of UTF-8. */
function cutToBytes(text: string, most: number): string {
  const bytes = Buffer.from(text)
  if (bytes.length <= most) return text
  // A character that was cut through would be read as one or more of U+FFFD.
  return bytes
    .subarray(0, most)
    .toString('utf8')
    .replace(/\uFFFD+$/, '')
}
