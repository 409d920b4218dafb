import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Redis } from 'ioredis'
import { formatCallId } from '../../sidecar/call-id.ts'
import { ERRORS, GrpcStatus } from '../../sidecar/errors.ts'
import { callKey } from '../../sidecar/results/keys.ts'
import { atEnd } from './support/clean-up.ts'
import { idOfKey, withKey } from './support/keyed.ts'
import { PATIENT, startRoute, until } from './support/route.ts'
import type { Answer } from './support/route.ts'
import { OutcomeReader } from './support/topic.ts'

/** How much later than the outcome a joiner may be answered, at the most usual. */
const JOIN_MILLISECONDS = 250

const text = ({ code, reply }: Answer) => ({ code, reply: reply?.toString() })
const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] as number

test('a call with a known idempotency key', async (t) => {
  const route = await startRoute(t, { proxies: 2, method: PATIENT, worker: { concurrency: 128 } })

  await t.test('gets the first answer, byte for byte, from every replica, and runs once', async () => {
    const instruction = { id: 'again', reply: 'the one answer' }
    const first = await route.call(instruction, { metadata: withKey('again') })
    const others = await Promise.all(
      [0, 1].map((proxy) => route.call(instruction, { metadata: withKey('again'), proxy })),
    )
    for (const answer of [first, ...others]) {
      assert.deepEqual(text(answer), { code: 0, reply: 'the one answer' })
      assert.deepEqual(answer.trailing.get('grpc-kafka-call-id'), [formatCallId(idOfKey('again'))])
    }
    assert.equal(route.runs().get('again'), 1)
  })

  await t.test('gets a status that the handler gave as well', async () => {
    const instruction = { id: 'refused', status: GrpcStatus.NOT_FOUND, details: 'no such thing' }
    for (const proxy of [0, 1]) {
      const { code, details } = await route.call(instruction, { metadata: withKey('refused'), proxy })
      assert.deepEqual({ code, details }, { code: GrpcStatus.NOT_FOUND, details: 'no such thing' })
    }
    assert.equal(route.runs().get('refused'), 1)
  })

  await t.test('gets a large answer as well, while it waits and afterwards', async () => {
    const instruction = { id: 'large', replyBytes: 3_000_000, sleep: 300 }
    const answers = await Promise.all(
      [0, 1, 1].map((proxy) => route.call(instruction, { metadata: withKey('large'), proxy })),
    )
    answers.push(await route.call(instruction, { metadata: withKey('large') }))
    assert.deepEqual(new Set(answers.map(({ reply }) => reply?.length)), new Set([3_000_000]))
    assert.equal(route.runs().get('large'), 1)
  })

  await t.test('with another request is FAILED_PRECONDITION, whether or not it has an outcome', async () => {
    const running = route.call({ id: 'first', sleep: 500 }, { metadata: withKey('reused') })
    await until('it runs', () => route.runs().has('first'))
    const early = await route.call({ id: 'second' }, { metadata: withKey('reused'), proxy: 1 })
    assert.equal(early.code, GrpcStatus.FAILED_PRECONDITION)
    assert.equal((await running).code, 0)
    const late = await route.call({ id: 'second' }, { metadata: withKey('reused'), proxy: 1 })
    assert.equal(late.code, GrpcStatus.FAILED_PRECONDITION)
    assert.equal(route.runs().has('second'), false)
  })

  await t.test('that cannot be one is INVALID_ARGUMENT and names the field', async () => {
    for (const keys of [[''], ['k'.repeat(256)], ['one', 'two']]) {
      const { code, details } = await route.call({ id: 'invalid' }, { metadata: withKey(...keys) })
      assert.deepEqual(
        { code, details },
        { code: GrpcStatus.INVALID_ARGUMENT, details: ERRORS.IDEMPOTENCY_KEY_INVALID.message },
      )
      assert.match(details, /idempotency-key/)
    }
    assert.equal(route.runs().has('invalid'), false)
  })

  await t.test('does not travel to the handler', async () => {
    await route.call({ id: 'travels' }, { metadata: withKey('not for the handler') })
    const entry = route.ledger().find(({ id }) => id === 'travels')
    assert.deepEqual(
      Object.keys(entry?.metadata ?? {}).filter((name) => name.includes('idempotency')),
      [],
    )
  })

  await t.test('is answered within a quarter of a second of its outcome, on another replica', async (part) => {
    const calls = Array.from({ length: 60 }, (_, number) => `joined-${number}`)
    const later = await Promise.all(
      calls.map(async (id, number) => {
        // They end one after the other, at any point of a joiner's pause.
        const instruction = { id, reply: id, sleep: 1000 + 17 * number }
        const ask = async (proxy: number) => {
          const answer = await route.call(instruction, { metadata: withKey(id), proxy })
          return { answer, at: performance.now() }
        }
        const [first, joiner] = await Promise.all([ask(0), ask(1)])
        assert.deepEqual(text(first.answer), { code: 0, reply: id })
        assert.deepEqual(text(joiner.answer), { code: 0, reply: id })
        return joiner.at - first.at
      }),
    )
    const joined = await Promise.all(
      route.proxies.map((proxy) => route.metric(proxy, 'grpc_kafka_joins_total', 'kind="joined"')),
    )
    assert.ok((joined[0] as number) + (joined[1] as number) >= calls.length, `${joined.join(' and ')} joined`)
    // Either may have come first. Who was woken is answered at once, so the distance is that of the joiner.
    const usual = Math.round(median(later.map(Math.abs)))
    part.diagnostic(`joiners were answered ${usual} ms after the others, ${Math.round(Math.max(...later))} at the most`)
    assert.ok(usual <= JOIN_MILLISECONDS, `${usual} ms`)
    const runs = route.runs()
    assert.deepEqual(
      calls.filter((id) => runs.get(id) !== 1),
      [],
    )
  })

  await t.test('goes on when the caller who began it goes away', async () => {
    const gone = new AbortController()
    const instruction = { id: 'left', reply: 'still here', sleep: 1000 }
    const first = route.call(instruction, { metadata: withKey('left'), signal: gone.signal })
    await until('it runs', () => route.runs().has('left'))
    const others = [0, 1].map((proxy) => route.call(instruction, { metadata: withKey('left'), proxy }))
    gone.abort()
    assert.equal((await first).code, GrpcStatus.CANCELLED)
    for (const answer of await Promise.all(others)) assert.deepEqual(text(answer), { code: 0, reply: 'still here' })
    assert.equal(route.runs().get('left'), 1)
  })

  await t.test('runs anew when its outcome is no longer kept', async (part) => {
    const redis = new Redis(route.redisUrl)
    atEnd(part, () => redis.quit())
    const ask = () => route.call({ id: 'forgotten' }, { metadata: withKey('forgotten') })
    await ask()
    await redis.pexpire(callKey(idOfKey('forgotten')), 1)
    await until('Redis has forgotten it', async () => (await redis.exists(callKey(idOfKey('forgotten')))) === 0)
    assert.equal((await ask()).code, 0)
    assert.equal(route.runs().get('forgotten'), 2)
  })
})

