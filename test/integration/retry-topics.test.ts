/** Calls that wait for their next attempt on topics, through faults. */
import assert from 'node:assert/strict'
import { suite, test, type TestContext } from 'node:test'
import { ERRORS, GrpcStatus } from '../../sidecar/errors.ts'
import { decodeRecord, type CallRecord } from '../../sidecar/kafka/record.ts'
import { atEnd } from './support/clean-up.ts'
import { createTopics, PATIENT, startRoute, until, type Route, type RouteOptions } from './support/route.ts'
import { OutcomeReader, readTopic } from './support/topic.ts'

const BACKOFF = { initialMilliseconds: 300, factorPercent: 200, jitterPercent: 0 }
const RETRY = { maxAttempts: 3, backoff: BACKOFF }

const withTopics = (t: TestContext, options: RouteOptions = {}): Promise<Route> =>
  startRoute(t, { retryTopics: 2, method: PATIENT, worker: { retry: RETRY }, ...options })

const attempts = (route: Route, id: string) =>
  route.ledger().flatMap((entry) => (entry.event === 'began' && entry.id === id ? [entry.attempt] : []))

const busy = (id: string, failures = Infinity) => ({
  id,
  status: GrpcStatus.UNAVAILABLE,
  details: 'busy',
  ...(failures === Infinity ? {} : { failures }),
  reply: 'at last',
})

async function callsOn(route: Route, count: number, topic: string): Promise<CallRecord[]> {
  return (await readTopic(route, count, topic)).map(({ key, value, headers = {} }) => {
    const decoded = decodeRecord({ key, value, headers })
    assert.ok(decoded.kind === 'Call')
    return decoded.record
  })
}

