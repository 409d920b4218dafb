/** observe -> plan -> execute -> status, for one CalculateService. */
import { isDeepStrictEqual } from 'node:util'
import type { CalculateService } from '../../crds/types.ts'
import type { EventRecorder } from '../controller/events.ts'
import type { KubeReader } from '../controller/kube-client.ts'
import { objectKey } from '../controller/object.ts'
import type { ObjectKey } from '../controller/object.ts'
import type { Reconciler, ReconcileResult } from '../controller/reconciler.ts'
import { kafkaAccess } from '../kafka/kafka-access.ts'
import type { KafkaAccess } from '../kafka/kafka-access.ts'
import { isKubeError, KubeError } from '../controller/kube-error.ts'
import { KafkaProblem } from '../kafka/kafka-problem.ts'
import type { KeptLooks } from '../kafka/topic-looks.ts'
import type { ObservedCluster } from '../kafka/topic-plan.ts'
import { CALCULATE_SERVICES } from '../kinds.ts'
import { statusToApply } from '../resource-status.ts'
import type { SidecarImage } from '../sidecar-pod.ts'
import { eventsOf } from './events.ts'
import { execute } from './execute.ts'
import type { ExecuteParts, Outcome } from './execute.ts'
import { registersItself } from './instances.ts'
import { observe, secretReader, topicQuestion } from './observe.ts'
import type { Observed, ObserveParts } from './observe.ts'
import { planService } from './plan.ts'
import type { Plan } from './plan.ts'
import { desiredStatus } from './status.ts'
import type { ServiceStatus } from './status.ts'
import { topicNames } from './topic-names.ts'

export interface ServiceReconcilerParts extends ObserveParts, ExecuteParts {
  readonly reader: Pick<KubeReader, 'get'>
  readonly looks: KeptLooks
  readonly image: SidecarImage
  readonly events: EventRecorder
}

/** A Kafka that was away is asked again: nobody tells when it is back. */
const KAFKA_AWAY_MILLISECONDS = 10_000
/** A Consul that lost what it was told is written again within so long. */
const CONSUL_LOOK_MILLISECONDS = 30_000
const CONSUL_AWAY_MILLISECONDS = 10_000
/** Nobody tells when a proxy has registered itself. */
const REGISTERING_MILLISECONDS = 3_000
/** Nobody tells that an object which is none of ours went. */
const NAME_TAKEN_MILLISECONDS = 30_000
/** Nobody tells that nothing waits any more. */
const DRAIN_MILLISECONDS = 5000
/** What somebody has to put right outside Kubernetes. */
const OUTSIDE_MILLISECONDS = 60_000
const OUTSIDE: ReadonlySet<string> = new Set([
  'KafkaNotAuthorized',
  'NotSupported',
  'TopicRefused',
  'TopicSettingsRefused',
  'TooFewBrokers',
  'PartitionsWouldShrink',
  'ReplicationFactorDiffers',
])

export class CalculateServiceReconciler implements Reconciler {
  readonly #parts: ServiceReconcilerParts

  constructor(parts: ServiceReconcilerParts) {
    this.#parts = parts
  }

  async reconcile(key: ObjectKey, signal: AbortSignal): Promise<ReconcileResult> {
    const parts = this.#parts
    const judged = await this.#judge(key, signal)
    if (judged === undefined) return {}
    const { observed, plan } = judged
    const { service } = observed
    const access = kafkaAccess(service, secretReader(service, parts.caches.secrets))
    const outcomes = plan.type === 'Paused' ? [] : await execute(service, plan.actions, access, parts, signal)
    let status: ServiceStatus | undefined
    if (!isGone(plan, outcomes)) {
      const look = await this.#look(observed, outcomes, access, signal)
      status = desiredStatus(observed, plan, outcomes, look.cluster)
      await this.#write(observed, status, signal)
      if (plan.type === 'Keep') this.#keep(key, observed, status, access, look)
      else if (plan.type === 'Paused') parts.looks.forget(key)
    }
    for (const event of eventsOf(plan, outcomes, service.status, status)) parts.events.record(service, event)

    const failures = outcomes.flatMap((outcome) => ('failure' in outcome ? [outcome.failure] : []))
    const ofKubernetes = failures.find((failure) => failure instanceof KubeError)
    if (ofKubernetes !== undefined) throw ofKubernetes
    return again(service, plan, status)
  }

