import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { planTopics, planTopicsLeft } from '../../../../operator/kafka/topic-plan.ts'
import type {
  ObservedTopic,
  RememberedTopic,
  TopicAction,
  TopicPlan,
  TopicsLeft,
  TopicsWanted,
} from '../../../../operator/kafka/topic-plan.ts'
import type { DesiredTopic } from '../../../../operator/kafka/topics.ts'

const CALC: DesiredTopic = {
  name: 'calc',
  partitions: 6,
  replicationFactor: 3,
  config: { 'max.message.bytes': '4259840', 'min.insync.replicas': '2' },
  declared: ['max.message.bytes', 'min.insync.replicas'],
}

/** What the operator chooses where the resource names nothing. */
const CHOSEN: DesiredTopic = {
  ...CALC,
  config: { ...CALC.config, 'cleanup.policy': 'delete', 'retention.ms': '2592000000' },
  declared: [],
}

/** Calls in it may wait so long. */
const WAITED_FOR: DesiredTopic = { ...CALC, declared: [], shortestRetention: 3000 }

const brief = (topic: ObservedTopic): ObservedTopic => ({
  ...topic,
  config: { ...topic.config, 'retention.ms': { value: '60', isSet: false } },
})

/** As Kafka describes it when it is as CALC says; with these differences. */
const there = (put: Partial<ObservedTopic> = {}, config: Record<string, string | undefined> = {}): ObservedTopic => ({
  name: 'calc',
  id: 'id-1',
  partitions: 6,
  replicationFactor: 3,
  ...put,
  config: {
    'retention.ms': { value: '604800000', isSet: false },
    ...Object.fromEntries(
      Object.entries({ ...CALC.config, ...config }).map(
        ([name, value]) => [name, { value: value ?? '1', isSet: value !== undefined }] as const,
      ),
    ),
  },
})

const REMEMBERED: RememberedTopic = {
  name: 'calc',
  topicId: 'id-1',
  partitions: 6,
  replicationFactor: 3,
  origin: 'Created',
  config: CALC.config,
}

const wanted = (found: ObservedTopic | undefined, put: Partial<TopicsWanted> = {}): TopicsWanted => ({
  desired: [CALC],
  cluster: { id: 'c', brokers: 3, topics: new Map(found === undefined ? [] : [[found.name, found]]) },
  remembered: [],
  announced: new Set(),
  ...put,
})
const plan = (found: ObservedTopic | undefined, put: Partial<TopicsWanted> = {}): TopicPlan =>
  planTopics(wanted(found, put))

interface Row {
  readonly name: string
  readonly plan: TopicPlan
  readonly actions: readonly TopicAction[]
  readonly problems?: readonly string[]
  readonly origin?: 'Created' | 'Adopted'
  readonly replaced?: readonly string[]
}

const alter = (set: Record<string, string>, put: { unset?: string[]; drifted?: string[] } = {}): TopicAction => ({
  type: 'AlterTopic',
  name: 'calc',
  set,
  unset: [],
  drifted: [],
  ...put,
})

