/** A handler that answers what no gRPC library would: each call ends sensibly, and neither sidecar takes harm. */
import assert from 'node:assert/strict'
import http2 from 'node:http2'
import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { startRoute, until } from './support/route.ts'
import type { Answer } from './support/route.ts'
import { grpcRequest } from './support/wire.ts'

type Behaviour = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void

const OK_HEADERS: OutgoingHttpHeaders = { ':status': 200, 'content-type': 'application/grpc' }

/** An answer of raw parts. */
const answering =
  (body: Buffer, trailers: OutgoingHttpHeaders, headers: OutgoingHttpHeaders = {}): Behaviour =>
  (stream) => {
    stream.respond({ ...OK_HEADERS, ...headers }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers(trailers))
    stream.end(body)
  }

const MESSAGE = grpcRequest(Buffer.from('said'))
const FINE: OutgoingHttpHeaders = { 'grpc-status': '0' }
const many = Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`x-${index}`, 'v']))
const heavy = Object.fromEntries(Array.from({ length: 30 }, (_, index) => [`x-${index}`, 'v'.repeat(4000)]))

interface Case {
  readonly behaviour: Behaviour
  readonly check: (answer: Answer) => void
}

const ends =
  (...codes: readonly number[]) =>
  ({ code, details }: Answer): void =>
    assert.ok(codes.includes(code), `status ${code}: ${details}`)
const answered = ({ code, reply, details }: Answer): void =>
  assert.deepEqual({ code, reply: reply?.toString(), details }, { code: 0, reply: 'said', details: '' })

const SLOW: Behaviour = (stream, headers) => {
  setTimeout(() => answering(MESSAGE, FINE)(stream, headers), 400)
}

const CASES: Readonly<Record<string, Case>> = {
  'an ordinary answer': { behaviour: answering(MESSAGE, FINE), check: answered },
  'an ordinary answer, slowly': { behaviour: SLOW, check: answered },
  'metadata values that are no ASCII': {
    behaviour: answering(MESSAGE, { ...FINE, 'x-odd': 'größe', 'x-good': 'kept' }),
    check: (answer) => {
      answered(answer)
      assert.deepEqual(answer.trailing.get('x-good'), ['kept'])
    },
  },
  'metadata names that gRPC does not know': {
    behaviour: answering(MESSAGE, { ...FINE, 'x!odd~name': 'v' }, { "x'first'": 'v' }),
    check: answered,
  },
  'names that mean something in JavaScript': {
    behaviour: answering(MESSAGE, { ...FINE, constructor: 'v', 'x-good': 'kept' }),
    check: (answer) => {
      answered(answer)
      assert.deepEqual(answer.trailing.get('constructor'), ['v'])
    },
  },
  'two hundred trailers': {
    behaviour: answering(MESSAGE, { ...FINE, ...many }),
    check: ends(0, GrpcStatus.UNAVAILABLE, GrpcStatus.INTERNAL),
  },
  '120 KB of trailers': {
    behaviour: answering(MESSAGE, { ...FINE, ...heavy }),
    check: ends(0, GrpcStatus.UNAVAILABLE, GrpcStatus.INTERNAL),
  },
  'no trailers': { behaviour: answering(MESSAGE, {}), check: ends(GrpcStatus.UNAVAILABLE, GrpcStatus.INTERNAL) },
  'a status that is none': {
    behaviour: answering(MESSAGE, { 'grpc-status': 'fine' }),
    check: ends(GrpcStatus.INTERNAL),
  },
  'a status that nobody knows': {
    behaviour: answering(MESSAGE, { 'grpc-status': '99' }),
    check: ends(GrpcStatus.INTERNAL, GrpcStatus.UNKNOWN),
  },
  'a status message that is badly encoded': {
    behaviour: answering(Buffer.alloc(0), { 'grpc-status': '5', 'grpc-message': 'gone %zz %ff 100%' }),
    check: ends(GrpcStatus.NOT_FOUND),
  },
  'two messages': { behaviour: answering(Buffer.concat([MESSAGE, MESSAGE]), FINE), check: ends(GrpcStatus.INTERNAL) },
  'OK without a message': { behaviour: answering(Buffer.alloc(0), FINE), check: ends(GrpcStatus.INTERNAL) },
  'a length prefix that lies': {
    behaviour: answering(grpcRequest(Buffer.from('said'), 0, 5000), FINE),
    check: ends(GrpcStatus.INTERNAL),
  },
  'a message that is no gzip': {
    behaviour: answering(grpcRequest(Buffer.from('said'), 1), FINE, { 'grpc-encoding': 'gzip' }),
    check: ends(GrpcStatus.INTERNAL),
  },
  'HTTP 503': {
    behaviour: (stream) => {
      stream.respond({ ':status': 503, 'content-type': 'text/html' })
      stream.end('<h1>later</h1>')
    },
    check: ends(GrpcStatus.UNAVAILABLE),
  },
  'HTTP 404': {
    behaviour: (stream) => {
      stream.respond({ ':status': 404 })
      stream.end()
    },
    check: ends(GrpcStatus.UNIMPLEMENTED),
  },
  'a reset stream': {
    behaviour: (stream) => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR),
    check: ends(GrpcStatus.UNAVAILABLE),
  },
  'a broken connection': { behaviour: (stream) => stream.session?.destroy(), check: ends(GrpcStatus.UNAVAILABLE) },
  'an informational answer first': {
    behaviour: (stream, headers) => {
      stream.additionalHeaders({ ':status': 103, link: '<x>' })
      answering(MESSAGE, FINE)(stream, headers)
    },
    check: answered,
  },
  'an answer before the request is read': {
    behaviour: (stream, headers) => {
      stream.pause()
      answering(Buffer.alloc(0), { 'grpc-status': '7' })(stream, headers)
    },
    check: ends(GrpcStatus.PERMISSION_DENIED),
  },
}

