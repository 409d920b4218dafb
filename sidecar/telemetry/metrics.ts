/**
 * Every metric of the sidecar, in one table, and the handles through which it is counted.
 *
 * Handles are taken once, at start, for every label value that the configuration knows; so a call costs an addition,
 * and no client can make a new series.
 */
import { Registry, collectDefaultMetrics } from 'prom-client'
import { writeExposition } from './exposition.ts'
import type { ExpositionFormat, MetricFamily, Sample } from './exposition.ts'
import { BucketHistogram } from './histogram.ts'
import type { Histogram } from './histogram.ts'

export type { Histogram }

interface MetricEntry {
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly labels: readonly string[]
  readonly buckets?: readonly number[]
}

/** Seconds. */
const LATENCY = [0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]
const BATCH_RECORDS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
const GRPC = ['grpc_type', 'grpc_service', 'grpc_method'] as const

export const METRICS = {
  // The proxy. grpc_server_* as go-grpc-middleware names them, so that its dashboards and alerts fit.
  grpc_server_started_total: { type: 'counter', help: 'Calls that reached the server.', labels: GRPC },
  grpc_server_handled_total: {
    type: 'counter',
    help: 'Calls that the server ended, whatever the status.',
    labels: [...GRPC, 'grpc_code'],
  },
  grpc_server_handling_seconds: {
    type: 'histogram',
    help: 'Time from a call to its end.',
    labels: GRPC,
    buckets: LATENCY,
  },
  grpc_kafka_calls_in_flight: { type: 'gauge', help: 'Calls between admission and answer.', labels: [] },
  grpc_kafka_bytes_in_flight: {
    type: 'gauge',
    help: 'Bytes of the requests in flight and of those that wait for a token of the rate limit.',
    labels: [],
  },
  grpc_kafka_calls_waiting: { type: 'gauge', help: 'Calls that wait for a token of the rate limit.', labels: [] },
  grpc_kafka_refusals_total: {
    type: 'counter',
    help: 'Calls refused before Kafka, by the limit or state that refused them.',
    labels: ['limit'],
  },
  grpc_kafka_queue_wait_estimate_seconds: {
    type: 'gauge',
    help: 'How long a call would wait for a worker, by what workers report.',
    labels: [],
  },
  grpc_kafka_unserved_requests_total: {
    type: 'counter',
    help: 'Requests that the gRPC library refused by itself; they are in no grpc_server_ metric.',
    labels: ['reason'],
  },
  grpc_kafka_cache_requests_total: {
    type: 'counter',
    help: 'Calls of methods that may be cached, by what became of them.',
    labels: ['result'],
  },
  grpc_kafka_cache_bytes: { type: 'gauge', help: 'Bytes of the answers kept.', labels: [] },
  grpc_kafka_cache_entries: { type: 'gauge', help: 'Answers kept.', labels: [] },
  grpc_kafka_cache_evictions_total: { type: 'counter', help: 'Answers dropped to make room for others.', labels: [] },
  grpc_kafka_produce_seconds: { type: 'histogram', help: 'Time of one produce request.', labels: [], buckets: LATENCY },
  grpc_kafka_produce_batch_records: {
    type: 'histogram',
    help: 'Records of one produce request.',
    labels: [],
    buckets: BATCH_RECORDS,
  },
  grpc_kafka_produce_pending_calls: {
    type: 'gauge',
    help: 'Calls that no produce request carries now: they wait for one, or for the next try.',
    labels: [],
  },
  grpc_kafka_produce_errors_total: { type: 'counter', help: 'Produce requests that failed.', labels: ['reason'] },
  grpc_kafka_calls_awaiting_outcome: { type: 'gauge', help: 'Calls that wait for their outcome.', labels: [] },
  grpc_kafka_result_lookups: {
    type: 'gauge',
    help: 'Requests of grpckafka.v1.Calls that are being answered, nearly all of them waiting.',
    labels: [],
  },
  grpc_kafka_call_handles_lost_total: {
    type: 'counter',
    help: 'Calls that cannot be found by their ids, because Redis did not take what they are known by.',
    labels: [],
  },
  grpc_kafka_joins_total: {
    type: 'counter',
    help: 'Calls whose idempotency key was known, by what it led to.',
    labels: ['kind'],
  },
  grpc_kafka_reply_rereads_total: {
    type: 'counter',
    help: 'Outcomes read again because a notification may have been lost.',
    labels: [],
  },
  grpc_kafka_registered: {
    type: 'gauge',
    help: '1 while the Consul agent took what it was told last of this replica.',
    labels: [],
  },
  grpc_kafka_registration_errors_total: {
    type: 'counter',
    help: 'Requests to the Consul agent that failed.',
    labels: ['reason'],
  },

  // Both roles.
  grpc_kafka_ready: { type: 'gauge', help: '1 while /readyz says that this replica should get work.', labels: [] },
  grpc_kafka_event_loop_delay_seconds: {
    type: 'histogram',
    help: 'How much too late a timer of 20 ms fires: everything else in the process waits as long.',
    labels: [],
    buckets: LATENCY,
  },
  grpc_kafka_broker_connections_total: { type: 'counter', help: 'Connections opened to Kafka brokers.', labels: [] },
  grpc_kafka_redis_connections_total: { type: 'counter', help: 'Connections to Redis that became usable.', labels: [] },
  grpc_kafka_redis_errors_total: { type: 'counter', help: 'Failures of Redis.', labels: ['reason'] },
  grpc_kafka_clock_offset_seconds: { type: 'gauge', help: "Redis' clock less this machine's.", labels: [] },
  grpc_kafka_config_reloads_total: {
    type: 'counter',
    help: 'Changes of the configuration that were seen while running, by what became of them.',
    labels: ['result'],
  },
  grpc_kafka_config_last_reload_successful: {
    type: 'gauge',
    help: '1 while the configuration in use is that of the file.',
    labels: [],
  },

  // The worker.
  grpc_kafka_consumer_lag: {
    type: 'gauge',
    help: 'Records of an owned partition that are not finished.',
    labels: ['topic', 'partition'],
  },
  grpc_kafka_oldest_record_seconds: {
    type: 'gauge',
    help: 'Age of the oldest record of the owned partitions that is not finished; 0 when there is none.',
    labels: [],
  },
  grpc_kafka_assigned_partitions: { type: 'gauge', help: 'Partitions that this worker owns.', labels: [] },
  grpc_kafka_paused_partitions: {
    type: 'gauge',
    help: 'Owned partitions that are not read because enough is buffered.',
    labels: [],
  },
  grpc_kafka_records_total: { type: 'counter', help: 'Records finished, by how.', labels: ['result'] },
  grpc_kafka_handler_seconds: {
    type: 'histogram',
    help: 'Time of one attempt in the handler.',
    labels: ['method'],
    buckets: LATENCY,
  },
  grpc_kafka_attempts_total: {
    type: 'counter',
    help: 'Attempts, by what came of them; Answered is any status of the handler itself.',
    labels: ['result'],
  },
  grpc_kafka_queue_wait_seconds: {
    type: 'histogram',
    help: 'Time of a record from the proxy to its first start.',
    labels: [],
    buckets: LATENCY,
  },
  grpc_kafka_handler_retries_total: { type: 'counter', help: 'Attempts after the first.', labels: [] },
  grpc_kafka_handler_healthy: { type: 'gauge', help: '1 while the handler is healthy.', labels: [] },
  grpc_kafka_running_calls: { type: 'gauge', help: 'Calls that the handler runs now.', labels: [] },
  grpc_kafka_drain_rate: {
    type: 'gauge',
    help: 'Answers per second of the handler while every place is taken.',
    labels: [],
  },
  grpc_kafka_buffered_records: { type: 'gauge', help: 'Records read and not started.', labels: [] },
  grpc_kafka_parked_records: {
    type: 'gauge',
    help: 'Records that wait for their next attempt or for a newer reader.',
    labels: [],
  },
  grpc_kafka_records_in_line: {
    type: 'gauge',
    help: 'Records that wait for an earlier one of their key.',
    labels: [],
  },
  grpc_kafka_held_partitions: {
    type: 'gauge',
    help: 'Owned partitions of which nothing starts: records that wait for their next attempt, and those of their keys, fill the window.',
    labels: [],
  },
  grpc_kafka_callbacks_total: {
    type: 'counter',
    help: 'Callbacks that came to an end, by which.',
    labels: ['result'],
  },
  grpc_kafka_callbacks_pending: {
    type: 'gauge',
    help: 'Callbacks that are being sent or wait for it; their offsets wait with them.',
    labels: [],
  },
  grpc_kafka_dead_letter_errors_total: {
    type: 'counter',
    help: 'Times that the failure topic did not take a record; its offset waits.',
    labels: [],
  },
  grpc_kafka_retry_topic_errors_total: {
    type: 'counter',
    help: 'Times that a retry topic did not take records; their offsets wait.',
    labels: [],
  },
  grpc_kafka_outcomes_total: { type: 'counter', help: 'Outcomes stored.', labels: [] },
  grpc_kafka_outcomes_pending: { type: 'gauge', help: 'Outcomes that Redis has not taken yet.', labels: [] },
  grpc_kafka_outcome_batch_records: {
    type: 'histogram',
    help: 'Outcomes of one write to Redis.',
    labels: [],
    buckets: BATCH_RECORDS,
  },
  grpc_kafka_commits_total: { type: 'counter', help: 'Commits of offsets.', labels: [] },
  grpc_kafka_watermarks_past_end_total: {
    type: 'counter',
    help: 'Logs that ended before what was known to be finished in them, and were read from their start.',
    labels: [],
  },
  grpc_kafka_commit_errors_total: { type: 'counter', help: 'Commits that failed.', labels: [] },
  grpc_kafka_rebalances_total: { type: 'counter', help: 'Times that this member joined its group.', labels: [] },
} as const satisfies Record<string, MetricEntry>

