/**
 * The metrics of controller-runtime and client-go under their own names, so that dashboards and alerts made for Go's
 * operators fit. No label holds an object's name or namespace: their number has no bound.
 */
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client'
import type { QueueMetrics, WorkQueue } from './work-queue.ts'

/** controller-runtime's, in seconds. */
const RECONCILE_SECONDS = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.25, 1.5, 1.75, 2,
  2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60,
]
/** controller-runtime's for queues: from 10 ns to 1000 s, each ten times the one before. */
const QUEUE_SECONDS = Array.from({ length: 12 }, (_, power) => Number(`1e${power - 8}`))

const RESULTS = ['success', 'error', 'requeue_after'] as const
export type ReconcileOutcome = (typeof RESULTS)[number]

const OF_CONTROLLER = ['controller'] as const
const OF_QUEUE = ['name', 'controller'] as const

export class ControllerMetrics {
  readonly #registers = [new Registry()]
  readonly #reconciles = new Counter({
    name: 'controller_runtime_reconcile_total',
    help: 'Reconciles, by what they led to.',
    labelNames: ['controller', 'result'],
    registers: this.#registers,
  })
  readonly #errors = new Counter({
    name: 'controller_runtime_reconcile_errors_total',
    help: 'Reconciles that failed.',
    labelNames: OF_CONTROLLER,
    registers: this.#registers,
  })
  readonly #terminalErrors = new Counter({
    name: 'controller_runtime_terminal_reconcile_errors_total',
    help: 'Reconciles that failed and were not tried again by themselves.',
    labelNames: OF_CONTROLLER,
    registers: this.#registers,
  })
  readonly #timeouts = new Counter({
    name: 'controller_runtime_reconcile_timeouts_total',
    help: 'Reconciles that took longer than they may.',
    labelNames: OF_CONTROLLER,
    registers: this.#registers,
  })
  readonly #seconds = new Histogram({
    name: 'controller_runtime_reconcile_time_seconds',
    help: 'How long a reconcile took.',
    labelNames: OF_CONTROLLER,
    buckets: RECONCILE_SECONDS,
    registers: this.#registers,
  })
  readonly #workers = new Gauge({
    name: 'controller_runtime_max_concurrent_reconciles',
    help: 'Reconciles that may run at once.',
    labelNames: OF_CONTROLLER,
    registers: this.#registers,
  })
  readonly #active = new Gauge({
    name: 'controller_runtime_active_workers',
    help: 'Reconciles that run now.',
    labelNames: OF_CONTROLLER,
    registers: this.#registers,
  })
  readonly #adds = new Counter({
    name: 'workqueue_adds_total',
    help: 'Keys added to the queue.',
    labelNames: OF_QUEUE,
    registers: this.#registers,
  })
  readonly #retries = new Counter({
    name: 'workqueue_retries_total',
    help: 'Keys added to the queue because their reconcile failed.',
    labelNames: OF_QUEUE,
    registers: this.#registers,
  })
  readonly #waited = new Histogram({
    name: 'workqueue_queue_duration_seconds',
    help: 'How long a key waited in the queue.',
    labelNames: OF_QUEUE,
    buckets: QUEUE_SECONDS,
    registers: this.#registers,
  })
  readonly #worked = new Histogram({
    name: 'workqueue_work_duration_seconds',
    help: 'How long a key was worked on.',
    labelNames: OF_QUEUE,
    buckets: QUEUE_SECONDS,
    registers: this.#registers,
  })
  readonly #requests = new Counter({
    name: 'rest_client_requests_total',
    help: 'Requests to the API server, by HTTP status and method.',
    labelNames: ['code', 'method'],
    registers: this.#registers,
  })
  readonly #queues = new Map<string, WorkQueue>()

  constructor() {
    this.#queueGauge('workqueue_depth', 'Keys that wait in the queue.', ({ depth }) => depth)
    this.#queueGauge(
      'workqueue_unfinished_work_seconds',
      'How long what is worked on now has been worked on, all together. When it only grows, something hangs.',
      ({ processingMilliseconds }) => processingMilliseconds.reduce((all, one) => all + one, 0) / 1000,
    )
    this.#queueGauge(
      'workqueue_longest_running_processor_seconds',
      'How long the key that is worked on for longest has been worked on.',
      ({ processingMilliseconds }) => Math.max(0, ...processingMilliseconds) / 1000,
    )
  }

  get contentType(): string {
    return this.#registers[0]!.contentType
  }

  /** What a scraper reads. */
  expose(): Promise<string> {
    return this.#registers[0]!.metrics()
  }

  /** Adds what prom-client tells of every Node process. Once per process. */
  addProcessMetrics(): void {
    collectDefaultMetrics({ register: this.#registers[0]! })
  }

  /** Makes the series of a controller, so that they are there at 0 before anything happens. */
  addController(controller: string, workers: number): void {
    this.#workers.set({ controller }, workers)
    this.#active.set({ controller }, 0)
    for (const result of RESULTS) this.#reconciles.inc({ controller, result }, 0)
    for (const counter of [this.#errors, this.#terminalErrors, this.#timeouts]) counter.inc({ controller }, 0)
  }

  reconcileBegan(controller: string): void {
    this.#active.inc({ controller })
  }

  reconcileEnded(controller: string, result: ReconcileOutcome, milliseconds: number): void {
    this.#active.dec({ controller })
    this.#reconciles.inc({ controller, result })
    this.#seconds.observe({ controller }, milliseconds / 1000)
    if (result === 'error') this.#errors.inc({ controller })
  }

  reconcileWillNotBeRetried(controller: string): void {
    this.#terminalErrors.inc({ controller })
  }

  reconcileTimedOut(controller: string): void {
    this.#timeouts.inc({ controller })
  }

  /** What a queue counts through. */
  queue(name: string): QueueMetrics {
    const labels = { name, controller: name }
    this.#adds.inc(labels, 0)
    this.#retries.inc(labels, 0)
    return {
      added: () => this.#adds.inc(labels),
      retried: () => this.#retries.inc(labels),
      taken: (milliseconds) => this.#waited.observe(labels, milliseconds / 1000),
      done: (milliseconds) => this.#worked.observe(labels, milliseconds / 1000),
    }
  }

  /** The queue's state is read when the metrics are. */
  watchQueue(name: string, queue: WorkQueue): void {
    this.#queues.set(name, queue)
  }

  /** @param code HTTP's status, or `<error>` where there was no answer. */
  request(code: string, method: string): void {
    this.#requests.inc({ code, method })
  }

  /** @param name of the Lease. @param leading read when the metrics are. */
  watchLeader(name: string, leading: () => boolean): void {
    new Gauge({
      name: 'leader_election_master_status',
      help: '1 while this process leads.',
      labelNames: ['name'],
      registers: this.#registers,
      collect() {
        this.set({ name }, leading() ? 1 : 0)
      },
    })
  }

  /** A counter of whoever uses this, read when the metrics are: its values by that of the label. */
  watchCounts(name: string, help: string, label: string, read: () => ReadonlyMap<string, number>): void {
    new Counter({
      name,
      help,
      labelNames: [label],
      registers: this.#registers,
      collect() {
        this.reset()
        for (const [value, count] of read()) this.inc({ [label]: value }, count)
      },
    })
  }

  #queueGauge(name: string, help: string, read: (queue: WorkQueue) => number): void {
    const queues = this.#queues
    new Gauge({
      name,
      help,
      labelNames: OF_QUEUE,
      registers: this.#registers,
      collect() {
        for (const [queue, state] of queues) this.set({ name: queue, controller: queue }, read(state))
      },
    })
  }
}
