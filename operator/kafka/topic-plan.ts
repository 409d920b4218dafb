/**
 * What to do about the topics of one CalculateService: a pure function of what is wanted, what Kafka has, and what is
 * remembered of earlier decisions. SEMANTICS: topics only grow, what was not made here is never deleted, the oldest of two
 * who claim one topic has it, and settings that nobody declared are left alone.
 */
import type { ConditionReason } from '../conditions.ts'
import type { DesiredTopic } from './topics.ts'

/** A topic as Kafka describes it. */
export interface ObservedTopic {
  readonly name: string
  /** Kafka's own id: a topic that is made again under the same name has another. */
  readonly id: string
  readonly partitions: number
  readonly replicationFactor: number
  /** Every setting with its value in force, and whether it is set on the topic itself. */
  readonly config: Readonly<Record<string, { readonly value: string; readonly isSet: boolean }>>
}

export interface ObservedCluster {
  readonly id: string
  readonly brokers: number
  /** By name; one that is not there is not in it. */
  readonly topics: ReadonlyMap<string, ObservedTopic>
}

/** What a resource's status keeps of a topic. */
export interface RememberedTopic {
  readonly name: string
  readonly topicId: string
  readonly partitions: number
  readonly replicationFactor?: number
  readonly origin: 'Created' | 'Adopted'
  /** The settings that were kept, with their values. */
  readonly config?: Readonly<Record<string, string>>
}

export type TopicAction =
  | {
      readonly type: 'CreateTopic'
      readonly topic: DesiredTopic
      /** The id of the one that was there before and was deleted by somebody else. */
      readonly insteadOf?: string
    }
  | { readonly type: 'GrowTopic'; readonly name: string; readonly from: number; readonly to: number }
  | {
      readonly type: 'AlterTopic'
      readonly name: string
      readonly set: Readonly<Record<string, string>>
      /** Back to Kafka's own: the spec named them before. */
      readonly unset: readonly string[]
      /** Those of them that somebody else had changed. */
      readonly drifted: readonly string[]
    }
  | { readonly type: 'DeleteTopic'; readonly name: string; readonly topicId: string }

export interface TopicProblem {
  readonly reason: ConditionReason<'CalculateService', 'TopicReady'>
  readonly message: string
}

export interface TopicPlan {
  readonly actions: readonly TopicAction[]
  /** What stays wrong when all actions have succeeded, worst first. */
  readonly problems: readonly TopicProblem[]
  /** Topics that are there, as they are to be remembered; their settings once the actions have succeeded. */
  readonly kept: readonly RememberedTopic[]
  /** Remembered or announced topics that somebody else made anew meanwhile: they are not ours to delete. */
  readonly replaced: readonly string[]
}

export interface TopicsWanted {
  readonly desired: readonly DesiredTopic[]
  readonly cluster: ObservedCluster
  readonly remembered: readonly RememberedTopic[]
  /** Names of topics whose creation was announced, and perhaps done, without the result having been remembered. */
  readonly announced: ReadonlySet<string>
  /** Why partitions may not be added now. */
  readonly growthWaitsFor?: string | undefined
}

/** What makes the topics as they should be. */
export function planTopics({ desired, cluster, remembered, announced, growthWaitsFor }: TopicsWanted): TopicPlan {
  const plans = desired.map((topic) =>
    planTopic(
      topic,
      cluster,
      remembered.find(({ name }) => name === topic.name),
      announced.has(topic.name),
      growthWaitsFor,
    ),
  )
  return {
    actions: plans.flatMap(({ actions }) => actions),
    problems: plans.flatMap(({ problems }) => problems),
    kept: plans.flatMap(({ kept }) => kept),
    replaced: plans.flatMap(({ replaced }) => replaced),
  }
}

