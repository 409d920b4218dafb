/** Everything that the operator's parts share, made once from its configuration. */
import { randomUUID } from 'node:crypto'
import type { KubeConfig } from '@kubernetes/client-node'
import type { Logger } from 'pino'
import type { OperatorConfig } from './config.ts'
import { ApplyWriter } from './controller/apply.ts'
import type { Clock } from './controller/clock.ts'
import { EventSink } from './controller/events.ts'
import type { EventRecorder } from './controller/events.ts'
import type { KubeWriter } from './controller/kube-client.ts'
import { LeaderElector } from './controller/leader.ts'
import { Manager } from './controller/manager.ts'
import type { ControllerMetrics } from './controller/metrics.ts'
import type { Resource } from './controller/object.ts'
import { TokenBucket } from './controller/rate-limiter.ts'
import { RestClient } from './controller/rest-client.ts'
import { HttpTransport } from './controller/transport.ts'
import { FIELD_MANAGER } from './field-manager.ts'

export interface OperatorContext {
  readonly config: OperatorConfig
  readonly clock: Clock
  readonly logger: Logger
  readonly manager: Manager
  /** For requests that no reconciler makes; waits for nobody's requests. */
  readonly client: RestClient
  readonly writer: KubeWriter
  /** Whether nobody else can lead now: to be asked before anything outside Kubernetes is changed. The writer asks by itself. */
  readonly mayWrite: () => boolean
  readonly events: EventRecorder
  readonly metrics: ControllerMetrics
  /** Ends the connections to the API server. */
  close(): void
}

export interface ContextParts {
  readonly config: OperatorConfig
  readonly kubeConfig: KubeConfig
  readonly clock: Clock
  readonly random: () => number
  readonly logger: Logger
  readonly metrics: ControllerMetrics
  /** Of every kind that is applied. */
  readonly written: readonly Resource[]
}

/** Events may not slow reconciles down, nor lists and watches. */
const EVENTS_PER_SECOND = 5
const EVENTS_BURST = 20

export function createContext({
  config,
  kubeConfig,
  clock,
  random,
  logger,
  metrics,
  written,
}: ContextParts): OperatorContext {
  const transport = new HttpTransport(kubeConfig)
  const common = {
    transport,
    clock,
    onRequest: (code: string, method: string) => metrics.request(code, method),
  }
  const client = new RestClient({
    ...common,
    // As controller-runtime since 0.21: the API server shares itself out (API Priority and Fairness), and knows its own load.
    ...(config.kubeQps > 0 && { bucket: new TokenBucket(config.kubeQps, config.kubeBurst, clock.monotonic) }),
  })
  const { id, namespace, ...times } = config.leaderElection
  // As controller-runtime: renewals queue behind nobody, and one that hangs leaves time for a second.
  const urgent = new RestClient({ ...common, requestTimeoutMilliseconds: times.renewDeadlineMilliseconds / 2 })
  const elector = new LeaderElector({
    client: urgent,
    clock,
    random,
    logger,
    namespace,
    name: id,
    identity: `${config.instance}_${randomUUID()}`,
    ...times,
  })
  metrics.watchLeader(id, () => elector.leading)
  const events = new EventSink({
    client: new RestClient({
      ...common,
      bucket: new TokenBucket(EVENTS_PER_SECOND, EVENTS_BURST, clock.monotonic),
    }),
    clock,
    random,
    logger,
    reportingController: 'grpckafka.dev/operator',
    reportingInstance: config.instance,
  })
  const manager = new Manager({ ...config, client, clock, random, logger, metrics, elector, events })
  const mayWrite = () => elector.mayWrite()
  const writer = new ApplyWriter({
    client,
    resources: written,
    fieldManager: FIELD_MANAGER,
    mayWrite,
    written: (resource, object) => manager.written(resource, object),
  })
  return {
    config,
    clock,
    logger,
    manager,
    client: urgent,
    writer,
    mayWrite,
    events,
    metrics,
    close: () => transport.close(),
  }
}