  /** Nothing is done about topics by what Kafka said some time ago. */
  async #judge(
    key: ObjectKey,
    signal: AbortSignal,
  ): Promise<{ readonly observed: Observed; readonly plan: Plan } | undefined> {
    const { looks, image } = this.#parts
    for (;;) {
      const observed = await observe(key, this.#parts, signal)
      if (observed === undefined) {
        looks.forget(key)
        return undefined
      }
      const plan = planService(observed, image)
      const isOld = observed.kafka.state === 'Seen' && observed.kafka.isKept
      if (!isOld || plan.type === 'Paused' || plan.actions.every(({ type }) => type !== 'Topic'))
        return { observed, plan }
      looks.forget(key)
    }
  }

  /**
   * What was seen is kept where there is nothing left to do about it. What was kept is not kept anew: somebody may have found
   * meanwhile that it is no longer so.
   */
  #keep(
    key: ObjectKey,
    observed: Observed,
    { conditions = [] }: ServiceStatus,
    access: KafkaAccess | undefined,
    { cluster, of }: Look,
  ): void {
    const { looks } = this.#parts
    const isReady = conditions.some(({ type, status }) => type === 'TopicReady' && status === 'True')
    if (isReady && of === 'Before') return
    if (isReady && of === 'Now' && access !== undefined && cluster !== undefined)
      looks.keep(key, topicQuestion(observed, access), cluster)
    else looks.forget(key)
  }

  /** Kafka as it is after the actions. */
  async #look(
    { service, kafka, retrySteps }: Observed,
    outcomes: readonly Outcome[],
    access: KafkaAccess | undefined,
    signal: AbortSignal,
  ): Promise<Look> {
    const before = kafka.state === 'Seen' ? kafka.cluster : undefined
    if (access === undefined || !outcomes.some(({ action }) => action.type === 'Topic'))
      return { cluster: before, of: kafka.state === 'Seen' && kafka.isKept ? 'Before' : 'Now' }
    const told = before === undefined ? undefined : clusterAfter(before, outcomes)
    if (told !== undefined) return { cluster: told, of: 'Answers' }
    try {
      const cluster = await this.#parts.kafka.use(access, (admin) =>
        admin.observe(topicNames(service, retrySteps), signal),
      )
      return { cluster, of: 'Now' }
    } catch (error) {
      if (!(error instanceof KafkaProblem)) throw error
      return { cluster: before, of: 'Answers' }
    }
  }

  /**
   * What was done to topics is remembered here and nowhere else: a setting that nobody remembers is never taken back. So who
   * changes the object meanwhile in anything but its status does not make that be forgotten.
   */
  async #write({ service }: Observed, status: ServiceStatus, signal: AbortSignal): Promise<void> {
    const { caches, writer, reader } = this.#parts
    const write = async (known: CalculateService | undefined): Promise<void> => {
      const wanted = statusToApply(service, status, known)
      if (wanted !== undefined) await writer.applyStatus(wanted, signal)
    }
    const key = objectKey(service)
    try {
      await write(caches.calculateServices.get(key))
    } catch (error) {
      if (!isKubeError(error, 'Conflict')) throw error
      const now = await reader.get(CALCULATE_SERVICES, key, signal).catch(() => undefined)
      if (now?.metadata.uid !== service.metadata.uid || !isDeepStrictEqual(now?.status, service.status)) throw error
      await write(now)
    }
  }
}

/**
 * What is known of Kafka, and of when: as it is now; as it was before; or what its answers to changes make of it. These do not
 * tell all: settings in a creation's answer are those of the broker that made the topic, which need not keep it.
 */
interface Look {
  readonly cluster: ObservedCluster | undefined
  readonly of: 'Now' | 'Before' | 'Answers'
}

/** What is known of Kafka from its answers to what was done; undefined: they do not tell enough. */
function clusterAfter(before: ObservedCluster, outcomes: readonly Outcome[]): ObservedCluster | undefined {
  const topics = new Map(before.topics)
  for (const outcome of outcomes) {
    if (outcome.action.type !== 'Topic') continue
    if ('failure' in outcome) return undefined
    const { action } = outcome.action
    const topic = 'name' in action ? topics.get(action.name) : undefined
    if (typeof outcome.topic === 'object') topics.set(outcome.topic.name, outcome.topic)
    else if (action.type === 'GrowTopic' && topic !== undefined)
      topics.set(topic.name, { ...topic, partitions: action.to })
    else return undefined
  }
  return { ...before, topics }
}

/** Whether the object has nothing left that keeps it. */
const isGone = (plan: Plan, outcomes: readonly Outcome[]): boolean =>
  plan.type === 'Leave' &&
  plan.waitsFor === undefined &&
  !outcomes.some((outcome) => 'failure' in outcome && outcome.action.isLastTry !== true)

function again(service: CalculateService, plan: Plan, status: ServiceStatus | undefined): ReconcileResult {
  if (status === undefined || plan.type === 'Paused') return {}
  if (plan.type === 'Leave') return { requeueAfterMilliseconds: plan.againMilliseconds }
  const reasonOf = (name: string): string => status.conditions?.find(({ type }) => type === name)?.reason ?? ''
  const topic = reasonOf('TopicReady')
  const isSelf = registersItself(service)
  const times = [
    ...(topic === 'KafkaUnavailable' ? [KAFKA_AWAY_MILLISECONDS] : []),
    ...(topic === 'PartitionsWait' ? [DRAIN_MILLISECONDS] : []),
    ...(OUTSIDE.has(topic) ? [OUTSIDE_MILLISECONDS] : []),
    ...(reasonOf('Registered') === 'ConsulUnavailable' ? [CONSUL_AWAY_MILLISECONDS] : []),
    ...([reasonOf('ProxyAvailable'), reasonOf('Registered')].includes('NameTaken') ? [NAME_TAKEN_MILLISECONDS] : []),
    ...(isSelf && reasonOf('Registered') === 'Registering' ? [REGISTERING_MILLISECONDS] : []),
    ...(isSelf || (status.consul ?? []).length > 0 ? [CONSUL_LOOK_MILLISECONDS] : []),
  ]
  return times.length === 0 ? {} : { requeueAfterMilliseconds: Math.min(...times) }
}
