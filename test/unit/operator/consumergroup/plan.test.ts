import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { CONDITIONS } from '../../../../operator/conditions.ts'
import type { Observed } from '../../../../operator/consumergroup/observed.ts'
import { planGroup } from '../../../../operator/consumergroup/plan.ts'
import { groupStatus, toldLag } from '../../../../operator/consumergroup/status.ts'
import type { Done } from '../../../../operator/consumergroup/status.ts'
import type { ObjectAction } from '../../../../operator/object-actions.ts'
import { aGroup, aPolicy, aService, liveObjects, observed, T0 } from './fixture.ts'

/** `ApplyObject Deployment`, `DeleteObject Deployment`, `SetFinalizers [a]`. */
const told = (action: ObjectAction): string => {
  if (action.type === 'ApplyObject') return `${action.type} ${action.object.kind}`
  if (action.type === 'DeleteObject') return `${action.type} ${action.resource.kind}`
  return `${action.type} [${action.finalizers.join(',')}]`
}

function actionsOf(given: Observed): readonly string[] {
  const plan = planGroup(given)
  return plan.decision === 'Paused' ? [] : plan.actions.map(told)
}

/** `Type: Status Reason`, and the messages by type. */
function conditionsOf(given: Observed, done: Done = {}) {
  const { conditions = [] } = groupStatus(given, planGroup(given), done)
  return {
    reasons: conditions.map(({ type, status, reason }) => `${type}: ${status} ${reason}`),
    message: (type: string) => conditions.find((one) => one.type === type)?.message,
  }
}

const EVERYTHING = ['ApplyObject ServiceAccount', 'ApplyObject ConfigMap', 'ApplyObject Deployment']
const older = { 'metadata.name': 'older', 'metadata.creationTimestamp': '2025-11-01T00:00:00Z' }
const withService = (change: Parameters<typeof aService>[0]) => ({ service: aService(change) })
const notReady = (reason: string) => ({
  conditions: [
    { type: 'TopicReady', status: 'False', reason, message: 'its words', lastTransitionTime: '2026-01-01T00:00:00Z' },
  ],
})
const scaling = { minReplicas: 0, maxReplicas: 5, lagPerReplica: 100, stabilizationSeconds: 0, wakeUpSeconds: 3 }
const idle = (change: object) => {
  const group = aGroup({ 'spec.scaling': { ...scaling, ...change } })
  return { group, live: liveObjects(group, aService(), { replicas: 0 }) }
}
const ownPreStop = () =>
  aGroup({
    'spec.template.spec.containers': [{ name: 'h', image: 'a', lifecycle: { preStop: { sleep: { seconds: 5 } } } }],
  })
/** A group whose calls have an order, of a service that is like this. */
const orderedGroup = (change: Parameters<typeof aService>[0]) => {
  const group = aGroup({ 'spec.ordering': 'Key' })
  const service = aService(change)
  return { group, service, live: liveObjects(group, service, { replicas: 1 }) }
}
const deleted = { 'metadata.deletionTimestamp': '2026-01-01T00:00:00Z' }

/** A pod of a proxy whose grace ends after so many seconds. */
const proxyUntil = (seconds: number | undefined) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name: 'p',
    ...(seconds === undefined ? {} : { deletionTimestamp: new Date(T0 + seconds * 1000).toISOString() }),
  },
})

interface Row {
  readonly name: string
  readonly given: Partial<Observed>
  readonly done?: Done
  readonly actions: readonly string[]
  readonly says: readonly string[]
  /** What the message of the last condition holds. */
  readonly message?: string
}

const RESOLVED = 'ReferencesResolved: True ReferencesResolved'
const both = (reason: string) => [`Ready: False ${reason}`, RESOLVED, `WorkersAvailable: False ${reason}`]
const missing = (reason: string) => [
  `Ready: False ${reason}`,
  `ReferencesResolved: False ${reason}`,
  'WorkersAvailable: False ReferencesMissing',
]

