/**
 * Every reason that a condition may have (operator/conditions.ts), each produced by what a person or the world around does to
 * a real operator on a real API server, Kafka and Consul. All go on beside each other under one operator.
 */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { CONDITIONS, type ConditionedKind } from '../../operator/conditions.ts'
import { freePort } from '../../local/platform/free-port.ts'
import { deadTopic, retryTopic } from '../../sidecar/kafka/topic-names.ts'
import { reasonRows } from '../unit/docs/reason-table.ts'
import { forbidService } from './support/admission.ts'
import { ConditionWatch } from './support/condition-watch.ts'
import { ownConsul } from './support/consul.ts'
import {
  applyGoodRoute,
  applyObserver,
  applyOneService,
  GOOD,
  keepSecret,
  templateWith,
  topicOf,
} from './support/crowd.ts'
import { startOldKafka } from './support/old-kafka.ts'
import { Scene, servers, type Fields } from './support/scene.ts'
import { until } from './support/until.ts'

/** What all of them are played on: a good route, and the world around. */
interface Stage {
  readonly scene: Scene
  readonly conditions: ConditionWatch
  /** `host:port` where nobody listens. */
  readonly nowhere: string
  /** A Kafka of before 2.8. */
  readonly oldKafka: string
  readonly consul: string
  /** One that asks for a token. */
  readonly guardedConsul: string
}

interface Scenario {
  readonly when: string
  /** @param name of whatever it makes, and of whose condition is waited for. */
  readonly does?: (stage: Stage, name: string) => Promise<unknown>
  /** Whose condition is waited for, where it is another one's. */
  readonly on?: string
  /** What the message has in it: the field, the object, or the words of whoever refuses. */
  readonly says: string | ((stage: Stage, name: string) => string)
}

/** A type error where a reason has none, or where there is one for a reason that is gone. */
type Scenarios = {
  readonly [Kind in ConditionedKind]: {
    readonly [Type in keyof (typeof CONDITIONS)[Kind]]: {
      readonly [Reason in keyof (typeof CONDITIONS)[Kind][Type]]: Scenario
    }
  }
}

/** Its pods nobody makes ready. */
const UNREADY = 'unready'
const IN_CONSUL = 'in-consul'
const SECRET = { name: 'not-there', key: 'password' }
const PAUSED = { 'grpckafka.dev/reconciliation': 'paused' }
const SASL = { mechanism: 'SCRAM-SHA-512', username: 'somebody', passwordSecretRef: SECRET }
const FORBIDDEN_TOPIC = 'not-of-this-team'
/** More than an object may have of annotations, together with one of the operator's. */
const MOST_ANNOTATION_BYTES = 262_144

const service =
  (spec: Fields = {}) =>
  ({ scene }: Stage, name: string): Promise<void> =>
    applyOneService(scene, name, spec)

const observer =
  (spec: Fields = {}) =>
  ({ scene }: Stage, name: string): Promise<void> =>
    applyObserver(scene, name, spec)

/** A group of a service that says this. */
const observerOfService =
  (spec: Fields) =>
  async (stage: Stage, name: string): Promise<void> => {
    await service(spec)(stage, name)
    await observer({ calculateServiceRef: { name } })(stage, name)
  }

/** A topic that was there before, and its failure topic, of one copy each. */
async function makeTopics({ scene }: Stage, topic: string, partitions: number): Promise<void> {
  const make = (name: string, count: number) =>
    scene.topics.execute({
      type: 'CreateTopic',
      topic: { name, partitions: count, replicationFactor: 1, config: {}, declared: [] },
    })
  await Promise.all([make(topic, partitions), make(`${topic}.dead`, 1)])
}

async function applyPaused({ scene }: Stage, name: string, kind: ConditionedKind, apply: () => Promise<unknown>) {
  await apply()
  await scene.namespace.change(kind, name, { metadata: { annotations: PAUSED } })
}

/** An object of somebody else's. */
const take = ({ scene }: Stage, kind: 'ConfigMap' | 'Service', name: string, fields: Fields = {}): Promise<unknown> =>
  scene.namespace.apply({ apiVersion: 'v1', kind, metadata: { name }, ...fields })