test('a call that no worker started before its deadline runs when it is sent again with its key', async (t) => {
  const route = await startRoute(t, { workers: 0, proxies: 2, method: PATIENT })
  const reader = new OutcomeReader(route)
  atEnd(t, () => reader.close())
  const ask = (deadline: number, proxy: number) =>
    route.call({ id: 'expired', reply: 'at last' }, { metadata: withKey('expired'), deadline, proxy })
  assert.equal((await ask(2000, 0)).code, GrpcStatus.DEADLINE_EXCEEDED)
  await until('Kafka has it', async () => (await route.records()) === 1)
  await route.startWorker()
  assert.deepEqual(await reader.settled(idOfKey('expired')), { state: 'Expired', started: 'No' })
  assert.equal(route.runs().has('expired'), false)
  assert.deepEqual(text(await ask(20_000, 1)), { code: 0, reply: 'at last' })
  assert.deepEqual(text(await ask(20_000, 0)), { code: 0, reply: 'at last' })
  assert.equal(route.runs().get('expired'), 1)
})

for (const retryTopics of [0, 1]) {
  const where = retryTopics === 0 ? 'in its worker' : 'on a topic'
  test(`a key that is used anew has all of its attempts, whatever the call before had that waited ${where}`, async (t) => {
    const backoff = { initialMilliseconds: 50, jitterPercent: 0 }
    const worker = { concurrency: 1, retry: { maxAttempts: 2, backoff } }
    const route = await startRoute(t, { retryTopics, method: PATIENT, worker })
    const redis = new Redis(route.redisUrl)
    atEnd(t, () => redis.quit())
    const key = `anew-${where}`
    const ask = () =>
      route.call({ id: key, status: GrpcStatus.UNAVAILABLE, failures: 1, reply: 'at last' }, { metadata: withKey(key) })
    assert.deepEqual(text(await ask()), { code: 0, reply: 'at last' })
    await until('no offset waits', async () => (await route.lag()) === 0)
    await redis.pexpire(callKey(idOfKey(key)), 1)
    await until('its outcome is no longer kept', async () => (await redis.exists(callKey(idOfKey(key)))) === 0)

    // Behind a call that has the only place, it is asked about before it starts: it may be the second with its key.
    const before = route.call({ id: 'before', sleep: 1000 })
    await until('the place is taken', () => route.runs().has('before'))
    assert.deepEqual(text(await ask()), { code: 0, reply: 'at last' })
    assert.equal((await before).code, 0)
    assert.deepEqual(
      route.ledger().flatMap((entry) => (entry.event === 'began' && entry.id === key ? [entry.attempt] : [])),
      [1, 2, 1],
    )
  })
}
