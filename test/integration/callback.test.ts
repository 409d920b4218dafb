/** Callbacks over HTTP: a receiver is told what became of a call, whatever ends in between, and nobody else is. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { Metadata } from '@grpc/grpc-js'
import { ERRORS, GrpcStatus } from '../../sidecar/errors.ts'
import { callbackHeader, encodeRecord } from '../../sidecar/kafka/record.ts'
import { formatCallId } from '../../sidecar/call-id.ts'
import { CallbackReceiver, assertSigned } from './support/callback-receiver.ts'
import { callIdIn } from './support/calls-client.ts'
import { change } from './support/change.ts'
import { makeAuthority, makeCertificate } from './support/certificates.ts'
import { temporaryDirectory } from './support/own.ts'
import { PATIENT, startRoute, until } from './support/route.ts'
import type { Route, RouteOptions } from './support/route.ts'
import { produceRaw } from './support/topic.ts'

const keyText = (key: Buffer): string => `whsec_${key.toString('base64')}`

/** Nobody listens there: what the environment says of proxies leads nowhere. */
const PROXIES = { NODE_USE_ENV_PROXY: '1', HTTP_PROXY: 'http://127.0.0.1:9', HTTPS_PROXY: 'http://127.0.0.1:9' }

interface Told {
  readonly route: Route
  readonly receiver: CallbackReceiver
  readonly key: Buffer
  readonly keyFile: string
}

/** A route whose callers may name the receiver, which is on this machine. */
async function toldRoute(t: TestContext, options: RouteOptions = {}, { secure = false } = {}): Promise<Told> {
  const directory = temporaryDirectory(t)
  const authority = secure ? await makeAuthority(directory, 'authority') : undefined
  const certificate = authority && (await makeCertificate(directory, 'receiver', authority))
  const receiver = await CallbackReceiver.start(t, certificate)
  const key = randomBytes(32)
  const keyFile = join(directory, 'key')
  writeFileSync(keyFile, keyText(key))
  const named = { host: 'localhost', port: receiver.port, scheme: secure ? 'HTTPS' : 'HTTP' } as const
  const called = {
    ...named,
    network: 'Loopback',
    secret: { file: keyFile },
    ...(authority !== undefined && { caFile: authority.certFile }),
  } as const
  const route = await startRoute(t, {
    method: PATIENT,
    ...options,
    proxy: { callbacks: { receivers: [named] }, ...options.proxy },
    worker: { callbacks: { receivers: [called], giveUpAfterSeconds: 60 }, ...options.worker },
    workerEnv: (index) => ({ ...PROXIES, ...options.workerEnv?.(index) }),
  })
  return { route, receiver, key, keyFile }
}

function askedFor(url: string): Metadata {
  const metadata = new Metadata()
  metadata.set('grpc-kafka-callback-url', url)
  return metadata
}

const untilCommitted = (route: Route): Promise<void> =>
  until('every offset is committed', async () => (await route.lag()) === 0)

