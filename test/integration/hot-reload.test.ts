/** Configurations change while calls run: every call is answered, and each change has its effect. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { Redis } from 'ioredis'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { callKey } from '../../sidecar/results/keys.ts'
import { change, read } from './support/change.ts'
import type { Section, Written } from './support/change.ts'
import { Load, assertAllAnswered } from './support/load.ts'
import { PATIENT, startRoute, until } from './support/route.ts'
import type { Answer, LedgerEntry, Sidecar } from './support/route.ts'
import { OTHER_METHOD } from './support/service.ts'

const ALSO = { name: 'Also', ...PATIENT }
const DO = { name: 'Do', ...PATIENT }
const codes = (answers: readonly Answer[]) => new Set(answers.map(({ code }) => code))

/** How many calls whose names begin so ran at the same time, at the most. */
function mostAtOnce(ledger: readonly LedgerEntry[], name: string): number {
  let now = 0
  let most = 0
  for (const { event, id } of ledger) {
    if (id?.startsWith(name) !== true) continue
    now += event === 'began' ? 1 : -1
    most = Math.max(most, now)
  }
  return most
}

test('settings that change under load', async (t) => {
  const route = await startRoute(t, { method: PATIENT, proxies: 2 })
  // The load goes through the first proxy; the second one is given limits that would refuse it.
  const [proxy, aside] = route.proxies
  const [worker] = route.workers
  assert.ok(proxy && aside && worker)
  const load = new Load(route, { perSecond: 50 })
  const redis = new Redis(route.redisUrl)
  t.after(() => redis.quit())
  const several = (count: number, name: string, sleep: number, proxyIndex = 0) =>
    Promise.all(
      Array.from({ length: count }, (_, index) => route.call({ id: `${name}-${index}`, sleep }, { proxy: proxyIndex })),
    )

  await t.test('a method appears, and is refused after it is removed, but for its calls in flight', async () => {
    assert.equal((await route.call({}, { method: OTHER_METHOD })).code, GrpcStatus.UNIMPLEMENTED)
    await change(route, worker, ({ worker: section }) => (section['methods'] = [DO, ALSO]))
    await change(route, proxy, ({ proxy: section }) => (section['methods'] = [DO, ALSO]))
    assert.equal((await route.call({}, { method: OTHER_METHOD })).code, 0)
    const inFlight = route.call({ id: 'of-removed', sleep: 3000 }, { method: OTHER_METHOD })
    await until('it runs', () => route.runs().has('of-removed'))
    await change(route, proxy, ({ proxy: section }) => (section['methods'] = [DO]))
    await change(route, worker, ({ worker: section }) => (section['methods'] = [DO]))
    assert.equal((await route.call({}, { method: OTHER_METHOD })).code, GrpcStatus.UNIMPLEMENTED)
    assert.equal((await inFlight).code, 0)
  })

  await t.test('a shorter timeout holds for the calls that begin after it', async () => {
    await change(route, worker, ({ worker: section }) => (section['methods'] = [DO, ALSO]))
    await change(route, proxy, ({ proxy: section }) => (section['methods'] = [DO, ALSO]))
    const early = route.call({ id: 'early', sleep: 5000, reply: 'in time' }, { method: OTHER_METHOD })
    await until('it runs', () => route.runs().has('early'))
    // The load's own method begins anew as well.
    await change(route, proxy, ({ proxy: section }) => {
      section['methods'] = [
        { ...DO, timeoutMilliseconds: 19_000 },
        { ...ALSO, timeoutMilliseconds: 500 },
      ]
    })
    const late = await route.call({ id: 'late', sleep: 5000 }, { method: OTHER_METHOD })
    assert.equal(late.code, GrpcStatus.DEADLINE_EXCEEDED)
    await change(route, proxy, ({ proxy: section }) => (section['methods'] = [DO]))
    assert.equal((await early).reply?.toString(), 'in time')
  })

  await t.test('a rate limit makes calls wait, and those that wait are let in after it is gone', async () => {
    const waiting = () => route.metric(proxy, 'grpc_kafka_calls_waiting')
    await change(route, proxy, ({ proxy: section }) => {
      section['rateLimit'] = { requestsPerSecond: 25, burst: 1, maxWaiting: 10_000 }
    })
    await until('calls wait', async () => (await waiting()) > 0)
    await change(route, proxy, ({ proxy: section }) => delete section['rateLimit'])
    await until('none waits', async () => (await waiting()) === 0)
  })

  await t.test('limits refuse what is above them, and nothing once they are as before', async () => {
    const refused = (limit: string) => route.metric(aside, 'grpc_kafka_refusals_total', `limit="${limit}"`)
    await change(route, aside, ({ proxy: section }) => {
      section['rateLimit'] = { requestsPerSecond: 1, burst: 1 }
    })
    assert.ok(codes(await several(20, 'limited', 0, 1)).has(GrpcStatus.RESOURCE_EXHAUSTED))
    assert.ok((await refused('RATE_LIMITED')) > 0)

    await change(route, aside, ({ proxy: section }) => {
      delete section['rateLimit']
      section['maxInFlight'] = 1
      section['maxInFlightBytes'] = 1_048_576
    })
    const large = (id: string, sleep: number) =>
      Buffer.concat([Buffer.from(JSON.stringify({ id, sleep })), Buffer.alloc(800_000)])
    const first = route.call(large('first', 6000), { proxy: 1 })
    await until('it runs', () => route.runs().has('first'))
    assert.equal((await route.call({ id: 'second' }, { proxy: 1 })).code, GrpcStatus.RESOURCE_EXHAUSTED)
    assert.equal((await route.call(large('third', 0), { proxy: 1 })).code, GrpcStatus.RESOURCE_EXHAUSTED)
    assert.equal(await refused('TOO_MANY_IN_FLIGHT'), 1)
    assert.equal(await refused('TOO_MANY_BYTES'), 1)

    await change(route, aside, ({ proxy: section }) => {
      delete section['maxInFlight']
      delete section['maxInFlightBytes']
    })
    assert.deepEqual(codes(await several(20, 'free', 100, 1)), new Set([0]))
    assert.equal((await first).code, 0)
  })

  await t.test('answers are kept while the method says so', async () => {
    const ask = async (id: string) => (await route.call({ id }, { proxy: 1 })).trailing.get('grpc-kafka-cache')
    await change(route, aside, ({ proxy: section }) => (section['methods'] = [{ ...DO, cacheSeconds: 3600 }]))
    assert.deepEqual([await ask('kept'), await ask('kept')], [[], ['hit']])
    await change(route, aside, ({ proxy: section }) => (section['methods'] = [DO]))
    assert.deepEqual([await ask('kept'), await ask('kept')], [[], []])
    assert.equal(route.runs().get('kept'), 3)
  })

  await t.test('concurrency holds for what starts after it', async () => {
    await change(route, worker, ({ worker: section }) => (section['concurrency'] = 2))
    assert.deepEqual(codes(await several(6, 'narrow', 200)), new Set([0]))
    assert.ok(mostAtOnce(route.ledger(), 'narrow') <= 2)
    await change(route, worker, ({ worker: section }) => (section['concurrency'] = 64))
    assert.deepEqual(codes(await several(6, 'wide', 2000)), new Set([0]))
    assert.ok(mostAtOnce(route.ledger(), 'wide') > 2)
  })

  await t.test('retries, the longest attempt and the retention of outcomes', async () => {
    const failing = (id: string) => route.call({ id, status: GrpcStatus.UNAVAILABLE, failures: 2 })
    const retention = async () => {
      const id = (await route.call({})).trailing.get('grpc-kafka-call-id')[0] as string
      return redis.ttl(callKey(Buffer.from(id.replaceAll('-', ''), 'hex')))
    }
    assert.equal((await failing('once')).code, GrpcStatus.UNAVAILABLE)
    assert.ok((await retention()) > 60)
    await change(route, worker, (config) => {
      config.worker['retry'] = { maxAttempts: 3, backoff: { initialMilliseconds: 10 } }
      config.worker['timeoutMilliseconds'] = 5000
      config.service['resultRetentionSeconds'] = 60
    })
    const long = route.call({ id: 'long', sleep: 15_000 })
    assert.equal((await failing('thrice')).code, 0)
    assert.equal(route.runs().get('thrice'), 3)
    const seconds = await retention()
    assert.ok(seconds > 0 && seconds <= 60, `${seconds} s`)
    // The worker ends it, or the handler itself, which was told of its time.
    const { code, milliseconds } = await long
    assert.equal(code, GrpcStatus.DEADLINE_EXCEEDED)
    assert.ok(milliseconds >= 4900 && milliseconds < 14_000, `after ${milliseconds} ms`)
  })

  await t.test('a log level', async () => {
    const told = () => proxy.process.lines.filter((line) => line.includes('read again and applied')).length
    const before = told()
    for (const level of ['error', 'debug']) await change(route, proxy, ({ log }) => (log['level'] = level))
    await until('the second change is told', () => told() > before)
    assert.equal(told(), before + 1, 'and the first was not: its own level forbids it')
  })

  await t.test('profiles are given once they are enabled, and no more once they are not', async () => {
    const profile = () => route.status(worker, '/profile/heap?seconds=1')
    assert.equal(await profile(), 404)
    await change(route, worker, ({ admin }) => (admin['profiling'] = 'Enabled'))
    assert.equal(await profile(), 200)
    await change(route, worker, ({ admin }) => (admin['profiling'] = 'Disabled'))
    assert.equal(await profile(), 404)
  })

  await t.test('a bad change is refused with every reason, and a good one recovers', async () => {
    const wrong = (config: Written) => {
      config.worker['concurrency'] = 0
      config.worker['retry'] = { maxAttempts: 99 }
      config.worker['groupId'] = ''
    }
    await change(route, worker, wrong, 'refused')
    assert.equal(await route.metric(worker, 'grpc_kafka_config_last_reload_successful'), 0)
    assert.equal(await route.status(worker, '/readyz'), 200)
    assert.equal((await route.call({ id: 'by-the-earlier' })).code, 0)
    const refusal = () => worker.process.lines.find((line) => line.includes('is not applied'))
    await until('it is logged', () => refusal() !== undefined)
    for (const path of ['worker.concurrency: ', 'worker.retry.maxAttempts: ', 'worker.groupId: '])
      assert.ok(refusal()?.includes(path) === true, path)
    await change(route, worker, ({ worker: section }) => {
      section['concurrency'] = 64
      section['retry'] = {}
      section['groupId'] = route.groupId
    })
    assert.equal(await route.metric(worker, 'grpc_kafka_config_last_reload_successful'), 1)
  })

  await t.test('a shorter drain', async () => {
    await change(route, aside, ({ proxy: section }) => (section['drainMilliseconds'] = 1000))
    const cutOff = route.call({ id: 'cut-off', sleep: 15_000 }, { proxy: 1 })
    await until('it runs', () => route.runs().has('cut-off'))
    assert.equal(await aside.process.end(), 0)
    assert.equal((await cutOff).code, GrpcStatus.UNAVAILABLE)
  })

  await t.test('a hundred changes in a row, some read half written', async () => {
    for (let number = 0; number < 100; number++) {
      const sidecar: Sidecar = number % 2 === 0 ? proxy : worker
      const config = read(sidecar)
      if (sidecar === proxy) config.proxy = changed(config.proxy, { maxInFlight: 2000 + number }, number >= 98)
      else config.worker = changed(config.worker, { concurrency: 20 + number }, number >= 98)
      writeFileSync(sidecar.configFile, JSON.stringify(config))
      sidecar.process.kill('SIGHUP')
    }
    await until('the last ones hold', async () => (await route.call({}, { method: OTHER_METHOD })).code === 0)
    for (const sidecar of [proxy, worker]) {
      await until(
        'it says so',
        async () => (await route.metric(sidecar, 'grpc_kafka_config_last_reload_successful')) === 1,
      )
    }
  })

  await t.test('lose no call, and run none twice', async () => {
    const answers = await load.stop()
    assertAllAnswered(answers)
    const runs = route.runs()
    assert.deepEqual(
      answers.filter(({ id }) => runs.get(id) !== 1).map(({ id }) => ({ id, runs: runs.get(id) })),
      [],
    )
    t.diagnostic(`${answers.length} calls`)
  })
})

/** The last of the hundred says something that can be seen from outside. */
const changed = (section: Section, change: Section, isLast: boolean): Section => ({
  ...section,
  ...change,
  methods: isLast ? [DO, ALSO] : [DO],
})