const table: readonly Row[] = [
  {
    name: 'all is as it should be',
    given: {},
    actions: [],
    says: ['Ready: True Ready', RESOLVED, 'WorkersAvailable: True WorkersAvailable'],
  },
  {
    name: 'nothing is there yet',
    given: { live: {} },
    actions: EVERYTHING,
    says: both('WorkersRollingOut'),
    message: '0 of 1',
  },
  {
    name: 'a worker is not ready',
    given: { live: liveObjects(aGroup(), aService(), { replicas: 1, ready: 0 }) },
    actions: [],
    says: both('WorkersUnavailable'),
    message: '0 of 1 workers are ready',
  },
  {
    name: 'the service is not there, nor was anything made',
    given: { service: undefined, live: {} },
    actions: [],
    says: missing('ServiceNotFound'),
    message: 'not started',
  },
  {
    name: 'the service went away',
    given: { service: undefined },
    actions: [],
    says: missing('ServiceNotFound'),
    message: 'those that there are go on',
  },
  {
    name: 'the service has no topic yet',
    given: { service: { ...aService(), status: {} }, live: {} },
    actions: [],
    says: missing('TopicNotReady'),
  },
  {
    name: "the topic turned out to be somebody else's",
    given: { service: { ...aService(), status: { ...aService().status, ...notReady('TopicConflict') } as never } },
    actions: ['DeleteObject Deployment'],
    says: missing('TopicNotReady'),
  },
  {
    name: 'Kafka is away for a while',
    given: { service: { ...aService(), status: { ...aService().status, ...notReady('KafkaUnavailable') } as never } },
    actions: [],
    says: ['Ready: True Ready', RESOLVED, 'WorkersAvailable: True WorkersAvailable'],
  },
  {
    name: 'a Secret is not there',
    given: { missingSecrets: ['spec.redis.passwordSecretRef: there is no key p in a Secret r'], live: {} },
    actions: [],
    says: missing('SecretMissing'),
  },
  {
    name: 'the policy is not there',
    given: { group: aGroup({ 'spec.retryPolicyRef': { name: 'quick' } }) },
    actions: [],
    says: [
      'Ready: False PolicyNotFound',
      'ReferencesResolved: False PolicyNotFound',
      'WorkersAvailable: True WorkersAvailable',
    ],
  },
  {
    name: 'calls have an order and the pauses of the policy are long',
    given: {
      group: aGroup({ 'spec.ordering': 'Key', 'spec.retryPolicyRef': { name: 'quick' } }),
      policy: aPolicy({
        'spec.maxAttempts': 4,
        'spec.backoff': { initialMilliseconds: 30_001, maxMilliseconds: 30_001 },
      }),
    },
    actions: [],
    says: missing('PausesTooLong'),
    message: 'go on as they are',
  },
  {
    name: 'calls go on beyond their deadlines, and attempts would come after what is kept of them',
    given: {
      group: aGroup({ 'spec.retryPolicyRef': { name: 'quick' } }),
      policy: aPolicy({ 'spec.onExpired': 'Continue', 'spec.maxAttempts': 20 }),
      service: aService({ 'spec.results': { retentionSeconds: 60 } }),
    },
    actions: ['ApplyObject ConfigMap'],
    says: [
      'Ready: False RetentionTooShort',
      'ReferencesResolved: False RetentionTooShort',
      'WorkersAvailable: True WorkersAvailable',
    ],
  },
  {
    name: 'calls have an order and no method has a key',
    given: orderedGroup({}),
    actions: [],
    says: both('NoPartitionKey'),
    message: 'no method of CalculateService calculator has a partitionKey',
  },
  {
    name: 'calls have an order and a method has a key',
    given: orderedGroup({ 'spec.methods.0.partitionKey': { metadata: 'x-account' } }),
    actions: [],
    says: ['Ready: True Ready', RESOLVED, 'WorkersAvailable: True WorkersAvailable'],
  },
  {
    name: 'an older Responder has the service',
    given: { rivals: [{ group: aGroup({ ...older, 'spec.groupId': 'other' }), service: aService() }] },
    actions: ['DeleteObject Deployment'],
    says: both('Conflict'),
    message: 'ConsumerGroup older is older and the Responder of CalculateService calculator',
  },
  {
    name: 'an older group has the group id in the same Kafka',
    given: {
      group: aGroup({ 'spec.role': 'Observer' }),
      rivals: [{ group: aGroup({ ...older, 'metadata.namespace': 'other' }), service: aService() }],
    },
    actions: ['DeleteObject Deployment'],
    says: both('Conflict'),
    message: 'in namespace other',
  },
  {
    name: 'an older group has the group id in another Kafka',
    given: {
      rivals: [
        {
          group: aGroup({ ...older, 'spec.calculateServiceRef.name': 'other' }),
          service: aService({ 'spec.kafka.bootstrapServers': ['elsewhere:9092'] }),
        },
      ],
    },
    actions: [],
    says: ['Ready: True Ready', RESOLVED, 'WorkersAvailable: True WorkersAvailable'],
  },
  {
    name: 'a younger Responder wants the service',
    given: {
      rivals: [
        {
          group: aGroup({ 'metadata.name': 'younger', 'metadata.creationTimestamp': '2025-12-02T00:00:00Z' }),
          service: aService(),
        },
      ],
    },
    actions: [],
    says: ['Ready: True Ready', RESOLVED, 'WorkersAvailable: True WorkersAvailable'],
  },
  {
    name: 'an observer stands beside the Responder',
    given: {
      group: aGroup({ 'spec.role': 'Observer', 'spec.groupId': 'audit' }),
      rivals: [{ group: aGroup(older), service: aService() }],
    },
    actions: [],
    says: ['Ready: True Ready', RESOLVED, 'WorkersAvailable: True WorkersAvailable'],
  },
  {
    name: 'the name of the Deployment is taken',
    given: {
      live: { deployment: { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'calculator-worker' } } },
    },
    actions: [],
    says: both('NameTaken'),
    message: 'Deployment calculator-worker',
  },
  {
    name: 'the API server refuses the Deployment',
    given: { live: {} },
    done: { failure: 'Deployment is invalid: spec.template' },
    actions: EVERYTHING,
    says: both('NotApplied'),
    message: 'spec.template',
  },
  {
    name: 'no workers are asked for',
    given: { group: aGroup({ 'spec.replicas': 0 }) },
    actions: [],
    says: both('NoWorkers'),
  },
  {
    name: 'nothing waits and zero is allowed',
    given: idle({ wakeUpSeconds: 3 }),
    actions: [],
    says: ['Ready: True Ready', RESOLVED, 'WorkersAvailable: True ScaledToZero'],
    message: 'nothing waits',
  },
  {
    name: 'zero is allowed and workers start slowly',
    given: idle({ wakeUpSeconds: 4 }),
    actions: [],
    says: both('WakeUpTooSlow'),
    message: 'Calculate (3000 ms)',
  },
  {
    name: 'the handler has a preStop hook',
    given: { group: ownPreStop() },
    actions: [],
    says: ['Ready: True Ready', RESOLVED, 'WorkersAvailable: True OwnPreStop'],
    message: '/quiesce',
  },
  {
    name: 'somebody changed the Deployment',
    given: {
      live: {
        ...liveObjects(aGroup(), aService(), { replicas: 1 }),
        deployment: liveObjects(aGroup({ 'spec.replicas': 1 }), aService(), { replicas: 2 }).deployment,
      },
    },
    actions: ['ApplyObject Deployment'],
    says: both('WorkersRollingOut'),
  },
  {
    name: 'only a hot setting changed',
    given: {
      group: aGroup({ 'spec.concurrency': 2 }),
      live: liveObjects(aGroup(), aService(), { replicas: 1 }),
    },
    actions: ['ApplyObject ConfigMap'],
    says: ['Ready: True Ready', RESOLVED, 'WorkersAvailable: True WorkersAvailable'],
  },
  {
    name: 'the template names a ServiceAccount of its own now',
    given: {
      group: aGroup({ 'spec.template.spec.serviceAccountName': 'mine' }),
      live: liveObjects(aGroup(), aService(), { replicas: 1 }),
    },
    actions: ['ApplyObject Deployment', 'DeleteObject ServiceAccount'],
    says: ['Ready: True Ready', RESOLVED, 'WorkersAvailable: True WorkersAvailable'],
  },
  {
    name: 'a Responder has no finalizer yet',
    given: { group: aGroup({ 'metadata.finalizers': ['theirs'] }) },
    actions: ['SetFinalizers [theirs,grpckafka.dev/drain]'],
    says: ['Ready: True Ready', RESOLVED, 'WorkersAvailable: True WorkersAvailable'],
  },
  {
    name: 'an observer needs none',
    given: { group: aGroup({ 'spec.role': 'Observer', 'metadata.finalizers': [] }) },
    actions: [],
    says: ['Ready: True Ready', RESOLVED, 'WorkersAvailable: True WorkersAvailable'],
  },
  {
    name: 'it is paused',
    given: { group: aGroup({ 'metadata.annotations': { 'grpckafka.dev/reconciliation': 'paused' } }), live: {} },
    actions: [],
    says: ['Ready: Unknown Paused'],
  },
  {
    name: 'it is deleted alone',
    given: { group: aGroup(deleted) },
    actions: ['SetFinalizers []'],
    says: ['Ready: False Deleting'],
  },
  {
    name: 'it is deleted while paused',
    given: { group: aGroup({ ...deleted, 'metadata.annotations': { 'grpckafka.dev/reconciliation': 'paused' } }) },
    actions: ['SetFinalizers []'],
    says: ['Ready: False Deleting'],
  },
  {
    name: 'it is deleted with its service, and proxies have calls',
    given: { group: aGroup(deleted), ...withService(deleted), proxyPods: [proxyUntil(10)], now: T0 + 9999 },
    actions: [],
    says: ['Ready: False Deleting'],
    message: '1 proxies have calls',
  },
  {
    name: 'it is deleted with its service, and proxies should have ended',
    given: { group: aGroup(deleted), service: undefined, proxyPods: [proxyUntil(10)], now: T0 + 10_000 },
    actions: ['SetFinalizers []'],
    says: ['Ready: False Deleting'],
  },
  {
    name: 'it is deleted, its service is gone, and proxies were not told to end yet',
    given: { group: aGroup(deleted), service: undefined, proxyPods: [proxyUntil(undefined)], now: T0 + 29_999 },
    actions: [],
    says: ['Ready: False Deleting'],
  },
  {
    name: 'it is deleted, its service is gone, and proxies are never told to end',
    given: { group: aGroup(deleted), service: undefined, proxyPods: [proxyUntil(undefined)], now: T0 + 30_000 },
    actions: ['SetFinalizers []'],
    says: ['Ready: False Deleting'],
  },
  {
    name: 'it is deleted with its service, and no proxy is left',
    given: { group: aGroup(deleted), ...withService(deleted) },
    actions: ['SetFinalizers []'],
    says: ['Ready: False Deleting'],
  },
  {
    name: 'it was deleted just now, and its service may follow',
    given: { group: aGroup(deleted), proxyPods: [proxyUntil(undefined)], now: T0 + 1999 },
    actions: [],
    says: ['Ready: False Deleting'],
  },
  {
    name: 'it was deleted and its service stays',
    given: { group: aGroup(deleted), proxyPods: [proxyUntil(undefined)], now: T0 + 2000 },
    actions: ['SetFinalizers []'],
    says: ['Ready: False Deleting'],
  },
  {
    name: 'it is deleted with its service, without a worker that could answer anything',
    given: {
      group: aGroup(deleted),
      ...withService(deleted),
      proxyPods: [proxyUntil(10)],
      live: liveObjects(aGroup(), aService(), { replicas: 1, ready: 0 }),
    },
    actions: ['SetFinalizers []'],
    says: ['Ready: False Deleting'],
  },
]