test('a receiver', async (t) => {
  const { route, receiver, key, keyFile } = await toldRoute(
    t,
    {
      partitions: 1,
      proxy: {
        methods: [
          { name: 'Do', ...PATIENT },
          { name: 'Also', ...PATIENT, delivery: 'OneWay' },
        ],
      },
      worker: {
        methods: ['Do', 'Also'].map((name) => ({ name, ...PATIENT })),
        retry: { maxAttempts: 2, backoff: { initialMilliseconds: 10 } },
      },
    },
    { secure: true },
  )
  const [worker] = route.workers
  assert.ok(worker)
  const metadata = askedFor(receiver.url('/told?of=calls'))
  const untilLogged = (id: string, what: RegExp): Promise<void> =>
    until('the log says so', () =>
      worker.process.lines.some(
        (one) => one.includes('"CALLBACK_NOT_DELIVERED"') && one.includes(id) && what.test(one),
      ),
    )
  t.beforeEach(async () => {
    receiver.react(() => 204)
    await untilCommitted(route)
  })

  await t.test("is told of an answer, signed, over TLS of the receiver's own authority", async () => {
    const answer = await route.call({ id: 'told', reply: 'done' }, { metadata })
    assert.equal(answer.reply?.toString(), 'done')
    const id = callIdIn(answer.trailing)
    const [callback] = await receiver.hears(id)
    assert.ok(callback)
    assertSigned(callback, key)
    assert.deepEqual([callback.path, callback.headers['webhook-id']], ['/told?of=calls', id])
    assert.deepEqual(callback.data, {
      id,
      method: 'test.Work/Do',
      state: 'ANSWERED',
      status: { code: 0, name: 'OK', message: 'OK' },
      attempts: 1,
      responseBytes: 4,
      response: Buffer.from('done').toString('base64'),
    })
    await untilCommitted(route)
    assert.equal(receiver.of(id).length, 1)
  })

  await t.test('is told of a one-way call, whose caller went long ago', async () => {
    const answer = await route.call(
      { id: 'one-way', sleep: 300, reply: 'late' },
      { metadata, method: '/test.Work/Also' },
    )
    const [callback] = await receiver.hears(callIdIn(answer.trailing))
    assert.equal(Buffer.from(callback?.data.response ?? '', 'base64').toString(), 'late')
  })

  await t.test('is told of a dead letter', async () => {
    const answer = await route.call({ id: 'dead', status: GrpcStatus.UNAVAILABLE, details: 'not now' }, { metadata })
    const [callback] = await receiver.hears(callIdIn(answer.trailing))
    assert.deepEqual(
      [callback?.data.state, callback?.data.status.message, callback?.data.attempts],
      ['DEAD_LETTERED', 'not now', 2],
    )
  })

  await t.test('that fails is told again, under one id, and the offset waits for it', async () => {
    const gate = Promise.withResolvers<number>()
    receiver.react((received) => (received <= 2 ? 500 : gate.promise))
    const answer = await route.call({ id: 'again' }, { metadata })
    const id = callIdIn(answer.trailing)
    const callbacks = await receiver.hears(id, 3)
    assert.deepEqual([await route.lag(), await route.metric(worker, 'grpc_kafka_callbacks_pending')], [1, 1])
    gate.resolve(200)
    assert.deepEqual(new Set(callbacks.map(({ headers }) => headers['webhook-id'])), new Set([id]))
    for (const callback of callbacks) assertSigned(callback, key)
    await untilCommitted(route)
    assert.equal(route.runs().get('again'), 1)
  })

  await t.test('that does not answer keeps no other call waiting', async () => {
    const gate = Promise.withResolvers<number>()
    receiver.react(() => gate.promise)
    const slow = await route.call({ id: 'slow' }, { metadata })
    await receiver.hears(callIdIn(slow.trailing))
    const others = await Promise.all(Array.from({ length: 100 }, (_, index) => route.call({ id: `other-${index}` })))
    assert.ok(others.every(({ code }) => code === 0))
    assert.equal(await route.lag(), 101)
    gate.resolve(200)
    await untilCommitted(route)
  })

  await t.test('that has not taken a message in all its time is given up, and the log says of which call', async () => {
    const giveUpAfter = (seconds: number) =>
      change(route, worker, ({ worker: section }) => {
        section['callbacks'] = { ...(section['callbacks'] as object), giveUpAfterSeconds: seconds }
      })
    await giveUpAfter(1)
    receiver.react(() => 503)
    const away = await route.call({ id: 'away' }, { metadata })
    await untilCommitted(route)
    assert.equal(await route.metric(worker, 'grpc_kafka_callbacks_total', 'result="given_up"'), 1)
    await untilLogged(callIdIn(away.trailing), /localhost:\d+: /)
    await giveUpAfter(60)
  })

  await t.test('is told with new keys while the worker runs, and with both while they are changed', async () => {
    const next = randomBytes(32)
    writeFileSync(keyFile, `${keyText(key)}\n${keyText(next)}\n`)
    const both = await route.call({ id: 'both' }, { metadata })
    const [first] = await receiver.hears(callIdIn(both.trailing))
    assert.ok(first)
    assertSigned(first, key)
    assertSigned(first, next)
    writeFileSync(keyFile, keyText(next))
    const one = await route.call({ id: 'next' }, { metadata })
    const [second] = await receiver.hears(callIdIn(one.trailing))
    assert.ok(second)
    assertSigned(second, next)
    assert.throws(() => assertSigned(second, key))
  })

  await t.test('that the service does not allow is refused before the call is anywhere', async () => {
    const before = await route.records()
    for (const url of [
      receiver.url('/').replace('localhost', '127.0.0.1'),
      receiver.url('/').replace('localhost', '[::ffff:127.0.0.1]'),
      receiver.url('/').replace('https', 'http'),
      'https://169.254.169.254/latest/meta-data/',
    ]) {
      const answer = await route.call({ id: 'refused' }, { metadata: askedFor(url) })
      assert.equal(answer.code, GrpcStatus[ERRORS.CALLBACK_NOT_ALLOWED.status])
      assert.match(answer.details, /^the metadata field grpc-kafka-callback-url is none of a receiver/)
    }
    assert.equal(await route.records(), before)
    assert.equal(route.runs().get('refused'), undefined)
  })

  await t.test('that a record names and the service does not allow is not called, and holds nothing up', async () => {
    const id = randomBytes(16)
    const call = { id, deadline: Date.now() + 60_000, replyTo: '', method: 'test.Work/Do', attempt: 1, caller: '' }
    const state = { producedAgain: false, enqueuedAt: Date.now(), firstFailureAt: 0, metadata: [] }
    const record = encodeRecord({ ...call, ...state, message: Buffer.from(JSON.stringify({ id: 'written' })) })
    const url = receiver.url('/').replace('localhost', '127.0.0.1')
    await produceRaw(route, [{ ...record, headers: { ...record.headers, ...callbackHeader(url) } }])
    const refused = () => route.metric(worker, 'grpc_kafka_callbacks_total', 'result="refused"')
    await until('it is refused', async () => (await refused()) === 1)
    await untilCommitted(route)
    assert.deepEqual([route.runs().get('written'), receiver.of(formatCallId(id))], [1, []])
    await untilLogged(formatCallId(id), /none of a receiver/)
  })
})

