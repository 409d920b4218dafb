import assert from 'node:assert/strict'
import { writeFileSync, mkdtempSync, rmSync } from 'node:fs'
import http2 from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import type { TestContext } from 'node:test'
import { gunzipSync, gzipSync } from 'node:zlib'
import { Client, Metadata, credentials, makeClientConstructor } from '@grpc/grpc-js'
import type { ServiceError, StatusObject } from '@grpc/grpc-js'
import { service as healthService } from 'grpc-health-check'
import { callIdSource } from '../../../../sidecar/call-id.ts'
import { parseConfig } from '../../../../sidecar/config.ts'
import type { ProxyConfig } from '../../../../sidecar/config.ts'
import { Pipeline } from '../../../../sidecar/proxy/call.ts'
import type { Call } from '../../../../sidecar/proxy/call.ts'
import { CallsService } from '../../../../sidecar/proxy/calls-service.ts'
import { LiveConfig } from '../../../../sidecar/live-config.ts'
import { ProxyServer } from '../../../../sidecar/proxy/server.ts'
import type { Answer } from '../../../../sidecar/results/outcome.ts'
import { createLogger } from '../../../../sidecar/telemetry/log.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'

const SERVICE = 'test.Calculator'
const raw = (bytes: Buffer): Buffer => bytes

const notAsked = () => Promise.reject(new Error('not asked'))

/** A server whose every call is handed to `onCall`. */
async function start(
  t: TestContext,
  onCall: (call: Call) => void,
  proxy: Partial<ProxyConfig['proxy']> = {},
  localNow: () => number = Date.now,
) {
  const parsed = parseConfig(
    {
      role: 'proxy',
      instance: 'p-1',
      service: { name: SERVICE, topic: 't', maxMessageBytes: 100_000 },
      kafka: { brokers: ['k:1'] },
      redis: { url: 'redis://r:1' },
      admin: { port: 1 },
      proxy: { host: '127.0.0.1', port: 1, methods: [{ name: 'Add' }] },
    },
    {},
  ) as ProxyConfig
  const metrics = new Metrics()
  const live = new LiveConfig({ ...parsed, proxy: { ...parsed.proxy, port: 0, ...proxy } })
  const calls = new CallsService({
    results: { find: () => Promise.resolve(undefined), isPending: notAsked, cancel: notAsked },
    gate: { state: 'Open' },
    service: SERVICE,
    maxMessageBytes: 100_000,
    monotonicNow: () => performance.now(),
    metrics,
  })
  const server = new ProxyServer({
    live,
    calls,
    pipeline: new Pipeline([() => ({ enter: onCall })]),
    nextCallId: callIdSource(Date.now),
    localNow,
    monotonicNow: () => performance.now(),
    logger: createLogger('silent', {}),
    metrics,
  })
  const port = await server.listen()
  t.after(() => server.close())
  return { live, server, metrics, port }
}

interface Got {
  readonly error: ServiceError | null
  readonly message: Buffer | undefined
  readonly initial: Metadata | undefined
  readonly status: StatusObject | undefined
}

function call(
  port: number,
  {
    method = 'Add',
    message = Buffer.from('hello'),
    metadata = new Metadata(),
    options = {},
    deadline = Infinity,
    cancelWith = undefined as AbortSignal | undefined,
  } = {},
): Promise<Got> {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
    ...options,
  })
  return new Promise<Got>((resolve) => {
    let initial: Metadata | undefined
    let status: StatusObject | undefined
    let answer: { readonly error: ServiceError | null; readonly message: Buffer | undefined } | undefined
    const finish = (): void => {
      if (answer !== undefined && status !== undefined) resolve({ ...answer, initial, status })
    }
    const stream = client.makeUnaryRequest(
      `/${SERVICE}/${method}`,
      raw,
      raw,
      message,
      metadata,
      { deadline },
      (error, got) => {
        answer = { error, message: got }
        finish()
      },
    )
    stream.on('metadata', (got: Metadata) => (initial = got))
    stream.on('status', (got: StatusObject) => {
      status = got
      finish()
    })
    cancelWith?.addEventListener('abort', () => stream.cancel())
  }).finally(() => client.close())
}

