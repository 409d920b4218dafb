/** Calls of one key, or of one partition, run in the order in which Kafka has them: seen in what their handlers wrote down. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test, type TestContext } from 'node:test'
import { Metadata } from '@grpc/grpc-js'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { partitionOfKey } from '../../sidecar/kafka/partitioner.ts'
import { decodeRecord, encodeRecord } from '../../sidecar/kafka/record.ts'
import { run } from './support/command-line.ts'
import { PATIENT, startRoute, until, type Route, type RouteOptions } from './support/route.ts'
import type { Instruction } from './support/service.ts'
import { produceRaw, readTopic, type ReadMessage } from './support/topic.ts'

const LONG = { timeoutMilliseconds: 60_000 }
const QUICKLY = { initialMilliseconds: 50, factorPercent: 100, jitterPercent: 0 }

const orderedRoute = (t: TestContext, { worker, ...options }: RouteOptions = {}): Promise<Route> =>
  startRoute(t, {
    method: LONG,
    proxy: { methods: [{ name: 'Do', ...LONG, partitionKey: { metadata: 'account' } }] },
    worker: { ordering: 'Key', retry: { maxAttempts: 10, backoff: QUICKLY }, ...worker },
    ...options,
  })

const call = (route: Route, account: string, instruction: Instruction, proxy = 0) => {
  const metadata = new Metadata()
  metadata.set('account', account)
  return route.call(instruction, { metadata, proxy, deadline: 60_000 })
}

/** Every third of them fails twice before it is answered. */
const instruction = (id: string, index: number): Instruction => ({
  id,
  sleep: index % 5,
  ...(index % 3 === 0 ? { status: GrpcStatus.UNAVAILABLE, details: 'busy', failures: 2 } : {}),
})

const idOf = ({ value }: ReadMessage): string => (JSON.parse(String(value)) as { readonly id: string }).id

/** The names of calls in the order in which Kafka has them, by what orders them. */
async function lines(
  route: Route,
  count: number,
  lineOf: (message: ReadMessage) => string,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const result = new Map<string, string[]>()
  for (const message of await readTopic(route, count))
    result.set(lineOf(message), [...(result.get(lineOf(message)) ?? []), idOf(message)])
  return result
}

/** One after the other: each runs, perhaps several times, until the next begins, and none begins while one runs. */
function assertInOrder(route: Route, order: ReadonlyMap<string, readonly string[]>): void {
  for (const [line, names] of order) {
    const places = new Map(names.map((name, place) => [name, place]))
    const events = route.ledger().filter(({ id }) => places.has(id ?? ''))
    let place = 0
    let running: string | undefined
    for (const { event, id = '' } of events) {
      const told = `${line}: ${events.map((one) => `${one.event} ${one.id}`).join(', ')}`
      if (event === 'ended') {
        assert.equal(id, running, told)
        running = undefined
        continue
      }
      assert.equal(running, undefined, told)
      running = id
      assert.ok([place, place + 1].includes(places.get(id)!), told)
      place = places.get(id)!
    }
    assert.equal(place, names.length - 1, `${line}: all of them ran`)
  }
}

test('calls of one key run in their order while attempts fail and workers come and go', async (t) => {
  const route = await orderedRoute(t, { workers: 2, proxies: 2, partitions: 4 })
  const accounts = Array.from({ length: 10 }, (_, index) => `account-${index}`)
  const answers: ReturnType<typeof call>[] = []
  const enter = (round: number): void => {
    for (let index = 0; index < 8; index++) {
      for (const account of accounts)
        answers.push(call(route, account, instruction(`${account}/${round}/${index}`, index), index % 2))
    }
  }
  enter(0)
  await route.startWorker()
  enter(1)
  const [first] = route.workers
  const ended = first!.process.end()
  enter(2)
  await ended
  for (const { code, details } of await Promise.all(answers)) assert.equal(code, 0, details)
  const messages = await readTopic(route, answers.length)
  for (const { key, partition } of messages) assert.equal(partition, partitionOfKey(key!, 4), String(key))
  assertInOrder(route, await lines(route, answers.length, ({ key }) => String(key)))
  await until('no offset waits', async () => (await route.lag()) === 0)
})

