/** What is to be done about a CalculateService, by what was observed: one row for each thing that may be otherwise. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { CalculateService } from '../../../../crds/types.ts'
import { validateResource } from '../../../../crds/validate.ts'
import { renderService } from '../../../../operator/calculateservice/objects.ts'
import type { LiveObjects, Observed } from '../../../../operator/calculateservice/observe.ts'
import type { ConsulView } from '../../../../operator/calculateservice/observe-consul.ts'
import { planService, type Action, type Plan } from '../../../../operator/calculateservice/plan.ts'
import type { KubeObject } from '../../../../operator/controller/object.ts'
import type { ObservedTopic } from '../../../../operator/kafka/topic-plan.ts'
import { desiredTopics } from '../../../../operator/kafka/topics.ts'
import type { Deployment, Pod } from '../../../../operator/kinds.ts'
import { resource, type Case } from '../../crds/cases.ts'

const NOW = Date.UTC(2026, 0, 1)
const IMAGE = { sidecarImage: 'sidecar:1' }
const CONSUL = 'http://consul:8500'

/** As the API server has it; the operator remembers its topics. */
function aService(put: Case['put'] = {}, more: Partial<CalculateService> = {}): CalculateService {
  const { metadata = {}, ...rest } = more
  const result = validateResource(resource('CalculateService', { 'metadata.name': 'calc', ...put }))
  assert.ok(result.ok, result.ok ? '' : result.problems.join('\n'))
  const service = result.resource as CalculateService
  return {
    ...service,
    status: { observedGeneration: 1, topics: topicsOf(service).map(rememberedAs('Created')), ...service.status },
    ...rest,
    metadata: {
      ...service.metadata,
      namespace: 'team',
      uid: 'uid',
      generation: 1,
      resourceVersion: '7',
      creationTimestamp: '2025-12-01T00:00:00Z',
      ...metadata,
    },
  }
}

const rememberedAs =
  (origin: 'Created' | 'Adopted') =>
  ({ name, id, partitions, replicationFactor, config }: ObservedTopic) => ({
    name,
    topicId: id,
    partitions,
    replicationFactor,
    origin,
    config: Object.fromEntries(Object.entries(config).map(([key, { value }]) => [key, value])),
  })

/** The topics as they should be. */
const topicsOf = (service: CalculateService): readonly ObservedTopic[] =>
  desiredTopics({ ...service, spec: { ...service.spec, topic: { ...service.spec.topic, config: {} } } }).map(
    ({ config, declared: _, shortestRetention: __, ...topic }) => ({
      ...topic,
      id: `id-of-${topic.name}`,
      config: Object.fromEntries(Object.entries(config).map(([key, value]) => [key, { value, isSet: true }])),
    }),
  )

const seen = (topics: readonly ObservedTopic[], brokers = 3): Observed['kafka'] => ({
  state: 'Seen',
  isKept: false,
  cluster: { id: 'cluster', brokers, topics: new Map(topics.map((topic) => [topic.name, topic])) },
})

/** The objects as the operator applied them. */
function liveOf(service: CalculateService): LiveObjects {
  const there = <T extends KubeObject>(object: KubeObject): T =>
    ({ ...object, metadata: { ...object.metadata, uid: `uid-of-${object.kind}` } }) as T
  const {
    serviceAccount,
    configMap,
    podDisruptionBudget,
    deployment,
    service: kubeService,
  } = renderService(service, IMAGE)
  return {
    serviceAccount: there(serviceAccount),
    configMap: there(configMap),
    podDisruptionBudget: there(podDisruptionBudget),
    deployment: there<Deployment>(deployment),
    ...(kubeService === undefined ? {} : { service: there(kubeService) }),
  }
}

/** All is well, but for the changes. */
function observed(changes: Partial<Observed> = {}): Observed {
  const service = changes.service ?? aService()
  const { metadata, spec } = service
  const mine = {
    namespace: 'team',
    name: metadata.name,
    uid: 'uid',
    creationTimestamp: metadata.creationTimestamp ?? '',
    topic: spec.topic.name,
    bootstrapServers: spec.kafka.bootstrapServers,
    clusterId: 'cluster',
  }
  return {
    service,
    now: NOW,
    topicAllowed: true,
    mine,
    claims: [mine],
    missingSecrets: [],
    missingKafkaSecrets: [],
    kafka: seen(topicsOf(service)),
    retrySteps: 0,
    live: liveOf(service),
    pods: [],
    consul: [],
    consulNamesakes: [],
    cluster: '',
    deletionPatienceMilliseconds: 120_000,
    ...changes,
  }
}

