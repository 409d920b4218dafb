/** The result cache: an OK answer is given again for its time, and identical calls in flight are one. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Metadata } from '@grpc/grpc-js'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { PATIENT, startRoute, until } from './support/route.ts'
import type { Answer, Route } from './support/route.ts'

const replies = (answers: readonly Answer[]) => answers.map(({ code, reply }) => [code, reply?.toString()])
const isHit = ({ trailing }: Answer): boolean => trailing.get('grpc-kafka-cache')[0] === 'hit'

const requests = (route: Route, result: string): Promise<number> => {
  const [proxy] = route.proxies
  return proxy === undefined
    ? Promise.resolve(NaN)
    : route.metric(proxy, 'grpc_kafka_cache_requests_total', `result="${result}"`)
}

test('a method with cacheSeconds', async (t) => {
  const route = await startRoute(t, {
    method: PATIENT,
    proxy: { methods: [{ name: 'Do', ...PATIENT, cacheSeconds: 600, metadata: ['x-tenant'] }] },
  })

  await t.test('answers an identical call from memory, and says so in the trailing metadata', async () => {
    const instruction = { id: 'twice', reply: 'first', trailing: { 'x-from-handler': 'yes' } }
    const first = await route.call(instruction)
    const second = await route.call(instruction)
    assert.deepEqual(replies([first, second]), [
      [0, 'first'],
      [0, 'first'],
    ])
    assert.deepEqual([first, second].map(isHit), [false, true])
    assert.deepEqual(second.trailing.get('x-from-handler'), ['yes'])
    assert.equal(route.runs().get('twice'), 1)
  })

  await t.test('runs a call whose request or travelling metadata differs', async () => {
    const tenant = (value: string) => {
      const metadata = new Metadata()
      metadata.set('x-tenant', value)
      metadata.set('x-request-id', String(Math.random()))
      return { metadata }
    }
    await route.call({ id: 'tenants' }, tenant('blue'))
    await route.call({ id: 'tenants' }, tenant('red'))
    await route.call({ id: 'tenants', details: 'another request' }, tenant('red'))
    assert.equal(route.runs().get('tenants'), 3)
    assert.equal(isHit(await route.call({ id: 'tenants' }, tenant('red'))), true)
    assert.equal(route.runs().get('tenants'), 3)
  })

  await t.test('keeps no failure', async () => {
    const failing = { id: 'failing', status: GrpcStatus.NOT_FOUND, failures: 2, reply: 'found at last' }
    const answers = [await route.call(failing), await route.call(failing), await route.call(failing)]
    assert.deepEqual(
      answers.map(({ code }) => code),
      [GrpcStatus.NOT_FOUND, GrpcStatus.NOT_FOUND, 0],
    )
    assert.equal(isHit(await route.call(failing)), true)
  })

  await t.test('makes one call of a stampede, whatever its answer', async () => {
    const before = await requests(route, 'collapsed')
    for (const [name, status] of [
      ['good', undefined],
      ['bad', GrpcStatus.DATA_LOSS],
    ] as const) {
      const id = `stampede-${name}`
      const instruction = { id, sleep: 1500, reply: id, ...(status !== undefined && { status }) }
      const answers = await Promise.all(Array.from({ length: 50 }, () => route.call(instruction)))
      assert.deepEqual(
        replies(answers),
        answers.map(() => (status === undefined ? [0, id] : [status, undefined])),
      )
      assert.equal(route.runs().get(id), 1)
    }
    assert.equal((await requests(route, 'collapsed')) - before, 98)
  })

  await t.test('hands a stampede over when the caller of its one call goes away', async () => {
    const controller = new AbortController()
    const instruction = { id: 'handed-over', sleep: 3000, reply: 'there' }
    const leader = route.call(instruction, { signal: controller.signal })
    await until('the leader runs', () => route.runs().has('handed-over'))
    const before = await requests(route, 'collapsed')
    const followers = Array.from({ length: 5 }, () => route.call(instruction))
    const hurried = route.call(instruction, { deadline: 1500 })
    await until('six follow', async () => (await requests(route, 'collapsed')) - before === 6)
    controller.abort()
    assert.equal((await leader).code, GrpcStatus.CANCELLED)
    assert.equal((await hurried).code, GrpcStatus.DEADLINE_EXCEEDED)
    assert.deepEqual(
      replies(await Promise.all(followers)),
      followers.map(() => [0, 'there']),
    )
    assert.equal(route.runs().get('handed-over'), 2)
  })

  await t.test('counts what it keeps', async () => {
    const [proxy] = route.proxies
    assert.ok(proxy)
    const entries = await route.metric(proxy, 'grpc_kafka_cache_entries')
    assert.ok(entries >= 5, `${entries} entries`)
    assert.ok((await route.metric(proxy, 'grpc_kafka_cache_bytes')) > entries * 100)
    assert.equal(await requests(route, 'hit'), 3)
  })
})

test('an answer in the cache runs out after cacheSeconds', async (t) => {
  const route = await startRoute(t, {
    method: PATIENT,
    proxy: { methods: [{ name: 'Do', ...PATIENT, cacheSeconds: 1 }] },
  })
  const asked = performance.now()
  await route.call({ id: 'aging' })
  await until('it runs anew', async () => {
    await route.call({ id: 'aging' })
    return route.runs().get('aging') === 2
  })
  const milliseconds = performance.now() - asked
  assert.ok(milliseconds >= 1000, `after ${milliseconds} ms`)
})
