/** What `grpc-kafka calls show` and `grpc-kafka records` print of calls that were made. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { Metadata } from '@grpc/grpc-js'
import { Redis } from 'ioredis'
import { parseCallId } from '../../sidecar/call-id.ts'
import { callKey } from '../../sidecar/results/keys.ts'
import { atEnd } from './support/clean-up.ts'
import { run } from './support/command-line.ts'
import { PATIENT, startRoute, until } from './support/route.ts'
import type { Route } from './support/route.ts'
import { produceRaw } from './support/topic.ts'

const records = async (route: Route, ...args: string[]): Promise<Record<string, unknown>[]> => {
  const { code, text } = await run(route, ['records', ...args, '--json'])
  assert.equal(code, 0, text)
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

const show = async (route: Route, id: string, ...args: string[]) => {
  const { code, text } = await run(route, ['calls', 'show', id, '--json', ...args])
  return {
    code,
    found: JSON.parse(text) as {
      found: boolean
      redis: Record<string, unknown> | null
      records: Record<string, unknown>[]
    },
  }
}

test('the command line', { timeout: 280_000 }, async (t) => {
  const route = await startRoute(t, { method: { ...PATIENT, metadata: ['x-tenant'] } })
  const redis = new Redis(route.redisUrl)
  atEnd(t, () => redis.quit())
  const metadata = new Metadata()
  metadata.add('x-tenant', 'canary-tenant')
  assert.equal((await route.call({ id: 'one' }, { metadata })).code, 0)
  const [began] = route.ledger()
  assert.ok(began)
  const { callId } = began

  await t.test('prints a record without the values of its metadata, unless they are asked for', async () => {
    const [record, ...others] = await records(route, route.topic)
    assert.deepEqual(others, [])
    assert.equal(record?.['id'], callId)
    assert.equal(record['kind'], 'Call')
    assert.deepEqual(record['metadata'], [{ name: 'x-tenant', bytes: 13 }])
    const [open] = await records(route, route.topic, '--values')
    assert.deepEqual(open?.['metadata'], [{ name: 'x-tenant', bytes: 13, value: 'canary-tenant' }])
  })

  await t.test('prints where an answered call is: its outcome and its record', async () => {
    const { code, found } = await show(route, callId, '--topic', route.topic)
    assert.equal(code, 0)
    assert.deepEqual([found.redis?.['state'], found.redis?.['status']], ['Answered', 'OK'])
    assert.deepEqual(
      [found.redis?.['partition'], found.redis?.['offset'], found.redis?.['attempts']],
      [found.records[0]?.partition, 0, 1],
    )
    const kept = Number(found.redis?.['keptForSeconds'])
    assert.ok(kept > 0 && kept <= 600, `${kept}`)
    assert.deepEqual(
      found.records.map(({ topic, id }) => [topic, id]),
      [[route.topic, callId]],
    )
  })

  await t.test('prints lines for people', async () => {
    const { code, text } = await run(route, ['calls', 'show', callId, '--topic', route.topic])
    assert.equal(code, 0)
    assert.match(
      text,
      new RegExp(
        `^call ${callId}\nRedis   Answered  OK  .*partition \\d offset 0 attempts 1  .*\nKafka   ${route.topic}  \\d/0  .*${callId}`,
      ),
    )
  })

  await t.test("finds a call's record when Redis has forgotten it", async () => {
    const id = parseCallId(callId)
    assert.ok(id)
    await redis.del(callKey(id))
    const { code, found } = await show(route, callId, '--topic', route.topic)
    assert.deepEqual([code, found.found, found.redis, found.records.length], [0, true, null, 1])
  })

  await t.test('takes Kafka, Redis and the topic from a configuration file', async () => {
    const file = route.proxies[0]?.configFile ?? ''
    const { code, text } = await run(route, ['calls', 'show', callId, '-c', file], { KAFKA_BROKERS: '', REDIS_URL: '' })
    assert.equal(code, 0, text)
    assert.match(text, new RegExp(`Kafka   ${route.topic} `))
  })

  await t.test('says that a call is not found, with exit code 1', async () => {
    const { code, text } = await run(route, ['calls', 'show', randomUUID(), '--topic', route.topic])
    assert.equal(code, 1)
    assert.match(text, /^not found$/m)
  })

  await t.test('prints unreadable records and those of the failure topic', async () => {
    await produceRaw(route, [{ key: Buffer.from('k'), value: Buffer.from('v'), partition: 2 }])
    await until('it is dead', async () => (await route.records(`${route.topic}.dead`)) === 1)
    const unreadable = (await records(route, route.topic, '--partition', '2', '--last', '1'))[0]
    assert.deepEqual([unreadable?.['kind'], unreadable?.['reason']], ['Unreadable', 'no grpc-kafka header'])
    const dead = (await records(route, `${route.topic}.dead`))[0]?.['dead'] as Record<string, string>
    assert.deepEqual([dead['topic'], dead['partition']], [route.topic, '2'])
    assert.match(dead['reason'] ?? '', /unreadable/)
  })

  await t.test('reads from an offset, and the last of many', async () => {
    await produceRaw(
      route,
      Array.from({ length: 30 }, (_, index) => ({ value: Buffer.from(String(index)), partition: 1 })),
    )
    const offsets = async (...args: string[]) =>
      (await records(route, route.topic, '--partition', '1', ...args)).map(({ offset }) => Number(offset))
    const all = await offsets('--from', '0')
    assert.ok(all.length >= 30)
    assert.deepEqual(await offsets('--last', '3'), all.slice(-3))
    assert.deepEqual(await offsets('--from', String(all.at(-2))), all.slice(-2))
  })

  const failures: readonly (readonly [name: string, args: readonly string[], code: number, message: RegExp])[] = [
    ['a topic that does not exist', ['records', 'no-such-topic'], 1, /^there is no topic no-such-topic$/m],
    ['a partition that does not exist', ['records', route.topic, '--partition', '9'], 2, /has 3 partitions, from 0/],
    [
      'a Redis that is not there',
      ['calls', 'show', callId, '--redis', 'redis://127.0.0.1:1'],
      1,
      /^Redis cannot be reached: .*ECONNREFUSED/m,
    ],
    [
      'a Kafka that is not there',
      ['records', 'x', '--kafka', '127.0.0.1:1'],
      1,
      /^Kafka cannot be read: .*127\.0\.0\.1:1/m,
    ],
    ['an id that is none', ['calls', 'show', 'x'], 2, /^a call's id is a UUID/m],
  ]
  await t.test('prints the claim of a call with a key that has no outcome yet', async () => {
    const metadata = new Metadata()
    metadata.set('idempotency-key', 'shown')
    const leave = new AbortController()
    const call = route.call({ id: 'claimed', sleep: 15_000 }, { metadata, signal: leave.signal })
    const begun = () => route.ledger().find(({ id }) => id === 'claimed')
    await until('the handler runs it', () => begun() !== undefined)
    const { code, found } = await show(route, begun()?.callId ?? '')
    assert.equal(code, 0)
    assert.match(String(found.redis?.['state']), /^(Claimed|Enqueued)$/)
    assert.ok(Date.parse(String(found.redis?.['deadline'])) > Date.now() - 20_000)
    leave.abort()
    await call
  })

  await t.test('says what is wrong, in one line and without a stack', async (part) => {
    await Promise.all(
      failures.map(([name, args, code, message]) =>
        part.test(name, async () => {
          const printed = await run(route, args)
          assert.equal(printed.code, code, printed.text)
          assert.match(printed.text, message)
          assert.doesNotMatch(printed.text, /^ {4}at /m)
        }),
      ),
    )
  })
})