/** `Topic CreateTopic calculator`, `ApplyObject Deployment`, `SetFinalizers [a]`. */
function told(action: Action): string {
  switch (action.type) {
    case 'ApplyObject':
      return `${action.type} ${action.object.kind}`
    case 'DeleteObject':
      return `${action.type} ${action.resource.kind}`
    case 'SetFinalizers':
      return `${action.type} [${action.finalizers.join()}]`
    case 'AnnounceTopics':
      return `${action.type} [${action.names.join()}]`
    case 'Topic': {
      const { action: one } = action
      return `${one.type} ${one.type === 'CreateTopic' ? one.topic.name : one.name}`
    }
    case 'Consul': {
      const { action: one } = action
      return `${one.type} ${one.type === 'RegisterInstance' ? one.instance.id : one.id}`
    }
  }
}

/** Of all parts: `TopicReady TopicConflict`. */
const problemsOf = (plan: Plan): readonly string[] =>
  plan.type === 'Keep'
    ? Object.entries(plan.problems).flatMap(([part, problems]) => problems.map(({ reason }) => `${part} ${reason}`))
    : []

const withoutOwner = <T extends KubeObject>(object: T): T => ({
  ...object,
  metadata: { ...object.metadata, ownerReferences: [] },
})
const foreign = (name: keyof LiveObjects): LiveObjects => {
  const live = liveOf(aService())
  return { ...live, [name]: withoutOwner(live[name]!) }
}
const without = (name: keyof LiveObjects): LiveObjects =>
  Object.fromEntries(Object.entries(liveOf(aService())).filter(([one]) => one !== name))

const changed = (name: string, put: Partial<ObservedTopic>): Observed['kafka'] =>
  seen(topicsOf(aService()).map((topic) => (topic.name === name ? { ...topic, ...put } : topic)))

const aPod = (uid: string): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: uid, uid },
  status: { podIP: '10.0.0.1', phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] },
})

const IN_CONSUL = { 'spec.registration.consul': { address: CONSUL } }
const inConsul = (status: object = {}, finalizers: readonly string[] = ['grpckafka.dev/consul']) =>
  aService(IN_CONSUL, { metadata: { name: 'calc', finalizers }, status: { consul: [{ address: CONSUL }], ...status } })
const view = (ids: readonly string[], isCurrent = true): ConsulView => ({
  place: { address: CONSUL },
  isCurrent,
  registry: {
    state: 'Seen',
    access: { address: CONSUL },
    catalog: {
      isPartial: false,
      instances: ids.map((id) => ({ id, service: 'calc', address: '10.0.0.1', port: 8080, tags: [], meta: {} })),
    },
  },
})
const consulAway: ConsulView = {
  place: { address: CONSUL },
  isCurrent: true,
  registry: { state: 'Failed', reason: 'ConsulUnavailable', message: 'away' },
}

const TOPICS = 'grpckafka.dev/topics'
const DELETE: Case['put'] = { 'spec.topic.deletionPolicy': 'Delete' }
/** One that was told to go so many seconds ago. */
const leaving = (seconds: number, put: Case['put'] = DELETE, finalizers: readonly string[] = [TOPICS]) =>
  aService(put, {
    metadata: { name: 'calc', finalizers, deletionTimestamp: new Date(NOW - seconds * 1000).toISOString() },
  })

const PARTS_THERE = 'ApplyObject ServiceAccount,ApplyObject ConfigMap,ApplyObject Deployment'
const ALL_OBJECTS = `${PARTS_THERE},ApplyObject PodDisruptionBudget,ApplyObject Service`.split(',')
const notOurs = ['ProxyAvailable TopicNotOurs', 'Registered TopicNotOurs']

interface Row {
  readonly name: string
  readonly given: Partial<Observed>
  readonly actions: readonly string[]
  readonly problems?: readonly string[]
}

