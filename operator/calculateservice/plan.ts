/**
 * What to do about a CalculateService: a pure function of what was observed. The order of the actions of one part matters,
 * parts do not wait for each other. What is planned and what is then true are told apart: see status.ts.
 */
import type { CalculateService } from '../../crds/types.ts'
import { needsApply } from '../applied.ts'
import type { Rendered } from '../applied.ts'
import type { ConditionReason, ConditionType } from '../conditions.ts'
import type { KubeObject } from '../controller/object.ts'
import { hasHeir } from '../kafka/topic-claims.ts'
import { planTopics, planTopicsLeft } from '../kafka/topic-plan.ts'
import type { ObservedCluster, TopicAction, TopicProblem, TopicsWanted } from '../kafka/topic-plan.ts'
import { desiredTopics, TopicSettingsError } from '../kafka/topics.ts'
import { CALCULATE_SERVICES, DEPLOYMENTS, SERVICES } from '../kinds.ts'
import { deletionOf, finalizersOf } from '../object-actions.ts'
import type { ObjectAction } from '../object-actions.ts'
import type { ConsulAccess } from '../registry/consul-client.ts'
import type { ConsulAction } from '../registry/consul-plan.ts'
import { belongsToAnother } from '../labels.ts'
import { proxyName, renderService } from './objects.ts'
import type { SidecarImage } from '../sidecar-pod.ts'
import type { Observed } from './observe.ts'
import { drainSeconds } from './drain.ts'
import { asToldToProxies, isGivenUp, needsConsulFinalizer, planConsul, planConsulLeft } from './plan-consul.ts'
import { announcedTopics, CONSUL_FINALIZER, perhapsMadeTopics, TOPICS_FINALIZER } from './reconciliation.ts'
import { isPaused } from '../paused.ts'
import { topicRefusal } from './topic-right.ts'

/** What an action is for: where it fails, this condition says so, and what follows it for the same is left out. */
export type Part = Exclude<ConditionType<'CalculateService'>, 'Ready'>

export type Action = {
  readonly part: Part
  /** Its time is over: it is tried once more, and what follows it is done whatever comes of it. */
  readonly isLastTry?: true
} & (
  | ObjectAction
  | {
      readonly type: 'AnnounceTopics'
      readonly names: readonly string[]
      /** Those of them that Kafka is known not to have made for this service. */
      readonly notMade?: ReadonlySet<string>
    }
  | { readonly type: 'Topic'; readonly action: TopicAction }
  | { readonly type: 'Consul'; readonly access: ConsulAccess; readonly node: string; readonly action: ConsulAction }
)

export type Problem<P extends Part> = {
  readonly reason: ConditionReason<'CalculateService', P>
  readonly message: string
}

export type Plan =
  | { readonly type: 'Paused' }
  | {
      readonly type: 'Keep'
      readonly actions: readonly Action[]
      /** What the actions do not put right, worst first. */
      readonly problems: {
        readonly TopicReady: readonly TopicProblem[]
        readonly ProxyAvailable: readonly Problem<'ProxyAvailable'>[]
        readonly Registered: readonly Problem<'Registered'>[]
      }
      /** Names of topics that somebody else made anew. */
      readonly replacedTopics: readonly string[]
      /** Addresses of each Consul that could not be cleaned in time and is forgotten. */
      readonly leftConsul: readonly string[]
    }
  | {
      readonly type: 'Leave'
      readonly actions: readonly Action[]
      /** What is waited for. Undefined: with these actions it is gone. */
      readonly waitsFor?: string
      /** Topics are left behind, as Kafka could not be asked in time; beside those whose last try fails. */
      readonly gaveUp: boolean
      /** Addresses of each Consul that could not be asked in time; beside those of last tries that fail. */
      readonly leftConsul: readonly string[]
      /** Look again after so long at the latest. */
      readonly againMilliseconds: number
    }

/** Of the time in which topics are tried to be deleted, that for Consul; less, so that topics have their time too. */
const CONSUL_PATIENCE = 1 / 2
/** The same beyond it, for one that can be read and does not take what it is told. */
const STUBBORN_PATIENCE = 1 / 4
const LOOK_AGAIN_MILLISECONDS = 5_000