const answerOf = (part: Partial<Answer>): Answer => ({
  status: 0,
  details: '',
  initialMetadata: [],
  trailingMetadata: [],
  message: part.status === undefined || part.status === 0 ? Buffer.from('done') : null,
  ...part,
})
const answered = (call: Call, part: Partial<Answer> = {}): void =>
  call.end({ kind: 'Outcome', outcome: { state: 'Answered', ...answerOf(part) } })

async function handled(metrics: Metrics): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const [, code = '', count] of (await metrics.expose()).matchAll(
    /^grpc_server_handled_total\{.*grpc_code="(\w+)"\} ([1-9]\d*)$/gm,
  )) {
    counts[code] = Number(count)
  }
  return counts
}

suite('ProxyServer', () => {
  test('hands over raw bytes and metadata, and sends back what the handler sent', async (t) => {
    const seen: Call[] = []
    const { port, metrics } = await start(t, (call) => {
      seen.push(call)
      answered(call, {
        message: Buffer.from([0, 255, 1]),
        initialMetadata: [['region', Buffer.from('eu')]],
        trailingMetadata: [['cost-bin', Buffer.from([0, 200])]],
      })
    })
    const metadata = new Metadata()
    metadata.set('tenant', 'blue')
    const got = await call(port, { message: Buffer.from([9, 0, 8]), metadata })
    assert.equal(got.error, null)
    assert.deepEqual(got.message, Buffer.from([0, 255, 1]))
    assert.deepEqual(got.initial?.get('region'), ['eu'])
    assert.deepEqual(got.status?.metadata.get('cost-bin'), [Buffer.from([0, 200])])
    assert.equal(seen[0]?.method.name, `${SERVICE}/Add`)
    assert.deepEqual(seen[0]?.message, Buffer.from([9, 0, 8]))
    assert.deepEqual(seen[0]?.metadata.get('tenant'), ['blue'])
    assert.equal(seen[0]?.clientDeadline, Infinity)
    assert.deepEqual(await handled(metrics), { OK: 1 })
  })

  test("the handler's error comes back whole: status, message, initial and trailing metadata", async (t) => {
    const { port, metrics } = await start(t, (call) =>
      answered(call, {
        status: 9,
        details: 'überzogen\n100 %',
        initialMetadata: [['region', Buffer.from('eu')]],
        trailingMetadata: [['grpc-status-details-bin', Buffer.from([8, 9])]],
      }),
    )
    const got = await call(port)
    assert.equal(got.error?.code, 9)
    assert.equal(got.error?.details, 'überzogen\n100 %')
    assert.deepEqual(got.initial?.get('region'), ['eu'])
    assert.deepEqual(got.status?.metadata.get('grpc-status-details-bin'), [Buffer.from([8, 9])])
    assert.deepEqual(await handled(metrics), { FailedPrecondition: 1 })
  })

  test('every status code travels', async (t) => {
    let status = 0
    const { port } = await start(t, (call) => answered(call, { status, details: `status ${status}` }))
    for (status = 1; status <= 16; status++) {
      const { error } = await call(port)
      assert.equal(error?.code, status)
      assert.equal(error.details, `status ${status}`)
    }
  })

  test('a refusal carries when to try again, and is counted by its limit', async (t) => {
    const { port, metrics } = await start(t, (call) => call.fail('RATE_LIMITED', 40))
    const { error } = await call(port)
    assert.equal(error?.code, 8)
    assert.deepEqual(error.metadata.get('grpc-retry-pushback-ms'), ['40'])
    assert.match(await metrics.expose(), /^grpc_kafka_refusals_total\{limit="RATE_LIMITED"\} 1$/m)
  })

  test('an undeclared method is UNIMPLEMENTED and reaches nothing', async (t) => {
    let calls = 0
    const { port, metrics } = await start(t, () => calls++)
    assert.equal((await call(port, { method: 'Subtract' })).error?.code, 12)
    assert.equal(calls, 0)
    assert.doesNotMatch(await metrics.expose(), /Subtract/)
  })

  test('a request over the limit is RESOURCE_EXHAUSTED, one of exactly the limit is not', async (t) => {
    const { port } = await start(t, (call) => answered(call))
    assert.equal((await call(port, { message: Buffer.alloc(100_000) })).error, null)
    assert.equal((await call(port, { message: Buffer.alloc(100_001) })).error?.code, 8)
  })

  test('what grpc-js refuses by itself is counted by its reason, and nothing else is', async (t) => {
    const { port, metrics } = await start(t, (call) => {
      if (call.message.length === 5) answered(call)
      else call.fail('RATE_LIMITED', 40)
    })
    const unserved = async (): Promise<Record<string, number>> => {
      const lines = (await metrics.expose()).matchAll(/^grpc_kafka_unserved_requests_total\{reason="(\w+)"\} (\d+)$/gm)
      return Object.fromEntries(
        Array.from(lines, ([, reason = '', count]): [string, number] => [reason, Number(count)]),
      )
    }
    assert.deepEqual(await unserved(), { unimplemented: 0, too_large: 0, malformed: 0 })
    const health = makeClientConstructor(healthService, 'Health')
    const client = new health(`127.0.0.1:${port}`, credentials.createInsecure())
    t.after(() => client.close())
    await new Promise((resolve) => void client['check']?.({ service: 'unknown' }, resolve))
    await call(port)
    await call(port, { message: Buffer.alloc(6) })
    await call(port, { method: 'Subtract' })
    await call(port, { message: Buffer.alloc(100_001) })
    const session = http2.connect(`http://127.0.0.1:${port}`)
    t.after(() => session.destroy())
    for (const headers of [
      { 'content-type': 'text/plain' },
      { 'content-type': 'application/grpc', 'grpc-timeout': 'x' },
    ]) {
      const stream = session.request({ ':method': 'POST', ':path': `/${SERVICE}/Add`, te: 'trailers', ...headers })
      stream.end()
      await new Promise((resolve) => stream.resume().once('close', resolve))
    }
    // A stream is closed a little after its answer was read.
    const sum = async () => Object.values(await unserved()).reduce((all, one) => all + one, 0)
    while ((await sum()) < 4) await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(await unserved(), { unimplemented: 1, too_large: 1, malformed: 2 })
  })

  test("the client's deadline is known, and its passing is told from going away", async (t) => {
    const { promise: entered, resolve: enter } = Promise.withResolvers<void>()
    const open: Call[] = []
    // The client gives up by its own clock, some milliseconds before the server's says so.
    const ahead = 1000
    const onCall = (call: Call) => {
      open.push(call)
      if (call.clientDeadline === Infinity) enter()
    }
    const { port, metrics } = await start(t, onCall, {}, () => Date.now() + ahead)
    const deadline = Date.now() + 200
    const late = await call(port, { deadline })
    assert.equal(late.error?.code, 4)
    assert.ok(Math.abs((open[0]?.clientDeadline ?? 0) - deadline) < 1000)

    const cancel = new AbortController()
    const cancelled = call(port, { cancelWith: cancel.signal })
    await entered
    cancel.abort()
    assert.equal((await cancelled).error?.code, 1)
    // The server learns of it when the reset arrives; a call after it on its own connection may overtake it.
    while (open.some((one) => !one.ended)) await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(await handled(metrics), { DeadlineExceeded: 1, Canceled: 1 })
  })

  test('an answer after its caller went away harms nothing', async (t) => {
    const open: Call[] = []
    const { port } = await start(t, (call) => (open.length === 0 ? open.push(call) : answered(call)))
    await call(port, { deadline: Date.now() + 100 })
    while (open[0]?.ended === false) await new Promise((resolve) => setImmediate(resolve))
    answered(open[0] as Call)
    assert.equal((await call(port)).error, null)
  })

  test('metadata that no header can hold does not end the process', async (t) => {
    const bad = ['connection', 'te', 'a b', ':path', 'etag', 'etag'].map((name) => [name, Buffer.from('x')] as const)
    const { port } = await start(t, (call) =>
      answered(call, {
        initialMetadata: bad,
        trailingMetadata: [...bad, ['bell', Buffer.from([7])], ['kept', Buffer.from('1')]],
      }),
    )
    const got = await call(port)
    assert.equal(got.error, null)
    assert.deepEqual(got.status?.metadata.get('kept'), ['1'])
  })
})