function planTopic(
  topic: DesiredTopic,
  cluster: ObservedCluster,
  remembered: RememberedTopic | undefined,
  announced: boolean,
  growthWaitsFor: string | undefined,
): TopicPlan {
  const found = cluster.topics.get(topic.name)
  if (found === undefined) return planMissing(topic, cluster, remembered)

  const origin = originOf(found, remembered, announced ? topic : undefined)
  const before = remembered?.topicId === found.id ? remembered.config : undefined
  const wanted = settingsToKeep(topic, found, origin)
  const losing = settingsThatLose(topic, found, wanted)
  // What was there before, and would lose calls, is not for them: nothing is done about it.
  const isUnusable = losing.length > 0 && origin === 'Adopted'
  const alter = planSettings(found, wanted, before, origin)
  const grow = found.partitions < topic.partitions
  return {
    actions: isUnusable
      ? []
      : [
          ...(grow && growthWaitsFor === undefined
            ? [{ type: 'GrowTopic', name: topic.name, from: found.partitions, to: topic.partitions } as const]
            : []),
          ...(alter === undefined ? [] : [alter]),
        ],
    problems: [
      ...losing,
      ...tooManyPartitions(topic, found),
      ...tooFewPartitions(topic, found, growthWaitsFor),
      ...otherReplicationFactor(topic, found),
    ],
    // One that is not usable is nobody's to work on, unless it was so before.
    kept:
      isUnusable && remembered === undefined
        ? []
        : [
            {
              name: topic.name,
              topicId: found.id,
              partitions: found.partitions,
              replicationFactor: found.replicationFactor,
              origin,
              config: isUnusable ? (before ?? {}) : wanted,
            },
          ],
    // Where it counts as made here, it was: what became of it could not be written down.
    replaced: remembered !== undefined && remembered.topicId !== found.id && origin === 'Adopted' ? [topic.name] : [],
  }
}

function planMissing(
  topic: DesiredTopic,
  { brokers }: ObservedCluster,
  remembered: RememberedTopic | undefined,
): TopicPlan {
  if (topic.replicationFactor > brokers) {
    const message = `spec.topic.replicationFactor: ${topic.name} needs ${topic.replicationFactor} brokers, there are ${brokers}`
    return { actions: [], problems: [{ reason: 'TooFewBrokers', message }], kept: [], replaced: [] }
  }
  const instead = remembered === undefined ? {} : { insteadOf: remembered.topicId }
  return { actions: [{ type: 'CreateTopic', topic, ...instead }], problems: [], kept: [], replaced: [] }
}

/**
 * Whether a topic was made for this resource. What is remembered of this very topic (by its id) says so; else an
 * announcement does, where the topic is in every point what would have been created: whoever announced it may have been
 * stopped before the result was remembered. In doubt it was not, and is never deleted.
 */
function originOf(
  found: ObservedTopic,
  remembered: RememberedTopic | undefined,
  announced: DesiredTopic | undefined,
): RememberedTopic['origin'] {
  if (remembered?.topicId === found.id) return remembered.origin
  return announced !== undefined && isAsCreated(found, announced) ? 'Created' : 'Adopted'
}

function isAsCreated(found: ObservedTopic, topic: DesiredTopic): boolean {
  const set = Object.entries(found.config).filter(([, { isSet }]) => isSet)
  return (
    found.partitions === topic.partitions &&
    found.replicationFactor === topic.replicationFactor &&
    set.length === Object.keys(topic.config).length &&
    set.every(([name, { value }]) => sameValue(value, topic.config[name]))
  )
}

const CLEANUP_POLICY = 'cleanup.policy'
const RETENTION = 'retention.ms'
const MAX_MESSAGE_BYTES = 'max.message.bytes'
const MIN_IN_SYNC = 'min.insync.replicas'

/** Another value of these may delete records that are there, or refuse records that somebody else writes. */
const DANGEROUS: ReadonlySet<string> = new Set([
  CLEANUP_POLICY,
  RETENTION,
  'retention.bytes',
  MAX_MESSAGE_BYTES,
  MIN_IN_SYNC,
])

/** Of the settings that are wanted, those that this topic may be given. */
function settingsToKeep(
  { config, declared }: DesiredTopic,
  found: ObservedTopic,
  origin: RememberedTopic['origin'],
): Readonly<Record<string, string>> {
  const isKept = ([name, value]: readonly [string, string]): boolean => {
    // More copies in sync than there are copies would refuse every record of a topic that was there before.
    if (name === MIN_IN_SYNC && Number(value) > found.replicationFactor) return false
    if (origin === 'Created' || declared.includes(name) || !DANGEROUS.has(name)) return true
    // Larger records than before do no harm to those that are there.
    return name === MAX_MESSAGE_BYTES && !(Number(found.config[name]?.value) > Number(value))
  }
  return Object.fromEntries(Object.entries(config).filter(isKept))
}