const SCENARIOS: Scenarios = {
  CalculateService: {
    TopicReady: {
      TopicsReady: {
        when: 'a good route is applied',
        on: GOOD,
        says: ({ scene }) => {
          const calls = topicOf(scene, GOOD)
          const retries = [1, 2].map((step) => `${retryTopic(calls, step)} has 3 partitions`)
          return [`${calls} has 3 partitions`, ...retries, `${deadTopic(calls)} has 1 partition`].join(', ')
        },
      },
      TopicConflict: {
        when: "a service names the good route's topic",
        does: (stage, name) => applyOneService(stage.scene, name, { topic: { name: topicOf(stage.scene, GOOD) } }),
        says: (stage) => `spec.topic.name: ${topicOf(stage.scene, GOOD)} belongs to CalculateService`,
      },
      TopicNotAllowed: {
        when: "a service names a topic without its namespace's prefix",
        does: service({ topic: { name: FORBIDDEN_TOPIC } }),
        says: `spec.topic.name: ${FORBIDDEN_TOPIC} has no prefix`,
      },
      TopicSettingsRefused: {
        when: 'a service asks for compaction',
        does: service({ topic: { config: { 'cleanup.policy': 'compact' } } }),
        says: 'spec.topic.config["cleanup.policy"]: must be delete',
      },
      PartitionsWouldShrink: {
        when: 'the topic that was there has more partitions',
        does: async (stage, name) => {
          await makeTopics(stage, topicOf(stage.scene, name), 2)
          await applyOneService(stage.scene, name)
        },
        says: (stage, name) => `spec.topic.partitions: ${topicOf(stage.scene, name)} has 2 partitions, 1 are asked for`,
      },
      PartitionsWait: {
        when: 'calls have an order, and partitions are to be added while there are proxies',
        does: async (stage, name) => {
          await makeTopics(stage, topicOf(stage.scene, name), 1)
          await stage.scene.applyGroup({ calculateServiceRef: { name }, ordering: 'Partition', replicas: 0 }, name)
          await applyOneService(stage.scene, name, { topic: { partitions: 2 }, proxy: { replicas: 1 } })
        },
        says: (stage, name) =>
          `spec.topic.partitions: ${topicOf(stage.scene, name)} has 1 partitions, 2 are asked for; calls have an order by ConsumerGroup ${name}`,
      },
      ReplicationFactorDiffers: {
        when: 'the topic that was there has fewer copies',
        does: async (stage, name) => {
          await makeTopics(stage, topicOf(stage.scene, name), 1)
          await applyOneService(stage.scene, name, { topic: { replicationFactor: 2 } })
        },
        says: (stage, name) =>
          `spec.topic.replicationFactor: ${topicOf(stage.scene, name)} has 1 copies of each partition`,
      },
      TooFewBrokers: {
        when: 'a service asks for more copies than there are brokers',
        does: service({ topic: { replicationFactor: 32 } }),
        says: 'needs 32 brokers, there are ',
      },
      NotSupported: {
        // No Kafka that can be had here is so old. This one says of itself that it is; else it is the real one.
        when: 'Kafka is too old',
        does: (stage, name) => applyOneService(stage.scene, name, { kafka: { bootstrapServers: [stage.oldKafka] } }),
        says: 'this Kafka does not know CreateTopics v7: Kafka 2.8 or later is needed',
      },
      TopicRefused: {
        when: 'a service asks for a setting that Kafka does not know',
        does: service({ topic: { config: { 'no.such.setting': '1' } } }),
        says: 'Unknown topic config name: no.such.setting',
      },
      SecretMissing: {
        when: "the Secret with Kafka's password is not there",
        does: service({ kafka: { bootstrapServers: servers, sasl: SASL } }),
        says: 'spec.kafka.sasl.passwordSecretRef: there is no key password in a Secret not-there',
      },
      KafkaUnavailable: {
        when: 'nobody listens at the bootstrap server',
        does: (stage, name) => applyOneService(stage.scene, name, { kafka: { bootstrapServers: [stage.nowhere] } }),
        says: ({ nowhere }) => `${nowhere}: no broker answers (ECONNREFUSED)`,
      },
      KafkaNotAuthorized: {
        when: 'Kafka takes no sign-in',
        does: async (stage, name) => {
          await keepSecret(stage.scene, name, 'wrong')
          const sasl = { ...SASL, passwordSecretRef: { name, key: 'value' } }
          await applyOneService(stage.scene, name, { kafka: { bootstrapServers: servers, sasl } })
        },
        says: () => `${servers.join(', ')}: Request is not valid given the current SASL state`,
      },
      NotApplied: {
        when: 'an object has no room for the annotation that announces its topics',
        does: async (stage, name) => {
          await stage.scene.namespace.apply({
            apiVersion: 'grpckafka.dev/v1alpha1',
            kind: 'CalculateService',
            metadata: { name, annotations: { notes: 'x'.repeat(MOST_ANNOTATION_BYTES - 'notes'.length) } },
            spec: {
              service: 'a.B',
              kafka: { bootstrapServers: servers },
              redis: { url: 'redis://redis:6379' },
              topic: { name: topicOf(stage.scene, name), replicationFactor: 1, deletionPolicy: 'Delete' },
              methods: [{ name: 'A' }],
              proxy: { replicas: 0 },
            },
          })
        },
        says: 'metadata.annotations: Too long',
      },
    },
    ProxyAvailable: {
      ProxiesAvailable: { when: 'a good route is applied', on: GOOD, says: '1 of 1 proxies are ready' },
      ScaledToZero: { when: 'a service wants no proxies', does: service(), says: 'spec.proxy.replicas is 0' },
      ProxiesRollingOut: { when: 'a good route is applied', on: GOOD, says: '0 of 1 proxies are ready' },
      ProxiesUnavailable: {
        when: "a proxy's pod is not ready",
        on: UNREADY,
        says: '0 of 1 proxies are ready, 1 are as the spec says',
      },
      TopicNotOurs: {
        when: 'the topic is not for the service',
        does: service({ topic: { config: { 'cleanup.policy': 'compact' } } }),
        says: 'TopicReady: TopicSettingsRefused',
      },
      SecretMissing: {
        when: "the Secret with Redis' URL is not there",
        does: service({ redis: { urlSecretRef: { name: 'not-there', key: 'url' } } }),
        says: 'spec.redis.urlSecretRef: there is no key url in a Secret not-there',
      },
      NameTaken: {
        when: "somebody has a ConfigMap of the proxies' name",
        does: async (stage, name) => {
          await take(stage, 'ConfigMap', `${name}-proxy`)
          await applyOneService(stage.scene, name)
        },
        says: (_, name) => `ConfigMap ${name}-proxy is there and is not of this CalculateService`,
      },
      NotApplied: {
        when: 'the API server refuses the Deployment',
        does: service({ proxy: { replicas: 0, template: { spec: { nodeSelector: { 'no label': 'a' } } } } }),
        says: 'spec.template.spec.nodeSelector: Invalid value: "no label"',
      },
    },
    Registered: {
      Registered: {
        when: 'a good route is applied',
        on: GOOD,
        says: ({ scene }) => `${GOOD}-proxy.${scene.namespace.name}.svc:8080`,
      },
      NotAsked: {
        when: 'a service registers nowhere',
        does: service({ registration: { kubernetes: 'None' } }),
        says: 'spec.registration.kubernetes is None',
      },
      Registering: {
        when: 'a service names a Consul for the first time',
        on: IN_CONSUL,
        says: ({ consul }) => `${consul}: proxies are about to come`,
      },
      TopicNotOurs: {
        when: 'the topic is not for the service',
        does: service({ topic: { config: { 'cleanup.policy': 'compact' } } }),
        says: 'TopicReady: TopicSettingsRefused',
      },
      ConsulUnavailable: {
        when: "nobody listens at Consul's address",
        does: (stage, name) =>
          applyOneService(stage.scene, name, { registration: { consul: { address: `http://${stage.nowhere}` } } }),
        says: ({ nowhere }) => `http://${nowhere}: ECONNREFUSED`,
      },
      ConsulNotAuthorized: {
        when: 'Consul does not know the token',
        does: async (stage, name) => {
          await keepSecret(stage.scene, name, '00000000-0000-0000-0000-00000000dead')
          const consul = { address: stage.guardedConsul, tokenSecretRef: { name, key: 'value' } }
          await applyOneService(stage.scene, name, { registration: { consul } })
        },
        says: ({ guardedConsul }) => `${guardedConsul}: ACL not found`,
      },
      ConsulRefused: {
        when: 'Consul knows nothing of the datacenter',
        does: (stage, name) =>
          applyOneService(stage.scene, name, {
            registration: { consul: { address: stage.consul, datacenter: 'nowhere' } },
          }),
        says: 'No path to datacenter',
      },
      ConsulNameTaken: {
        when: 'an older service has the name in Consul',
        does: (stage, name) =>
          applyOneService(stage.scene, name, {
            registration: { consul: { address: stage.consul, name: IN_CONSUL } },
          }),
        says: `spec.registration.consul.name: CalculateService ${IN_CONSUL} is older and has this name`,
      },
      SecretMissing: {
        when: "the Secret with Consul's token is not there",
        does: (stage, name) =>
          applyOneService(stage.scene, name, {
            registration: { consul: { address: stage.consul, tokenSecretRef: SECRET } },
          }),
        says: 'spec.registration.consul.tokenSecretRef: there is no key password in a Secret not-there',
      },
      NameTaken: {
        when: "somebody has a Service of the proxies' name",
        does: async (stage, name) => {
          await take(stage, 'Service', `${name}-proxy`, { spec: { ports: [{ port: 80 }] } })
          await applyOneService(stage.scene, name)
        },
        says: (_, name) => `Service ${name}-proxy is there and is not of this CalculateService`,
      },
      NotApplied: {
        when: "the cluster's policy forbids the Service",
        does: service(),
        says: 'Services are made by the platform team',
      },
    },
    Ready: {
      Ready: { when: 'a good route is applied', on: GOOD, says: '' },
      Paused: {
        when: 'a service is paused',
        does: (stage, name) => applyPaused(stage, name, 'CalculateService', () => applyOneService(stage.scene, name)),
        says: 'metadata.annotations: reconciliation is paused',
      },
      Deleting: {
        when: 'a service that deletes its topics is deleted',
        does: async (stage, name) => {
          await applyOneService(stage.scene, name, { topic: { deletionPolicy: 'Delete' } })
          await stage.conditions.untilSeen('CalculateService', name, 'TopicReady', 'TopicsReady')
          await stage.scene.namespace.delete('CalculateService', name)
        },
        says: (_, name) => `Deployment ${name}-proxy is being deleted`,
      },
    },
  },
  ConsumerGroup: {
    ReferencesResolved: {
      ReferencesResolved: { when: 'a good route is applied', on: GOOD, says: '' },
      ServiceNotFound: {
        when: 'a group names a service that is not there',
        does: observer({ calculateServiceRef: { name: 'not-there' } }),
        says: 'spec.calculateServiceRef: there is no CalculateService not-there',
      },
      TopicNotReady: {
        when: "a group's service has no topic",
        does: observerOfService({ topic: { replicationFactor: 32 } }),
        says: (_, name) => `CalculateService ${name}: spec.topic.replicationFactor`,
      },
      SecretMissing: {
        when: "a group's service has no password",
        does: observerOfService({ redis: { urlSecretRef: { name: 'not-there', key: 'url' } } }),
        says: (_, name) => `CalculateService ${name}: spec.redis.urlSecretRef: there is no key url`,
      },
      PolicyNotFound: {
        when: 'a group names a policy that is not there',
        does: observer({ retryPolicyRef: { name: 'not-there' }, replicas: 0 }),
        says: 'spec.retryPolicyRef: there is no RetryPolicy not-there; each call is tried once',
      },
      PausesTooLong: {
        when: 'calls have an order and the pauses of the policy are long',
        does: async (stage, name) => {
          await stage.scene.applyPolicy({ maxAttempts: 10, backoff: { initialMilliseconds: 10_000 } }, name)
          await observer({ ordering: 'Partition', retryPolicyRef: { name } })(stage, name)
        },
        says: (_, name) => `RetryPolicy ${name}: the pauses add up to 90000 ms; with ordering Partition`,
      },
      RetentionTooShort: {
        when: 'attempts would come after what is kept of a call',
        does: async (stage, name) => {
          const backoff = { initialMilliseconds: 600_000, maxMilliseconds: 600_000 }
          await stage.scene.applyPolicy({ maxAttempts: 3, backoff, onExpired: 'Continue' }, name)
          await observer({ retryPolicyRef: { name }, timeoutMilliseconds: 1000 })(stage, name)
        },
        says: (_, name) => `RetryPolicy ${name}: all attempts and pauses of a call may take 1203000 ms`,
      },
    },
    WorkersAvailable: {
      WorkersAvailable: { when: 'a good route is applied', on: GOOD, says: '' },
      OwnPreStop: {
        when: 'a handler has a preStop of its own',
        does: observer({ template: templateWith({ lifecycle: { preStop: { exec: { command: ['sleep', '1'] } } } }) }),
        says: 'spec.template: the handler has its own lifecycle.preStop',
      },
      ScaledToZero: {
        when: 'nothing waits',
        does: observer({ scaling: { minReplicas: 0, maxReplicas: 1, stabilizationSeconds: 0 } }),
        says: 'nothing waits and spec.scaling.minReplicas is 0',
      },
      NoWorkers: { when: 'a group wants none', does: observer({ replicas: 0 }), says: 'spec.replicas is 0' },
      WakeUpTooSlow: {
        when: 'workers that start slowly may go to zero',
        does: async (stage, name) => {
          const methods = [{ name: 'Quick', timeoutMilliseconds: 2000 }]
          await applyOneService(stage.scene, name, { methods })
          const scaling = { minReplicas: 0, maxReplicas: 1, wakeUpSeconds: 3 }
          await stage.scene.applyGroup({ calculateServiceRef: { name }, scaling }, name)
        },
        says: 'spec.scaling.minReplicas is 0 and a worker needs 3 s to start: longer than the timeout of Quick (2000 ms)',
      },
      NoPartitionKey: {
        when: 'calls have an order and no method has a key',
        does: observer({ ordering: 'Key' }),
        says: 'spec.ordering is Key, and no method of CalculateService',
      },
      WorkersRollingOut: { when: 'a good route is applied', on: GOOD, says: '0 of 1 workers are ready' },
      WorkersUnavailable: { when: "a worker's pod is not ready", on: UNREADY, says: '0 of 1 workers are ready' },
      ReferencesMissing: {
        when: 'a group names a service that is not there',
        does: observer({ calculateServiceRef: { name: 'not-there' } }),
        says: 'not started: ReferencesResolved is ServiceNotFound',
      },
      Conflict: {
        when: "a group has the group id of the good route's",
        does: async (stage, name) => {
          await stage.conditions.untilSeen('ConsumerGroup', GOOD, 'Ready', 'Ready')
          await observer({ groupId: `${stage.scene.namespace.name}-${GOOD}` })(stage, name)
        },
        says: ({ scene }) => `has the group id ${scene.namespace.name}-${GOOD} in the same Kafka`,
      },
      NameTaken: {
        when: "somebody has a ConfigMap of the workers' name",
        does: async (stage, name) => {
          await take(stage, 'ConfigMap', `${name}-worker`)
          await observer()(stage, name)
        },
        says: (_, name) => `ConfigMap ${name}-worker is there and is not this ConsumerGroup's`,
      },
      NotApplied: {
        when: 'the API server refuses the Deployment',
        does: observer({ template: templateWith({ volumeMounts: [{ name: 'not-there', mountPath: '/data' }] }) }),
        says: 'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "not-there"',
      },
    },
    Ready: {
      Ready: { when: 'a good route is applied', on: GOOD, says: '' },
      Paused: {
        when: 'a group is paused',
        does: (stage, name) => applyPaused(stage, name, 'ConsumerGroup', () => observer({ replicas: 0 })(stage, name)),
        says: 'the annotation grpckafka.dev/reconciliation is paused',
      },
      Deleting: {
        when: 'a group is deleted whose proxies may have calls',
        does: async (stage, name) => {
          await applyOneService(stage.scene, name, { proxy: { replicas: 1 } })
          await stage.scene.applyGroup({ calculateServiceRef: { name } }, name)
          await stage.conditions.untilSeen('CalculateService', name, 'Ready', 'Ready')
          await stage.conditions.untilSeen('ConsumerGroup', name, 'Ready', 'Ready')
          await stage.scene.namespace.delete('ConsumerGroup', name)
        },
        says: 'its workers go on until',
      },
    },
  },
  RetryPolicy: {
    Ready: {
      InUse: { when: 'a good route is applied', on: GOOD, says: '1 ConsumerGroups' },
      NotUsed: {
        when: 'nobody names a policy',
        does: ({ scene }, name) => scene.applyPolicy({}, name),
        says: '',
      },
      Paused: {
        when: 'a policy is paused',
        does: (stage, name) => applyPaused(stage, name, 'RetryPolicy', () => stage.scene.applyPolicy({}, name)),
        says: 'the annotation grpckafka.dev/reconciliation is paused',
      },
    },
  },
}

