/**
 * Every condition that a resource's status may hold: its types, the reasons of each, and what they mean. A reason has one
 * status, so that a status and its reason never contradict each other. The README shows this table.
 */

export type ConditionStatus = 'True' | 'False' | 'Unknown'

interface Reason {
  readonly status: ConditionStatus
  /** For people; ends without a full stop. */
  readonly meaning: string
}

type Types = Readonly<Record<string, Readonly<Record<string, Reason>>>>

const is = (meaning: string): Reason => ({ status: 'True', meaning })
const isNot = (meaning: string): Reason => ({ status: 'False', meaning })
const unknown = (meaning: string): Reason => ({ status: 'Unknown', meaning })

/** Reasons that several types share. */
const SecretMissing = isNot('a Secret that the spec names, or the key in it, is not there')
const NotApplied = isNot('the API server refused an object or did not answer; the message has its words')
const NameTaken = isNot('an object that is needed exists under its name and belongs to somebody else')
const KafkaUnavailable = unknown('no broker answers; what runs goes on')
const KafkaNotAuthorized = isNot('Kafka refuses the credentials, or what they are needed for')
const Paused = unknown('the annotation grpckafka.dev/reconciliation is paused: nothing is looked at or done')
const Deleting = isNot('it is being deleted; the message says what is waited for')

/**
 * `Ready` takes over status and reason of the first other condition that is not True; the reasons that stand here are its
 * own.
 */
export const CONDITIONS = {
  CalculateService: {
    TopicReady: {
      TopicsReady: is('the topics are there as the spec asks for'),
      TopicConflict: isNot('an older CalculateService has the topic; this one touches nothing of it'),
      TopicNotAllowed: isNot("the topic's name has none of the prefixes that its namespace may use"),
      TopicSettingsRefused: isNot('settings in spec.topic.config, or those that the topic has, would lose calls'),
      PartitionsWouldShrink: isNot('the topic has more partitions than spec.topic.partitions: partitions only grow'),
      PartitionsWait: isNot('calls have an order: partitions are added when no proxy runs and nothing waits'),
      ReplicationFactorDiffers: isNot('the topic that was there has another number of copies; that is left as it is'),
      TooFewBrokers: isNot('spec.topic.replicationFactor is larger than the number of brokers'),
      NotSupported: isNot('this Kafka cannot do what is needed'),
      TopicRefused: isNot("Kafka refuses the topic or its settings; the message has Kafka's words"),
      SecretMissing,
      KafkaUnavailable,
      KafkaNotAuthorized,
      NotApplied,
    },
    ProxyAvailable: {
      ProxiesAvailable: is('all proxies are ready and run what the spec says'),
      ScaledToZero: isNot('spec.proxy.replicas is 0'),
      ProxiesRollingOut: isNot('proxies are being made or replaced'),
      ProxiesUnavailable: isNot('all proxies are as the spec says, and some of them are not ready'),
      TopicNotOurs: isNot('proxies are not started while TopicReady says that the topic is not for them'),
      SecretMissing,
      NameTaken,
      NotApplied,
    },
    Registered: {
      Registered: is('clients find the proxies where the spec says'),
      NotAsked: is('spec.registration asks for nothing'),
      Registering: isNot('proxies are about to be registered in Consul; the message says what is waited for'),
      TopicNotOurs: isNot('nothing is registered while TopicReady says that the topic is not for it'),
      ConsulUnavailable: unknown('Consul does not answer'),
      ConsulNotAuthorized: isNot('Consul refuses the token'),
      ConsulRefused: isNot("Consul refuses the registration; the message has Consul's words"),
      ConsulNameTaken: isNot(
        'an older CalculateService of the namespace has the name in that Consul; no proxy of this one is added there',
      ),
      SecretMissing,
      NameTaken,
      NotApplied,
    },
    Ready: { Ready: is('all of the other conditions are True'), Paused, Deleting },
  },
  ConsumerGroup: {
    ReferencesResolved: {
      ReferencesResolved: is('all that the spec refers to is there'),
      ServiceNotFound: isNot('there is no CalculateService of the name in spec.calculateServiceRef'),
      TopicNotReady: isNot('the CalculateService has no topic of its own yet; its TopicReady says why'),
      SecretMissing,
      PolicyNotFound: isNot('there is no RetryPolicy of the name in spec.retryPolicyRef; each call is tried once'),
      PausesTooLong: isNot(
        'calls wait for each other by spec.ordering, and the pauses of the RetryPolicy add up to more than a minute',
      ),
      RetentionTooShort: isNot(
        'calls go on beyond their deadlines (onExpired of the RetryPolicy), and may outlive what is kept of them; the message says what',
      ),
    },
    WorkersAvailable: {
      WorkersAvailable: is('all workers are ready and run what the spec says'),
      OwnPreStop: is(
        'all workers are ready; the handler has a preStop hook of its own, so calls that run when a pod ends may be cut off and run again',
      ),
      ScaledToZero: is('there are no workers, as whoever scales them decided'),
      NoWorkers: isNot('spec.replicas is 0'),
      WakeUpTooSlow: isNot(
        'workers may go to zero, and calls of a method would expire before one had started (spec.scaling.wakeUpSeconds)',
      ),
      NoPartitionKey: isNot(
        'spec.ordering is Key, and no method of the service has a partitionKey: its calls have no order',
      ),
      WorkersRollingOut: isNot('workers are being made or replaced'),
      WorkersUnavailable: isNot('all workers are as the spec says, and some of them are not ready'),
      ReferencesMissing: isNot('what ReferencesResolved says keeps workers from being started or changed'),
      Conflict: isNot('an older ConsumerGroup is the Responder of the service, or has the group id'),
      NameTaken,
      NotApplied,
    },
    Ready: { Ready: is('all of the other conditions are True'), Paused, Deleting },
  },
  RetryPolicy: {
    Ready: {
      InUse: is('ConsumerGroups use it; status.consumerGroups has their names'),
      NotUsed: is('no ConsumerGroup uses it'),
      Paused,
    },
  },
} as const satisfies Readonly<Record<string, Types>>

