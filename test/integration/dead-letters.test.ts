/** Dead letters and what people do about them: `grpc-kafka dead-letters`, on real Kafka and Redis. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { suite, test, type TestContext } from 'node:test'
import { Redis } from 'ioredis'
import kafkajs from 'kafkajs'
import { formatCallId } from '../../sidecar/call-id.ts'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { decodeRecord, encodeRecord, type CallRecord } from '../../sidecar/kafka/record.ts'
import { openLettersGroup } from '../../sidecar/kafka/topic-names.ts'
import { callKey, startsKey } from '../../sidecar/results/keys.ts'
import { atEnd } from './support/clean-up.ts'
import { run } from './support/command-line.ts'
import { idOfKey, withKey } from './support/keyed.ts'
import { PATIENT, startRoute, until, type Route, type RouteOptions } from './support/route.ts'
import { METHOD } from './support/service.ts'
import { OutcomeReader, produceRaw, readTopic } from './support/topic.ts'

const RETRY = { maxAttempts: 2, backoff: { initialMilliseconds: 50, jitterPercent: 0 } }

const routeOf = (t: TestContext, options: RouteOptions = {}): Promise<Route> =>
  startRoute(t, { method: PATIENT, worker: { retry: RETRY }, ...options })

const busy = (id: string, failures: number) => ({
  id,
  status: GrpcStatus.UNAVAILABLE,
  details: 'busy',
  failures,
  reply: 'at last',
})

/** What `list` prints, without the sum. */
interface Listed {
  readonly partition: number
  readonly offset: number
  readonly id?: string
  readonly redriveRevision?: number
  readonly open: boolean
  readonly failures?: readonly { readonly attempt: number; readonly status: string }[]
  readonly dead: Readonly<Record<string, string>>
}

const letters = (route: Route, ...args: string[]) => run(route, ['dead-letters', ...args, '--topic', route.topic])

async function list(route: Route, ...args: string[]): Promise<Listed[]> {
  const { code, text } = await letters(route, 'list', '--json', ...args)
  assert.equal(code, 0, text)
  return text === '' ? [] : text.split('\n').map((line) => JSON.parse(line) as Listed)
}

const attempts = (route: Route, id: string) =>
  route.ledger().flatMap((entry) => (entry.event === 'began' && entry.id === id ? [entry.attempt] : []))

async function failedCall(route: Route, id: string, failures: number): Promise<void> {
  const { code } = await route.call(busy(id, failures))
  assert.equal(code, GrpcStatus.UNAVAILABLE)
}

/** As whoever counts lag sees it. */
async function openLag(route: Route): Promise<number> {
  const dead = `${route.topic}.dead`
  const [ends, [committed]] = await Promise.all([
    route.admin.fetchTopicOffsets(dead),
    route.admin.fetchOffsets({ groupId: openLettersGroup(route.topic), topics: [dead] }),
  ])
  return ends.reduce(
    (sum, { partition, high }) =>
      sum +
      Number(high) -
      Math.max(0, Number(committed?.partitions.find((one) => one.partition === partition)?.offset)),
    0,
  )
}

/** Of so many records of the topic those that are redrives, in the order of their offsets where it has one partition. */
const redrivenCalls = async (route: Route, count: number): Promise<CallRecord[]> =>
  (await readTopic(route, count)).flatMap(({ key, value, headers = {} }) => {
    const decoded = decodeRecord({ key, value, headers })
    return decoded.kind === 'Call' && (decoded.record.redriveRevision ?? 0) > 0 ? [decoded.record] : []
  })

/** All of the topic's records are done with, and stay so. */
const settled = (route: Route) => until('no offset waits', async () => (await route.lag()) === 0)