/** What the plan is for one service; deletion comes before everything, also before a pause. */
export function planService(observed: Observed, image: SidecarImage): Plan {
  if (observed.service.metadata.deletionTimestamp !== undefined) return planLeaving(observed)
  if (isPaused(observed.service)) return { type: 'Paused' }
  const refusal = topicRefusal(observed)
  const topics = refusal === undefined ? topicPart(observed) : { ...NOTHING, problems: [refusal] }
  const unusable = refusal ?? topics.problems.find(({ reason }) => reason === 'TopicSettingsRefused')
  const objects = unusable === undefined ? objectPart(observed, image) : notOurs(unusable)
  const consul = planConsul(observed, unusable !== undefined)
  return {
    type: 'Keep',
    actions: [...keepFinalizers(observed), ...topics.actions, ...objects.actions, ...consul.actions],
    problems: {
      TopicReady: topics.problems,
      ProxyAvailable: objects.problems.ProxyAvailable,
      Registered: [...objects.problems.Registered, ...consul.problems],
    },
    replacedTopics: topics.replaced,
    leftConsul: observed.consul.filter((view) => isGivenUp(view, observed.now)).map(({ place }) => place.address),
  }
}

const NOTHING = { actions: [], replaced: [] } as const

/**
 * The topics as a service asks for them, with what is remembered in its status.
 * @param made names of topics that were made since the status was written.
 */
export const topicsWanted = (
  { service, retrySteps, growthWaitsFor }: Pick<Observed, 'service' | 'retrySteps' | 'growthWaitsFor'>,
  cluster: ObservedCluster,
  made: readonly string[] = [],
): TopicsWanted => ({
  desired: desiredTopics(service, { retrySteps }),
  cluster,
  remembered: service.status?.topics ?? [],
  announced: new Set([...perhapsMadeTopics(service), ...made]),
  growthWaitsFor,
})

function topicPart(observed: Observed): {
  readonly actions: readonly Action[]
  readonly problems: readonly TopicProblem[]
  readonly replaced: readonly string[]
} {
  const { service, kafka, missingKafkaSecrets } = observed
  if (missingKafkaSecrets.length > 0) {
    const problems: readonly TopicProblem[] = [{ reason: 'SecretMissing', message: missingKafkaSecrets.join('; ') }]
    return { ...NOTHING, problems }
  }
  if (kafka.state === 'Failed') {
    return { ...NOTHING, problems: [{ reason: kafka.reason, message: kafka.message }] }
  }
  if (kafka.state === 'NotAsked') return { ...NOTHING, problems: [] }
  const { actions, problems, kept, replaced } = planTopics(topicsWanted(observed, kafka.cluster))
  const made = actions.flatMap((action) => (action.type === 'CreateTopic' ? [action.topic.name] : []))
  const unwritten = kept.filter(
    ({ name, topicId, origin }) =>
      origin === 'Created' &&
      !(service.status?.topics ?? []).some((one) => one.name === name && one.topicId === topicId),
  )
  return {
    actions: [
      ...announce(service, [...made, ...unwritten.map(({ name }) => name)]),
      ...actions.map((action): Action => ({ part: 'TopicReady', type: 'Topic', action })),
    ],
    problems,
    replaced,
  }
}

/** Only what may have to be deleted one day keeps the object from going at once. One write: it names the version that it changes. */
function keepFinalizers(observed: Observed): readonly Action[] {
  const { metadata, spec } = observed.service
  const now = metadata.finalizers ?? []
  const isRefused = topicRefusal(observed) !== undefined
  const wanted: Readonly<Record<string, boolean>> = {
    [TOPICS_FINALIZER]: isRefused ? now.includes(TOPICS_FINALIZER) : spec.topic.deletionPolicy === 'Delete',
    [CONSUL_FINALIZER]: needsConsulFinalizer(observed),
  }
  const finalizers = [
    ...now.filter((one) => wanted[one] !== false),
    ...Object.keys(wanted).filter((one) => wanted[one] === true && !now.includes(one)),
  ]
  const isSame = finalizers.length === now.length && finalizers.every((one) => now.includes(one))
  return isSame ? [] : [{ part: 'TopicReady', ...finalizersOf(CALCULATE_SERVICES, observed.service, finalizers) }]
}

