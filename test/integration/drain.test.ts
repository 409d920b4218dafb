/** A proxy that is told to end finishes what it has, refuses what comes, and loses nothing. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { service as healthService } from 'grpc-health-check'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { PATIENT, startRoute, until } from './support/route.ts'
import type { Answer } from './support/route.ts'

test('SIGTERM to a proxy with calls in flight', async (t) => {
  const route = await startRoute(t, { method: PATIENT })
  const [proxy] = route.proxies
  assert.ok(proxy)
  const running = Array.from({ length: 20 }, (_, index) =>
    route.call({ id: `running-${index}`, sleep: 3000, reply: `${index}` }),
  )
  await until('all run', () => route.runs().size === 20)
  const exited = proxy.process.exited
  proxy.process.kill('SIGTERM')

  await t.test('makes it unready at once', async () => {
    await until('it is not ready', async () => (await route.status(proxy, '/readyz')) === 503, 5000)
  })

  await t.test('refuses new calls as UNAVAILABLE, which did not run', async () => {
    const late = await route.call({ id: 'late' }, { deadline: 1000 })
    assert.equal(late.code, GrpcStatus.UNAVAILABLE)
  })

  await t.test('lets every call in flight have its own answer', async () => {
    const answers = await Promise.all(running)
    assert.deepEqual(
      answers.map(({ code, reply }) => [code, reply?.toString()]),
      answers.map((_, index) => [0, `${index}`]),
    )
  })

  await t.test('ends it with 0', async () => {
    assert.equal(await exited, 0)
    assert.equal(route.runs().has('late'), false)
  })
})

test('SIGTERM to one of two proxies under load: every call is answered once and runs once', async (t) => {
  const route = await startRoute(t, { method: PATIENT, proxies: 2 })
  const [first, second] = route.proxies
  assert.ok(first && second)
  const answers = new Map<string, Answer>()
  const refused = new Set<string>()
  let stop = false
  const client = async (name: number): Promise<void> => {
    for (let index = 0; !stop; index++) {
      const id = `${name}-${index}`
      let answer = await route.call({ id, sleep: 5 }, { proxy: 0 })
      // As any client does whose balancer knows two replicas.
      if (answer.code === GrpcStatus.UNAVAILABLE) {
        refused.add(id)
        answer = await route.call({ id, sleep: 5 }, { proxy: 1 })
      }
      answers.set(id, answer)
    }
  }
  const clients = Array.from({ length: 16 }, (_, name) => client(name))
  await until('the load is on', () => answers.size > 300)
  first.process.kill('SIGTERM')
  assert.equal(await first.process.exited, 0)
  const atEnd = answers.size
  await until('the other proxy carries the load', () => answers.size > atEnd + 200)
  stop = true
  await Promise.all(clients)

  assert.deepEqual(
    [...answers].filter(([, { code }]) => code !== 0).map(([id, { code, details }]) => [id, code, details]),
    [],
  )
  const runs = route.runs()
  assert.deepEqual(
    [...answers.keys()].filter((id) => runs.get(id) !== 1).map((id) => [id, runs.get(id)]),
    [],
  )
  assert.equal(runs.size, answers.size)
  assert.ok(refused.size > 0, 'some calls came while it drained')
  t.diagnostic(`${answers.size} calls, ${refused.size} of them sent again to the other proxy`)
})

test('a drain that takes too long cuts off what is left as UNAVAILABLE, and ends with 0', async (t) => {
  const route = await startRoute(t, { method: PATIENT, proxy: { drainMilliseconds: 500 } })
  const [proxy] = route.proxies
  assert.ok(proxy)
  const slow = route.call({ id: 'slow', sleep: 12_000 })
  await until('it runs', () => route.runs().has('slow'))
  const at = performance.now()
  proxy.process.kill('SIGTERM')
  const answer = await slow
  assert.equal(answer.code, GrpcStatus.UNAVAILABLE)
  assert.match(answer.details, /shut down before the result came; the call may still run/)
  assert.equal(await proxy.process.exited, 0)
  assert.ok(performance.now() - at < 8000, `took ${performance.now() - at} ms`)
})

test('a client that watches the health of a draining proxy is told, and does not hold it up', async (t) => {
  const route = await startRoute(t, { method: PATIENT })
  const [proxy] = route.proxies
  assert.ok(proxy)
  const { Watch } = healthService
  assert.ok(Watch)
  const seen: string[] = []
  const watch = proxy.client.makeServerStreamRequest(
    Watch.path,
    Watch.requestSerialize,
    Watch.responseDeserialize as (bytes: Buffer) => { readonly status: string },
    { service: '' },
  )
  watch.on('data', ({ status }: { readonly status: string }) => seen.push(status))
  watch.on('error', () => undefined)
  await until('it is SERVING', () => seen.length === 1)
  proxy.process.kill('SIGTERM')
  await until('it is told', () => seen.length === 2)
  assert.deepEqual(seen, ['SERVING', 'NOT_SERVING'])
  const at = performance.now()
  assert.equal(await proxy.process.exited, 0)
  assert.ok(performance.now() - at < 10_000, `took ${performance.now() - at} ms`)
})

test('a second SIGTERM ends a draining proxy at once', async (t) => {
  const route = await startRoute(t, { method: PATIENT })
  const [proxy] = route.proxies
  assert.ok(proxy)
  const slow = route.call({ id: 'slow', sleep: 12_000 })
  await until('it runs', () => route.runs().has('slow'))
  proxy.process.kill('SIGTERM')
  await until('it drains', async () => (await route.status(proxy, '/readyz')) === 503)
  proxy.process.kill('SIGTERM')
  assert.equal(await proxy.process.exited, 1)
  assert.equal((await slow).code, GrpcStatus.UNAVAILABLE)
})