test('a dead letter is listed, shown with its attempts, redriven into its call, and then done with', async (t) => {
  const route = await routeOf(t)
  const redis = new OutcomeReader(route)
  t.after(() => redis.close())
  const key = 'again after a dead letter'
  const metadata = withKey(key)
  const first = await route.call(busy('again', 2), { metadata })
  assert.deepEqual([first.code, first.details], [GrpcStatus.UNAVAILABLE, 'busy'])

  const [letter, ...others] = await list(route)
  assert.deepEqual(others, [])
  assert.equal(letter?.id, formatCallId(idOfKey(key)))
  assert.deepEqual(
    [letter.dead['status'], letter.dead['topic'], letter.dead['reason']],
    ['UNAVAILABLE', route.topic, 'attempts used up, last status 14'],
  )
  const shown = await letters(route, 'show', `${letter.partition}/${letter.offset}`, '--values')
  assert.match(shown.text, /attempt 1 {2}\S+ {2}UNAVAILABLE {2}worker-.*\n.*attempt 2 {2}\S+ {2}UNAVAILABLE/)
  assert.match(shown.text, new RegExp(Buffer.from(JSON.stringify(busy('again', 2))).toString('base64')))
  assert.equal(await openLag(route), 1)

  const again = await route.call(busy('again', 2), { metadata })
  assert.deepEqual([again.code, again.details], [GrpcStatus.UNAVAILABLE, 'busy'], 'its caller gets the last status')

  const redriven = await letters(route, 'redrive', '--all')
  assert.equal(redriven.code, 0, redriven.text)
  assert.match(redriven.text, /redrive 1\n1 redriven$/)
  await until('it is answered', async () => (await redis.outcome(idOfKey(key)))?.state === 'Answered')
  const late = await route.call(busy('again', 2), { metadata })
  assert.deepEqual([late.code, late.reply?.toString()], [0, 'at last'])
  assert.deepEqual(attempts(route, 'again'), [1, 2, 1], 'its attempts are counted anew')
  assert.deepEqual(await list(route), [])
  assert.equal(await openLag(route), 0)
  const twice = await letters(route, 'redrive', `${letter.partition}/${letter.offset}`)
  assert.equal(twice.code, 1)
  assert.match(twice.text, new RegExp(`^${letter.partition}/${letter.offset} is done with already$`, 'm'))
  assert.match(twice.text, /^0 redriven$/m)
})

test('a call that is redriven and fails again is a dead letter of the next revision', async (t) => {
  const route = await routeOf(t, { retryTopics: 1 })
  await failedCall(route, 'stubborn', 4)
  assert.equal((await letters(route, 'redrive', '--all')).code, 0)
  const deadTwice = async () => (await list(route)).map(({ redriveRevision, open }) => [redriveRevision, open])
  await until('it is dead again', async () => (await route.records(`${route.topic}.dead`)) === 3)
  assert.deepEqual(await deadTwice(), [[1, true]])
  await settled(route)
  assert.equal((await letters(route, 'redrive', '--all')).code, 0)
  await until('it is run for the third time', () => attempts(route, 'stubborn').length === 5)
  await settled(route)
  assert.deepEqual(await deadTwice(), [])
  assert.deepEqual(attempts(route, 'stubborn'), [1, 2, 1, 2, 1])
})

test('a redriven call has the time that is asked for, else that of its method where a configuration tells, else a minute', async (t) => {
  const route = await routeOf(t, { partitions: 1 })
  const [worker] = route.workers
  const redriveWith = async (id: string, ...args: string[]) => {
    await failedCall(route, id, 2)
    const { code, text } = await letters(route, 'redrive', '--all', ...args)
    assert.equal(code, 0, text)
    await settled(route)
  }
  await redriveWith('asked', '--deadline', '90', '--config', worker!.configFile)
  await redriveWith('configured', '--config', worker!.configFile)
  await redriveWith('neither')
  assert.deepEqual(
    (await redrivenCalls(route, 6)).map(({ deadline, enqueuedAt, replyTo }) => [deadline - enqueuedAt, replyTo]),
    [
      [90_000, ''],
      [PATIENT.timeoutMilliseconds, ''],
      [60_000, ''],
    ],
  )
})