suite('compression', () => {
  test('gzip in, gzip out', async (t) => {
    const text = Buffer.alloc(50_000, 'abc')
    let seen: Buffer | undefined
    const { port } = await start(t, (call) => {
      seen = call.message
      answered(call, { message: text, trailingMetadata: [['kept', Buffer.from('1')]] })
    })
    const session = http2.connect(`http://127.0.0.1:${port}`)
    t.after(() => session.destroy())
    const exchange = (encoding: string, flag: number, message: Buffer) =>
      new Promise<{ encoding: unknown; body: Buffer; trailers: http2.IncomingHttpHeaders }>((resolve, reject) => {
        const stream = session.request({
          ':method': 'POST',
          ':path': `/${SERVICE}/Add`,
          'content-type': 'application/grpc',
          te: 'trailers',
          'grpc-encoding': encoding,
        })
        const prefix = Buffer.from([flag, 0, 0, 0, 0])
        prefix.writeUInt32BE(message.length, 1)
        const chunks: Buffer[] = []
        let trailers: http2.IncomingHttpHeaders = {}
        let answered: unknown
        stream.on('response', (headers) => (answered = headers['grpc-encoding']))
        stream.on('trailers', (got: http2.IncomingHttpHeaders) => (trailers = got))
        stream.on('data', (chunk: Buffer) => chunks.push(chunk))
        stream.on('end', () => resolve({ encoding: answered, body: Buffer.concat(chunks), trailers }))
        stream.on('error', reject)
        stream.end(Buffer.concat([prefix, message]))
      })
    const zipped = await exchange('gzip', 1, gzipSync('hello'))
    assert.deepEqual(seen, Buffer.from('hello'))
    assert.equal(zipped.encoding, 'gzip')
    assert.equal(zipped.body[0], 1)
    assert.equal(zipped.body.readUInt32BE(1), zipped.body.length - 5)
    assert.ok(zipped.body.length < text.length / 10)
    assert.deepEqual(gunzipSync(zipped.body.subarray(5)), text)
    assert.equal(zipped.trailers['grpc-status'], '0')
    assert.equal(zipped.trailers['kept'], '1')

    const plain = await exchange('identity', 0, Buffer.from('hello'))
    assert.equal(plain.encoding, 'identity')
    assert.equal(plain.body[0], 0)
    assert.deepEqual(plain.body.subarray(5), text)
  })

  test('a grpc client that asks for it understands, whatever the size', async (t) => {
    let message = Buffer.alloc(0)
    const { port } = await start(t, (call) => answered(call, { message }))
    for (const size of [0, 1, 255, 256, 99_000]) {
      message = Buffer.alloc(size, 'x')
      const got = await call(port, { options: { 'grpc.default_compression_algorithm': 2 } })
      assert.deepEqual(got.message, message)
    }
  })
})

