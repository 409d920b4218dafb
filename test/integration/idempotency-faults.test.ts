/** A sidecar dies, or stands still, at each step of a call with an idempotency key. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { readFileSync } from 'node:fs'
import { Metadata } from '@grpc/grpc-js'
import { startRoute, until } from './support/route.ts'
import type { Answer, Proxy, Route, RouteOptions } from './support/route.ts'

const REPLY = 'the one answer'
/** A group gives a killed worker's partitions on after a session of 6 s, a rebalance and a lapsed word: on a busy machine, later. */
const RECOVERY_MILLISECONDS = 60_000
const FIRST = 0
const OTHER = 1

/** The preload that strikes one sidecar at a step of the call that holds REPLY. */
const struck = (step: string, signal: NodeJS.Signals = 'SIGKILL') => ({
  TEST_IMPORT: 'test/integration/support/fatal-step.ts',
  FATAL_STEP: step,
  FATAL_MARKER: REPLY,
  FATAL_SIGNAL: signal,
})

/** With a key of the route's own: all routes are of one service and share one Redis. */
function call(route: Route, proxy: number): Promise<Answer> {
  const metadata = new Metadata()
  metadata.set('idempotency-key', route.topic)
  return route.call({ id: 'keyed', reply: REPLY }, { metadata, proxy, deadline: RECOVERY_MILLISECONDS })
}

/** The same key on the other replica, and there again: the same bytes each time. */
async function answeredElsewhere(route: Route): Promise<void> {
  for (const what of ['first', 'second']) {
    const { code, details, reply } = await call(route, OTHER)
    assert.deepEqual({ code, details, reply: reply?.toString() }, { code: 0, details: '', reply: REPLY }, what)
  }
}

const untilCommitted = (route: Route): Promise<void> =>
  until('every offset is committed', async () => (await route.lag()) === 0, RECOVERY_MILLISECONDS)

/** Takeovers by the other replica: on a machine that is busy for as long as a lease, also where nobody died in between. */
const copies = (route: Route): Promise<number> =>
  route.metric(route.proxies[OTHER] as Proxy, 'grpc_kafka_joins_total', 'kind="taken_over"')

/** Linux tells the state of a process after its name (proc_pid_stat(5)). */
const isStopped = ({ process }: Proxy): boolean =>
  / T /.test(readFileSync(`/proc/${process.child.pid}/stat`, 'latin1').replace(/^.*\)/, ''))

const startStruckProxy = (t: TestContext, step: string, signal?: NodeJS.Signals, options: RouteOptions = {}) =>
  startRoute(t, {
    proxies: 2,
    method: { timeoutMilliseconds: RECOVERY_MILLISECONDS },
    proxyEnv: (index) => (index === FIRST ? struck(step, signal) : {}),
    ...options,
  })

test('a proxy that is killed', { concurrency: true }, async (t) => {
  await Promise.all([
    t.test('between claim and produce leaves a claim that is taken over', async (part) => {
      const route = await startStruckProxy(part, 'before-produce')
      const first = call(route, FIRST)
      await route.proxies[FIRST]?.process.exited
      assert.notEqual((await first).code, 0)
      await answeredElsewhere(route)
      assert.equal(route.runs().get('keyed'), 1)
      assert.equal(await route.records(), 1)
      assert.equal(await copies(route), 1)
    }),
    t.test('after the produce and before the answer leaves a call that is answered elsewhere', async (part) => {
      const route = await startStruckProxy(part, 'after-produce')
      const first = call(route, FIRST)
      await route.proxies[FIRST]?.process.exited
      assert.notEqual((await first).code, 0)
      await answeredElsewhere(route)
      await untilCommitted(route)
      const ran = route.runs().get('keyed') ?? 0
      assert.ok(ran >= 1 && ran <= 1 + (await copies(route)), `it ran ${ran} times`)
    }),
  ])
})

test('a worker that is killed', { concurrency: true }, async (t) => {
  const startStruckWorker = (part: TestContext, step: string) =>
    startRoute(part, {
      proxies: 2,
      method: { timeoutMilliseconds: RECOVERY_MILLISECONDS },
      worker: { retry: { maxAttempts: 3 } },
      workerEnv: (index) => (index === 0 ? struck(step) : {}),
    })
  const answers = [
    { step: 'before-outcome', what: 'after the handler and before the outcome', runs: 2 },
    { step: 'after-outcome', what: 'after the outcome and before the commit', runs: 1 },
  ]
  await Promise.all(
    answers.map(({ step, what, runs }) =>
      t.test(`${what} leaves a call that ran ${runs === 1 ? 'once' : 'twice'} and has one answer`, async (part) => {
        const route = await startStruckWorker(part, step)
        const first = call(route, FIRST)
        await route.workers[0]?.process.exited
        await route.startWorker({}, { whenReady: false })
        await answeredElsewhere(route)
        const { code, reply } = await first
        assert.deepEqual({ code, reply: reply?.toString() }, { code: 0, reply: REPLY })
        await untilCommitted(route)
        const ran = route.runs().get('keyed') ?? 0
        assert.ok(ran >= runs && ran <= runs + (await copies(route)), `it ran ${ran} times`)
      }),
    ),
  )
})

test('a proxy that stands still for longer than its lease', { concurrency: true }, async (t) => {
  /** The call is answered elsewhere while its proxy stands still; then that proxy goes on. */
  const wakeLate = async (route: Route): Promise<void> => {
    const first = call(route, FIRST)
    await until('it stands still', () => isStopped(route.proxies[FIRST] as Proxy))
    await answeredElsewhere(route)
    route.proxies[FIRST]?.process.kill('SIGCONT')
    const { code, reply } = await first
    assert.deepEqual({ code, reply: reply?.toString() }, { code: 0, reply: REPLY })
  }
  await Promise.all([
    t.test(
      'between claim and produce puts nothing on Kafka any more: it gives the answer of who took over',
      async (part) => {
        const route = await startStruckProxy(part, 'claimed', 'SIGSTOP')
        await wakeLate(route)
        await untilCommitted(route)
        assert.equal(await route.records(), 1)
        assert.equal(route.runs().get('keyed'), 1)
      },
    ),
    t.test('in the middle of the produce puts a second record on Kafka, which does not run', async (part) => {
      const route = await startStruckProxy(part, 'before-produce', 'SIGSTOP')
      await wakeLate(route)
      await until('Kafka has both', async () => (await route.records()) === 2)
      await untilCommitted(route)
      assert.equal(route.runs().get('keyed'), 1)
    }),
  ])
})
