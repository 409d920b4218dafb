/** One-way calls: the caller has its word when Kafka has the call, and the work is done behind it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { parseCallId } from '../../sidecar/call-id.ts'
import type { CallId } from '../../sidecar/call-id.ts'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { atEnd } from './support/clean-up.ts'
import { idOfKey, withKey } from './support/keyed.ts'
import { ownRedis } from './support/own.ts'
import { PATIENT, startRoute, until } from './support/route.ts'
import type { Answer, Route, RouteOptions } from './support/route.ts'
import { OutcomeReader, headerTexts, readTopic } from './support/topic.ts'

const ONE_WAY = { name: 'Do', ...PATIENT, delivery: 'OneWay' } as const

const oneWayRoute = (t: TestContext, options: RouteOptions = {}): Promise<Route> =>
  startRoute(t, { method: PATIENT, proxy: { methods: [ONE_WAY] }, ...options })

const PLACE = ['grpc-kafka-call-id', 'grpc-kafka-partition', 'grpc-kafka-offset'] as const
const placeIn = (metadata: Answer['initial']) => PLACE.map((name) => metadata.get(name).map(String))

function idOf({ trailing }: Answer): CallId {
  const id = parseCallId(String(trailing.get('grpc-kafka-call-id')[0]))
  assert.ok(id, 'the answer has no call id')
  return id
}

function assertAccepted(answer: Answer): void {
  assert.deepEqual([answer.code, answer.details, answer.reply?.length], [0, '', 0])
}

test('a one-way call', async (t) => {
  const route = await oneWayRoute(t, {
    proxy: { methods: [ONE_WAY, { name: 'Also', ...PATIENT, cloudEvents: 'Enabled' }] },
    worker: { methods: [ONE_WAY.name, 'Also'].map((name) => ({ name, ...PATIENT })) },
  })
  const outcomes = new OutcomeReader(route)
  atEnd(t, () => outcomes.close())

  await t.test('is answered with nothing once Kafka has it, and the handler may take its time', async () => {
    const answer = await route.call({ id: 'slow', sleep: 2000, reply: 'done' })
    assertAccepted(answer)
    assert.ok(!route.ledger().some(({ id, event }) => id === 'slow' && event === 'ended'), 'the handler was waited for')
    const outcome = await outcomes.settled(idOf(answer))
    assert.ok(outcome.state === 'Answered')
    assert.deepEqual([outcome.status, outcome.message?.toString()], [0, 'done'])
  })

  await t.test('tells in the initial and the trailing metadata where its record stands', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => route.call({ id: `placed-${index}` })))
    const records = await readTopic(route, await route.records())
    for (const answer of answers) {
      assertAccepted(answer)
      const [id, partition, offset] = placeIn(answer.trailing).map(([value]) => value)
      assert.deepEqual(placeIn(answer.initial), placeIn(answer.trailing))
      const found = records.filter((one) => `${one.partition}` === partition && one.offset === offset)
      assert.deepEqual(
        found.map(({ key }) => key?.toString('hex')),
        [String(id).replaceAll('-', '')],
      )
    }
  })

  await t.test('is worked on for as long as its method allows, whatever the deadline of its caller was', async () => {
    const answer = await route.call({ id: 'outlives', sleep: 3000, reply: 'late' }, { deadline: 2500 })
    assertAccepted(answer)
    const outcome = await outcomes.settled(idOf(answer))
    assert.ok(outcome.state === 'Answered')
    assert.equal(outcome.message?.toString(), 'late')
  })

  await t.test('with an idempotency key is one call under one id, before and after it was done', async () => {
    const metadata = withKey('one-way')
    const instruction = { id: 'once', sleep: 1000 }
    const [first, second] = await Promise.all([
      route.call(instruction, { metadata }),
      route.call(instruction, { metadata }),
    ])
    await outcomes.settled(idOfKey('one-way'))
    const third = await route.call(instruction, { metadata })
    for (const answer of [first, second, third]) {
      assertAccepted(answer)
      assert.deepEqual(idOf(answer), idOfKey('one-way'))
    }
    assert.equal(route.runs().get('once'), 1)
    const places = [first, second].map(({ trailing }) => placeIn(trailing)).filter(([, partition]) => partition?.length)
    assert.deepEqual(
      places,
      [placeIn(third.trailing)],
      'whoever put it there knows where, and who comes after its outcome',
    )
    const other = await route.call({ id: 'another' }, { metadata })
    assert.equal(other.code, GrpcStatus.FAILED_PRECONDITION)
  })

  await t.test('of a method with CloudEvents is one for whoever reads the topic, queued or not', async () => {
    const answer = await route.call({ id: 'event', reply: 'read' }, { method: '/test.Work/Also' })
    assert.equal(answer.reply?.toString(), 'read')
    const id = String(answer.trailing.get('grpc-kafka-call-id')[0])
    const records = await readTopic(route, await route.records())
    const record = records.find((one) => headerTexts(one, 'ce_id')[0] === id)
    assert.ok(record)
    const names = ['ce_specversion', 'ce_source', 'ce_type', 'content-type']
    assert.deepEqual(
      names.map((name) => headerTexts(record, name)),
      [['1.0'], ['/test.Work'], ['test.Work.Also'], ['application/protobuf']],
    )
    assert.match(headerTexts(record, 'ce_time')[0] ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    assert.ok(
      records.some((one) => headerTexts(one, 'ce_id').length === 0),
      'the other method has none',
    )
  })
})

test('a one-way call whose proxy is killed once it has told is done all the same', async (t) => {
  const route = await oneWayRoute(t)
  const outcomes = new OutcomeReader(route)
  atEnd(t, () => outcomes.close())
  const answer = await route.call({ id: 'orphan', sleep: 1000 })
  route.proxies[0]?.process.kill('SIGKILL')
  assertAccepted(answer)
  assert.equal((await outcomes.settled(idOf(answer))).state, 'Answered')
})

test('one-way calls are taken while Redis is away, and done when it is back', async (t) => {
  const redis = await ownRedis(t)
  const route = await oneWayRoute(t, { redisUrl: redis.url })
  const outcomes = new OutcomeReader(route)
  await redis.kill('SIGKILL')
  const answers = await Promise.all(['a', 'b', 'c'].map((id) => route.call({ id })))
  await redis.start()
  atEnd(t, () => outcomes.close())
  for (const answer of answers) {
    assertAccepted(answer)
    assert.equal((await outcomes.settled(idOf(answer))).state, 'Answered')
  }
  await until('every offset is committed', async () => (await route.lag()) === 0)
})