/** Where nothing is ever deleted nobody needs to know who made what, should it be forgotten. */
function announce(service: CalculateService, names: readonly string[]): readonly Action[] {
  const wanted = service.spec.topic.deletionPolicy === 'Delete' ? names : []
  const now = announcedTopics(service)
  if (wanted.length === now.size && wanted.every((name) => now.has(name))) return []
  return [{ part: 'TopicReady', type: 'AnnounceTopics', names: wanted }]
}

interface ObjectPlan {
  readonly actions: readonly Action[]
  readonly problems: {
    readonly ProxyAvailable: readonly Problem<'ProxyAvailable'>[]
    readonly Registered: readonly Problem<'Registered'>[]
  }
}

/** Proxies on somebody else's topic would carry calls to workers that know nothing of them. Those that run are left alone. */
const notOurs = ({ reason }: TopicProblem): ObjectPlan => ({
  actions: [],
  problems: {
    ProxyAvailable: [{ reason: 'TopicNotOurs', message: `TopicReady: ${reason}` }],
    Registered: [{ reason: 'TopicNotOurs', message: `TopicReady: ${reason}` }],
  },
})

function objectPart(observed: Observed, image: SidecarImage): ObjectPlan {
  const { service, live, missingSecrets } = observed
  const {
    serviceAccount,
    configMap,
    deployment,
    podDisruptionBudget,
    service: kubeService,
  } = renderService(asToldToProxies(observed), image)
  // What the pods need stands before them.
  const needed = [
    [serviceAccount, live.serviceAccount],
    [configMap, live.configMap],
  ] as const
  const proxies = [...needed, [deployment, live.deployment], [podDisruptionBudget, live.podDisruptionBudget]] as const
  const isTaken = ([, found]: readonly [Rendered, KubeObject | undefined]): boolean => belongsToAnother(found, service)
  const taken = (objects: readonly (readonly [Rendered, KubeObject | undefined])[]) =>
    objects.filter(isTaken).map(([{ kind, metadata }]) => ({
      reason: 'NameTaken' as const,
      message: `${kind} ${metadata.name} is there and is not of this CalculateService`,
    }))
  const ours = kubeService === undefined ? [] : [[kubeService, live.service] as const]
  const secrets =
    missingSecrets.length === 0 ? [] : [{ reason: 'SecretMissing' as const, message: missingSecrets.join('; ') }]
  // Pods that run with what is somebody else's would be no proxies of this service.
  const mayRun = !needed.some(isTaken)
  return {
    actions: [
      ...proxies
        .filter((one) => !isTaken(one) && needsApply(one[0], one[1]) && (mayRun || one[0] !== deployment))
        .map(([object]): Action => ({ part: 'ProxyAvailable', type: 'ApplyObject', object })),
      ...registrationActions(service, kubeService, live.service),
    ],
    problems: { ProxyAvailable: [...taken(proxies), ...secrets], Registered: taken(ours) },
  }
}

function registrationActions(
  service: CalculateService,
  wanted: Rendered | undefined,
  live: Observed['live']['service'],
): readonly Action[] {
  if (belongsToAnother(live, service)) return []
  const gone: readonly Action[] = live === undefined ? [] : [{ part: 'Registered', ...deletionOf(SERVICES, live) }]
  if (wanted === undefined) return gone
  if (!needsApply(wanted, live)) return []
  // A Service never becomes headless, nor stops being so.
  const isHeadless = live?.spec?.clusterIP === 'None'
  const another = live !== undefined && isHeadless !== (service.spec.registration.kubernetes === 'Headless')
  return [...(another ? gone : []), { part: 'Registered', type: 'ApplyObject', object: wanted }]
}

/**
 * What becomes of a service that is being deleted: first its proxies end, and with them all calls that somebody waits for
 * (a proxy ends when its calls are answered or their deadlines have passed); then the topics that were made for it go, where
 * it says so; then the object. Each step has its time, after which the next one comes.
 */
