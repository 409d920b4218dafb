/** A configuration changes while calls run: every call is answered, and the change has its effect. */
import assert from 'node:assert/strict'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { Load, assertAllAnswered } from './support/load.ts'
import { PATIENT, startRoute, until } from './support/route.ts'
import type { Route, Sidecar } from './support/route.ts'

type Section = Record<string, unknown>
type Written = Record<'log' | 'proxy' | 'worker' | 'service', Section>

const reloads = (route: Route, sidecar: Sidecar, result: string) =>
  route.metric(sidecar, 'grpc_kafka_config_reloads_total', `result="${result}"`)

/** Changes the file at once, as the kubelet does; resolves when the sidecar has applied or refused it. */
async function change(route: Route, sidecar: Sidecar, edit: (config: Written) => void, result = 'applied') {
  const before = await reloads(route, sidecar, result)
  const config = JSON.parse(readFileSync(sidecar.configFile, 'utf8')) as Written
  edit(config)
  writeFileSync(`${sidecar.configFile}.new`, JSON.stringify(config))
  renameSync(`${sidecar.configFile}.new`, sidecar.configFile)
  await until(`the change is ${result}`, async () => (await reloads(route, sidecar, result)) > before)
}

const parts = (route: Route) => {
  const [proxy] = route.proxies
  const [worker] = route.workers
  assert.ok(proxy && worker)
  return { proxy, worker }
}

test('settings that change under load', async (t) => {
  const route = await startRoute(t, { method: PATIENT })
  const { proxy, worker } = parts(route)
  const load = new Load(route, { perSecond: 100 })

  await t.test('a rate limit appears, refuses, and disappears', async () => {
    const limited = await startRoute(t, { method: PATIENT })
    const only = parts(limited).proxy
    assert.equal((await limited.call({ id: 'before' })).code, 0)
    await change(limited, only, ({ proxy: section }) => {
      section['rateLimit'] = { requestsPerSecond: 1, burst: 1 }
    })
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) => limited.call({ id: `limited-${index}` })),
    )
    assert.ok(answers.some(({ code }) => code === GrpcStatus.RESOURCE_EXHAUSTED))
    await change(limited, only, ({ proxy: section }) => {
      delete section['rateLimit']
    })
    const free = await Promise.all(Array.from({ length: 20 }, (_, index) => limited.call({ id: `free-${index}` })))
    assert.deepEqual(new Set(free.map(({ code }) => code)), new Set([0]))
  })

  await t.test('a method appears, keeps its calls when it is removed, and is refused from then on', async () => {
    const method = '/test.Work/Added'
    assert.equal((await route.call({}, { method })).code, GrpcStatus.UNIMPLEMENTED)
    for (const [sidecar, role] of [
      [worker, 'worker'],
      [proxy, 'proxy'],
    ] as const) {
      await change(route, sidecar, (config) => {
        ;(config[role]['methods'] as Section[]).push({ name: 'Added', ...PATIENT })
      })
    }
    // The handler does not know it: that it was asked shows that the call went all the way.
    const asked = await route.call({}, { method })
    assert.equal(asked.code, GrpcStatus.UNIMPLEMENTED)
    assert.equal(await route.metric(worker, 'grpc_kafka_handler_seconds_count', 'method="Added"'), 1)
    await change(route, proxy, (config) => {
      config.proxy['methods'] = (config.proxy['methods'] as Section[]).filter(({ name }) => name !== 'Added')
    })
    await route.call({}, { method })
    assert.equal(await route.metric(worker, 'grpc_kafka_handler_seconds_count', 'method="Added"'), 1)
  })

  await t.test('a shorter timeout holds for the calls that begin after it', async () => {
    const early = route.call({ id: 'early', sleep: 4000, reply: 'in time' })
    await until('it runs', () => route.runs().has('early'))
    await change(route, proxy, (config) => {
      config.proxy['methods'] = [{ name: 'Do', timeoutMilliseconds: 500 }]
    })
    const late = await route.call({ id: 'late', sleep: 4000 })
    assert.equal(late.code, GrpcStatus.DEADLINE_EXCEEDED)
    await change(route, proxy, (config) => {
      config.proxy['methods'] = [{ name: 'Do', ...PATIENT }]
    })
    assert.equal((await early).reply?.toString(), 'in time')
  })

  await t.test('concurrency holds for what starts after it', async () => {
    await change(route, worker, ({ worker: section }) => {
      section['concurrency'] = 2
    })
    await until('at most two calls run', async () => (await route.metric(worker, 'grpc_kafka_running_calls')) <= 2)
    const slow = Array.from({ length: 6 }, (_, index) => route.call({ id: `slow-${index}`, sleep: 300 }))
    await until('two of them run', async () => (await route.metric(worker, 'grpc_kafka_running_calls')) === 2)
    await change(route, worker, ({ worker: section }) => {
      section['concurrency'] = 64
    })
    for (const { code } of await Promise.all(slow)) assert.equal(code, 0)
    const running = { now: 0, most: 0 }
    for (const { event, id } of route.ledger()) {
      if (id?.startsWith('slow-') !== true) continue
      running.now += event === 'began' ? 1 : -1
      running.most = Math.max(running.most, running.now)
    }
    assert.ok(running.most >= 2)
  })

  await t.test('a log level', async () => {
    for (const level of ['error', 'debug']) {
      await change(route, proxy, ({ log }) => {
        log['level'] = level
      })
    }
  })

  await t.test(
    'a bad change is refused with every reason, keeps the earlier one, and a good one recovers',
    async () => {
      const wrong = (config: Written) => {
        config.worker['concurrency'] = 0
        config.worker['retry'] = { maxAttempts: 99 }
      }
      await change(route, worker, wrong, 'refused')
      assert.equal(await route.metric(worker, 'grpc_kafka_config_last_reload_successful'), 0)
      assert.equal(await route.status(worker, '/readyz'), 200)
      const line = worker.process.lines.find((one) => one.includes('is not applied'))
      assert.match(line ?? '', /worker\.concurrency: .*worker\.retry\.maxAttempts: /)
      await change(route, worker, (config) => {
        config.worker['concurrency'] = 64
        config.worker['retry'] = { maxAttempts: 3 }
      })
      assert.equal(await route.metric(worker, 'grpc_kafka_config_last_reload_successful'), 1)
    },
  )

  await t.test('a hundred changes in a row', async () => {
    for (let number = 0; number < 100; number++) {
      const sidecar = number % 2 === 0 ? proxy : worker
      const role = number % 2 === 0 ? 'proxy' : 'worker'
      const config = JSON.parse(readFileSync(sidecar.configFile, 'utf8')) as Written
      if (role === 'proxy') config.proxy['maxInFlight'] = 2000 + number
      else config.worker['concurrency'] = 20 + number
      writeFileSync(sidecar.configFile, JSON.stringify(config))
      sidecar.process.kill('SIGHUP')
    }
    // The last look may have come before the last byte: the next one, a second later, has it.
    for (const sidecar of [proxy, worker])
      await change(route, sidecar, (config) => {
        config.service['resultRetentionSeconds'] = 300
      })
    assert.equal(proxy.process.running && worker.process.running, true)
  })

  await t.test('lose no call', async () => {
    const answers = await load.stop()
    // The calls that met the shorter timeout on purpose are not these: they have 500 ms, and take none.
    assertAllAnswered(answers)
    const runs = route.runs()
    assert.deepEqual(
      answers.filter(({ id }) => runs.get(id) !== 1),
      [],
    )
    t.diagnostic(`${answers.length} calls`)
  })
})
