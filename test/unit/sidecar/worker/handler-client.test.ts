import assert from 'node:assert/strict'
import { once } from 'node:events'
import http2, {
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import net, { type AddressInfo } from 'node:net'
import { describe, test, type TestContext } from 'node:test'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { isMetadata } from '../../../../sidecar/metadata.ts'
import { decodeOutcome, encodeOutcome } from '../../../../sidecar/results/outcome.ts'
import { HandlerClient, type AttemptResult, type HandlerRequest } from '../../../../sidecar/worker/handler-client.ts'

const MAX = 1000
const { NGHTTP2_INTERNAL_ERROR, NGHTTP2_REFUSED_STREAM, NGHTTP2_NO_ERROR, NGHTTP2_ENHANCE_YOUR_CALM } = http2.constants

interface Seen {
  readonly headers: IncomingHttpHeaders
  readonly raw: readonly string[]
  readonly body: Buffer
}
type OnCall = (stream: ServerHttp2Stream, seen: Seen, session: ServerHttp2Session) => void

interface Handler {
  readonly port: number
  readonly sessions: ServerHttp2Session[]
  onCall: OnCall
}

/** A handler as its port sees it: HTTP/2 and nothing of gRPC. */
async function serve(t: TestContext, onCall: OnCall): Promise<Handler> {
  const server = http2.createServer()
  const sessions: ServerHttp2Session[] = []
  const handler: Handler = { port: 0, sessions, onCall }
  server.on('session', (session) => {
    sessions.push(session)
    session.on('error', () => undefined)
  })
  server.on('stream', (stream: ServerHttp2Stream, headers, _flags, raw) => {
    stream.on('error', () => undefined)
    const chunks: Buffer[] = []
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('end', () => {
      handler.onCall(stream, { headers, raw, body: Buffer.concat(chunks) }, stream.session as ServerHttp2Session)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const session of sessions) session.destroy()
    server.close()
  })
  return Object.assign(handler, { port: (server.address() as AddressInfo).port })
}

function clientOf(t: TestContext, port: number): HandlerClient {
  const client = new HandlerClient({ host: '127.0.0.1', port }, MAX)
  t.after(() => client.close())
  return client
}

async function pair(
  t: TestContext,
  onCall: OnCall,
): Promise<{ readonly handler: Handler; readonly client: HandlerClient }> {
  const handler = await serve(t, onCall)
  return { handler, client: clientOf(t, handler.port) }
}

function call(client: HandlerClient, changes: Partial<HandlerRequest> = {}): Promise<AttemptResult> {
  const request = {
    path: '/a.B/C',
    message: Buffer.from('ask'),
    metadata: [],
    extra: {},
    timeoutMilliseconds: 5000,
    ...changes,
  }
  let told = 0
  return new Promise((resolve, reject) => {
    client.call(request, (result) => {
      told += 1
      if (told > 1) reject(new Error('told twice'))
      // Late enough for whatever else the stream has to say.
      setImmediate(() => setImmediate(() => (told === 1 ? resolve(result) : undefined)))
    })
    if (told > 0) reject(new Error('told before the call returned'))
  })
}

function frame(message: Buffer, flag = 0, length = message.length): Buffer {
  const head = Buffer.alloc(5)
  head[0] = flag
  head.writeUInt32BE(length, 1)
  return Buffer.concat([head, message])
}

/** An answer made by hand. */
const answer =
  (body: Buffer, trailers: OutgoingHttpHeaders = { 'grpc-status': '0' }, headers: OutgoingHttpHeaders = {}): OnCall =>
  (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc', ...headers }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers(trailers))
    stream.end(body)
  }

const trailersOnly =
  (headers: OutgoingHttpHeaders): OnCall =>
  (stream) =>
    stream.respond({ ':status': 200, 'content-type': 'application/grpc', ...headers }, { endStream: true })

const ok = answer(frame(Buffer.from('answer')))
const answered = (result: AttemptResult) => {
  assert.ok(result.kind === 'Answered', JSON.stringify(result))
  return result.answer
}
const text = (pairs: readonly (readonly [string, Buffer])[]) =>
  pairs.map(([name, value]) => [name, value.toString('latin1')])

describe('the request', () => {
  test('is one gRPC message with what belongs to it', async (t) => {
    let seen: Seen | undefined
    const { client } = await pair(t, (stream, ...rest) => {
      seen = rest[0]
      ok(stream, ...rest)
    })
    const result = await call(client, {
      metadata: [
        ['x-tenant', Buffer.from('one')],
        ['x-bin', Buffer.from([0, 255])],
        ['etag', Buffer.from('a')],
        ['x-tenant', Buffer.from('two')],
        ['etag', Buffer.from('b')],
        ['constructor', Buffer.from('c')],
      ],
      extra: { 'grpc-kafka-attempt': '1', traceparent: '00-a-b-01' },
      timeoutMilliseconds: 1234.5,
    })
    assert.ok(seen !== undefined, JSON.stringify(result))
    assert.deepEqual(seen.body, frame(Buffer.from('ask')))
    const fields: string[] = []
    for (let index = 0; index < seen.raw.length; index += 2) fields.push(`${seen.raw[index]}: ${seen.raw[index + 1]}`)
    for (const field of [
      ':method: POST',
      ':path: /a.B/C',
      'te: trailers',
      'content-type: application/grpc',
      'grpc-timeout: 1235m',
      'user-agent: grpc-kafka-sidecar',
      'grpc-kafka-attempt: 1',
      'traceparent: 00-a-b-01',
      'x-tenant: one',
      'x-tenant: two',
      'x-bin: AP8=',
      'etag: a',
      'etag: b',
      'constructor: c',
    ]) {
      assert.ok(fields.includes(field), `${field} is not among ${fields.join(', ')}`)
    }
  })

  test('says its time in eight digits at most, and never 0', async (t) => {
    const timeouts: unknown[] = []
    const { client } = await pair(t, (stream, seen, session) => {
      timeouts.push(seen.headers['grpc-timeout'])
      ok(stream, seen, session)
    })
    for (const timeoutMilliseconds of [3000, 99_999_999, 100_000_000, 1_000_000_001])
      await call(client, { timeoutMilliseconds })
    assert.deepEqual(timeouts, ['3000m', '99999999m', '100000S', '1000001S'])
  })

  test('may have an empty message', async (t) => {
    let body: Buffer | undefined
    const { client } = await pair(t, (stream, seen, session) => {
      body = seen.body
      ok(stream, seen, session)
    })
    await call(client, { message: Buffer.alloc(0) })
    assert.deepEqual(body, Buffer.alloc(5))
  })

  test('of all calls goes over one connection', async (t) => {
    const { client, handler } = await pair(t, ok)
    await Promise.all([call(client), call(client), call(client)])
    await call(client)
    assert.equal(handler.sessions.length, 1)
  })
})

describe('an answer', () => {
  test('has its message and its metadata, without what belongs to the hop', async (t) => {
    const headers = {
      'x-first': 'a',
      'x-twice': ['b', 'c'],
      'x-bin': 'AP8=,AQ',
      'grpc-encoding': 'identity',
      'grpc-accept-encoding': 'gzip',
      date: 'now',
    }
    const trailers = { 'grpc-status': '0', 'grpc-message': '', 'x-last': 'd', 'grpc-status-details-bin': 'AAE=' }
    const { client } = await pair(t, answer(frame(Buffer.from('answer')), trailers, headers))
    const { initialMetadata, trailingMetadata, ...rest } = answered(await call(client))
    assert.deepEqual(rest, { status: 0, details: '', message: Buffer.from('answer') })
    assert.deepEqual(text(initialMetadata), [
      ['x-first', 'a'],
      // Node's HTTP/2 joins them, as gRPC allows.
      ['x-twice', 'b, c'],
      ['x-bin', '\x00\xff'],
      ['x-bin', '\x01'],
    ])
    assert.deepEqual(text(trailingMetadata), [
      ['x-last', 'd'],
      ['grpc-status-details-bin', '\x00\x01'],
    ])
  })

  test('may have an empty message', async (t) => {
    const { client } = await pair(t, answer(frame(Buffer.alloc(0))))
    assert.deepEqual(answered(await call(client)).message, Buffer.alloc(0))
  })

  test('may come in pieces of any size', async (t) => {
    const { client } = await pair(t, (stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
      const whole = [...frame(Buffer.from('answer'))]
      const next = () => {
        const byte = whole.shift()
        if (byte === undefined) stream.end()
        else stream.write(Buffer.from([byte]), () => setImmediate(next))
      }
      next()
    })
    assert.deepEqual(answered(await call(client)).message, Buffer.from('answer'))
  })

  test('of headers only is a status with trailing metadata', async (t) => {
    const { client } = await pair(
      t,
      trailersOnly({ 'grpc-status': '5', 'grpc-message': 'not %E2%82%AC found', 'x-a': 'b' }),
    )
    const { trailingMetadata, ...rest } = answered(await call(client))
    assert.deepEqual(rest, { status: 5, details: 'not € found', initialMetadata: [], message: null })
    assert.deepEqual(text(trailingMetadata), [['x-a', 'b']])
  })

  test('with a status other than OK keeps both metadata and drops its message', async (t) => {
    const { client } = await pair(
      t,
      answer(frame(Buffer.from('half')), { 'grpc-status': '13', 'x-b': '2' }, { 'x-a': '1' }),
    )
    const { status, message, initialMetadata, trailingMetadata } = answered(await call(client))
    assert.deepEqual({ status, message }, { status: 13, message: null })
    assert.deepEqual([text(initialMetadata), text(trailingMetadata)], [[['x-a', '1']], [['x-b', '2']]])
  })

  test('has its status message as it is where it is not percent-encoded right', async (t) => {
    const { client } = await pair(t, trailersOnly({ 'grpc-status': '2', 'grpc-message': '100% of %zz' }))
    assert.equal(answered(await call(client)).details, '100% of %zz')
  })

  test('compressed with gzip is unpacked', async (t) => {
    const plain = Buffer.from('answer'.repeat(100))
    const { client } = await pair(t, answer(frame(gzipSync(plain), 1), undefined, { 'grpc-encoding': 'gzip' }))
    assert.deepEqual(answered(await call(client)).message, plain)
  })

  test('may be as large as is allowed', async (t) => {
    const { client } = await pair(t, answer(frame(Buffer.alloc(MAX, 1))))
    assert.equal(answered(await call(client)).message?.length, MAX)
  })
})

describe('TooLarge is an answer', () => {
  for (const [what, onCall] of [
    ['of a byte too many', answer(frame(Buffer.alloc(MAX + 1)))],
    [
      'that never ends',
      (stream: ServerHttp2Stream) => {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' })
        const more = () => void (stream.destroyed || stream.write(Buffer.alloc(100), more))
        more()
      },
    ],
    [
      'that is too large when it is unpacked',
      answer(frame(gzipSync(Buffer.alloc(MAX + 1)), 1), undefined, { 'grpc-encoding': 'gzip' }),
    ],
  ] as const satisfies readonly (readonly [string, OnCall])[]) {
    test(what, async (t) => {
      const { client } = await pair(t, onCall)
      assert.deepEqual(await call(client), { kind: 'TooLarge' })
    })
  }
})

describe('NotGrpc is an answer', () => {
  const one = frame(Buffer.from('answer'))
  const cases: readonly (readonly [string, OnCall])[] = [
    ['OK without a message', answer(Buffer.alloc(0))],
    ['OK in headers only', trailersOnly({ 'grpc-status': '0' })],
    ['with half a frame', answer(one.subarray(0, 3))],
    ['that is shorter than its frame says', answer(one.subarray(0, 8))],
    ['of two messages', answer(Buffer.concat([one, one]))],
    ['compressed without saying how', answer(frame(gzipSync('a'), 1))],
    [
      'compressed in a way that was not offered',
      answer(frame(gzipSync('a'), 1), undefined, { 'grpc-encoding': 'deflate' }),
    ],
    ['with a flag that gRPC does not know', answer(frame(gzipSync('a'), 2), undefined, { 'grpc-encoding': 'gzip' })],
    ['called gzip that is none', answer(frame(Buffer.from('no gzip'), 1), undefined, { 'grpc-encoding': 'gzip' })],
    [
      'of gzip that ends too early',
      answer(frame(gzipSync('a'.repeat(100)).subarray(0, 15), 1), undefined, { 'grpc-encoding': 'gzip' }),
    ],
    [
      'of another protocol',
      (stream) => {
        stream.respond({ ':status': 200, 'content-type': 'text/html' })
        stream.end('<html>')
      },
    ],
    ...['', 'x', '17', '-1', '1.5', '0x5', '1e1'].map(
      (status) => [`with the grpc-status "${status}"`, answer(one, { 'grpc-status': status })] as const,
    ),
  ]
  for (const [what, onCall] of cases) {
    test(what, async (t) => {
      const { client } = await pair(t, onCall)
      const result = await call(client)
      assert.equal(result.kind, 'NotGrpc', JSON.stringify(result))
    })
  }
})

test('a call that is cancelled has that as its result, and the handler is told', async (t) => {
  const { promise: cut, resolve: onCut } = Promise.withResolvers<number>()
  const { promise: there, resolve: onThere } = Promise.withResolvers<void>()
  const { client } = await pair(t, (stream) => {
    stream.on('close', () => onCut(stream.rstCode))
    onThere()
  })
  const results: AttemptResult[] = []
  const request = { path: '/a.B/C', message: Buffer.from('ask'), metadata: [], extra: {}, timeoutMilliseconds: 5000 }
  const cancel = client.call(request, (result) => results.push(result))
  await there
  cancel()
  assert.equal(await cut, 8, 'CANCEL (RFC 9113, section 7)')
  cancel()
  assert.deepEqual(results, [{ kind: 'Cancelled' }])
})

describe('an HTTP status other than 200 becomes a gRPC status', () => {
  for (const [http, status] of [
    [400, 13],
    [401, 16],
    [403, 7],
    [404, 12],
    [429, 14],
    [502, 14],
    [503, 14],
    [504, 14],
    [500, 2],
    [418, 2],
  ] as const) {
    test(`${http}: ${status}`, async (t) => {
      const { client } = await pair(t, (stream) => {
        stream.respond({ ':status': http })
        stream.end('<html>')
      })
      const { status: got, details, message } = answered(await call(client))
      assert.deepEqual(
        { got, details, message },
        { got: status, details: `the handler answered HTTP status ${http}`, message: null },
      )
    })
  }
})

describe('a call that breaks', () => {
  const broken: readonly (readonly [string, OnCall])[] = [
    ['reset before its answer', (stream) => stream.close(NGHTTP2_INTERNAL_ERROR)],
    [
      'reset in the middle of its answer',
      (stream) => {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' })
        stream.write(frame(Buffer.from('answer')).subarray(0, 7), () => stream.close(NGHTTP2_INTERNAL_ERROR))
      },
    ],
    [
      'ended without trailers',
      (stream) => {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' })
        stream.end(frame(Buffer.from('answer')))
      },
    ],
    ['closed without an answer', (stream) => stream.close(NGHTTP2_NO_ERROR)],
    ['whose connection is cut', (_stream, _seen, session) => session.socket.destroy()],
    [
      'whose connection is cut in the middle of its answer',
      (stream, _seen, session) => {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' })
        stream.write(frame(Buffer.from('answer')), () => session.socket.destroy())
      },
    ],
    [
      'whose connection is ended with an error',
      (_stream, _seen, session) => session.destroy(undefined, NGHTTP2_ENHANCE_YOUR_CALM),
    ],
  ]
  for (const [what, onCall] of broken) {
    test(`is Broken when it is one ${what}, and the next one works`, async (t) => {
      const { client, handler } = await pair(t, onCall)
      const result = await call(client)
      assert.equal(result.kind, 'Broken', JSON.stringify(result))
      handler.onCall = ok
      assert.equal((await call(client)).kind, 'Answered')
    })
  }

  test('is NotReached when its stream was refused', async (t) => {
    const { client, handler } = await pair(t, (stream) => stream.close(NGHTTP2_REFUSED_STREAM))
    assert.equal((await call(client)).kind, 'NotReached')
    handler.onCall = ok
    assert.equal((await call(client)).kind, 'Answered')
  })

  test('is NotReached when the handler goes away and says that it did not look at it', async (t) => {
    // Node's server cannot say it of a call that it has told of: SETTINGS, then GOAWAY with 0 as the last stream looked at.
    const settings = '000000' + '04' + '00' + '00000000'
    const goaway = '000008' + '07' + '00' + '00000000' + '00000000' + '00000000'
    const leaving = net.createServer((socket) => {
      socket.on('error', () => undefined)
      socket.once('data', () => socket.write(Buffer.from(settings + goaway, 'hex')))
    })
    leaving.listen(0, '127.0.0.1')
    await once(leaving, 'listening')
    t.after(() => leaving.close())
    const client = clientOf(t, (leaving.address() as AddressInfo).port)
    assert.equal((await call(client)).kind, 'NotReached')
  })

  test('is answered when the handler goes away but finishes it, and the next goes over a new connection', async (t) => {
    const { client, handler } = await pair(t, (stream, seen, session) => {
      session.goaway(NGHTTP2_NO_ERROR, stream.id)
      ok(stream, seen, session)
    })
    assert.equal((await call(client)).kind, 'Answered')
    handler.onCall = ok
    assert.equal((await call(client)).kind, 'Answered')
    assert.equal(handler.sessions.length, 2)
  })

  test('is NotReached when nobody listens, and works as soon as somebody does', async (t) => {
    const reserved = net.createServer().listen(0, '127.0.0.1')
    await once(reserved, 'listening')
    const { port } = reserved.address() as AddressInfo
    reserved.close()
    await once(reserved, 'close')
    const client = clientOf(t, port)
    const results = await Promise.all([call(client), call(client)])
    assert.deepEqual(
      results.map(({ kind }) => kind),
      ['NotReached', 'NotReached'],
    )
    const { port: other } = await serve(t, ok)
    client.moveTo({ host: '127.0.0.1', port: other })
    assert.equal((await call(client)).kind, 'Answered')
  })

  test('is TimedOut when no answer comes in time, and tells the handler', async (t) => {
    const cancelled = Promise.withResolvers<number>()
    const { client } = await pair(t, (stream) => stream.on('close', () => cancelled.resolve(stream.rstCode)))
    assert.deepEqual(await call(client, { timeoutMilliseconds: 20 }), { kind: 'TimedOut' })
    assert.equal(await cancelled.promise, http2.constants.NGHTTP2_CANCEL)
  })

  test('is TimedOut when its answer stops half way', async (t) => {
    const { client } = await pair(t, (stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' })
      stream.write(frame(Buffer.from('answer')))
    })
    assert.deepEqual(await call(client, { timeoutMilliseconds: 50 }), { kind: 'TimedOut' })
  })

  test('is NotReached when the stream numbers of its connection are used up, and the next goes over a new one', async (t) => {
    const connect = http2.connect
    const sessions: http2.ClientHttp2Session[] = []
    t.mock.method(http2, 'connect', (...args: Parameters<typeof connect>) => {
      const session = connect(...args)
      sessions.push(session)
      return session
    })
    const running = Promise.withResolvers<() => void>()
    const { client, handler } = await pair(t, ok)
    await call(client)
    const [first] = sessions as [http2.ClientHttp2Session & { setNextStreamID(id: number): void }]
    first.setNextStreamID(2 ** 31 - 1)
    handler.onCall = (...args) => running.resolve(() => ok(...args))
    const last = call(client)
    const finish = await running.promise
    handler.onCall = ok
    assert.equal((await call(client)).kind, 'NotReached')
    assert.equal((await call(client)).kind, 'Answered')
    assert.equal(handler.sessions.length, 2)
    const closed = once(first, 'close')
    finish()
    assert.equal((await last).kind, 'Answered', 'what runs on the old connection ends there')
    await closed
  })

  test('leaves its neighbours on the connection alone', async (t) => {
    const { client, handler } = await pair(t, (stream, seen, session) => {
      if (seen.headers[':path'] === '/a.B/Bad') stream.close(NGHTTP2_INTERNAL_ERROR)
      else ok(stream, seen, session)
    })
    const kinds = (await Promise.all(['/a.B/C', '/a.B/Bad', '/a.B/C'].map((path) => call(client, { path })))).map(
      ({ kind }) => kind,
    )
    assert.deepEqual(kinds, ['Answered', 'Broken', 'Answered'])
    assert.equal(handler.sessions.length, 1)
  })
})

describe('a request that HTTP/2 cannot carry is Unsendable', () => {
  const value = Buffer.from('x')
  const cases: readonly (readonly [string, Partial<HandlerRequest>])[] = [
    ['with a field of the hop', { metadata: [['connection', value]] }],
    ['with another te', { metadata: [['te', value]] }],
    ['with a pseudo-header', { metadata: [[':other', value]] }],
    [
      'with more values than a Node server takes',
      { metadata: Array.from({ length: 101 }, () => ['x', value] as const) },
    ],
    ['with more header bytes than a frame holds', { metadata: [['x', Buffer.alloc(70_000, 'x')]] }],
  ]
  for (const [what, request] of cases) {
    test(what, async (t) => {
      const { client, handler } = await pair(t, ok)
      await call(client)
      const [bad, neighbour] = await Promise.all([call(client, request), call(client)])
      assert.equal(bad.kind, 'Unsendable', JSON.stringify(bad))
      assert.equal(neighbour.kind, 'Answered')
      assert.equal(handler.sessions.length, 1, 'the connection of the neighbours stands')
    })
  }
})

describe('moving and closing', () => {
  test('a call that runs ends on the old connection, the next goes to the new address', async (t) => {
    const started = Promise.withResolvers<() => void>()
    const { client } = await pair(t, (...args) => started.resolve(() => answer(frame(Buffer.from('old')))(...args)))
    const { port } = await serve(t, answer(frame(Buffer.from('new'))))
    const running = call(client)
    const finish = await started.promise
    client.moveTo({ host: '127.0.0.1', port })
    assert.deepEqual(answered(await call(client)).message, Buffer.from('new'))
    finish()
    assert.deepEqual(answered(await running).message, Buffer.from('old'))
  })

  test('close lets what runs end, and closes the connection after it', async (t) => {
    const started = Promise.withResolvers<() => void>()
    const { client, handler } = await pair(t, (...args) => started.resolve(() => ok(...args)))
    const running = call(client)
    const finish = await started.promise
    const closed = once(handler.sessions[0] as ServerHttp2Session, 'close')
    client.close()
    finish()
    assert.equal((await running).kind, 'Answered')
    await closed
  })
})

test('whatever a handler answers, one result comes of it, and what is an answer can be stored and sent on (500 runs)', async (t) => {
  const { handler, client } = await pair(t, ok)
  const text = fc.oneof(
    fc.stringMatching(/^[\x20-\x7e]{0,20}$/),
    fc.constantFrom('0', '5', '16', '17', '99999', '-1', '%', '%zz', '%e2%82', 'AA==,AA', '', 'gzip'),
  )
  const name = fc.constantFrom('grpc-status', 'grpc-message', 'grpc-encoding', 'a-bin', 'a', 'constructor', 'grpc-x')
  const fields = fc.dictionary(name, text, { maxKeys: 4 })
  const message = fc.uint8Array({ maxLength: 40 }).map((all) => Buffer.from(all))
  const body = fc.oneof(
    message,
    message.map((held) => frame(held)),
    message.map((held) => frame(gzipSync(held), 1)),
    fc.tuple(message, fc.nat(255), fc.nat(2 ** 32 - 1)).map(([held, flag, length]) => frame(held, flag, length)),
    fc.constant(frame(gzipSync(Buffer.alloc(100 * MAX)), 1)),
  )
  await fc.assert(
    fc.asyncProperty(fields, fields, body, fc.boolean(), async (headers, trailers, held, empty) => {
      handler.onCall = empty ? trailersOnly(headers) : answer(held, trailers, headers)
      const result = await call(client)
      if (result.kind !== 'Answered') {
        assert.ok(['NotGrpc', 'TooLarge', 'Broken'].includes(result.kind), result.kind)
        return
      }
      const { status, message: got, initialMetadata, trailingMetadata } = result.answer
      assert.ok(Number.isInteger(status) && status >= 0 && status <= 16)
      assert.ok(got === null || (status === 0 && got.length <= MAX))
      for (const [field, value] of [...initialMetadata, ...trailingMetadata]) assert.ok(isMetadata(field, value), field)
      assert.deepEqual(decodeOutcome(encodeOutcome({ state: 'Answered', ...result.answer })), {
        state: 'Answered',
        ...result.answer,
      })
    }),
    { numRuns: 500 },
  )
})