const ROWS: readonly Row[] = [
  {
    name: 'a topic that is not there is created',
    plan: plan(undefined),
    actions: [{ type: 'CreateTopic', topic: CALC }],
  },
  {
    name: 'one that was there and was deleted is made again, and it is told which',
    plan: plan(undefined, { remembered: [REMEMBERED] }),
    actions: [{ type: 'CreateTopic', topic: CALC, insteadOf: 'id-1' }],
  },
  {
    name: 'a topic of more copies than there are brokers is not tried',
    plan: plan(undefined, { cluster: { id: 'c', brokers: 2, topics: new Map() } }),
    actions: [],
    problems: ['TooFewBrokers spec.topic.replicationFactor: calc needs 3 brokers, there are 2'],
  },
  {
    name: 'one that is there is adopted, and nothing is done where nothing is missing',
    plan: plan(there()),
    actions: [],
    origin: 'Adopted',
  },
  {
    name: 'one that was created here stays so',
    plan: plan(there(), { remembered: [REMEMBERED] }),
    actions: [],
    origin: 'Created',
  },
  {
    name: 'one that was adopted stays so, also where its creation was announced once',
    plan: plan(there(), { remembered: [{ ...REMEMBERED, origin: 'Adopted' }], announced: new Set(['calc']) }),
    actions: [],
    origin: 'Adopted',
  },
  {
    name: 'one whose creation was announced and that is as announced was created here',
    plan: plan(there(), { announced: new Set(['calc']) }),
    actions: [],
    origin: 'Created',
  },
  {
    name: 'one whose creation was announced and that has other settings is somebody else’s',
    plan: plan(there({}, { 'retention.ms': '1000' }), { announced: new Set(['calc']) }),
    actions: [],
    origin: 'Adopted',
  },
  {
    name: 'one whose creation was announced and that has other partitions is somebody else’s',
    plan: plan(there({ partitions: 1 }), { announced: new Set(['calc']) }),
    actions: [{ type: 'GrowTopic', name: 'calc', from: 1, to: 6 }],
    origin: 'Adopted',
  },
  {
    name: 'one that somebody made anew under its name is no longer ours',
    plan: plan(there({ id: 'id-2' }), { remembered: [REMEMBERED] }),
    actions: [],
    origin: 'Adopted',
    replaced: ['calc'],
  },
  {
    name: 'one that was announced and made again, of which nothing could be written down, is ours still',
    plan: plan(there({ id: 'id-2' }), { remembered: [REMEMBERED], announced: new Set(['calc']) }),
    actions: [],
    origin: 'Created',
  },
  {
    name: 'numbers that Kafka writes in other words are the same',
    plan: plan(there({}, { 'min.cleanable.dirty.ratio': '1.0E-4' }), {
      remembered: [REMEMBERED],
      desired: [{ ...CALC, config: { ...CALC.config, 'min.cleanable.dirty.ratio': '.0001' } }],
    }),
    actions: [],
    origin: 'Created',
  },
  {
    name: 'partitions grow',
    plan: plan(there({ partitions: 3 }), { remembered: [REMEMBERED] }),
    actions: [{ type: 'GrowTopic', name: 'calc', from: 3, to: 6 }],
    origin: 'Created',
  },
  {
    name: 'partitions wait where calls have an order, and settings are kept all the same',
    plan: plan(there({ partitions: 3 }, { 'max.message.bytes': '1' }), { growthWaitsFor: 'why' }),
    actions: [alter({ 'max.message.bytes': '4259840' })],
    problems: ['PartitionsWait spec.topic.partitions: calc has 3 partitions, 6 are asked for; why'],
    origin: 'Adopted',
  },
  {
    name: 'partitions that are there wait for nothing',
    plan: plan(there(), { remembered: [REMEMBERED], growthWaitsFor: 'why' }),
    actions: [],
    origin: 'Created',
  },
  {
    name: 'partitions do not shrink, and settings are kept all the same',
    plan: plan(there({ partitions: 9 }, { 'max.message.bytes': '1' })),
    actions: [alter({ 'max.message.bytes': '4259840' })],
    problems: ['PartitionsWouldShrink spec.topic.partitions: calc has 9 partitions, 6 are asked for'],
    origin: 'Adopted',
  },
  {
    name: 'a topic of other copies is left so and told of, and is not asked for more in sync than it has',
    plan: plan(there({ replicationFactor: 1 }, { 'min.insync.replicas': undefined })),
    actions: [],
    problems: [
      'ReplicationFactorDiffers spec.topic.replicationFactor: calc has 1 copies of each partition, 3 are asked for',
    ],
    origin: 'Adopted',
  },
  {
    name: 'a declared setting that somebody changed is drift',
    plan: plan(there({}, { 'max.message.bytes': '1' }), { remembered: [REMEMBERED] }),
    actions: [alter({ 'max.message.bytes': '4259840' }, { drifted: ['max.message.bytes'] })],
    origin: 'Created',
  },
  {
    name: 'a declared setting that the spec changed is none',
    plan: plan(there({}, { 'max.message.bytes': '1' }), {
      remembered: [{ ...REMEMBERED, config: { 'max.message.bytes': '1' } }],
    }),
    actions: [alter({ 'max.message.bytes': '4259840' })],
    origin: 'Created',
  },
  {
    name: 'a setting that the spec names no more goes back to Kafka’s own',
    plan: plan(there({}, { 'retention.ms': '1000' }), {
      remembered: [{ ...REMEMBERED, config: { ...CALC.config, 'retention.ms': '1000' } }],
    }),
    actions: [alter({}, { unset: ['retention.ms'] })],
    origin: 'Created',
  },
  {
    name: 'a setting that nobody declared is left alone',
    plan: plan(there({}, { 'retention.ms': '1000' }), { remembered: [REMEMBERED] }),
    actions: [],
    origin: 'Created',
  },
  {
    name: 'a setting that Kafka writes another way is no drift',
    plan: plan(
      there({}, { 'unclean.leader.election.enable': 'false', 'leader.replication.throttled.replicas': '0:1,0:2' }),
      {
        desired: [
          {
            ...CALC,
            config: {
              'max.message.bytes': ' 04259840',
              'unclean.leader.election.enable': 'FALSE',
              'leader.replication.throttled.replicas': '0:1, 0:2',
            },
          },
        ],
      },
    ),
    actions: [],
    origin: 'Adopted',
  },
  {
    name: 'what was there keeps the settings that nobody declared and that hold or refuse records',
    plan: plan(
      there(
        {},
        { 'cleanup.policy': 'delete', 'retention.ms': '-1', 'retention.bytes': '-1', 'min.insync.replicas': '1' },
      ),
      { desired: [{ ...CHOSEN, config: { ...CHOSEN.config, 'retention.bytes': '1000' } }] },
    ),
    actions: [],
    origin: 'Adopted',
  },
  {
    name: 'what was there gets those that the resource declares',
    plan: plan(there({}, { 'cleanup.policy': 'compact', 'retention.ms': '-1' }), {
      desired: [{ ...CHOSEN, declared: ['cleanup.policy', 'retention.ms'] }],
    }),
    actions: [alter({ 'cleanup.policy': 'delete', 'retention.ms': '2592000000' })],
    origin: 'Adopted',
  },
  {
    name: 'what was created here gets them declared or not',
    plan: plan(there({}, { 'cleanup.policy': 'compact', 'retention.ms': '-1' }), {
      desired: [CHOSEN],
      remembered: [REMEMBERED],
    }),
    actions: [alter({ 'cleanup.policy': 'delete', 'retention.ms': '2592000000' })],
    origin: 'Created',
  },
  {
    name: 'what was there takes larger records, declared or not',
    plan: plan(there({}, { 'max.message.bytes': '1' }), { desired: [CHOSEN] }),
    actions: [alter({ 'max.message.bytes': '4259840' })],
    origin: 'Adopted',
  },
  {
    name: 'what was there never takes smaller ones that nobody declared',
    plan: plan(there({}, { 'max.message.bytes': '9000000' }), { desired: [CHOSEN] }),
    actions: [],
    origin: 'Adopted',
  },
  {
    name: 'what was there is not given Kafka’s own value where the spec names one no more that may delete or refuse',
    plan: plan(there({}, { 'retention.ms': '-1', 'max.message.bytes': '9000000', 'segment.ms': '5' }), {
      desired: [CHOSEN],
      remembered: [
        {
          ...REMEMBERED,
          origin: 'Adopted',
          config: { 'retention.ms': '-1', 'max.message.bytes': '4259840', 'segment.ms': '5' },
        },
      ],
    }),
    actions: [alter({}, { unset: ['segment.ms'] })],
    origin: 'Adopted',
  },
  {
    name: 'what was there and is compacted cannot be used, and nothing is done about it',
    plan: plan(there({ partitions: 3 }, { 'cleanup.policy': 'compact,delete', 'max.message.bytes': '1' }), {
      desired: [CHOSEN],
    }),
    actions: [],
    problems: [
      'TopicSettingsRefused topic calc cannot be used: its cleanup.policy is compact,delete, delete is needed: compaction drops records of the same key',
    ],
  },
  {
    name: 'what was there and keeps calls for less than they may wait cannot be used',
    plan: plan(there({ partitions: 3 }, { 'retention.ms': '2999' }), { desired: [WAITED_FOR] }),
    actions: [],
    problems: [
      'TopicSettingsRefused topic calc cannot be used: its retention.ms is 2999, -1 or at least 3000 is needed, the longest timeout of a method: calls would be deleted unread',
    ],
  },
  {
    name: 'what was created here is told of the same, where the brokers’ own retention is that short',
    plan: plan(brief(there({ partitions: 3 })), { desired: [WAITED_FOR], remembered: [REMEMBERED] }),
    actions: [{ type: 'GrowTopic', name: 'calc', from: 3, to: 6 }],
    problems: [
      'TopicSettingsRefused topic calc cannot be used: its retention.ms is 60, -1 or at least 3000 is needed, the longest timeout of a method: calls would be deleted unread',
    ],
    origin: 'Created',
  },
  {
    name: 'a retention that the resource declares mends one that is too short',
    plan: plan(brief(there()), {
      desired: [{ ...WAITED_FOR, config: { ...CALC.config, 'retention.ms': '3000' }, declared: ['retention.ms'] }],
    }),
    actions: [alter({ 'retention.ms': '3000' })],
    origin: 'Adopted',
  },
  {
    name: 'a retention without end is no problem',
    plan: plan(there({}, { 'retention.ms': '-1' }), { desired: [WAITED_FOR] }),
    actions: [],
    origin: 'Adopted',
  },
  {
    name: 'one of just the longest wait is none either',
    plan: plan(there({}, { 'retention.ms': '3000' }), { desired: [WAITED_FOR] }),
    actions: [],
    origin: 'Adopted',
  },
]