function planLeaving(observed: Observed): Plan {
  const { service, now, live, pods, kafka, mine, claims, deletionPatienceMilliseconds: patience } = observed
  const leave = (actions: readonly Action[], more: Partial<Extract<Plan, { type: 'Leave' }>> = {}): Plan => ({
    type: 'Leave',
    actions,
    gaveUp: false,
    leftConsul: [],
    againMilliseconds: LOOK_AGAIN_MILLISECONDS,
    ...more,
  })
  const all = service.metadata.finalizers ?? []
  const drained = Date.parse(service.metadata.deletionTimestamp ?? '') + drainSeconds(service) * 1000
  const { deployment } = live
  const end: readonly Action[] =
    deployment === undefined || belongsToAnother(deployment, service)
      ? []
      : [{ part: 'ProxyAvailable', ...deletionOf(DEPLOYMENTS, deployment) }]
  if (all.includes(CONSUL_FINALIZER)) {
    const away = observed.consul.flatMap(({ place, registry }) =>
      registry.state === 'Failed' ? [{ address: place.address, message: registry.message }] : [],
    )
    const late = drained + CONSUL_PATIENCE * patience
    if (away.length > 0 && now < late) {
      // Clients that find a proxy no more are better off than calls which nobody ends.
      const waitsFor = `its proxies are not out of Consul yet: ${away.map(({ message }) => message).join('; ')}`
      return leave([...planConsulLeft(observed), ...end], { waitsFor })
    }
    const rest = all.filter((one) => one !== CONSUL_FINALIZER)
    const free: Action = { part: 'Registered', ...finalizersOf(CALCULATE_SERVICES, service, rest) }
    const isStubborn = now >= late + STUBBORN_PATIENCE * patience
    const gone = planConsulLeft(observed)
    return leave([...(isStubborn ? gone.map(forTheLastTime) : gone), free], {
      ...(rest.length === 0 ? {} : { waitsFor: 'its proxies are out of Consul' }),
      leftConsul: away.map(({ address }) => address),
    })
  }
  if (!all.includes(TOPICS_FINALIZER)) {
    return leave(
      [],
      all.length === 0 ? {} : { waitsFor: `somebody else keeps it: metadata.finalizers: ${all.join(', ')}` },
    )
  }

  if (end.length > 0) return leave(end, { waitsFor: `Deployment ${proxyName(service)} is being deleted` })
  if (pods.length > 0 && now < drained) {
    const waitsFor = `${pods.length} proxies finish the calls that they have`
    return leave([], { waitsFor, againMilliseconds: Math.min(LOOK_AGAIN_MILLISECONDS, drained - now) })
  }
  const finalizers = all.filter((one) => one !== TOPICS_FINALIZER)
  const free: Action = { part: 'TopicReady', ...finalizersOf(CALCULATE_SERVICES, service, finalizers) }
  if (service.spec.topic.deletionPolicy === 'Retain') return leave([free])
  if (kafka.state === 'Seen') {
    const actions = planTopicsLeft({
      ...topicsWanted({ service: withSettingsThatHold(service), retrySteps: observed.retrySteps }, kafka.cluster),
      deletionPolicy: service.spec.topic.deletionPolicy,
      hasHeir: hasHeir(mine, claims),
    })
    const gone = actions.map((action): Action => ({ part: 'TopicReady', type: 'Topic', action }))
    // Also by an operator that comes to it late: nobody may have tried yet.
    return leave([...(now < drained + patience ? gone : gone.map(forTheLastTime)), free])
  } else if (now < drained + patience) {
    const why = kafka.state === 'Failed' ? kafka.message : observed.missingKafkaSecrets.join('; ')
    return leave([], { waitsFor: `its topics cannot be deleted yet: ${why}` })
  }
  return leave([free], { gaveUp: true })
}

const forTheLastTime = (action: Action): Action => ({ ...action, isLastTry: true })

/** Settings that are refused name the same topics; who goes needs no more of them. */
function withSettingsThatHold(service: CalculateService): CalculateService {
  try {
    desiredTopics(service)
    return service
  } catch (error) {
    if (!(error instanceof TopicSettingsError)) throw error
    return { ...service, spec: { ...service.spec, topic: { ...service.spec.topic, config: {} } } }
  }
}