/** Of its own for each, whatever it makes: a group's scenario may make a service, too. */
const nameOf = (kind: ConditionedKind, type: string, reason: string): string =>
  `${kind.replaceAll(/[a-z]/g, '')}-${type}-${reason}`.toLowerCase()

interface Named extends Scenario {
  readonly kind: ConditionedKind
  readonly type: string
  readonly reason: string
  readonly name: string
}

type Types = Readonly<Record<string, Readonly<Record<string, Scenario>>>>

const ALL: readonly Named[] = Object.entries<Types>(SCENARIOS).flatMap(([kind, types]) =>
  Object.entries(types).flatMap(([type, reasons]) =>
    Object.entries(reasons).map(([reason, scenario]) => ({
      ...scenario,
      kind: kind as ConditionedKind,
      type,
      reason,
      name: scenario.on ?? nameOf(kind as ConditionedKind, type, reason),
    })),
  ),
)

/** Each `kind type reason`. */
const DECLARED: readonly string[] = Object.entries<Types>(CONDITIONS as unknown as Record<string, Types>).flatMap(
  ([kind, types]) =>
    Object.entries(types).flatMap(([type, reasons]) =>
      Object.keys(reasons).map((reason) => `${kind} ${type} ${reason}`),
    ),
)

/** `Ready` lends the reason of another condition of the same resource. */
const isLent = (kind: string, type: string, reason: string): boolean =>
  type === 'Ready' && DECLARED.some((one) => one.startsWith(`${kind} `) && one.endsWith(` ${reason}`))