describe('what is done about a topic', () => {
  for (const { name, plan, actions, problems = [], origin, replaced = [] } of ROWS) {
    test(name, () => {
      assert.deepEqual(plan.actions, actions)
      assert.deepEqual(
        plan.problems.map(({ reason, message }) => `${reason} ${message}`),
        problems,
      )
      assert.deepEqual(
        plan.kept.map((topic) => topic.origin),
        origin === undefined ? [] : [origin],
      )
      assert.deepEqual(plan.replaced, replaced)
    })
  }

  test('what is remembered is what there is, with the settings that it will have', () => {
    const { kept } = plan(there({ partitions: 3 }, { 'max.message.bytes': '1' }), { remembered: [REMEMBERED] })
    assert.deepEqual(kept, [{ ...REMEMBERED, partitions: 3 }])
  })

  test('one that cannot be used is remembered only where it was so before', () => {
    const compacted = there({}, { 'cleanup.policy': 'compact' })
    const remembered: readonly RememberedTopic[] = [{ ...REMEMBERED, origin: 'Adopted' }]
    assert.deepEqual(plan(compacted, { desired: [CHOSEN] }).kept, [])
    assert.deepEqual(plan(compacted, { desired: [CHOSEN], remembered }).kept, remembered)
  })

  test('a second look at what the first one did finds nothing to do', () => {
    const { kept } = plan(there({ partitions: 9, replicationFactor: 1 }))
    assert.deepEqual(plan(there({ partitions: 9, replicationFactor: 1 }), { remembered: kept }).actions, [])
  })
})

