import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { ERRORS, GrpcStatus } from '../../sidecar/errors.ts'
import { Load, assertAllAnswered, assertEachRanOnce, ended, slowest } from './support/load.ts'
import type { NamedAnswer } from './support/load.ts'
import { startRoute, until } from './support/route.ts'
import type { LedgerEntry, Worker } from './support/route.ts'

/** One session (6 s) until the group gives the dead member up, the rest for the rebalance and the takeover. */
const RECOVERY_MILLISECONDS = 12_000

test('a call whose worker is killed in the middle of its handler is answered by the next worker', async (t) => {
  const route = await startRoute(t, {
    workers: 2,
    method: { timeoutMilliseconds: 20_000 },
    worker: { retry: { maxAttempts: 3 } },
  })
  const answer = route.call({ id: 'victim', sleep: 1500, reply: 'late but right' })
  await until('the handler runs the call', () => route.ledger().length === 1)
  const [entry] = route.ledger()
  const victim = route.workers.find(({ handler }) => handler.child.pid === entry?.pid)
  assert.ok(victim)
  const killedAt = performance.now()
  victim.process.kill('SIGKILL')
  victim.handler.kill('SIGKILL')
  const { code, details, reply } = await answer
  const recovery = Math.round(performance.now() - killedAt)
  t.diagnostic(`answered ${recovery} ms after the kill`)
  assert.deepEqual({ code, details, reply: reply?.toString() }, { code: 0, details: '', reply: 'late but right' })
  assert.ok(recovery <= RECOVERY_MILLISECONDS, `${recovery} ms`)
  assert.deepEqual(
    route
      .ledger()
      .filter(({ event }) => event === 'began')
      .map(({ pid, attempt }) => [pid === entry?.pid, attempt]),
    [
      [true, 1],
      [false, 2],
    ],
  )
})

test('calls under load are all answered when a worker is killed', async (t) => {
  const route = await startRoute(t, {
    workers: 2,
    method: { timeoutMilliseconds: 20_000 },
    worker: { retry: { maxAttempts: 3 } },
  })
  const load = new Load(route, { perSecond: 200, instruction: { sleep: 20 } })
  await until('the load runs', () => load.answered > 200)
  route.workers[0]?.process.kill('SIGKILL')
  const sent = load.sent
  await until(
    'calls of after the recovery are answered',
    () => load.answered > sent + 400,
    RECOVERY_MILLISECONDS + 5000,
  )
  const answers = await load.stop()
  assertAllAnswered(answers)
  const repeated = [...route.runs().values()].filter((runs) => runs > 1).length
  t.diagnostic(`${answers.length} calls, ${repeated} of them ran again, slowest ${slowest(answers)} ms`)
  assert.equal(route.runs().size, answers.length)
  await until('every offset is committed', async () => (await route.lag()) === 0)
})

test('ordinary rebalances run each call once: workers come and go under load', async (t) => {
  const route = await startRoute(t, {
    workers: 1,
    partitions: 6,
    method: { timeoutMilliseconds: 20_000 },
    worker: { retry: { maxAttempts: 3 } },
  })
  const load = new Load(route, { perSecond: 250, instruction: { sleep: 60 } })
  const moreAnswers = (count: number) => {
    const goal = load.answered + count
    return until(`${count} more answers`, () => load.answered >= goal)
  }
  await moreAnswers(250)
  for (const leaver of [0, 1]) {
    await route.startWorker()
    await moreAnswers(250)
    const worker = route.workers[leaver]
    assert.ok(worker)
    worker.process.kill('SIGTERM')
    assert.equal(await ended(worker.process, 15_000), 0)
    await moreAnswers(250)
  }
  const answers = await load.stop()
  assertAllAnswered(answers)
  assertEachRanOnce(route, answers)
  t.diagnostic(`${answers.length} calls, slowest ${slowest(answers)} ms`)
  await until('every offset is committed', async () => (await route.lag()) === 0)
})