export type ConditionedKind = keyof typeof CONDITIONS
export type ConditionType<Kind extends ConditionedKind> = keyof (typeof CONDITIONS)[Kind] & string
/** The reasons of one type, or of all types of a kind. */
export type ConditionReason<
  Kind extends ConditionedKind,
  Type extends ConditionType<Kind> = ConditionType<Kind>,
> = Type extends unknown ? keyof (typeof CONDITIONS)[Kind][Type] & string : never

/** What is found now, without the times that only a stored condition has. */
export interface Finding {
  readonly type: string
  readonly status: ConditionStatus
  readonly reason: string
  readonly message: string
}

/** A condition as the API server stores it. */
export interface Condition extends Finding {
  readonly observedGeneration?: number
  /** RFC 3339. */
  readonly lastTransitionTime: string
}

/** A finding with the status that its reason has. */
export function finding<Kind extends ConditionedKind, Type extends ConditionType<Kind>>(
  kind: Kind,
  type: Type,
  reason: ConditionReason<Kind, Type>,
  message: string,
): Finding {
  const reasons: Readonly<Record<string, Reason>> = (CONDITIONS[kind] as Types)[type]!
  return { type, status: reasons[reason]!.status, reason, message: bounded(message) }
}

/**
 * `Ready` of a kind: the first of the others that is not True lends it status, reason and message, so that one column
 * tells what to look at; else it is True.
 */
export function readiness(others: readonly Finding[]): Finding {
  const first = others.find(({ status }) => status !== 'True')
  if (first !== undefined) return { ...first, type: 'Ready' }
  return { type: 'Ready', status: 'True', reason: 'Ready', message: '' }
}

/**
 * Findings as conditions. lastTransitionTime is kept while the status stays the same, as the API conventions ask.
 * @param now milliseconds since 1970.
 */
export function toConditions(
  findings: readonly Finding[],
  stored: readonly Condition[] | undefined,
  observedGeneration: number,
  now: number,
): readonly Condition[] {
  return findings.map((found) => {
    const before = stored?.find(({ type }) => type === found.type)
    return {
      type: found.type,
      status: found.status,
      observedGeneration,
      lastTransitionTime: before?.status === found.status ? before.lastTransitionTime : rfc3339(now),
      reason: found.reason,
      message: found.message,
    }
  })
}

/** Kubernetes writes times without fractions of a second. */
export const rfc3339 = (now: number): string => `${new Date(now).toISOString().slice(0, 19)}Z`

/** Kubernetes takes 32768; somebody has to read it. */
const LONGEST_MESSAGE = 1024

const bounded = (message: string): string =>
  message.length <= LONGEST_MESSAGE ? message : `${message.slice(0, LONGEST_MESSAGE - 1)}…`