/** Settings in force, once those that are kept are set, that would lose what is written. */
function settingsThatLose(
  { shortestRetention = 0 }: DesiredTopic,
  found: ObservedTopic,
  wanted: Readonly<Record<string, string>>,
): readonly TopicProblem[] {
  const inForce = (name: string): string => wanted[name] ?? found.config[name]?.value ?? ''
  const refused = (name: string, needed: string): TopicProblem => ({
    reason: 'TopicSettingsRefused',
    message: `topic ${found.name} cannot be used: its ${name} is ${inForce(name)}, ${needed}`,
  })
  const retention = inForce(RETENTION)
  const isShort = retention !== '' && Number(retention) >= 0 && Number(retention) < shortestRetention
  return [
    ...(inForce(CLEANUP_POLICY).includes('compact')
      ? [refused(CLEANUP_POLICY, 'delete is needed: compaction drops records of the same key')]
      : []),
    ...(isShort
      ? [
          refused(
            RETENTION,
            `-1 or at least ${shortestRetention} is needed, the longest timeout of a method: calls would be deleted unread`,
          ),
        ]
      : []),
  ]
}

function planSettings(
  found: ObservedTopic,
  wanted: Readonly<Record<string, string>>,
  before: Readonly<Record<string, string>> | undefined,
  origin: RememberedTopic['origin'],
): TopicAction | undefined {
  const wrong = Object.entries(wanted).filter(([name, value]) => !sameValue(found.config[name]?.value, value))
  const unset = Object.keys(before ?? {}).filter(
    (name) =>
      wanted[name] === undefined &&
      found.config[name]?.isSet === true &&
      // Kafka's own value may be worse than any that somebody gave the topic.
      (origin === 'Created' || !DANGEROUS.has(name)),
  )
  if (wrong.length === 0 && unset.length === 0) return undefined
  return {
    type: 'AlterTopic',
    name: found.name,
    set: Object.fromEntries(wrong),
    unset,
    drifted: wrong.filter(([name, value]) => before?.[name] === value).map(([name]) => name),
  }
}

/** Kafka gives numbers, booleans and lists back as it writes them, which need not be as they were written. */
export function sameValue(found: string | undefined, wanted: string | undefined): boolean {
  if (found === undefined || wanted === undefined) return found === wanted
  return canonical(found) === canonical(wanted)
}

const canonical = (value: string): string => {
  const text = value.trim()
  if (/^[+-]?(?=[\d.]{1,17}(?:e|$))(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,3})?$/i.test(text)) return String(Number(text))
  return /^(true|false)$/i.test(text) ? text.toLowerCase() : text.replace(/\s*,\s*/g, ',')
}

const tooManyPartitions = (topic: DesiredTopic, found: ObservedTopic): readonly TopicProblem[] =>
  found.partitions <= topic.partitions
    ? []
    : [
        {
          reason: 'PartitionsWouldShrink',
          message: `spec.topic.partitions: ${topic.name} has ${found.partitions} partitions, ${topic.partitions} are asked for`,
        },
      ]

const tooFewPartitions = (
  topic: DesiredTopic,
  found: ObservedTopic,
  growthWaitsFor: string | undefined,
): readonly TopicProblem[] =>
  growthWaitsFor === undefined || found.partitions >= topic.partitions
    ? []
    : [
        {
          reason: 'PartitionsWait',
          message: `spec.topic.partitions: ${topic.name} has ${found.partitions} partitions, ${topic.partitions} are asked for; ${growthWaitsFor}`,
        },
      ]

const otherReplicationFactor = (topic: DesiredTopic, found: ObservedTopic): readonly TopicProblem[] =>
  found.replicationFactor === topic.replicationFactor
    ? []
    : [
        {
          reason: 'ReplicationFactorDiffers',
          message: `spec.topic.replicationFactor: ${topic.name} has ${found.replicationFactor} copies of each partition, ${topic.replicationFactor} are asked for`,
        },
      ]

export interface TopicsLeft extends TopicsWanted {
  readonly deletionPolicy: 'Retain' | 'Delete'
  /** Another resource names the topics too: they are its own from then on. */
  readonly hasHeir: boolean
}

/** What becomes of the topics when the resource goes: gone are those that were made for it, where it says so. */
export function planTopicsLeft(left: TopicsLeft): readonly TopicAction[] {
  if (left.deletionPolicy === 'Retain' || left.hasHeir) return []
  return left.desired.flatMap((topic): readonly TopicAction[] => {
    const found = left.cluster.topics.get(topic.name)
    if (found === undefined) return []
    const remembered = left.remembered.find(({ name }) => name === topic.name)
    const origin = originOf(found, remembered, left.announced.has(topic.name) ? topic : undefined)
    return origin === 'Created' ? [{ type: 'DeleteTopic', name: topic.name, topicId: found.id }] : []
  })
}