suite('a configuration that changes', () => {
  const changeProxy = (live: LiveConfig<ProxyConfig>, proxy: Partial<ProxyConfig['proxy']>): void =>
    live.replace({ ...live.current, proxy: { ...live.current.proxy, ...proxy } })
  const method = (name: string, timeoutMilliseconds: number) => ({
    name,
    timeoutMilliseconds,
    delivery: 'Queued' as const,
    metadata: [],
    cacheSeconds: 0,
    cloudEvents: 'Disabled' as const,
  })

  test('serves a method from then on, and no more once it is removed', async (t) => {
    const { live, port } = await start(t, (call) => answered(call))
    const codes = async () => {
      const both = [await call(port), await call(port, { method: 'Subtract' })]
      return both.map(({ status }) => status?.code)
    }
    assert.deepEqual(await codes(), [0, 12])
    changeProxy(live, { methods: [method('Add', 3000), method('Subtract', 3000)] })
    assert.deepEqual(await codes(), [0, 0])
    changeProxy(live, { methods: [method('Subtract', 3000)] })
    assert.deepEqual(await codes(), [12, 0])
  })

  test('leaves a call with the settings that it began with, also of a method that is removed', async (t) => {
    const calls: Call[] = []
    const { promise: three, resolve } = Promise.withResolvers<void>()
    const { live, port } = await start(t, (one) => {
      if (calls.push(one) === 3) resolve()
    })
    const answers: Promise<Got>[] = []
    for (const timeoutMilliseconds of [1, 2, 3]) {
      changeProxy(live, { methods: [method('Add', timeoutMilliseconds)] })
      answers.push(call(port))
      while (calls.length < timeoutMilliseconds) await new Promise((next) => setTimeout(next, 1))
    }
    await three
    changeProxy(live, { methods: [method('Other', 1)] })
    assert.deepEqual(
      calls.map((one) => one.method.timeoutMilliseconds),
      [1, 2, 3],
    )
    for (const one of calls) answered(one)
    for (const { error } of await Promise.all(answers)) assert.equal(error, null)
  })

  test('tells connections that are there, and those that come, how many streams they may hold', async (t) => {
    const { live, port } = await start(t, (call) => answered(call), { maxInFlight: 1 })
    const connect = async () => {
      const session = http2.connect(`http://127.0.0.1:${port}`)
      t.after(() => session.destroy())
      await new Promise((resolve) => session.once('remoteSettings', resolve))
      return session
    }
    const streams = ({ remoteSettings }: http2.ClientHttp2Session) => remoteSettings.maxConcurrentStreams ?? 0
    const session = await connect()
    const atFirst = streams(session)
    // Ten settings without the client's word are as many as node:http2 stands.
    for (let maxInFlight = 2; maxInFlight <= 100; maxInFlight++) changeProxy(live, { maxInFlight })
    while (streams(session) !== atFirst + 99) await new Promise((resolve) => session.once('remoteSettings', resolve))
    assert.equal(streams(await connect()), atFirst + 99)
    assert.equal(session.destroyed, false)
  })
})