test('rebalances in a row count no start of a call that still waits for its turn', async (t) => {
  // One attempt: a start that was counted and not made would send the call to the failure topic.
  const route = await startRoute(t, {
    workers: 1,
    partitions: 2,
    method: { timeoutMilliseconds: 40_000 },
    worker: { retry: { maxAttempts: 1 }, concurrency: 2 },
  })
  const answers: Promise<NamedAnswer>[] = []
  const ask = (count: number): void => {
    for (let asked = 0; asked < count; asked++) {
      const id = `queued-${answers.length}`
      answers.push(route.call({ id, reply: id, sleep: 100 }, { deadline: 40_000 }).then((reply) => ({ id, ...reply })))
    }
  }
  ask(120)
  for (let leaver = 0; leaver < 3; leaver++) {
    await route.startWorker()
    // A slow start may have outlasted the calls that waited.
    ask(80)
    const begun = route.ledger().length
    await until('the handlers go on', () => route.ledger().length > begun + 20)
    const worker = route.workers[leaver]
    assert.ok(worker)
    worker.process.kill('SIGTERM')
    assert.equal(await ended(worker.process, 15_000), 0)
  }
  const all = await Promise.all(answers)
  assertAllAnswered(all)
  assertEachRanOnce(route, all)
  assert.equal(await route.records(`${route.topic}.dead`), 0)
})

test(
  'a record that kills every worker that runs it ends on the failure topic and takes no neighbour along',
  {
    concurrency: true,
  },
  async (t) => {
    // With one attempt it gets more starts than that: the first two were beside neighbours, and one had to tell who it was.
    await Promise.all(
      [1, 3].map((maxAttempts) =>
        t.test(`with ${maxAttempts} attempt(s) allowed`, (part) => deadly(part, maxAttempts)),
      ),
    )
  },
)

async function deadly(t: TestContext, maxAttempts: number): Promise<void> {
  const route = await startRoute(t, {
    workers: 1,
    partitions: 1,
    method: { timeoutMilliseconds: 60_000 },
    worker: { retry: { maxAttempts } },
    workerEnv: () => ({ TEST_IMPORT: 'test/integration/support/fatal-record.ts', FATAL_MARKER: 'deadly' }),
  })
  const neighbours = Array.from({ length: 20 }, (_, number) => `neighbour-${number}`)
  const beside = neighbours.map(async (id) => ({
    id,
    ...(await route.call({ id, reply: id, sleep: 50 }, { deadline: 60_000 })),
  }))
  const call = route.call({ id: 'deadly' }, { deadline: 60_000 })
  let starts = 0
  const answered = call.then(() => true)
  for (;;) {
    const worker = route.workers.at(-1)
    assert.ok(worker)
    if (await Promise.race([answered, worker.process.exited.then(() => false)])) break
    starts += 1
    assert.ok(starts <= 3, `it killed ${starts} workers`)
    await route.startWorker({}, { whenReady: false })
  }
  const { code, details } = await call
  assert.deepEqual(
    { code, details, starts },
    { code: GrpcStatus.UNAVAILABLE, details: ERRORS.ATTEMPTS_USED_UP.message, starts: 3 },
  )
  assertAllAnswered(await Promise.all(beside))
  assert.equal(await route.records(`${route.topic}.dead`), 1)
  await until('every offset is committed', async () => (await route.lag()) === 0)
}

test('a worker told to end under load finishes what runs: each call is answered once and runs once', async (t) => {
  const route = await startRoute(t, {
    workers: 2,
    method: { timeoutMilliseconds: 20_000 },
    worker: { retry: { maxAttempts: 1 } },
  })
  const load = new Load(route, { perSecond: 300, instruction: { sleep: 100 } })
  await until('the load runs', () => load.answered > 300)
  const [worker] = route.workers
  assert.ok(worker)
  worker.process.kill('SIGTERM')
  assert.equal(await ended(worker.process, 15_000), 0)
  const goal = load.sent + 100
  await until('the other worker answers', () => load.answered > goal)
  const answers = await load.stop()
  assertAllAnswered(answers)
  assertEachRanOnce(route, answers)
  t.diagnostic(`${answers.length} calls, slowest ${slowest(answers)} ms`)
})

test('two proxies and two workers share the load and each call gets its own answer', async (t) => {
  const route = await startRoute(t, { workers: 2, proxies: 2, partitions: 4, method: { timeoutMilliseconds: 20_000 } })
  const load = new Load(route, { perSecond: 400, proxies: [0, 1] })
  await until('the load was carried', () => load.answered > 1200)
  const answers = await load.stop()
  assertAllAnswered(answers)
  assertEachRanOnce(route, answers)
  for (const proxy of route.proxies)
    assert.ok((await route.metric(proxy, 'grpc_server_handled_total', 'grpc_code="OK"')) > 400)
  for (const worker of route.workers)
    assert.ok((await route.metric(worker, 'grpc_kafka_records_total', 'result="answered"')) > 200)
})

