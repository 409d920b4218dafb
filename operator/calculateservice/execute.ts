/** Does what a plan says. The only place where something is changed for a CalculateService. */
import type { CalculateService } from '../../crds/types.ts'
import { KubeError } from '../controller/kube-error.ts'
import type { KubeWriter } from '../controller/kube-client.ts'
import { identityOf } from '../controller/object.ts'
import type { KubeObject } from '../controller/object.ts'
import type { KafkaAccess } from '../kafka/kafka-access.ts'
import { isAmbiguous, KafkaProblem } from '../kafka/kafka-problem.ts'
import type { TopicResult } from '../kafka/topic-admin.ts'
import type { TopicAdmins } from '../kafka/topic-admins.ts'
import type { ConsulCatalog } from '../registry/consul-client.ts'
import { ConsulProblem } from '../registry/consul-problem.ts'
import { executeObjectAction, isToTell } from '../object-actions.ts'
import type { Action, Part } from './plan.ts'
import { ANNOUNCED_TOPICS, announcedTopics, announcementOf, perhapsMadeTopics } from './reconciliation.ts'

export interface ExecuteParts {
  readonly writer: KubeWriter
  readonly kafka: Pick<TopicAdmins, 'use'>
  readonly consul: ConsulCatalog
  /** Whether this process is the one that may change things, Kafka and Consul too: one that was frozen may have been replaced. */
  readonly mayWrite: () => boolean
}

export type Outcome =
  | { readonly action: Action; readonly stored?: KubeObject; readonly topic?: TopicResult }
  | { readonly action: Action; readonly failure: KafkaProblem | ConsulProblem | KubeError }

/**
 * The actions of each part one after the other, up to the first that fails and is no last try; parts at the same time.
 * @param access to the service's Kafka; needed where an action is about a topic.
 * @throws what is no problem of the object: that somebody else changed it meanwhile, or that nothing may be written any more.
 */
export async function execute(
  service: CalculateService,
  actions: readonly Action[],
  access: KafkaAccess | undefined,
  parts: ExecuteParts,
  signal: AbortSignal,
): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = []
  const runAll = async (ofIt: readonly Action[]): Promise<void> => {
    for (const action of ofIt) {
      signal.throwIfAborted()
      if (!parts.mayWrite()) throw new KubeError('NotLeading', `${action.type}: not leading`)
      try {
        outcomes.push({ action, ...(await run(service, action, access, parts, signal)) })
      } catch (failure) {
        if (!isProblemOfTheObject(failure)) throw failure
        outcomes.push({ action, failure })
        if (action.isLastTry !== true) return
      }
    }
  }
  const runPart = async (ofIt: readonly Action[]): Promise<void> => {
    await runAll(ofIt)
    await runAll(disclaim(service, ofIt, outcomes))
  }
  const byPart: ReadonlyMap<Part, readonly Action[]> = Map.groupBy(actions, ({ part }) => part)
  // All of them end before this does: nothing is written behind the back of who reads the outcomes.
  const ended = await Promise.allSettled([...byPart.values()].map(runPart))
  const broken = ended.find((one) => one.status === 'rejected')
  if (broken !== undefined) throw broken.reason
  return outcomes
}

const isProblemOfTheObject = (error: unknown): error is KafkaProblem | ConsulProblem | KubeError =>
  error instanceof KafkaProblem || error instanceof ConsulProblem || isToTell(error)

async function run(
  service: CalculateService,
  action: Action,
  access: KafkaAccess | undefined,
  { writer, kafka, consul }: ExecuteParts,
  signal: AbortSignal,
): Promise<{ readonly stored?: KubeObject; readonly topic?: TopicResult }> {
  switch (action.type) {
    case 'AnnounceTopics':
      await writer.apply(announcement(service, action), signal)
      return {}
    case 'Topic':
      if (access === undefined) throw new RangeError('topics were planned for a Kafka that cannot be asked')
      return { topic: await kafka.use(access, (admin) => admin.execute(action.action, signal)) }
    case 'Consul':
      await consul.execute(action.access, action.node, action.action, signal)
      return {}
    default: {
      const stored = await executeObjectAction(writer, action, signal)
      return stored === undefined ? {} : { stored }
    }
  }
}

type Announcement = Extract<Action, { readonly type: 'AnnounceTopics' }>

/**
 * Takes back what was announced of topics that Kafka did not make: it refused, had one of the name, or was not asked. What
 * an earlier announcement may have led to stays announced, but for a refusal: in doubt a topic is not ours to delete.
 */
function disclaim(
  service: CalculateService,
  actions: readonly Action[],
  outcomes: readonly Outcome[],
): readonly Action[] {
  const before = perhapsMadeTopics(service)
  const isNotMade = (action: Action, name: string): boolean => {
    const outcome = outcomes.find((one) => one.action === action)
    if (outcome === undefined) return !before.has(name)
    if (!('failure' in outcome)) return outcome.topic === 'WasThere' && !before.has(name)
    return !(outcome.failure instanceof KafkaProblem) || !isAmbiguous(outcome.failure)
  }
  const notMade = new Set(
    actions.flatMap((action) =>
      action.type === 'Topic' && action.action.type === 'CreateTopic' && isNotMade(action, action.action.topic.name)
        ? [action.action.topic.name]
        : [],
    ),
  )
  const written = outcomes.find(
    (outcome) =>
      !('failure' in outcome) && outcome.action.type === 'AnnounceTopics' && actions.includes(outcome.action),
  )?.action
  const names = written?.type === 'AnnounceTopics' ? written.names : [...announcedTopics(service)]
  const now = written === undefined ? before : new Set(names)
  if (!names.some((name) => now.has(name) && notMade.has(name))) return []
  const all = new Set(names.filter((name) => !now.has(name) || notMade.has(name)))
  return [{ part: 'TopicReady', type: 'AnnounceTopics', names, notMade: all }]
}

/** All that the operator owns of the resource itself, beside its status and finalizer. */
const announcement = (service: CalculateService, { names, notMade = new Set() }: Announcement): KubeObject => ({
  apiVersion: service.apiVersion,
  kind: service.kind,
  metadata: {
    ...identityOf(service),
    ...(names.length === 0 ? {} : { annotations: { [ANNOUNCED_TOPICS]: announcementOf(names, notMade) } }),
  },
})
