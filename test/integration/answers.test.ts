/** What the handler says is what the caller gets, and of the caller's metadata only what the resource names travels. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Metadata } from '@grpc/grpc-js'
import { GRPC_STATUS_NAMES, GrpcStatus } from '../../sidecar/errors.ts'
import { PATIENT, startRoute } from './support/route.ts'
import { OutcomeReader, allBytes, readTopic } from './support/topic.ts'

const DETAILS = '08031206e298832078c3a4'
const texts = (metadata: Metadata, name: string): string[] =>
  metadata.get(name).map((value) => (Buffer.isBuffer(value) ? value.toString('hex') : value))

test('the answer of a handler', async (t) => {
  const route = await startRoute(t, { method: PATIENT })

  for (const name of GRPC_STATUS_NAMES.filter((one) => one !== 'OK')) {
    await t.test(`status ${name} arrives with its message, details and metadata`, async () => {
      const answer = await route.call({
        id: name,
        status: GrpcStatus[name],
        details: `refused: 100 % of "größe" is gone (${name})`,
        initial: { 'x-first': 'early' },
        trailing: { 'grpc-status-details-bin': DETAILS, 'x-note': 'late' },
      })
      assert.deepEqual(
        {
          code: answer.code,
          details: answer.details,
          initial: texts(answer.initial, 'x-first'),
          statusDetails: texts(answer.trailing, 'grpc-status-details-bin'),
          note: texts(answer.trailing, 'x-note'),
        },
        {
          code: GrpcStatus[name],
          details: `refused: 100 % of "größe" is gone (${name})`,
          initial: ['early'],
          statusDetails: [DETAILS],
          note: ['late'],
        },
      )
      assert.equal(route.runs().get(name), 1)
    })
  }

  await t.test('status OK arrives with the message and metadata', async () => {
    const answer = await route.call({ id: 'ok', reply: 'said', initial: { 'x-a': '1' }, trailing: { 'x-b': '2' } })
    assert.deepEqual(
      { code: answer.code, reply: answer.reply?.toString(), initial: texts(answer.initial, 'x-a') },
      { code: 0, reply: 'said', initial: ['1'] },
    )
    assert.deepEqual(texts(answer.trailing, 'x-b'), ['2'])
  })

  await t.test('a status without a message has none', async () => {
    const answer = await route.call({ status: GrpcStatus.NOT_FOUND })
    assert.deepEqual({ code: answer.code, details: answer.details }, { code: GrpcStatus.NOT_FOUND, details: '' })
  })

  await t.test('a long message of many lines arrives whole', async () => {
    const details = 'line of a trace\n'.repeat(400)
    const answer = await route.call({ status: GrpcStatus.INTERNAL, details })
    assert.equal(answer.details, details)
  })

  await t.test('several values of one name and binary values arrive, first and last', async () => {
    const many = { 'x-many': ['one', 'two, with a comma', 'three'], 'x-raw-bin': ['00ff80', '0a'] }
    const answer = await route.call({ initial: many, trailing: many })
    for (const metadata of [answer.initial, answer.trailing]) {
      assert.equal(texts(metadata, 'x-many').join(', '), 'one, two, with a comma, three')
      assert.deepEqual(texts(metadata, 'x-raw-bin'), ['00ff80', '0a'])
    }
  })

  await t.test('an empty request and an empty reply are a call like any other', async () => {
    const empty = await route.call(Buffer.alloc(0))
    assert.deepEqual({ code: empty.code, reply: empty.reply?.toString() }, { code: 0, reply: 'done' })
    assert.equal(route.ledger().at(-1)?.event, 'ended')
    const silent = await route.call({ reply: '' })
    assert.deepEqual({ code: silent.code, bytes: silent.reply?.length }, { code: 0, bytes: 0 })
  })

  await t.test('a method that the resource does not name is UNIMPLEMENTED and puts nothing on Kafka', async () => {
    const before = await route.records()
    for (const method of ['/test.Work/Other', '/other.Service/Do', '/test.Work/do', '/test.Work/Do/']) {
      const answer = await route.call({ id: method }, { method })
      assert.equal(answer.code, GrpcStatus.UNIMPLEMENTED, method)
    }
    assert.equal(await route.records(), before)
    assert.equal(route.runs().has('/test.Work/Other'), false)
  })
})

test("the caller's metadata", async (t) => {
  const route = await startRoute(t, { method: { ...PATIENT, metadata: ['x-tenant', 'x-many', 'x-raw-bin'] } })
  const SECRET = 'not-for-kafka'

  const metadata = new Metadata()
  metadata.add('x-tenant', 'blue')
  for (const value of ['one', 'two', 'three']) metadata.add('x-many', value)
  for (const value of ['00ff80', '0a']) metadata.add('x-raw-bin', Buffer.from(value, 'hex'))
  for (const name of ['authorization', 'cookie', 'set-cookie', 'proxy-authorization', 'x-other', 'x-tenant-2']) {
    metadata.add(name, SECRET)
  }
  metadata.add('x-other-bin', Buffer.from(SECRET))
  metadata.add('traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01')
  metadata.add('tracestate', 'vendor=one')
  const answer = await route.call({ id: 'tagged' }, { metadata })
  assert.equal(answer.code, 0)
  const began = route.ledger().find(({ event, id }) => event === 'began' && id === 'tagged')
  assert.ok(began)

  await t.test('reaches the handler where the resource names it, also binary and in several values', () => {
    assert.deepEqual(began.metadata['x-tenant'], ['blue'])
    assert.equal(began.metadata['x-many']?.join(', '), 'one, two, three')
    assert.deepEqual(began.metadata['x-raw-bin'], ['00ff80', '0a'])
  })

  await t.test('that the resource does not name never reaches the handler', () => {
    const own = ['grpc-kafka-attempt', 'grpc-kafka-call-id', 'traceparent', 'tracestate', 'user-agent']
    assert.deepEqual(Object.keys(began.metadata).sort(), [...own, 'x-many', 'x-raw-bin', 'x-tenant'].sort())
  })

  await t.test('that the resource does not name never stands on Kafka', async () => {
    const [record] = await readTopic(route, 1)
    assert.ok(record)
    assert.ok(allBytes(record).includes('blue'), 'the search finds what is there')
    assert.ok(!allBytes(record).includes(SECRET))
    assert.deepEqual(Object.keys(record.headers ?? {}).sort(), [
      'grpc-kafka',
      'm:x-many',
      'm:x-raw-bin',
      'm:x-tenant',
      'traceparent',
      'tracestate',
    ])
  })

  await t.test('never stands in Redis or in a log', async () => {
    const redis = new OutcomeReader(route)
    try {
      const outcome = await redis.bytes(Buffer.from(began.callId.replaceAll('-', ''), 'hex'))
      assert.ok(outcome)
      assert.ok(!outcome.toString('latin1').includes(SECRET))
    } finally {
      await redis.close()
    }
    for (const { process } of [...route.proxies, ...route.workers]) {
      assert.deepEqual(
        process.lines.filter((line) => line.includes(SECRET) || line.includes('blue')),
        [],
      )
    }
  })

  await t.test('traceparent and tracestate reach the handler as they came', () => {
    assert.deepEqual(began.metadata['traceparent'], ['00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'])
    assert.deepEqual(began.metadata['tracestate'], ['vendor=one'])
  })

  await t.test('a traceparent that is none is left out', async () => {
    const malformed = new Metadata()
    malformed.add('traceparent', '00-00000000000000000000000000000000-b7ad6b7169203331-01')
    malformed.add('tracestate', 'vendor=one')
    assert.equal((await route.call({ id: 'malformed' }, { metadata: malformed })).code, 0)
    const entry = route.ledger().find(({ event, id }) => event === 'began' && id === 'malformed')
    assert.ok(entry)
    assert.deepEqual([entry.metadata['traceparent'], entry.metadata['tracestate']], [undefined, undefined])
  })

  await t.test('travels up to 32 KiB, and more is refused before Kafka', async () => {
    const fits = new Metadata()
    for (let index = 0; index < 30; index++) fits.add('x-many', String(index).padStart(1000, 'v'))
    const carried = await route.call({ id: 'fits' }, { metadata: fits })
    assert.equal(carried.code, 0, carried.details)
    const entry = route.ledger().find(({ event, id }) => event === 'began' && id === 'fits')
    assert.ok((entry?.metadata['x-many']?.join('').length ?? 0) >= 30_000)

    const before = await route.records()
    const tooMuch = new Metadata()
    for (let index = 0; index < 40; index++) tooMuch.add('x-many', String(index).padStart(1000, 'v'))
    const refused = await route.call({ id: 'too-much' }, { metadata: tooMuch })
    assert.equal(refused.code, GrpcStatus.RESOURCE_EXHAUSTED)
    assert.match(refused.details, /metadata .* larger than 32 KiB/)
    assert.equal(await route.records(), before)
  })
})