type Table = typeof METRICS
export type MetricName = keyof Table
type NameOf<Type extends MetricEntry['type']> = {
  [Name in MetricName]: Table[Name]['type'] extends Type ? Name : never
}[MetricName]
export type LabelsOf<Name extends MetricName> = Readonly<Record<Table[Name]['labels'][number], string>>
/** Nothing for a metric without labels, else every label. */
type LabelArguments<Name extends MetricName> = Table[Name]['labels'] extends readonly [] ? [] : [labels: LabelsOf<Name>]

export interface Counter {
  /** @param by 1 when left out; never negative. */
  inc(by?: number): void
}

export interface Gauge {
  set(value: number): void
}

class Value implements Counter, Gauge {
  value = 0
  inc(by = 1): void {
    this.value += by
  }
  set(value: number): void {
    this.value = value
  }
}

/** Read when the metrics are. */
class Reading {
  read: () => number | undefined
  constructor(read: () => number | undefined) {
    this.read = read
  }
}

interface Series {
  readonly labels: Readonly<Record<string, string>>
  readonly source: Value | Reading | BucketHistogram
}

/** All series of one metric. */
class Family {
  readonly name: string
  readonly help: string
  readonly type: MetricEntry['type']
  readonly #labelNames: readonly string[]
  readonly #series = new Map<string, Series>()