test('a call that is tried again holds up those of its key, and no other', async (t) => {
  const backoff = { initialMilliseconds: 8000, factorPercent: 100, jitterPercent: 0 }
  const route = await orderedRoute(t, { partitions: 1, worker: { retry: { maxAttempts: 2, backoff } } })
  const failing = { id: 'fails', status: GrpcStatus.UNAVAILABLE, details: 'busy', failures: 1 }
  const answers = [call(route, 'alice', failing)]
  await until('it failed', () => route.ledger().some(({ event }) => event === 'ended'))
  answers.push(call(route, 'alice', { id: 'waits' }))
  assert.equal((await call(route, 'bob', { id: 'passes' })).code, 0)
  const begun = route.ledger().flatMap(({ event, id }) => (event === 'began' ? [id] : []))
  assert.deepEqual(begun, ['fails', 'passes'], 'its pause is not over')
  const [worker] = route.workers
  await until('one waits', async () => (await route.metric(worker!, 'grpc_kafka_records_in_line')) === 1)
  assert.equal(await route.lag(), 3, 'its offset is held')
  for (const { code, details } of await Promise.all(answers)) assert.equal(code, 0, details)
  assert.deepEqual(
    route.ledger().flatMap(({ event, id }) => (event === 'began' ? [id] : [])),
    ['fails', 'passes', 'fails', 'waits'],
  )
})

test('after a worker is killed calls go on in their order: the one that ran first', async (t) => {
  const route = await orderedRoute(t, { workers: 3, partitions: 6, worker: { retry: { maxAttempts: 3 } } })
  const accounts = Array.from({ length: 12 }, (_, index) => `account-${index}`)
  const answers = accounts.flatMap((account) => [
    call(route, account, { id: `${account}/long`, sleep: 2000 }),
    ...Array.from({ length: 4 }, (_, index) => call(route, account, { id: `${account}/${index}` })),
  ])
  const running = () => route.ledger().filter(({ event, id }) => event === 'began' && id?.endsWith('/long') === true)
  await until('some run', () => running().length >= 6)
  const victim = route.workers.find(({ handler }) => running().some(({ pid }) => pid === handler.child.pid))!
  victim.process.kill('SIGKILL')
  await victim.process.exited
  for (const { code, details } of await Promise.all(answers)) assert.equal(code, 0, details)
  const order = await lines(route, answers.length, ({ key }) => String(key))
  assert.ok(
    [...route.runs().values()].some((runs) => runs > 1),
    'the kill met none that ran',
  )
  assertInOrder(route, order)
  await until('no offset waits', async () => (await route.lag()) === 0)
})

test('calls of one partition run in their order, whatever their keys', async (t) => {
  const route = await orderedRoute(t, { workers: 2, partitions: 3, worker: { ordering: 'Partition' } })
  const answers = Array.from({ length: 60 }, (_, index) =>
    // Every other one has no key, and lands anywhere.
    index % 2 === 0
      ? route.call(instruction(`call-${index}`, index), { deadline: 60_000 })
      : call(route, `account-${index}`, instruction(`call-${index}`, index)),
  )
  for (const { code, details } of await Promise.all(answers)) assert.equal(code, 0, details)
  const order = await lines(route, answers.length, ({ partition }) => String(partition))
  assert.ok(order.size > 1, 'they are in several partitions')
  assertInOrder(route, order)
})

test('with an order nothing is put on retry topics that are there, and what they hold is run', async (t) => {
  const route = await orderedRoute(t, { retryTopics: 1, worker: { retry: { maxAttempts: 3, backoff: QUICKLY } } })
  const answer = await call(route, 'alice', {
    id: 'here',
    status: GrpcStatus.UNAVAILABLE,
    details: 'busy',
    failures: 1,
  })
  assert.equal(answer.code, 0, answer.details)
  const [topic] = route.retryTopics
  assert.equal(await route.records(topic), 0)
  const [{ key, value, headers = {} } = assert.fail('there is no record')] = await readTopic(route, 1)
  const decoded = decodeRecord({ key, value, headers })
  assert.ok(decoded.kind === 'Call')
  const record = encodeRecord(
    { ...decoded.record, id: randomBytes(16), attempt: 2, message: Buffer.from('{"id":"left"}') },
    2,
  )
  await produceRaw(route, [record], topic)
  await until('it ran', () => route.runs().get('left') === 1)
})

test('without an order calls of one key run beside each other, in the same partition', async (t) => {
  const route = await orderedRoute(t, { partitions: 3, worker: { ordering: 'None' } })
  const answers = Array.from({ length: 10 }, (_, index) => call(route, 'alice', { id: `call-${index}`, sleep: 300 }))
  for (const { code, details } of await Promise.all(answers)) assert.equal(code, 0, details)
  const messages = await readTopic(route, answers.length)
  assert.deepEqual([...new Set(messages.map(({ partition }) => partition))], [partitionOfKey(Buffer.from('alice'), 3)])
  const events = route.ledger().map(({ event }) => event)
  assert.ok(events.lastIndexOf('began') < events.lastIndexOf('ended') - 1, events.join(' '))
})

