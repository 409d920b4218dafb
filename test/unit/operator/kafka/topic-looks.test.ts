import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { KafkaAccess } from '../../../../operator/kafka/kafka-access.ts'
import { KafkaProblem } from '../../../../operator/kafka/kafka-problem.ts'
import { TopicLooks } from '../../../../operator/kafka/topic-looks.ts'
import type { TopicQuestion } from '../../../../operator/kafka/topic-looks.ts'
import { FakeClock, settle } from '../controller/fake-clock.ts'
import { FakeKafka, unavailable } from '../fake-kafka.ts'

const EVERY = 120_000

/** Looks at Kafkas in memory, by their first server; each has the topics `a` and `b`. */
class World {
  readonly clock = new FakeClock()
  readonly changed: string[] = []
  readonly failed: unknown[] = []
  /** Each look at all, as the topics that were asked for. */
  readonly asked: (readonly string[])[] = []
  readonly kafkas = new Map<string, FakeKafka>()
  readonly looks: TopicLooks

  constructor() {
    this.looks = new TopicLooks({
      clock: this.clock,
      kafka: {
        use: (access, work) => {
          const kafka = this.kafka(access.servers[0])
          const observe = (names: readonly string[]) => {
            this.asked.push(names)
            return kafka.observe(names)
          }
          return work({ observe, execute: kafka.execute.bind(kafka), close: () => kafka.close() })
        },
      },
      everyMilliseconds: EVERY,
      changed: (key) => this.changed.push(key),
      failed: (error) => this.failed.push(error),
    })
  }

  kafka(server = 'kafka'): FakeKafka {
    const known = this.kafkas.get(server) ?? new FakeKafka()
    if (!this.kafkas.has(server)) for (const name of ['a', 'b']) known.make(name, 1, 1, { 'retention.ms': '1' })
    this.kafkas.set(server, known)
    return known
  }

  async keep(key: string, asked: TopicQuestion): Promise<void> {
    this.looks.keep(key, asked, await this.kafka(asked.access.servers[0]).observe(asked.topics))
  }

  async pass(milliseconds = EVERY): Promise<void> {
    this.clock.advance(milliseconds)
    await settle()
  }
}

const question = (topics: readonly string[], access: KafkaAccess = { servers: ['kafka'] }): TopicQuestion => ({
  access,
  topics,
  uid: 'uid',
})
const A = question(['a'])
const B = question(['b'])

describe('what Kafka said of the topics of a service', () => {
  test('is kept for whoever asks the same, and for nobody else', async () => {
    const world = new World()
    await world.keep('team/one', A)
    assert.equal(world.looks.kept('team/one', A)?.topics.get('a')?.partitions, 1)
    assert.equal(world.looks.kept('team/two', A), undefined)
    assert.equal(world.looks.kept('team/one', B), undefined)
    assert.equal(world.looks.kept('team/one', question(['a'], { servers: ['other'] })), undefined)
    assert.equal(world.looks.kept('team/one', { ...A, uid: 'another' }), undefined)
  })

  test('is asked for again together with all others, and stays while it is as it was', async () => {
    const world = new World()
    await world.keep('team/one', A)
    await world.keep('team/two', B)
    await world.pass(EVERY - 1)
    assert.deepEqual(world.asked, [])
    await world.pass(1)
    assert.deepEqual(world.asked, [['a', 'b']])
    await world.pass()
    assert.equal(world.asked.length, 2)
    assert.deepEqual(world.changed, [])
    assert.notEqual(world.looks.kept('team/one', A), undefined)
  })

  test('is forgotten where a topic was changed or deleted, and who had it is woken', async () => {
    const world = new World()
    await world.keep('team/one', A)
    await world.keep('team/two', B)
    world.kafka().change('a', { config: { 'retention.ms': { value: '2', isSet: true } } })
    await world.pass()
    assert.deepEqual(world.changed, ['team/one'])
    assert.equal(world.looks.kept('team/one', A), undefined)
    assert.notEqual(world.looks.kept('team/two', B), undefined)
    world.kafka().topics.delete('b')
    await world.pass()
    assert.deepEqual(world.changed, ['team/one', 'team/two'])
  })

  test('is forgotten where Kafka is another one', async () => {
    const world = new World()
    await world.keep('team/one', A)
    world.kafka().cluster = 'another'
    await world.pass()
    assert.deepEqual(world.changed, ['team/one'])
  })

  test('does not depend on how many brokers there are', async () => {
    const world = new World()
    await world.keep('team/one', A)
    world.kafka().brokers = 2
    await world.pass()
    assert.deepEqual(world.changed, [])
  })

  test('that is forgotten is not asked for, and without any nothing waits', async () => {
    const world = new World()
    await world.keep('team/one', A)
    world.looks.forget('team/one')
    await world.pass()
    assert.deepEqual([world.asked, world.changed, world.clock.pending], [[], [], 0])
  })

  test('that was kept anew while Kafka was asked stays', async () => {
    const world = new World()
    await world.keep('team/one', A)
    world.kafka().change('a', { partitions: 2 })
    world.clock.advance(EVERY)
    world.looks.keep('team/one', A, { id: 'cluster', brokers: 1, topics: world.kafka().topics })
    await settle()
    assert.deepEqual(world.changed, [])
  })
})

describe('a Kafka that is asked about all topics', () => {
  test('is asked for a hundred at once', async () => {
    const world = new World()
    for (let one = 0; one < 120; one++) await world.keep(`team/${one}`, question([`t${one}`, `t${one}.dead`]))
    await world.pass()
    assert.deepEqual(
      world.asked.map(({ length }) => length),
      [100, 100, 40],
    )
    assert.deepEqual(world.changed, [])
  })

  test('that is away wakes all who have topics there, after one question, and nobody else', async () => {
    const world = new World()
    for (let one = 0; one < 120; one++) await world.keep(`team/${one}`, question([`t${one}`, `t${one}.dead`]))
    await world.keep('other/one', question(['a'], { servers: ['other'] }))
    world.kafka().down = unavailable
    await world.pass()
    assert.equal(world.asked.length, 2)
    assert.equal(new Set(world.changed).size, 120)
    assert.equal(world.changed.includes('other/one'), false)
    assert.deepEqual(world.failed, [])
  })

  test('that refuses to tell of some wakes those, and tells of the others', async () => {
    const world = new World()
    for (let one = 0; one < 60; one++) await world.keep(`team/${one}`, question([`t${one}`, `t${one}.dead`]))
    const observe = world.kafka().observe.bind(world.kafka())
    world.kafka().observe = (names) => {
      if (names.includes('t1')) throw new KafkaProblem('KafkaNotAuthorized', 'topic t1: no', { errorCode: 29 })
      return observe(names)
    }
    await world.pass()
    assert.equal(world.asked.length, 2)
    assert.equal(world.changed.length, 50)
  })

  test('is asked again after a fault of ours, which is told', async () => {
    const world = new World()
    await world.keep('team/one', A)
    const fault = new TypeError('a fault')
    world.kafka().observe = () => Promise.reject(fault)
    await world.pass()
    assert.deepEqual(world.failed, [fault])
    assert.deepEqual(world.changed, ['team/one'])
    world.looks.keep('team/one', A, { id: 'cluster', brokers: 1, topics: new Map() })
    await world.pass()
    assert.equal(world.asked.length, 2)
  })
})
