import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { Load, assertAllAnswered, ended, slowest } from './support/load.ts'
import { ownKafka } from './support/own.ts'
import { startRoute, until } from './support/route.ts'
import type { RouteOptions } from './support/route.ts'

/** How long a broker takes to come back is the machine's affair; how long the route takes then is ours. */
const DEADLINE_MILLISECONDS = 90_000
/** A session (6 s) for members that the group has given up, a rebalance, and the takeover. */
const RECOVERY_MILLISECONDS = 15_000

test('a Kafka that fails', async (t) => {
  const kafka = await ownKafka(t)
  const options: RouteOptions = {
    brokers: kafka.brokers,
    method: { timeoutMilliseconds: DEADLINE_MILLISECONDS },
    worker: { retry: { maxAttempts: 3 }, graceSeconds: 12 },
    proxy: { drainMilliseconds: 2000 },
  }

  await t.test('killed and started again under load: every call is answered', async (part) => {
    const route = await startRoute(part, options)
    const load = new Load(route, { perSecond: 50, instruction: { sleep: 5 }, deadline: DEADLINE_MILLISECONDS })
    await until('the load runs', () => load.answered > 100)
    const brokenAt = performance.now()
    await kafka.kill('SIGKILL')
    await kafka.start()
    const upAgain = Math.round(performance.now() - brokenAt)
    const goal = load.sent + 100
    await until('calls are answered again', () => load.answered > goal, 30_000)
    const answers = await load.stop()
    part.diagnostic(`Kafka was back after ${upAgain} ms; ${answers.length} calls, slowest ${slowest(answers)} ms`)
    assertAllAnswered(answers)
    assert.ok(slowest(answers) < upAgain + RECOVERY_MILLISECONDS, 'calls waited longer than the recovery may take')
    assert.equal(route.runs().size, answers.length)
    await until('every offset is committed', async () => (await route.lag()) === 0)
  })

  await t.test('silent for longer than a request may take, under load: every call is answered', async (part) => {
    const route = await startRoute(part, options)
    const load = new Load(route, { perSecond: 50, instruction: { sleep: 5 }, deadline: DEADLINE_MILLISECONDS })
    await until('the load runs', () => load.answered > 50)
    await kafka.kill('SIGSTOP')
    const [proxy] = route.proxies
    assert.ok(proxy)
    const failures = () => route.metric(proxy, 'grpc_kafka_produce_errors_total')
    try {
      await until('a produce timed out', async () => (await failures()) > 0)
    } finally {
      await kafka.kill('SIGCONT')
    }
    const goal = load.sent + 100
    await until('calls are answered again', () => load.answered > goal, 30_000)
    const answers = await load.stop()
    const again = [...route.runs().values()].filter((count) => count > 1).length
    part.diagnostic(`${answers.length} calls, ${again} ran again, slowest ${slowest(answers)} ms`)
    assertAllAnswered(answers)
    assert.equal(route.runs().size, answers.length)
    await until('every offset is committed', async () => (await route.lag()) === 0)
  })

  await t.test(
    'stopped: no call is answered, none is invented, and both roles end when they are told to',
    async (part) => {
      const route = await startRoute(part, options)
      assert.equal((await route.call({ id: 'before' })).code, 0)
      await kafka.stop()
      const answers = await Promise.all(
        Array.from({ length: 50 }, (_, number) => route.call({ id: `stopped-${number}` }, { deadline: 2000 })),
      )
      for (const { code, reply, milliseconds } of answers) {
        assert.ok(code === GrpcStatus.UNAVAILABLE || code === GrpcStatus.DEADLINE_EXCEEDED, `status ${code}`)
        assert.equal(reply, undefined)
        assert.ok(milliseconds < 3000, `refused after ${Math.round(milliseconds)} ms`)
      }
      assert.deepEqual([...route.runs().keys()], ['before'])

      await kafka.start()
      await until(
        'calls are answered again',
        async () => (await route.call({ id: 'after' }, { deadline: 3000 })).code === 0,
        30_000,
      )
      const others = [...route.runs().keys()].filter((id) => id !== 'before' && id !== 'after')
      assert.deepEqual(others, [], 'a call ran after its caller was refused')

      await kafka.stop()
      for (const { process } of [...route.proxies, ...route.workers]) process.kill('SIGTERM')
      const codes = await Promise.all([...route.proxies, ...route.workers].map(({ process }) => ended(process, 15_000)))
      assert.deepEqual(codes, [0, 0])
      await kafka.start()
    },
  )
})