test('a receiver is told by the next worker of a call whose worker was killed between outcome and callback', async (t) => {
  const { route, receiver, key } = await toldRoute(t, {
    workerEnv: (index): Record<string, string> =>
      index > 0
        ? {}
        : {
            TEST_IMPORT: 'test/integration/support/fatal-step.ts',
            FATAL_STEP: 'after-outcome',
            FATAL_MARKER: 'the-marker',
          },
  })
  const answer = await route.call({ id: 'killed', reply: 'the-marker' }, { metadata: askedFor(receiver.url('/')) })
  assert.equal(answer.reply?.toString(), 'the-marker')
  await route.workers[0]?.process.exited
  const id = callIdIn(answer.trailing)
  assert.deepEqual(receiver.of(id), [])
  await route.startWorker()
  const [callback] = await receiver.hears(id)
  assert.ok(callback)
  assertSigned(callback, key)
  assert.equal(Buffer.from(callback.data.response ?? '', 'base64').toString(), 'the-marker')
  assert.equal(route.runs().get('killed'), 1)
  await untilCommitted(route)
})

test('a worker that ends in order tells what it has to tell first', async (t) => {
  const { route, receiver } = await toldRoute(t)
  receiver.react((received) => (received === 1 ? 503 : 200))
  const answer = await route.call({ id: 'ending' }, { metadata: askedFor(receiver.url('/')) })
  const id = callIdIn(answer.trailing)
  await receiver.hears(id)
  assert.equal(await route.workers[0]?.process.end(), 0)
  assert.equal(receiver.of(id).length, 2)
  assert.equal(await route.lag(), 0)
})