suite('the standard services', () => {
  const Health = makeClientConstructor(healthService, 'Health')

  test('health tells what it was set to, for the server and for the service', async (t) => {
    const { server, port } = await start(t, (call) => answered(call))
    const client = new Health(`127.0.0.1:${port}`, credentials.createInsecure())
    t.after(() => client.close())
    const check = (service: string): Promise<unknown> =>
      new Promise((resolve) => {
        const method = client['Check'] as (
          request: unknown,
          done: (error: ServiceError | null, answer?: { readonly status: unknown }) => void,
        ) => void
        method.call(client, { service }, (error, answer) => resolve(error?.code ?? answer?.status))
      })
    assert.deepEqual([await check(''), await check(SERVICE)], ['NOT_SERVING', 'NOT_SERVING'])
    server.setServing(true)
    assert.deepEqual([await check(''), await check(SERVICE), await check('other')], ['SERVING', 'SERVING', 5])
    server.setServing(false)
    assert.deepEqual([await check(''), await check(SERVICE)], ['NOT_SERVING', 'NOT_SERVING'])
  })

  test('a descriptor set that is none is a configuration error', async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'proxy-'))
    t.after(() => rmSync(directory, { recursive: true }))
    const descriptorSetFile = join(directory, 'set.bin')
    const attempt = () => start(t, () => undefined, { descriptorSetFile })
    await assert.rejects(attempt, {
      code: 'CONFIG_INVALID',
      problems: [`proxy.descriptorSetFile: ${descriptorSetFile} cannot be read (ENOENT)`],
    })
    writeFileSync(descriptorSetFile, 'hello')
    await assert.rejects(attempt, {
      code: 'CONFIG_INVALID',
      problems: [`proxy.descriptorSetFile: ${descriptorSetFile} is not a FileDescriptorSet`],
    })
    writeFileSync(descriptorSetFile, '')
    await assert.rejects(attempt, {
      code: 'CONFIG_INVALID',
      problems: [`proxy.descriptorSetFile: ${descriptorSetFile} does not describe ${SERVICE}`],
    })
  })
})
