import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { AssignerProtocol, type Cluster } from 'kafkajs'
import { assignSticky, stickyAssigner, type Assignment, type Member } from '../../../../sidecar/kafka/assigner.ts'

type Shares = ReturnType<typeof assignSticky>

type Partitions = ReadonlyMap<string, readonly number[]>

const numbers = (count: number): number[] => Array.from({ length: count }, (_, partition) => partition)
const partitionsOf = (topic: string, count: number): Partitions => new Map([[topic, numbers(count)]])
const member = (id: string, owned: Assignment = {}): Member => ({ id, owned })
const members = (shares: Shares): Member[] => [...shares].map(([id, owned]) => ({ id, owned }))
const flat = (assignment: Assignment): string[] =>
  Object.entries(assignment).flatMap(([topic, numbers]) => numbers.map((number) => `${topic}/${number}`))

/** How many partitions changed their owner among members that were there before and are there now. */
function moves(before: readonly Member[], after: Shares): number {
  const owners = new Map(before.flatMap(({ id, owned }) => flat(owned).map((one) => [one, id] as const)))
  let moved = 0
  for (const [id, assignment] of after)
    for (const one of flat(assignment)) if (owners.has(one) && owners.get(one) !== id) moved += 1
  return moved
}

function check(shares: Shares, ids: readonly string[], partitions: Partitions): void {
  assert.deepEqual([...shares.keys()].sort(), [...ids].sort())
  const given = [...shares.values()].flatMap(flat)
  assert.deepEqual(
    given.sort(),
    [...partitions].flatMap(([topic, ofIt]) => ofIt.map((partition) => `${topic}/${partition}`)).sort(),
    'every partition exactly once',
  )
  for (const topic of partitions.keys()) {
    const counts = [...shares.values()].map((one) => one[topic]?.length ?? 0)
    assert.ok(Math.max(...counts) - Math.min(...counts) <= 1, `counts of ${topic} ${counts.join(' ')}`)
  }
}

const ids = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 12 })
const topics = fc
  .tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 10 }))
  .map(([a, b]): Partitions => new Map([...partitionsOf('a', a), ...partitionsOf('b', b)]))
const RUNS = { numRuns: 500 }

describe('assignSticky', () => {
  test('shares out evenly whatever members say that they own', () => {
    const claim = fc.dictionary(
      fc.constantFrom('a', 'b', 'gone'),
      fc.array(fc.integer({ min: -1, max: 50 }), { maxLength: 50 }),
    )
    fc.assert(
      fc.property(ids, topics, fc.array(claim, { maxLength: 12 }), (names, partitions, claims) => {
        check(
          assignSticky(
            names.map((id, index) => member(id, claims[index])),
            partitions,
          ),
          names,
          partitions,
        )
      }),
      RUNS,
    )
  })

  test('changes nothing when nothing changed', () => {
    fc.assert(
      fc.property(ids, topics, (names, partitions) => {
        const first = assignSticky(
          names.map((id) => member(id)),
          partitions,
        )
        assert.deepEqual(new Map(assignSticky(members(first).toReversed(), partitions)), new Map(first))
      }),
      RUNS,
    )
  })

  test('moves as few as can be from whatever members have', () => {
    const owners = fc.array(fc.integer({ min: -1, max: 5 }), { maxLength: 40 })
    fc.assert(
      fc.property(owners, fc.integer({ min: 1, max: 6 }), (owned, count) => {
        const partitions = partitionsOf('a', owned.length)
        // A number that no member has: nobody owns the partition.
        const all = Array.from({ length: count }, (_, index) =>
          member(`m${index}`, { a: owned.flatMap((owner, partition) => (owner === index ? [partition] : [])) }),
        )
        const after = assignSticky(all, partitions)
        check(
          after,
          all.map(({ id }) => id),
          partitions,
        )
        const least = Math.floor(owned.length / count)
        const had = all.map((one) => flat(one.owned).length)
        const more = had.filter((one) => one > least).length
        const keepable = had.reduce((sum, one) => sum + Math.min(one, least), Math.min(more, owned.length % count))
        const owner = had.reduce((sum, one) => sum + one, 0)
        assert.equal(moves(all, after), owner - keepable)
      }),
      RUNS,
    )
  })

  test('moves only what a member that left had', () => {
    fc.assert(
      fc.property(ids, topics, fc.nat(), (names, partitions, leaver) => {
        fc.pre(names.length > 1)
        const all = members(
          assignSticky(
            names.map((id) => member(id)),
            partitions,
          ),
        )
        const gone = all[leaver % all.length] as Member
        const left = all.filter((one) => one !== gone)
        const after = assignSticky(left, partitions)
        check(
          after,
          left.map(({ id }) => id),
          partitions,
        )
        assert.equal(moves(left, after), 0)
      }),
      RUNS,
    )
  })

  test('moves to a member that joins as many as it gets, and nothing among the others', () => {
    fc.assert(
      fc.property(ids, topics, (names, partitions) => {
        const [joiner, ...others] = names as [string, ...string[]]
        fc.pre(others.length > 0)
        const before = members(
          assignSticky(
            others.map((id) => member(id)),
            partitions,
          ),
        )
        const after = assignSticky([...before, member(joiner)], partitions)
        check(after, names, partitions)
        const got = flat(after.get(joiner) ?? {}).length
        assert.equal(moves(before, after), got)
        assert.equal(
          got,
          [...partitions.values()].reduce((sum, ofIt) => sum + Math.floor(ofIt.length / names.length), 0),
          'the place that is one above stays with those that have it',
        )
      }),
      RUNS,
    )
  })

  test('gives new partitions without moving old ones', () => {
    fc.assert(
      fc.property(ids, fc.integer({ min: 0, max: 30 }), fc.integer({ min: 0, max: 30 }), (names, before, more) => {
        const first = members(
          assignSticky(
            names.map((id) => member(id)),
            partitionsOf('a', before),
          ),
        )
        const after = assignSticky(first, partitionsOf('a', before + more))
        check(after, names, partitionsOf('a', before + more))
        assert.equal(moves(first, after), 0)
      }),
      RUNS,
    )
  })

  test('leaves some members without any when there are more of them than partitions', () => {
    const shares = assignSticky(
      ['a', 'b', 'c'].map((id) => member(id)),
      partitionsOf('t', 2),
    )
    assert.deepEqual(
      [...shares],
      [
        ['a', { t: [0] }],
        ['b', { t: [1] }],
        ['c', {}],
      ],
    )
  })
})