  constructor(name: string, entry: MetricEntry) {
    this.name = name
    this.help = entry.help
    this.type = entry.type
    this.#labelNames = entry.labels
  }

  /** The series with these labels, made when it is the first time. */
  series<Source extends Series['source']>(labels: Readonly<Record<string, string>>, make: () => Source): Source {
    const key = JSON.stringify(this.#labelNames.map((name) => labels[name]))
    let series = this.#series.get(key)
    if (series === undefined) {
      series = { labels, source: make() }
      this.#series.set(key, series)
    }
    return series.source as Source
  }

  read(): MetricFamily {
    return {
      name: this.name,
      help: this.help,
      type: this.type,
      values: [...this.#series.values()].flatMap((one) => this.#samples(one)),
    }
  }

  #samples({ labels, source }: Series): readonly Sample[] {
    if (source instanceof Value) return [{ labels, value: source.value }]
    if (source instanceof Reading) {
      const value = source.read()
      return value === undefined ? [] : [{ labels, value }]
    }
    const { cumulative, count, sum, exemplars } = source.snapshot()
    const bucket = (le: number | string, value: number, index: number): Sample => {
      const exemplar = exemplars[index]
      return {
        metricName: `${this.name}_bucket`,
        labels: { ...labels, le },
        value,
        ...(exemplar !== undefined && { exemplar }),
      }
    }
    return [
      ...source.bounds.map((le, index) => bucket(le, cumulative[index] ?? 0, index)),
      bucket('+Inf', count, source.bounds.length),
      { metricName: `${this.name}_sum`, labels, value: sum },
      { metricName: `${this.name}_count`, labels, value: count },
    ]
  }
}

/**
 * The metrics of one process. Asked twice for the same name and labels, it gives the same series. A metric is exposed
 * once a handle of it was taken.
 */
export class Metrics {
  /** What Node tells of itself. */
  readonly #registry = new Registry()
  readonly #families = new Map<MetricName, Family>()

  counter<Name extends NameOf<'counter'>>(name: Name, ...[labels]: LabelArguments<Name>): Counter {
    return this.#family(name).series(labels ?? {}, () => new Value())
  }

  gauge<Name extends NameOf<'gauge'>>(name: Name, ...[labels]: LabelArguments<Name>): Gauge {
    return this.#family(name).series(labels ?? {}, () => new Value())
  }

  /**
   * A gauge that is read when the metrics are; a second call replaces the reader.
   * @param read undefined: the series is not shown (a partition that is no longer owned).
   */
  gaugeFrom<Name extends NameOf<'gauge'>>(name: Name, labels: LabelsOf<Name>, read: () => number | undefined): void {
    this.#family(name).series(labels, () => new Reading(read)).read = read
  }

  histogram<Name extends NameOf<'histogram'>>(name: Name, ...[labels]: LabelArguments<Name>): Histogram {
    return this.#family(name).series(labels ?? {}, () => new BucketHistogram(METRICS[name].buckets))
  }

  /** Adds what prom-client tells of every Node process (CPU, memory, event loop, garbage collection). Once per process. */
  addProcessMetrics(): void {
    collectDefaultMetrics({ register: this.#registry })
  }

  /** What a scraper reads; its content type is that of `CONTENT_TYPES`. */
  async expose(format: ExpositionFormat = 'Prometheus'): Promise<string> {
    const own = [...this.#families.values()].map((family) => family.read())
    const ofNode = (await this.#registry.getMetricsAsJSON()) as unknown as readonly MetricFamily[]
    return writeExposition([...own, ...ofNode], format)
  }

  #family(name: MetricName): Family {
    let family = this.#families.get(name)
    if (family === undefined) {
      family = new Family(name, METRICS[name])
      this.#families.set(name, family)
    }
    return family
  }
}