suite('calls that wait on topics', { concurrency: 3 }, () => {
  test('a call goes from topic to topic until an attempt succeeds, and its caller gets that answer', async (t) => {
    const route = await withTopics(t)
    const answer = await route.call(busy('grows', 2))
    assert.deepEqual({ code: answer.code, reply: answer.reply?.toString() }, { code: 0, reply: 'at last' })
    assert.deepEqual(attempts(route, 'grows'), [1, 2, 3])
    const [first = 0, second = 0, third = 0] = route
      .ledger()
      .filter(({ event }) => event === 'began')
      .map(({ at }) => at)
    assert.ok(second - first >= 299, `${second - first} ms`)
    assert.ok(third - second >= 599, `${third - second} ms`)
    const [one] = await callsOn(route, 1, route.retryTopics[0]!)
    const [two] = await callsOn(route, 1, route.retryTopics[1]!)
    assert.deepEqual([one?.attempt, two?.attempt], [2, 3])
    assert.deepEqual(
      two?.failures?.map(({ attempt, status }) => [attempt, status]),
      [
        [1, GrpcStatus.UNAVAILABLE],
        [2, GrpcStatus.UNAVAILABLE],
      ],
    )
    assert.equal(two.firstFailureAt, one?.firstFailureAt)
    const outcomes = new OutcomeReader(route)
    t.after(() => outcomes.close())
    const outcome = await outcomes.settled(two.id)
    assert.deepEqual(
      'place' in outcome && outcome.place,
      { ...two.origin, attempts: 3 },
      'the place of its first record',
    )
    await until('no offset waits', async () => (await route.lag()) === 0)
  })

  test('a call that waits holds no offset of its own topic, and none of those that are due earlier', async (t) => {
    const backoff = { initialMilliseconds: 6000, factorPercent: 100, jitterPercent: 0 }
    const route = await withTopics(t, { retryTopics: 1, partitions: 1, worker: { retry: { maxAttempts: 2, backoff } } })
    const waiting = route.call(busy('waits', 1))
    await until('its first attempt failed', async () => (await route.records(route.retryTopics[0])) === 1)
    const { code } = await route.call({ id: 'passes' })
    assert.equal(code, 0)
    await until('the offsets of the calls are committed', async () => (await route.lag()) === 1)
    assert.deepEqual(attempts(route, 'waits'), [1])
    assert.equal((await waiting).code, 0)
  })

  test('used-up attempts end on the failure topic with their history', async (t) => {
    const route = await withTopics(t)
    const { code, details } = await route.call(busy('hopeless'))
    assert.deepEqual({ code, details }, { code: GrpcStatus.UNAVAILABLE, details: 'busy' })
    const [dead] = await callsOn(route, 1, `${route.topic}.dead`)
    assert.deepEqual(
      dead?.failures?.map(({ attempt, status, worker }) => [attempt, status, worker !== '']),
      [1, 2, 3].map((attempt) => [attempt, GrpcStatus.UNAVAILABLE, true]),
    )
    assert.deepEqual(attempts(route, 'hopeless'), [1, 2, 3])
  })

  test('a worker that is killed while calls wait loses none of them, and burns no attempt', async (t) => {
    const backoff = { initialMilliseconds: 9000, factorPercent: 100, jitterPercent: 0 }
    const route = await withTopics(t, {
      retryTopics: 1,
      method: { timeoutMilliseconds: 60_000 },
      worker: { retry: { maxAttempts: 3, backoff } },
    })
    const names = Array.from({ length: 20 }, (_, index) => `call-${index}`)
    const answers = names.map((id) => route.call(busy(id, 1), { deadline: 60_000 }))
    await until('all of them wait', async () => (await route.records(route.retryTopics[0])) === 20)
    await until('by their offsets, too', async () => (await route.lag()) === 20)
    const [worker] = route.workers
    worker!.process.kill('SIGKILL')
    await worker!.process.exited
    await route.startWorker()
    for (const answer of await Promise.all(answers)) assert.equal(answer.code, 0, answer.details)
    // The next worker's handler fails once, too.
    for (const id of names) assert.deepEqual(attempts(route, id), [1, 2, 3], id)
  })

  for (const step of ['before-produce', 'after-produce', 'handed-on']) {
    test(`a worker that is killed when it hands a call on (${step}) starts it no more often than allowed`, async (t) => {
      const route = await withTopics(t, {
        partitions: 1,
        method: { timeoutMilliseconds: 60_000 },
        worker: { retry: { maxAttempts: 4, backoff: BACKOFF } },
        workerEnv: (index) =>
          index > 0
            ? {}
            : { TEST_IMPORT: 'test/integration/support/fatal-step.ts', FATAL_STEP: step, FATAL_MARKER: 'marked' },
      })
      const answer = route.call(busy('marked'), { deadline: 60_000 })
      const [worker] = route.workers
      await worker!.process.exited
      assert.deepEqual(attempts(route, 'marked'), [1])
      await route.startWorker()
      const { code, details } = await answer
      assert.deepEqual({ code, details }, { code: GrpcStatus.UNAVAILABLE, details: 'busy' })
      const made = attempts(route, 'marked')
      // What Kafka has and Redis does not know of yet may be started as two records; `begin` counts both. One start alone may be above.
      assert.ok(made.length >= 4 && made.length <= 5, made.join(' '))
      if (step === 'handed-on') assert.deepEqual(made, [1, 2, 3, 4])
      await until('no offset waits', async () => (await route.lag()) === 0)
      assert.equal(await route.records(`${route.topic}.dead`), 1)
    })
  }

  test('while the handler is away no attempt is burnt, however long calls are due', async (t) => {
    const route = await withTopics(t, { method: { timeoutMilliseconds: 60_000 } })
    const answer = route.call(busy('patient', 1), { deadline: 60_000 })
    await until('it waits', async () => (await route.records(route.retryTopics[0])) === 1)
    const [worker] = route.workers
    worker!.handler.kill('SIGKILL')
    await worker!.handler.exited
    const due = route.ledger().at(-1)!.at + BACKOFF.initialMilliseconds
    await until('it has been due for long', () => Date.now() > due + 1000)
    worker!.handler = (await route.startHandler(worker!.handlerPort)).handler
    assert.equal((await answer).code, 0)
    // The next handler fails once, too.
    assert.deepEqual(attempts(route, 'patient'), [1, 2, 3])
  })

  test('retry topics that come later are found, and fewer than the policy has pauses are enough', async (t) => {
    // One attempt more than are needed: who joins again does not know of a call that it has read whether it ran before.
    const route = await withTopics(t, { retryTopics: 0, worker: { retry: { ...RETRY, maxAttempts: 4 } } })
    const topic = `${route.topic}.retry.1`
    await createTopics(route.admin, [{ topic, numPartitions: 3, replicationFactor: 1 }])
    atEnd(t, () => route.admin.deleteTopics({ topics: [topic] }))
    let calls = 0
    await until(
      'calls wait there',
      async () => {
        const id = `call-${calls++}`
        assert.equal((await route.call(busy(id, 2))).code, 0, `${id} ${attempts(route, id).join(' ')}`)
        return (await route.records(topic)) >= 2
      },
      60_000,
    )
  })

  test('a retry topic that is deleted holds up no other call, and calls wait there again when it is back', async (t) => {
    // As many as there are topics, so that nobody looks for more. And room for two starts that were none: see below.
    const retry = { maxAttempts: 5, backoff: { ...BACKOFF, maxMilliseconds: 600 } }
    const route = await withTopics(t, { method: { timeoutMilliseconds: 60_000 }, worker: { retry } })
    const last = route.retryTopics.at(-1)!
    const answered = async (id: string, failures = 0): Promise<void> => {
      const { code, details } = await route.call(busy(id, failures), { deadline: 60_000 })
      assert.deepEqual({ id, code, details }, { id, code: 0, details: '' }, attempts(route, id).join(' '))
    }
    await answered('before', 2)
    await until('no offset waits', async () => (await route.lag()) === 0)
    await route.admin.deleteTopics({ topics: [last] })
    await until('it is gone', async () => !(await route.admin.listTopics()).includes(last))
    await answered('passes')
    await answered('waits elsewhere', 1)
    await createTopics(route.admin, [{ topic: last, numPartitions: 3, replicationFactor: 1 }])
    let calls = 0
    await until(
      'calls wait there',
      async () => {
        await answered(`again-${calls++}`, 2)
        return (await route.records(last)) > 0
      },
      60_000,
    )
  })

  test('calls that wait while workers come and go lose no attempt, and none is made twice', async (t) => {
    const backoff = { initialMilliseconds: 5000, factorPercent: 100, jitterPercent: 0 }
    const route = await withTopics(t, {
      retryTopics: 1,
      partitions: 2,
      method: { timeoutMilliseconds: 60_000 },
      worker: { retry: { maxAttempts: 3, backoff } },
    })
    const names = Array.from({ length: 10 }, (_, index) => `call-${index}`)
    const answers = names.map((id) => route.call(busy(id, 1), { deadline: 60_000 }))
    await until('all of them wait', async () => (await route.records(route.retryTopics[0])) === 10)
    await route.startWorker()
    route.workers[0]!.process.kill('SIGTERM')
    for (const answer of await Promise.all(answers)) assert.equal(answer.code, 0, answer.details)
    // Two, or three where the second worker's handler failed once, too.
    for (const id of names) assert.deepEqual(attempts(route, id), [1, 2, 3].slice(0, attempts(route, id).length), id)
    await until('no offset waits', async () => (await route.lag()) === 0)
  })

  test('a call that kills its worker when it is tried again ends on the failure topic and takes no neighbour along', async (t) => {
    const backoff = { initialMilliseconds: 2000, factorPercent: 100, jitterPercent: 0 }
    const route = await withTopics(t, {
      retryTopics: 1,
      partitions: 1,
      method: { timeoutMilliseconds: 60_000 },
      worker: { retry: { maxAttempts: 3, backoff } },
      workerEnv: () => ({
        TEST_IMPORT: 'test/integration/support/fatal-record.ts',
        FATAL_MARKER: 'deadly',
        FATAL_ATTEMPT: '2',
      }),
    })
    const call = route.call(busy('deadly'), { deadline: 60_000 })
    await until('it waits', async () => (await route.records(route.retryTopics[0])) === 1)
    const beside = Array.from({ length: 10 }, (_, index) =>
      route.call({ id: `neighbour-${index}`, sleep: 3000 }, { deadline: 60_000 }),
    )
    const answered = call.then(() => true)
    let kills = 0
    for (;;) {
      const worker = route.workers.at(-1)
      assert.ok(worker)
      if (await Promise.race([answered, worker.process.exited.then(() => false)])) break
      kills += 1
      assert.ok(kills <= 2, `it killed ${kills} workers`)
      await route.startWorker({}, { whenReady: false })
    }
    const { code, details } = await call
    assert.deepEqual(
      { code, details, kills },
      { code: GrpcStatus.UNAVAILABLE, details: ERRORS.ATTEMPTS_USED_UP.message, kills: 2 },
    )
    for (const answer of await Promise.all(beside)) assert.equal(answer.code, 0, answer.details)
    assert.equal(await route.records(`${route.topic}.dead`), 1)
    await until('no offset waits', async () => (await route.lag()) === 0)
  })
})
