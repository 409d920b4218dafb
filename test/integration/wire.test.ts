/** A client that breaks the rules of HTTP/2 and gRPC harms itself: the proxy stays, and other callers see nothing of it. */
import assert from 'node:assert/strict'
import http2 from 'node:http2'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { PATIENT, startRoute, until } from './support/route.ts'
import { grpcRequest, wireCall, withSession } from './support/wire.ts'

const MEBIBYTE = 1_048_576
/** What a garbage collector may leave for later. */
const GROWTH_BYTES = 96 * MEBIBYTE

const work = (id: string): Buffer => Buffer.from(JSON.stringify({ id }))
const repeated = function* (count: number, piece: Buffer): Iterable<Buffer> {
  for (let index = 0; index < count; index++) yield piece
}

test('a client that breaks the rules', async (t) => {
  const route = await startRoute(t, { method: { ...PATIENT, metadata: ['x-raw-bin', 'x-many'] } })
  const [proxy] = route.proxies
  assert.ok(proxy)
  const { port } = proxy
  const wire = (request: Parameters<typeof wireCall>[1]) => withSession(port, (session) => wireCall(session, request))
  const pid = proxy.process.child.pid

  /** Another caller all the while; its answers tell whether anything leaked over. */
  let stop = false
  let neighbours = 0
  const failures: string[] = []
  const slowest = { milliseconds: 0 }
  const neighbour = (async () => {
    while (!stop) {
      const answer = await route.call({ id: `neighbour-${neighbours}`, reply: `${neighbours}` }, { deadline: 10_000 })
      if (answer.code !== 0 || answer.reply?.toString() !== `${neighbours}`)
        failures.push(`${answer.code} ${answer.details}`)
      slowest.milliseconds = Math.max(slowest.milliseconds, answer.milliseconds)
      neighbours += 1
      await pause(5)
    }
  })()
  await until('the neighbour is served', () => neighbours > 20)
  const memory = await route.metric(proxy, 'process_resident_memory_bytes')

  await t.test('a proper call over raw HTTP/2 is answered', async () => {
    const answer = await wire({ body: [grpcRequest(work('proper'))] })
    assert.deepEqual([answer.httpStatus, answer.grpcStatus, answer.body.subarray(5).toString()], [200, 0, 'done'])
  })

  await t.test('a compressed flag without an encoding is answered or refused, never run with other bytes', async () => {
    const answer = await wire({ body: [grpcRequest(work('flagged'), 1)] })
    assert.ok(answer.grpcStatus === 0 || answer.grpcStatus === GrpcStatus.INTERNAL, `status ${answer.grpcStatus}`)
    assert.ok((route.runs().get('flagged') ?? 0) <= 1)
  })

  await t.test('a flag that means nothing is answered or refused', async () => {
    const answer = await wire({ body: [grpcRequest(work('flag-7'), 7)] })
    assert.equal(answer.timedOut, false)
    assert.notEqual(answer.grpcStatus, undefined)
  })

  await t.test('a length prefix beyond the body is refused without a run', async () => {
    const answer = await wire({ body: [grpcRequest(work('long-prefix'), 0, 5000)] })
    assert.equal(answer.grpcStatus, GrpcStatus.UNIMPLEMENTED)
    assert.equal(route.runs().has('long-prefix'), false)
  })

  await t.test('a length prefix of four gigabytes is RESOURCE_EXHAUSTED at once', async () => {
    const answer = await wire({ body: [grpcRequest(work('huge-prefix'), 0, 0xffffffff)] })
    assert.equal(answer.grpcStatus, GrpcStatus.RESOURCE_EXHAUSTED)
    assert.equal(route.runs().has('huge-prefix'), false)
  })

  await t.test('a length prefix shorter than the body: what it does not cover never reaches the handler', async () => {
    const request = work('short-prefix')
    const answer = await wire({ body: [grpcRequest(Buffer.concat([request, Buffer.from('tail')]), 0, request.length)] })
    assert.equal(answer.timedOut, false)
    assert.notEqual(answer.grpcStatus, undefined)
    const bytes = route
      .ledger()
      .filter(({ id, event }) => id === 'short-prefix' && event === 'began')
      .map((entry) => entry.bytes)
    assert.ok(
      bytes.every((count) => count === request.length),
      `${bytes.join()} of ${request.length} bytes`,
    )
  })

  await t.test('a prefix cut in the middle is refused', async () => {
    const answer = await wire({ body: [Buffer.from([0, 0, 0])] })
    assert.equal(answer.grpcStatus, GrpcStatus.UNIMPLEMENTED)
  })

  await t.test('no message at all is refused', async () => {
    const answer = await wire({ body: [] })
    assert.equal(answer.grpcStatus, GrpcStatus.UNIMPLEMENTED)
  })

  await t.test('two messages in a unary call are refused, and neither runs', async () => {
    const answer = await wire({ body: [Buffer.concat([grpcRequest(work('first')), grpcRequest(work('second'))])] })
    assert.equal(answer.grpcStatus, GrpcStatus.UNIMPLEMENTED)
    assert.deepEqual([route.runs().has('first'), route.runs().has('second')], [false, false])
  })

  await t.test('a stream of messages to a unary method is refused, and none runs', async () => {
    async function* messages(): AsyncIterable<Buffer> {
      for (let index = 0; index < 5; index++) {
        yield grpcRequest(work(`streamed-${index}`))
        await pause(30)
      }
    }
    const answer = await wire({ body: messages() })
    assert.equal(answer.grpcStatus, GrpcStatus.UNIMPLEMENTED)
    assert.equal(
      [...route.runs().keys()].some((id) => id.startsWith('streamed')),
      false,
    )
  })

  await t.test('thousands of messages on one stream cost no memory', async () => {
    const answer = await wire({ body: repeated(2000, grpcRequest(Buffer.alloc(10_000))) })
    assert.notEqual(answer.grpcStatus, 0)
    assert.equal(answer.timedOut, false)
  })

  await t.test('70 KB of metadata that the resource names is refused without a run', async () => {
    const values = Array.from({ length: 7 }, () => 'v'.repeat(10_000))
    const answer = await wire({ headers: { 'x-many': values }, body: [grpcRequest(work('heavy'))] })
    assert.equal(answer.grpcStatus, GrpcStatus.RESOURCE_EXHAUSTED)
    assert.equal(route.runs().has('heavy'), false)
  })

  await t.test('70 KB of metadata that it does not name is refused, or goes no further', async () => {
    const headers = Object.fromEntries(Array.from({ length: 7 }, (_, index) => [`x-${index}`, 'v'.repeat(10_000)]))
    const answer = await wire({ headers, body: [grpcRequest(work('bulky'))] })
    assert.equal(answer.timedOut, false)
    const entry = route.ledger().find(({ id }) => id === 'bulky')
    assert.equal(entry === undefined ? answer.grpcStatus === 0 : 'x-0' in entry.metadata, false)
  })

  await t.test('a megabyte of metadata ends its connection without a run', async () => {
    const headers = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`x-${index}`, 'v'.repeat(10_000)]))
    const answer = await wire({ headers, body: [grpcRequest(work('absurd'))] })
    assert.notEqual(answer.grpcStatus, 0)
    assert.equal(answer.timedOut, false)
    assert.equal(route.runs().has('absurd'), false)
  })

  await t.test('a -bin value that is no base64 is answered or refused, and travels as bytes', async () => {
    const answer = await wire({ headers: { 'x-raw-bin': '!!! no base64 ~~~' }, body: [grpcRequest(work('no-base64'))] })
    assert.equal(answer.timedOut, false)
    assert.ok(answer.grpcStatus !== undefined || answer.reset !== 0)
  })

  await t.test('a grpc-timeout that is none is refused without a run', async () => {
    for (const timeout of ['soon', '5', '1 fortnight']) {
      const answer = await wire({ headers: { 'grpc-timeout': timeout }, body: [grpcRequest(work('no-timeout'))] })
      assert.equal(answer.grpcStatus, GrpcStatus.INTERNAL, `"${timeout}"`)
    }
    assert.equal(route.runs().has('no-timeout'), false)
  })

  await t.test('a wrong content type is HTTP 415', async () => {
    for (const type of ['application/json', 'text/html', undefined]) {
      const answer = await wire({ headers: { 'content-type': type }, body: [grpcRequest(work('typed'))] })
      assert.equal(answer.httpStatus, 415, `${type}`)
    }
    assert.equal(route.runs().has('typed'), false)
  })

  await t.test('GET is refused', async () => {
    const answer = await withSession(port, async (session) => {
      const stream = session.request({ ':method': 'GET', ':path': '/test.Work/Do' })
      stream.on('error', () => undefined)
      const headers = await new Promise<http2.IncomingHttpHeaders>((resolve) =>
        stream.on('response', (value) => resolve(value)),
      )
      stream.destroy()
      return Number(headers[':status'])
    })
    assert.ok(answer >= 400, `status ${answer}`)
  })

  await t.test('strange paths are UNIMPLEMENTED', async () => {
    for (const path of ['/', '//', '/test.Work', '/test.Work/Do?x=1', `/${'a'.repeat(5000)}/b`, '/%00/..']) {
      assert.equal(
        (await wire({ path, body: [grpcRequest(work('strange'))] })).grpcStatus,
        GrpcStatus.UNIMPLEMENTED,
        path,
      )
    }
    assert.equal(route.runs().has('strange'), false)
  })

  await t.test('a body that trickles in is answered when it is there', async () => {
    const request = grpcRequest(work('trickle'))
    async function* trickle(): AsyncIterable<Buffer> {
      for (const byte of request) {
        yield Buffer.from([byte])
        await pause(20)
      }
    }
    assert.equal((await wire({ body: trickle() })).grpcStatus, 0)
    assert.equal(route.runs().get('trickle'), 1)
  })

  await t.test("a body that never ends is ended by the client's own deadline", async () => {
    async function* endless(): AsyncIterable<Buffer> {
      yield grpcRequest(work('endless'), 0, 1000)
      for (let index = 0; index < 100; index++) {
        await pause(50)
        yield Buffer.from('x')
      }
    }
    const answer = await wire({ headers: { 'grpc-timeout': '500m' }, body: endless(), milliseconds: 3000 })
    assert.equal(answer.timedOut, false)
    assert.equal(answer.grpcStatus, GrpcStatus.DEADLINE_EXCEEDED)
    assert.equal(route.runs().has('endless'), false)
  })

  await t.test('five thousand streams opened and reset at once leave nothing behind', async () => {
    await withSession(port, async (session) => {
      for (let index = 0; index < 5000 && !session.destroyed && !session.closed; index++) {
        const stream = session.request({
          ':method': 'POST',
          ':path': '/test.Work/Do',
          te: 'trailers',
          'content-type': 'application/grpc',
        })
        stream.on('error', () => undefined)
        stream.write(grpcRequest(work('reset')))
        stream.close(http2.constants.NGHTTP2_CANCEL)
        if (index % 100 === 99) await new Promise((resolve) => setImmediate(resolve))
      }
    })
    await until(
      'nothing but the neighbour is in flight',
      async () => (await route.metric(proxy, 'grpc_kafka_calls_in_flight')) <= 1,
    )
  })

  await t.test('a thousand whole calls that are reset at once are waited for no longer', async () => {
    await withSession(port, async (session) => {
      for (let index = 0; index < 1000 && !session.destroyed && !session.closed; index++) {
        const stream = session.request({
          ':method': 'POST',
          ':path': '/test.Work/Do',
          te: 'trailers',
          'content-type': 'application/grpc',
        })
        stream.on('error', () => undefined)
        stream.end(grpcRequest(Buffer.from(JSON.stringify({ id: 'abandoned', sleep: 10 }))))
        if (index % 10 === 9) {
          await new Promise((resolve) => setImmediate(resolve))
          stream.close(http2.constants.NGHTTP2_CANCEL)
        }
      }
    })
    await until(
      'nothing but the neighbour is in flight',
      async () => (await route.metric(proxy, 'grpc_kafka_calls_in_flight')) <= 1,
    )
  })

  for (const [name, type, payload, count] of [
    ['SETTINGS', 4, Buffer.alloc(0), 50_000],
    ['PING', 6, Buffer.alloc(8), 50_000],
    ['PRIORITY', 2, Buffer.from([0, 0, 0, 0, 16]), 20_000],
    ['WINDOW_UPDATE', 8, Buffer.from([0, 0, 0, 1]), 50_000],
    ['frames of no known type', 0x77, Buffer.alloc(16), 20_000],
  ] as const) {
    await t.test(`a flood of ${name} is swallowed or cut off`, async () => {
      const socket = await openSocket(port)
      // Nothing is read meanwhile: answers to the flood pile up on the other side.
      socket.pause()
      socket.write(PREFACE)
      const stream = name === 'PRIORITY' ? 1 : 0
      const frames = Buffer.concat(Array.from({ length: 500 }, () => frame(type, stream, payload)))
      for (let sent = 0; sent < count && !socket.destroyed; sent += 500) {
        // A server that takes no more until its answers are read is right.
        if (!socket.write(frames) && (await Promise.race([drained(socket), pause(500, 'stuck')])) === 'stuck') break
      }
      assert.notEqual(await endOfFlood(socket), 'nothing')
      socket.destroy()
    })
  }

  await t.test('bytes that are no HTTP/2 end their connection', async () => {
    for (const text of ['GET / HTTP/1.1\r\nhost: x\r\n\r\n', '\x16\x03\x01\x02\x00\x01\x00', '\0'.repeat(1000)]) {
      const socket = await openSocket(port)
      const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
      socket.resume()
      socket.write(text)
      const outcome = await Promise.race([closed.then(() => 'closed'), pause(5000, 'open', { ref: false })])
      socket.destroy()
      assert.equal(outcome, 'closed', JSON.stringify(text.slice(0, 10)))
    }
  })

  await t.test('five hundred connections that say nothing are no burden', async () => {
    const sockets = await Promise.all(Array.from({ length: 500 }, () => openSocket(port)))
    assert.equal((await route.call({ id: 'between' })).code, 0)
    for (const socket of sockets) socket.destroy()
  })

  stop = true
  await neighbour

  await t.test('leaves other callers unaffected', () => {
    assert.deepEqual(failures, [])
    assert.ok(slowest.milliseconds < 5000, `the slowest of ${neighbours} calls took ${slowest.milliseconds} ms`)
    t.diagnostic(`${neighbours} calls beside it, the slowest took ${slowest.milliseconds.toFixed(0)} ms`)
  })

  await t.test('leaves the proxy as it was', async () => {
    assert.equal(proxy.process.running, true)
    assert.equal(proxy.process.child.pid, pid)
    assert.equal(await route.status(proxy, '/readyz'), 200)
    const left = ['grpc_kafka_calls_in_flight', 'grpc_kafka_bytes_in_flight'].map((name) => route.metric(proxy, name))
    assert.deepEqual(await Promise.all(left), [0, 0])
    const grown = (await route.metric(proxy, 'process_resident_memory_bytes')) - memory
    t.diagnostic(`memory grew by ${(grown / MEBIBYTE).toFixed(0)} MiB`)
    assert.ok(grown < GROWTH_BYTES, `memory grew by ${grown} bytes`)
    assert.deepEqual(
      proxy.process.lines.filter((line) => line.includes('a fault of the sidecar')),
      [],
    )
  })
})

const PREFACE = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
])

function frame(type: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = type
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

async function openSocket(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => undefined)
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  return socket
}

const drained = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    socket.once('drain', resolve)
    socket.once('close', () => resolve())
  })

/** What the other side does of a flood: it closed the connection, or it still answers on it. */
async function endOfFlood(socket: Socket): Promise<'closed' | 'answers' | 'nothing'> {
  const mark = Buffer.from('8 bytes!')
  let received = Buffer.alloc(0)
  const closed = new Promise<'closed'>((resolve) => {
    if (socket.destroyed) resolve('closed')
    socket.once('close', () => resolve('closed'))
  })
  const answered = new Promise<'answers'>((resolve) => {
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received.subarray(-mark.length), chunk])
      if (received.includes(mark)) resolve('answers')
    })
  })
  socket.resume()
  socket.write(frame(6, 0, mark))
  return Promise.race([closed, answered, pause(10_000, 'nothing' as const, { ref: false })])
}