describe('a ConsumerGroup of which', () => {
  for (const { name, given, done, actions, says, message } of table) {
    test(name, () => {
      const all = observed(given)
      assert.deepEqual(actionsOf(all), actions)
      const { reasons, message: messageOf } = conditionsOf(all, done)
      assert.deepEqual(reasons, says)
      const last = says.at(-1)!.split(':')[0]!
      if (message !== undefined) assert.ok(messageOf(last)?.includes(message), messageOf(last) ?? '')
    })
  }
})

test('every reason of a ConsumerGroup is in the table', () => {
  const produced = new Set(table.flatMap(({ says }) => says.map((one) => one.replace(/: \w+ /, '/'))))
  const known = Object.entries(CONDITIONS.ConsumerGroup).flatMap(([type, reasons]) =>
    Object.keys(reasons).map((reason) => `${type}/${reason}`),
  )
  assert.deepEqual(
    known.filter((one) => !produced.has(one)),
    [],
  )
})

describe('the number of workers', () => {
  const autoscaler = (kind: string, name: string) => ({
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata: { name: 'hpa', namespace: 'team' },
    spec: { scaleTargetRef: { kind, name } },
  })
  const applied = (given: Observed): unknown => {
    const plan = planGroup(given)
    assert.equal(plan.decision, 'Run')
    const deployment = plan.actions.find((one) => one.type === 'ApplyObject' && one.object.kind === 'Deployment')
    assert.ok(deployment?.type === 'ApplyObject', 'no Deployment is applied')
    return (deployment.object as { spec?: { replicas?: number } }).spec?.replicas
  }
  const changed = (put: Parameters<typeof aGroup>[0] = {}) =>
    aGroup({ 'spec.handler.port': 9001, 'spec.template.spec.x': 1, ...put })
  const live = (replicas: number) => liveObjects(aGroup(), aService(), { replicas })
  const owned = (replicas: number, manager: string) => {
    const objects = live(replicas)
    const managedFields = [{ manager, fieldsV1: { 'f:spec': { 'f:replicas': {} } } }]
    return {
      ...objects,
      deployment: { ...objects.deployment, metadata: { ...objects.deployment.metadata, managedFields } },
    }
  }

  test('is that of the spec', () =>
    assert.equal(applied(observed({ group: changed({ 'spec.replicas': 4 }), live: live(1) })), 4))

  test('follows what waits', () => {
    const group = changed({ 'spec.scaling': { ...scaling, minReplicas: 1 } })
    const given = observed({ group, live: live(1), reading: { known: true, lag: 250, members: 1 } })
    assert.equal(applied(given), 3)
  })

  test('stays while what waits is not known', () => {
    const group = changed({ 'spec.scaling': { ...scaling, minReplicas: 1 } })
    const given = observed({ group, live: live(4), reading: { known: false, message: 'no broker answers' } })
    assert.equal(applied(given), 4)
  })

  test('is never above the partitions', () => {
    const group = changed({ 'spec.scaling': { ...scaling, maxReplicas: 50 } })
    assert.equal(applied(observed({ group, live: {}, reading: { known: true, lag: 1e6, members: 1 } })), 6)
  })

  test("is the spec's where an autoscaler has the group", () => {
    const group = changed({ 'spec.replicas': 3, 'spec.scaling': { ...scaling } })
    const autoscalers = [autoscaler('ConsumerGroup', 'calculator')]
    assert.equal(applied(observed({ group, autoscalers, live: live(1) })), 3)
  })

  test("is not named where it is an autoscaler's at the Deployment", () => {
    const autoscalers = [autoscaler('Deployment', 'calculator-worker')]
    const given = observed({ group: changed(), autoscalers, live: owned(7, 'kube-controller-manager') })
    assert.equal(applied(given), undefined)
  })

  test('stays ours, and as it is, until that autoscaler has set it', () => {
    const autoscalers = [autoscaler('Deployment', 'calculator-worker')]
    assert.equal(applied(observed({ group: changed(), autoscalers, live: live(7) })), 7)
    assert.equal(applied(observed({ group: changed(), autoscalers, live: owned(7, 'grpc-kafka-operator') })), 7)
  })

  test('is left to an autoscaler that comes before the Deployment', () => {
    const autoscalers = [autoscaler('Deployment', 'calculator-worker')]
    assert.equal(applied(observed({ group: changed(), autoscalers, live: {} })), undefined)
  })

  test('is told where it was decided, with the time', () => {
    const group = aGroup({ 'spec.scaling': { ...scaling } })
    const given = observed({ group, reading: { known: true, lag: 250, members: 1 } })
    const { desiredReplicas, lastScaleTime } = groupStatus(given, planGroup(given), {})
    assert.deepEqual([desiredReplicas, lastScaleTime], [3, '2026-01-01T00:00:00Z'])
  })
})