/** A handler whose behaviour the request names. */
async function startOddHandler(t: TestContext): Promise<number> {
  const server = http2.createServer({ maxSendHeaderBlockLength: 1_000_000 })
  const sessions = new Set<http2.ServerHttp2Session>()
  server.on('session', (session) => {
    sessions.add(session)
    session.on('error', () => undefined)
    session.on('close', () => sessions.delete(session))
  })
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    stream.on('error', () => undefined)
    // It has no health service.
    if (headers[':path'] !== '/test.Work/Do') {
      stream.respond({ ...OK_HEADERS, 'grpc-status': '12' }, { endStream: true })
      return
    }
    const chunks: Buffer[] = []
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.once('end', () => {
      const name = Buffer.concat(chunks).subarray(5).toString()
      CASES[name]?.behaviour(stream, headers)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    for (const session of sessions) session.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

test('an odd handler', async (t) => {
  const handlerPort = await startOddHandler(t)
  const route = await startRoute(t, {
    worker: { handler: { port: handlerPort } },
    method: { timeoutMilliseconds: 8000 },
  })
  const [proxy] = route.proxies
  const [worker] = route.workers
  assert.ok(proxy && worker)

  for (const [name, { check }] of Object.entries(CASES)) {
    await t.test(`that answers ${name}`, async () => {
      check(await route.call(Buffer.from(name), { deadline: 8000 }))
      await until('it is well again', async () => (await route.status(worker, '/readyz')) === 200)
      answered(await route.call(Buffer.from('an ordinary answer'), { deadline: 8000 }))
    })
  }

  for (const name of Object.keys(CASES).filter((one) => one !== 'a broken connection')) {
    await t.test(`that answers ${name} takes no call along that runs beside it`, async () => {
      const beside = route.call(Buffer.from('an ordinary answer, slowly'), { deadline: 8000 })
      await until('it runs', async () => (await route.metric(worker, 'grpc_kafka_running_calls')) === 1)
      await route.call(Buffer.from(name), { deadline: 8000 })
      answered(await beside)
    })
  }

  await t.test('leaves both sidecars as they were', async () => {
    for (const sidecar of [proxy, worker]) {
      assert.equal(sidecar.process.running, true)
      assert.deepEqual(
        sidecar.process.lines.filter((line) => line.includes('a fault of the sidecar')),
        [],
      )
    }
    await until('the lag is 0', async () => (await route.lag()) === 0)
  })
})