test('a call whose deadline passes while it waits for its turn is answered then, and never runs', async (t) => {
  const route = await orderedRoute(t, {
    partitions: 1,
    proxy: { methods: [{ name: 'Do', ...PATIENT, partitionKey: { metadata: 'account' } }] },
  })
  const metadata = new Metadata()
  metadata.set('account', 'alice')
  const long = call(route, 'alice', { id: 'long', sleep: 8000 })
  await until('it runs', () => route.ledger().length === 1)
  const short = await route.call({ id: 'short' }, { metadata, deadline: 1000 })
  assert.equal(short.code, GrpcStatus.DEADLINE_EXCEEDED)
  const last = call(route, 'alice', { id: 'last' })
  const [worker] = route.workers
  await until(
    'it has its outcome',
    async () => (await route.metric(worker!, 'grpc_kafka_records_total', 'expired')) === 1,
  )
  assert.equal(route.ledger().length, 1, 'while the one before it still runs')
  for (const { code, details } of await Promise.all([long, last])) assert.equal(code, 0, details)
  assert.deepEqual([...route.runs().keys()], ['long', 'last'])
})

test('a redriven call waits for its turn behind the earlier ones of its key, in their partition', async (t) => {
  const route = await orderedRoute(t, {
    partitions: 8,
    worker: { retry: { maxAttempts: 2, backoff: QUICKLY } },
  })
  const busy = { status: GrpcStatus.UNAVAILABLE, details: 'busy' }
  const dead = await call(route, 'alice', { id: 'dies', ...busy, failures: 2 })
  assert.deepEqual([dead.code, dead.details], [GrpcStatus.UNAVAILABLE, 'busy'], 'its caller is told at once')
  assert.equal((await call(route, 'alice', { id: 'next' })).code, 0, 'it stops nobody')
  const long = call(route, 'alice', { id: 'long', sleep: 10_000 })
  await until('it runs', () => route.ledger().at(-1)?.id === 'long')
  const { code, text } = await run(route, ['dead-letters', 'redrive', '--all', '--topic', route.topic])
  assert.equal(code, 0, text)
  const [worker] = route.workers
  await until('it waits', async () => (await route.metric(worker!, 'grpc_kafka_records_in_line')) === 1)
  const last = call(route, 'alice', { id: 'last' })
  for (const answer of await Promise.all([long, last])) assert.equal(answer.code, 0, answer.details)
  assert.deepEqual(
    route.ledger().flatMap(({ event, id, attempt }) => (event === 'began' ? [[id, attempt]] : [])),
    [
      ['dies', 1],
      ['dies', 2],
      ['next', 1],
      ['long', 1],
      ['dies', 1],
      ['last', 1],
    ],
  )
  const messages = await readTopic(route, 5)
  assert.deepEqual([...new Set(messages.map(({ partition }) => partition))], [partitionOfKey(Buffer.from('alice'), 8)])
  assert.equal(await route.metric(worker!, 'grpc_kafka_records_total', 'result="dead_lettered"'), 1)
  await until('no offset waits', async () => (await route.lag()) === 0)
})

test('a redriven call that is tried again holds up those of its key that came later', async (t) => {
  const route = await orderedRoute(t, {
    partitions: 1,
    retryTopics: 1,
    worker: { retry: { maxAttempts: 2, backoff: { ...QUICKLY, initialMilliseconds: 3000 } } },
  })
  const dead = await call(route, 'alice', { id: 'dies', status: GrpcStatus.UNAVAILABLE, details: 'busy', failures: 3 })
  assert.equal(dead.code, GrpcStatus.UNAVAILABLE)
  assert.equal((await run(route, ['dead-letters', 'redrive', '--all', '--topic', route.topic])).code, 0)
  await until('it failed', () => route.ledger().filter(({ event }) => event === 'ended').length === 3)
  assert.equal((await call(route, 'alice', { id: 'later' })).code, 0)
  assert.deepEqual(
    route.ledger().flatMap(({ event, id, attempt }) => (event === 'began' ? [[id, attempt]] : [])),
    [
      ['dies', 1],
      ['dies', 2],
      ['dies', 1],
      ['dies', 2],
      ['later', 1],
    ],
  )
  assert.equal(await route.records(route.retryTopics[0]), 0)
})