const KEPT: readonly Row[] = [
  { name: 'all is as it should be', given: {}, actions: [] },
  {
    name: 'nothing is there',
    given: { live: {}, kafka: seen([]), service: aService({}, { status: {} }) },
    actions: ['CreateTopic calculator', 'CreateTopic calculator.dead', ...ALL_OBJECTS],
  },
  {
    name: 'nothing is there, and the topics are to go with it one day',
    given: { live: {}, kafka: seen([]), service: aService(DELETE, { status: {} }) },
    actions: [
      `SetFinalizers [${TOPICS}]`,
      'AnnounceTopics [calculator,calculator.dead]',
      'CreateTopic calculator',
      'CreateTopic calculator.dead',
      ...ALL_OBJECTS,
    ],
  },
  {
    name: 'its topics are not to go with it any more',
    given: { service: aService({}, { metadata: { name: 'calc', finalizers: ['theirs', TOPICS] } }) },
    actions: ['SetFinalizers [theirs]'],
  },
  {
    name: 'it is paused, whatever else is wrong',
    given: {
      live: {},
      kafka: seen([]),
      service: aService({}, { metadata: { name: 'calc', annotations: { 'grpckafka.dev/reconciliation': 'paused' } } }),
    },
    actions: [],
  },
  {
    name: 'its failure topic is gone',
    given: { kafka: seen(topicsOf(aService()).slice(0, 1)) },
    actions: ['CreateTopic calculator.dead'],
  },
  {
    name: 'its topic is too small',
    given: { kafka: changed('calculator', { partitions: 2 }) },
    actions: ['GrowTopic calculator'],
  },
  {
    name: 'its topic is too large',
    given: { kafka: changed('calculator', { partitions: 9 }) },
    actions: [],
    problems: ['TopicReady PartitionsWouldShrink'],
  },
  {
    name: 'somebody changed a setting',
    given: { kafka: changed('calculator.dead', { config: {} }) },
    actions: ['AlterTopic calculator.dead'],
  },
  {
    name: 'there are fewer brokers than copies wanted',
    given: { kafka: seen([], 2), live: liveOf(aService()) },
    actions: [],
    problems: ['TopicReady TooFewBrokers', 'TopicReady TooFewBrokers'],
  },
  {
    name: 'Kafka is away',
    given: { kafka: { state: 'Failed', reason: 'KafkaUnavailable', message: 'away' }, live: without('configMap') },
    actions: ['ApplyObject ConfigMap'],
    problems: ['TopicReady KafkaUnavailable'],
  },
  {
    name: "a Secret of Kafka's is missing",
    given: { kafka: { state: 'NotAsked' }, missingSecrets: ['one'], missingKafkaSecrets: ['one'] },
    actions: [],
    problems: ['TopicReady SecretMissing', 'ProxyAvailable SecretMissing'],
  },
  {
    name: "a Secret of Redis' is missing: the pods wait for it by themselves",
    given: { missingSecrets: ['one'], live: without('deployment') },
    actions: ['ApplyObject Deployment'],
    problems: ['ProxyAvailable SecretMissing'],
  },
  {
    name: 'its namespace may not use the name: what runs is left alone',
    given: { topicAllowed: false, kafka: { state: 'NotAsked' }, live: without('service') },
    actions: [],
    problems: ['TopicReady TopicNotAllowed', ...notOurs],
  },
  {
    name: 'somebody older has the topic',
    given: {
      kafka: { state: 'NotAsked' },
      claims: [{ ...observed().mine, uid: 'other', name: 'older', creationTimestamp: '2025-11-01T00:00:00Z' }],
    },
    actions: [],
    problems: ['TopicReady TopicConflict', ...notOurs],
  },
  {
    name: 'its settings would lose calls',
    given: { service: aService({ 'spec.topic.config': { 'cleanup.policy': 'compact' } }) },
    actions: [],
    problems: ['TopicReady TopicSettingsRefused', ...notOurs],
  },
  ...(['serviceAccount', 'configMap', 'podDisruptionBudget', 'deployment', 'service'] as const).map((name): Row => ({
    name: `its ${name} is gone`,
    given: { live: without(name) },
    actions: [`ApplyObject ${liveOf(aService())[name]!.kind}`],
  })),
  ...(['serviceAccount', 'configMap'] as const).map((name): Row => ({
    name: `somebody else has its ${name}, which its pods need: none are made`,
    given: { live: { [name]: foreign(name)[name] } },
    actions: ALL_OBJECTS.filter(
      (one) => ![`ApplyObject ${foreign(name)[name]!.kind}`, 'ApplyObject Deployment'].includes(one),
    ),
    problems: ['ProxyAvailable NameTaken'],
  })),
  ...(['deployment', 'podDisruptionBudget'] as const).map((name): Row => ({
    name: `somebody else has its ${name}: all others are made`,
    given: { live: { [name]: foreign(name)[name] } },
    actions: ALL_OBJECTS.filter((one) => one !== `ApplyObject ${foreign(name)[name]!.kind}`),
    problems: ['ProxyAvailable NameTaken'],
  })),
  {
    name: 'somebody else has its Service',
    given: { live: foreign('service') },
    actions: [],
    problems: ['Registered NameTaken'],
  },
  {
    name: 'it is to have no Service any more',
    given: { service: aService({ 'spec.registration.kubernetes': 'None' }), live: liveOf(aService()) },
    actions: ['DeleteObject Service'],
  },
  {
    name: 'its Service is to be headless, which none becomes',
    given: { service: aService({ 'spec.registration.kubernetes': 'Headless' }), live: liveOf(aService()) },
    actions: ['DeleteObject Service', 'ApplyObject Service'],
  },
  {
    name: 'a Consul is named for the first time: first it is remembered',
    given: { service: aService(IN_CONSUL), consul: [view([])], pods: [aPod('a')] },
    actions: ['SetFinalizers [grpckafka.dev/consul]'],
    problems: ['Registered Registering'],
  },
  {
    name: 'a proxy came and another went',
    given: { service: inConsul(), consul: [view(['gone'])], pods: [aPod('new')] },
    actions: ['DeregisterInstance gone', 'RegisterInstance new'],
  },
  {
    name: 'somebody older has its name in Consul: no proxy comes, those that are there stay',
    given: {
      service: inConsul(),
      consul: [view(['old', 'gone'])],
      pods: [aPod('old'), aPod('new')],
      consulNamesakes: [
        inConsul(),
        aService(IN_CONSUL, {
          metadata: { name: 'older', uid: 'older', creationTimestamp: '2025-11-01T00:00:00Z' },
        }),
      ],
    },
    actions: ['DeregisterInstance gone', 'RegisterInstance old'],
    problems: ['Registered ConsulNameTaken'],
  },
  {
    name: 'somebody younger has its name in Consul',
    given: {
      service: inConsul(),
      consul: [view([])],
      pods: [aPod('new')],
      consulNamesakes: [
        aService(IN_CONSUL, {
          metadata: { name: 'younger', uid: 'younger', creationTimestamp: '2025-12-02T00:00:00Z' },
        }),
      ],
    },
    actions: ['RegisterInstance new'],
  },
  {
    name: 'Consul is away',
    given: { service: inConsul(), consul: [consulAway], pods: [aPod('new')] },
    actions: [],
    problems: ['Registered ConsulUnavailable'],
  },
  {
    name: 'the topic is not for it: no proxy comes to Consul any more, one that goes goes',
    given: {
      service: inConsul(),
      topicAllowed: false,
      kafka: { state: 'NotAsked' },
      consul: [view(['gone'])],
      pods: [aPod('new')],
    },
    actions: ['DeregisterInstance gone'],
    problems: ['TopicReady TopicNotAllowed', ...notOurs],
  },
]