test('the time of scaling stays while the number does', () => {
  const status = { desiredReplicas: 3, lastScaleTime: '2025-12-24T00:00:00Z' }
  const group = { ...aGroup({ 'spec.scaling': { ...scaling } }), status }
  const given = observed({ group, reading: { known: true, lag: 250, members: 1 } })
  assert.equal(groupStatus(given, planGroup(given), {}).lastScaleTime, status.lastScaleTime)
})

describe('the status', () => {
  test('tells of workers and of what waits, roughly', () => {
    const given = observed({ reading: { known: true, lag: 1234, members: 1 } })
    const status = groupStatus(given, planGroup(given), {})
    assert.deepEqual(
      { ...status, conditions: undefined },
      {
        conditions: undefined,
        observedGeneration: 1,
        replicas: 1,
        readyReplicas: 1,
        selector: 'app.kubernetes.io/component=worker,grpckafka.dev/group=calculator',
        lag: 2000,
        members: 1,
      },
    )
  })

  test('rounds what waits up to one significant digit', () => {
    const rounded = [0, 1, 9, 10, 11, 99, 100, 101, 950, 1_000_000, 1_000_001]
    assert.deepEqual(
      rounded.map((count) => toldLag(count)),
      [0, 1, 9, 10, 20, 100, 100, 200, 1000, 1_000_000, 2_000_000],
    )
  })

  test('is not written anew while what waits goes up and down by little', () => {
    const swings: readonly (readonly [counts: readonly number[], written: number])[] = [
      [[9, 1, 9, 4, 1, 9], 1],
      [[99, 101, 99, 101, 99], 2],
      [[101, 60, 199, 51, 200], 1],
      [[1000, 251, 1000, 300], 1],
    ]
    for (const [counts, written] of swings) {
      const told: number[] = []
      for (const count of counts) {
        const next = toldLag(count, told.at(-1))
        if (next !== told.at(-1)) told.push(next)
      }
      assert.equal(told.length, written, `${counts.join()}: ${told.join()}`)
    }
  })

  test('is written where it is right no more: none, more, or far fewer', () => {
    assert.deepEqual([toldLag(0, 9), toldLag(10, 9), toldLag(50, 200), toldLag(5, 20)], [0, 10, 50, 5])
  })

  test('counts dead letters in the same way, where they are counted', () => {
    const given = observed({ reading: { known: true, lag: 0, members: 1, deadLetters: 12 } })
    assert.equal(groupStatus(given, planGroup(given), {}).deadLetters, 20)
  })

  test('keeps what waited until somebody was asked', () => {
    const group = { ...aGroup(), status: { lag: 20, members: 2, deadLetters: 3 } }
    const given = observed({ group, reading: undefined })
    const { lag, deadLetters } = groupStatus(given, planGroup(given), {})
    assert.deepEqual([lag, deadLetters], [20, 3])
  })

  test('says nothing of what waits when Kafka does not', () => {
    const group = { ...aGroup(), status: { lag: 20, members: 2 } }
    const given = observed({ group, reading: { known: false, message: 'away' } })
    assert.equal(groupStatus(given, planGroup(given), {}).lag, undefined)
  })

  test('is about the Deployment as it was stored last', () => {
    const given = observed()
    const { deployment } = liveObjects(aGroup(), aService(), { replicas: 1 })
    const done = { deployment: { ...deployment, metadata: { ...deployment.metadata, generation: 2 } } }
    assert.deepEqual(conditionsOf(given, done).reasons, both('WorkersRollingOut'))
  })

  test('keeps what was seen last of what is paused', () => {
    const before = observed()
    const status = groupStatus(before, planGroup(before), {})
    const group = { ...aGroup({ 'metadata.annotations': { 'grpckafka.dev/reconciliation': 'paused' } }), status }
    assert.deepEqual(conditionsOf(observed({ group, live: {} })).reasons, [
      'Ready: Unknown Paused',
      RESOLVED,
      'WorkersAvailable: True WorkersAvailable',
    ])
  })
})