async function setStage(t: TestContext): Promise<Stage> {
  const notReady = `grpckafka.dev/service!=${UNREADY},grpckafka.dev/group!=${UNREADY}`
  const scene = await Scene.withoutOperator(t, { kubelet: notReady })
  const { namespace } = scene
  const nowhere = `127.0.0.1:${await freePort()}`
  const [oldKafka, guarded, conditions] = await Promise.all([
    startOldKafka(t, servers[0]!, new Map([[CREATE_TOPICS, 6]])),
    ownConsul(t, { acl: { enabled: true, default_policy: 'deny' } }),
    ConditionWatch.start(t, namespace),
    forbidService(
      t,
      namespace,
      `${nameOf('CalculateService', 'Registered', 'NotApplied')}-proxy`,
      'Services are made by the platform team',
    ),
  ])
  const consul = process.env['CONSUL_HTTP_ADDR'] ?? ''
  await scene.startOperator({
    flags: {
      'topic-prefix-allow-list': `${namespace.name}=operator-`,
      'kube-qps': 500,
      'kube-burst': 500,
    },
  })
  const stage = { scene, conditions, nowhere, oldKafka, consul, guardedConsul: guarded.url }
  // Older than all others: times of creation have full seconds.
  await applyGoodRoute(scene)
  await applyOneService(stage.scene, UNREADY, { proxy: { replicas: 1 } })
  await observer()(stage, UNREADY)
  await applyOneService(stage.scene, IN_CONSUL, { registration: { consul: { address: consul } } })
  const begun = Date.now()
  await until('another second', () => Date.now() - begun > 2000)
  return stage
}

const CREATE_TOPICS = 19

test('every reason of every condition is produced', { concurrency: true }, async (t) => {
  const stage = await setStage(t)
  await Promise.all(
    ALL.map(({ kind, type, reason, when, does, says, name }) =>
      t.test(`${kind}: ${type} is ${reason} when ${when}`, async () => {
        await does?.(stage, name)
        const told = typeof says === 'string' ? says : says(stage, name)
        await stage.conditions.untilSeen(kind, name, type, reason, told)
      }),
    ),
  )
  const seen = stage.conditions.seen
    .filter(({ kind, type, reason }) => DECLARED.includes(`${kind} ${type} ${reason}`) || !isLent(kind, type, reason))
    .map(({ kind, type, reason }) => `${kind} ${type} ${reason}`)
  assert.deepEqual(
    [...new Set(seen)].toSorted(),
    DECLARED.toSorted(),
    'those seen, and those of operator/conditions.ts',
  )
  const told = reasonRows().map(({ kind, type, reason }) => `${kind} ${type} ${reason}`)
  assert.deepEqual(told.toSorted(), [...new Set(seen)].toSorted(), "those of the README's table, and those seen")
})