test('a rebalance while a backlog holds the reading back runs nothing twice', async (t) => {
  const calls = 10_000
  const route = await startRoute(t, {
    workers: 0,
    partitions: 2,
    method: { timeoutMilliseconds: 90_000 },
    proxy: { maxInFlight: 2 * calls },
    worker: { retry: { maxAttempts: 1 }, concurrency: 32 },
  })
  const answers = Array.from({ length: calls }, async (_, number) => {
    const id = `backlog-${number}`
    // Some always run, also at the moment when reading goes on after the rebalance.
    return { id, ...(await route.call({ id, reply: id, sleep: number % 100 === 0 ? 700 : 10 }, { deadline: 90_000 })) }
  })
  await until('the backlog stands', async () => (await route.records()) === calls, 30_000)
  const first = await route.startWorker()
  const done = () => route.metric(first, 'grpc_kafka_records_total', 'result="answered"')
  await until('the first worker goes on', async () => (await done()) > 300)
  await route.startWorker()
  const all = await Promise.all(answers)
  assertAllAnswered(all)
  assertEachRanOnce(route, all)
})

test('a worker that stood still for longer than its session starts nothing of what it lost, and no offset goes back', async (t) => {
  const route = await startRoute(t, {
    workers: 2,
    method: { timeoutMilliseconds: 30_000 },
    worker: { retry: { maxAttempts: 3 } },
  })
  const offsets = async () => {
    const [group] = await route.admin.fetchOffsets({ groupId: route.groupId, topics: [route.topic] })
    return new Map(group?.partitions.map(({ partition, offset }) => [partition, Number(offset)]))
  }
  const load = new Load(route, { perSecond: 150, instruction: { sleep: 80 }, deadline: 30_000 })
  await until('the load runs', () => load.answered > 200)
  const [frozen, other] = route.workers
  assert.ok(frozen && other)
  const begunBy = ({ handler }: Worker) =>
    route.ledger().filter(({ event, pid }) => event === 'began' && pid === handler.child.pid)
  // Read while it runs: woken, it may join before it answers this.
  const joins = () => route.metric(frozen, 'grpc_kafka_rebalances_total')
  const joinsBefore = await joins()
  // What came while it told that is done: it is not stopped in the midst of it.
  const soon = load.answered + 10
  await until('calls go on', () => load.answered > soon)
  // It may have had all partitions before: before the second worker joined.
  const said = other.process.lines.length
  frozen.process.kill('SIGSTOP')
  const stoppedAt = Date.now()
  const partitions = () =>
    other.process.lines.slice(said).some((line) => line.includes(`"partitions":{"${route.topic}":[0,1,2]}`))
  await until('the group gave its partitions to the other one', partitions, 15_000)
  const goal = load.sent + 150
  await until('the other one goes on', () => load.answered > goal, 15_000)
  const before = await offsets()
  const begun = new Set(begunBy(frozen).map(({ callId }) => callId))
  frozen.process.kill('SIGCONT')
  await until('it is a member again', async () => (await joins()) > joinsBefore)
  const later = load.sent + 100
  await until('calls go on', () => load.answered > later)
  for (const [partition, offset] of await offsets()) {
    assert.ok(offset >= (before.get(partition) ?? 0), `the offset of partition ${partition} went back`)
  }
  const answers = await load.stop()
  assertAllAnswered(answers)
  // What was on its way to the handler when the process was stopped goes there when it is woken: told from what was
  // started later by the time that it was given, of the 30 s that each call has from the time in its id.
  const sentAt = ({ callId }: LedgerEntry) => Number.parseInt(callId.replaceAll('-', '').slice(0, 12), 16)
  const startedAt = (entry: LedgerEntry) => sentAt(entry) + 30_000 - entry.remaining
  const byOther = new Set(begunBy(other).map(({ callId }) => callId))
  const twice = begunBy(frozen).filter(
    (entry) => !begun.has(entry.callId) && byOther.has(entry.callId) && startedAt(entry) > stoppedAt + 1000,
  )
  // It may have been stopped between the look at the clock and the start: of one call, and no other.
  const inTheMidst = twice.length === 1 && twice.every((entry) => sentAt(entry) <= stoppedAt)
  if (!inTheMidst) assert.deepEqual(twice, [], 'it started calls that the other one had')
  t.diagnostic(`${answers.length} calls, slowest ${slowest(answers)} ms`)
  await until('every offset is committed', async () => (await route.lag()) === 0)
})