describe('the plan', () => {
  for (const { name, given, actions, problems = [] } of KEPT) {
    test(`when ${name}`, () => {
      const one = observed(given)
      const plan = planService(one, IMAGE)

      assert.deepEqual('actions' in plan ? plan.actions.map(told) : [], actions)
      assert.deepEqual(problemsOf(plan), problems)
    })
  }
})

interface Leaving {
  readonly name: string
  readonly given: Partial<Observed>
  readonly actions: readonly string[]
  /** Absent: nothing is waited for. */
  readonly waitsFor?: RegExp
  readonly gaveUp?: true
}

const away: Observed['kafka'] = { state: 'Failed', reason: 'KafkaUnavailable', message: 'away' }
const BOTH = ['grpckafka.dev/consul', TOPICS]

const LEFT: readonly Leaving[] = [
  { name: 'it keeps its topics: it goes at once', given: { service: leaving(1, {}, []) }, actions: [] },
  {
    name: 'somebody else keeps it',
    given: { service: leaving(1, {}, ['example.com/held']) },
    actions: [],
    waitsFor: /somebody else keeps it: metadata.finalizers: example.com.held/,
  },
  {
    name: 'it is paused as well: it goes all the same',
    given: {
      service: aService(
        {},
        {
          metadata: {
            name: 'calc',
            annotations: { 'grpckafka.dev/reconciliation': 'paused' },
            deletionTimestamp: new Date(NOW).toISOString(),
          },
        },
      ),
    },
    actions: [],
  },
  {
    name: 'its proxies run: they end first',
    given: { service: leaving(1) },
    actions: ['DeleteObject Deployment'],
    waitsFor: /Deployment calc-proxy is being deleted/,
  },
  {
    name: 'the Deployment is not its own: it stays',
    given: { service: leaving(1), live: foreign('deployment') },
    actions: ['DeleteTopic calculator', 'DeleteTopic calculator.dead', 'SetFinalizers []'],
  },
  {
    name: 'a proxy has calls',
    given: { service: leaving(1), live: {}, pods: [aPod('a')] },
    actions: [],
    waitsFor: /1 proxies finish/,
  },
  {
    name: 'a proxy does not end in its time',
    given: { service: leaving(3600), live: {}, pods: [aPod('a')], kafka: seen([]) },
    actions: ['SetFinalizers []'],
  },
  {
    name: 'no proxy is left: its topics go',
    given: { service: leaving(1), live: {} },
    actions: ['DeleteTopic calculator', 'DeleteTopic calculator.dead', 'SetFinalizers []'],
  },
  {
    name: 'its topics were there before: they stay',
    given: {
      service: { ...leaving(1), status: { topics: topicsOf(aService()).map(rememberedAs('Adopted')) } },
      live: {},
    },
    actions: ['SetFinalizers []'],
  },
  {
    name: 'somebody else made its topic anew: it stays',
    given: { service: leaving(1), live: {}, kafka: changed('calculator', { id: 'another' }) },
    actions: ['DeleteTopic calculator.dead', 'SetFinalizers []'],
  },
  {
    name: 'somebody else names the topic, too: it is theirs',
    given: { service: leaving(1), live: {}, claims: [{ ...observed().mine, uid: 'heir', name: 'heir' }] },
    actions: ['SetFinalizers []'],
  },
  {
    name: 'Kafka is away',
    given: { service: leaving(1), live: {}, kafka: away },
    actions: [],
    waitsFor: /its topics cannot be deleted yet: away/,
  },
  {
    name: 'Kafka stays away: the topics are left',
    given: { service: leaving(36_000), live: {}, kafka: away },
    actions: ['SetFinalizers []'],
    gaveUp: true,
  },
  {
    name: 'proxies are in Consul: they are out of it before they end',
    given: { service: leaving(1, { ...DELETE, ...IN_CONSUL }, BOTH), consul: [view(['a'])] },
    actions: ['DeregisterInstance a', `SetFinalizers [${TOPICS}]`],
    waitsFor: /out of Consul/,
  },
  {
    name: 'Consul is away: its proxies end meanwhile',
    given: { service: leaving(1, { ...DELETE, ...IN_CONSUL }, BOTH), consul: [consulAway] },
    actions: ['DeleteObject Deployment'],
    waitsFor: /not out of Consul yet: away/,
  },
  {
    name: 'Consul stays away: what is there is left',
    given: { service: leaving(36_000, { ...DELETE, ...IN_CONSUL }, BOTH), consul: [consulAway] },
    actions: [`SetFinalizers [${TOPICS}]`],
    waitsFor: /out of Consul/,
  },
]

describe('the plan for a service that is being deleted', () => {
  for (const { name, given, actions, waitsFor, gaveUp = false } of LEFT) {
    test(`when ${name}`, () => {
      const plan = planService(observed(given), IMAGE)
      assert.ok(plan.type === 'Leave')
      assert.deepEqual(plan.actions.map(told), actions)
      assert.equal(plan.gaveUp, gaveUp)
      if (waitsFor === undefined) assert.equal(plan.waitsFor, undefined)
      else assert.match(plan.waitsFor ?? '', waitsFor)
    })
  }
})

test('the same is planned for the same, and nothing of what was observed is changed', () => {
  for (const { given } of [...KEPT, ...LEFT]) {
    const one = freeze(observed(given))
    assert.deepEqual(planService(one, IMAGE), planService(one, IMAGE))
  }
})

/** Whoever changes it, or anything in it, fails. Maps can be changed all the same. */
function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const inner of Object.values(value)) freeze(inner)
  }
  return value
}