suite('no work is done twice', () => {
  test('when a redrive is killed between the produce and the mark, and repeated', async (t) => {
    const route = await routeOf(t)
    await failedCall(route, 'once', 2)
    const env = { TEST_IMPORT: 'test/integration/support/killed-before-mark.ts' }
    const args = ['dead-letters', 'redrive', '--all', '--topic', route.topic]
    assert.equal((await run(route, args, env)).code, null, 'it is killed')
    assert.equal((await list(route)).length, 1, 'the letter is open still')
    assert.equal((await letters(route, 'redrive', '--all')).code, 0)
    await settled(route)
    assert.deepEqual(attempts(route, 'once'), [1, 2, 1])
    assert.deepEqual(await list(route), [])
  })

  test('when copies of a redrive stand on the topic before the first has run', async (t) => {
    const route = await routeOf(t)
    await failedCall(route, 'copied', 2)
    const [worker] = route.workers
    worker!.handler.kill('SIGKILL')
    await worker!.handler.exited
    const env = { TEST_IMPORT: 'test/integration/support/killed-before-mark.ts' }
    const args = ['dead-letters', 'redrive', '--all', '--deadline', '600', '--topic', route.topic]
    for (let count = 0; count < 2; count++) assert.equal((await run(route, args, env)).code, null)
    assert.equal(await route.records(), 3)
    worker!.handler = (await route.startHandler(worker!.handlerPort)).handler
    await settled(route)
    // The next handler fails twice, too: so the redrive is a dead letter, of one record and not of both.
    assert.deepEqual(attempts(route, 'copied'), [1, 2, 1, 2])
    assert.deepEqual(
      (await list(route)).map(({ redriveRevision }) => redriveRevision),
      [1],
    )
  })

  test('when two redrive everything at the same time', async (t) => {
    const route = await routeOf(t)
    const names = Array.from({ length: 20 }, (_, index) => `call-${index}`)
    await Promise.all(names.map((id) => failedCall(route, id, 2)))
    const results = await Promise.all([0, 1].map(() => letters(route, 'redrive', '--all', '--rate', '1000')))
    for (const { code, text } of results) assert.equal(code, 0, text)
    await settled(route)
    for (const id of names) assert.deepEqual(attempts(route, id), [1, 2, 1], id)
    assert.deepEqual(await list(route), [])
    t.diagnostic(`${(await route.records()) - names.length} redrives of ${names.length} dead letters`)
  })
})

test('a redrive whose deadline passes while no handler is there is a dead letter again', async (t) => {
  const route = await routeOf(t)
  await failedCall(route, 'late', 2)
  const [worker] = route.workers
  worker!.handler.kill('SIGKILL')
  await worker!.handler.exited
  assert.equal((await letters(route, 'redrive', '--all', '--deadline', '1')).code, 0)
  await until('it is dead again', async () => (await route.records(`${route.topic}.dead`)) === 3)
  const [letter] = await list(route)
  assert.deepEqual(
    [letter?.redriveRevision, letter?.dead['reason'], letter?.dead['status']],
    [1, 'the deadline of redrive 1 passed', 'DEADLINE_EXCEEDED'],
  )
  await settled(route)
  assert.deepEqual(attempts(route, 'late'), [1, 2])
})

test('what is chosen by a filter is redriven, what is no call is refused by its place, and discarding only marks', async (t) => {
  const route = await routeOf(t, { partitions: 1 })
  await produceRaw(route, [{ key: Buffer.from('k'), value: Buffer.from('no call') }])
  await until('it is dead', async () => (await route.records(`${route.topic}.dead`)) === 1)
  await failedCall(route, 'chosen', 2)
  assert.deepEqual(
    (await list(route, '--status', 'UNAVAILABLE')).map(({ offset }) => offset),
    [1],
  )
  const all = await letters(route, 'redrive', '--all')
  assert.equal(all.code, 1)
  assert.match(all.text, /0\/0 cannot be redriven: it is no call: no grpc-kafka header/)
  assert.match(all.text, /0\/1 .* redrive 1/)
  assert.deepEqual(
    (await list(route)).map(({ offset }) => offset),
    [0],
  )
  const discarded = await letters(route, 'discard', '0/0')
  assert.equal(discarded.code, 0, discarded.text)
  assert.match(discarded.text, /^0\/0 {2}discarded\n1 marked as done with; the records stay until the retention/)
  assert.deepEqual(await list(route), [])
  await settled(route)
  assert.equal(await route.records(`${route.topic}.dead`), 4, 'two letters and two marks')
})

test('of many those are redriven that a filter chooses, no faster than the rate', async (t) => {
  const route = await routeOf(t, {
    partitions: 1,
    worker: { retry: { ...RETRY, retryableCodes: ['UNAVAILABLE', 'ABORTED'] } },
  })
  const names = ['first', 'second', 'third']
  for (const id of names) await failedCall(route, id, 2)
  const other = await route.call({ ...busy('other', 2), status: GrpcStatus.ABORTED })
  assert.equal(other.code, GrpcStatus.ABORTED)
  const { code, text } = await letters(route, 'redrive', '--status', 'unavailable', '--rate', '1')
  assert.equal(code, 0, text)
  assert.match(text, /^3 redriven$/m)
  await settled(route)
  assert.deepEqual(
    (await list(route)).map(({ dead }) => dead['status']),
    ['ABORTED'],
  )
  for (const id of names) assert.deepEqual(attempts(route, id), [1, 2, 1], id)
  const redriven = await redrivenCalls(route, 7)
  // The first may be late by what it has to connect before it.
  assert.ok(redriven[2]!.enqueuedAt - redriven[1]!.enqueuedAt > 500, 'a second apart')
  assert.ok(redriven[2]!.enqueuedAt - redriven[0]!.enqueuedAt > 1000)
})