describe('what is done about a topic that its resource leaves', () => {
  const left = (put: Partial<TopicsLeft>, found: ObservedTopic | undefined = there()): readonly TopicAction[] =>
    planTopicsLeft({ ...wanted(found), remembered: [REMEMBERED], deletionPolicy: 'Delete', hasHeir: false, ...put })

  test('one that was created here is deleted where the policy says so', () => {
    assert.deepEqual(left({}), [{ type: 'DeleteTopic', name: 'calc', topicId: 'id-1' }])
  })
  test('it stays where the policy says so', () => assert.deepEqual(left({ deletionPolicy: 'Retain' }), []))
  test('one that was adopted stays', () => {
    assert.deepEqual(left({ remembered: [{ ...REMEMBERED, origin: 'Adopted' }] }), [])
  })
  test('one of which nothing is remembered stays', () => assert.deepEqual(left({ remembered: [] }), []))
  test('one that was announced and never remembered is deleted', () => {
    assert.deepEqual(left({ remembered: [], announced: new Set(['calc']) }), [
      { type: 'DeleteTopic', name: 'calc', topicId: 'id-1' },
    ])
  })
  test('one that somebody made anew stays', () => assert.deepEqual(left({}, there({ id: 'id-2' })), []))
  test('one that another resource names stays', () => assert.deepEqual(left({ hasHeir: true }), []))
  test('one that is gone already is no work', () => {
    assert.deepEqual(
      planTopicsLeft({ ...wanted(undefined), remembered: [REMEMBERED], deletionPolicy: 'Delete', hasHeir: false }),
      [],
    )
  })
})