test('a topic is shared among those who read it', () => {
  const shares = assignSticky(
    [
      { id: 'a', topics: ['t'], owned: { t: [0, 1] } },
      { id: 'b', topics: ['t', 'u'], owned: {} },
    ],
    new Map([
      ['t', [0, 1]],
      ['u', [0, 1]],
    ]),
  )
  assert.deepEqual(Object.fromEntries(shares), { a: { t: [0] }, b: { t: [1], u: [0, 1] } })
})

test('each topic is shared by itself, and what is over goes to those with fewest', () => {
  const all = new Map(['a', 'b', 'c'].map((topic) => [topic, [0]]))
  const shares = assignSticky([member('x'), member('y'), member('z')], all)
  assert.deepEqual(Object.fromEntries(shares), { x: { a: [0] }, y: { b: [0] }, z: { c: [0] } })
  const whole = new Map(['a', 'b'].map((topic) => [topic, [0, 1]]))
  const joined = assignSticky([member('x', { a: [0, 1], b: [0, 1] }), member('y')], whole)
  assert.deepEqual(Object.fromEntries(joined), { x: { a: [0], b: [0] }, y: { a: [1], b: [1] } })
})

describe('the assigner that kafkajs gets', () => {
  const cluster = {
    findTopicPartitionMetadata: () => numbers(4).map((partitionId) => ({ partitionId })),
  } as unknown as Cluster
  const make = (owned: Assignment) =>
    stickyAssigner(
      () => owned,
      () => undefined,
    )({ cluster } as Parameters<ReturnType<typeof stickyAssigner>>[0])
  const join = (memberId: string, owned: Assignment) => ({
    memberId,
    memberMetadata: make(owned).protocol({ topics: ['t'] }).metadata,
  })
  const share = async (joined: readonly { readonly memberId: string; readonly memberMetadata: Buffer }[]) => {
    const answers = await make({}).assign({ members: [...joined], topics: ['t'] })
    return Object.fromEntries(
      answers.map((one) => [one.memberId, AssignerProtocol.MemberAssignment.decode(one.memberAssignment)?.assignment]),
    )
  }

  test('carries what a member owns to the leader and shares back', async () => {
    assert.deepEqual(await share([join('a', { t: [2, 3] }), join('b', { t: [0, 1] })]), {
      a: { t: [2, 3] },
      b: { t: [0, 1] },
    })
  })

  test('asks what is owned at each join', () => {
    let owned: Assignment = {}
    const assigner = stickyAssigner(
      () => owned,
      () => undefined,
    )({ cluster } as Parameters<ReturnType<typeof stickyAssigner>>[0])
    const before = assigner.protocol({ topics: ['t'] }).metadata
    owned = { t: [1] }
    assert.notDeepEqual(assigner.protocol({ topics: ['t'] }).metadata, before)
  })

  test('shows the consumer its own connections', () => {
    const seen: Cluster[] = []
    stickyAssigner(
      () => ({}),
      (one) => seen.push(one),
    )({ cluster } as Parameters<ReturnType<typeof stickyAssigner>>[0])
    assert.deepEqual(seen, [cluster])
  })

  test('takes any word of another member for nothing owned when it is none', async () => {
    const words = [
      '',
      'not json',
      'null',
      '3',
      '"t"',
      '[]',
      '[[1]]',
      '{"t":3}',
      '{"t":["0"]}',
      '{"t":[0.5]}',
      '{"t":null}',
      '{"__proto__":[0]}',
    ]
    const metadata = (userData: Buffer) =>
      AssignerProtocol.MemberMetadata.encode({ version: 1, topics: ['t'], userData })
    for (const word of words) {
      const shares = await share([
        join('a', { t: [0, 1] }),
        { memberId: 'b', memberMetadata: metadata(Buffer.from(word)) },
      ])
      assert.deepEqual(shares, { a: { t: [0, 1] }, b: { t: [2, 3] } }, word)
    }
    assert.deepEqual(await share([join('a', { t: [0, 1] }), { memberId: 'b', memberMetadata: Buffer.alloc(0) }]), {
      a: { t: [0, 1] },
      b: { t: [2, 3] },
    })
  })
})