test('a call that is made anew with its key, when its outcome is kept no longer, has a dead letter and a redrive of its own', async (t) => {
  const route = await routeOf(t)
  const metadata = withKey('anew')
  const redis = new Redis(route.redisUrl)
  atEnd(t, () => redis.disconnect())
  const id = idOfKey('anew')
  assert.equal((await route.call(busy('anew', 6), { metadata })).code, GrpcStatus.UNAVAILABLE)
  const died = Date.now()
  assert.equal((await letters(route, 'redrive', '--all')).code, 0)
  await until('it is dead again', async () => (await route.records(`${route.topic}.dead`)) === 3)
  assert.equal((await letters(route, 'discard', '--all')).code, 0)
  await settled(route)
  // As when their time is over. What redrive 1 was started with may stay a little longer.
  await redis.del(callKey(id), startsKey(id))
  await until('it is surely another call', () => Date.now() - died > 2000)
  assert.equal((await route.call(busy('anew', 6), { metadata })).code, GrpcStatus.UNAVAILABLE)
  assert.deepEqual(
    (await list(route)).map(({ redriveRevision = 0 }) => redriveRevision),
    [0],
  )
  const { text } = await letters(route, 'redrive', '--all')
  assert.match(text, /redrive 3\n1 redriven$/)
  await settled(route)
  const late = await route.call(busy('anew', 6), { metadata })
  assert.deepEqual([late.code, late.reply?.toString()], [0, 'at last'])
})

test('a request is shown as JSON where its method is described', async (t) => {
  const route = await routeOf(t)
  const record = encodeRecord({
    id: randomBytes(16),
    deadline: Date.now() + 60_000,
    replyTo: '',
    method: METHOD.slice(1),
    // More than the policy allows: it is a dead letter at once.
    attempt: 9,
    producedAgain: false,
    enqueuedAt: Date.now(),
    firstFailureAt: 0,
    caller: '',
    metadata: [],
    // An Instruction whose id is "a".
    message: Buffer.from([0x0a, 1, 0x61]),
  })
  await produceRaw(route, [record])
  await until('it is dead', async () => (await route.records(`${route.topic}.dead`)) === 1)
  const proto = join(import.meta.dirname, 'support/work.proto')
  const { text } = await letters(route, 'show', '0/0', '--values', '--proto', proto)
  assert.match(text, /^ +request \{"id":"a"\}$/m)
})

test('a failure topic that refuses every record holds the offset until it takes them, and is reported', async (t) => {
  const route = await routeOf(t, { partitions: 1, method: { timeoutMilliseconds: 90_000 } })
  const dead = `${route.topic}.dead`
  const setLimit = (bytes: number) =>
    route.admin.alterConfigs({
      validateOnly: false,
      resources: [
        {
          type: kafkajs.ConfigResourceTypes.TOPIC,
          name: dead,
          configEntries: [{ name: 'max.message.bytes', value: String(bytes) }],
        },
      ],
    })
  await setLimit(1)
  const answer = route.call(busy('held', 2), { deadline: 90_000 })
  const [worker] = route.workers
  await until('a log line names it', () =>
    worker!.process.lines.some((line) => line.includes(`the failure topic ${dead} does not take a record`)),
  )
  assert.ok((await route.metric(worker!, 'grpc_kafka_dead_letter_errors_total')) > 0)
  assert.equal((await route.call({ id: 'neighbour' })).code, 0)
  assert.deepEqual([await route.lag(), await route.records(dead)], [2, 0])
  await setLimit(4_600_000)
  assert.equal((await answer).code, GrpcStatus.UNAVAILABLE)
  await settled(route)
  assert.equal(await route.records(dead), 1)
  assert.equal((await list(route))[0]?.dead['truncated'], undefined, 'it is whole')
})
