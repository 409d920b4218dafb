/** Messages of every size: through whole, or refused before they cost anything. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { gunzipSync, gzipSync } from 'node:zlib'
import { Client, compressionAlgorithms, credentials } from '@grpc/grpc-js'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { PATIENT, startRoute, until } from './support/route.ts'
import type { Instruction } from './support/service.ts'
import { grpcRequest, wireCall, withSession } from './support/wire.ts'

const MEBIBYTE = 1_048_576
const hash = (bytes: Buffer | undefined): string =>
  createHash('sha256')
    .update(bytes ?? '')
    .digest('hex')

/** A request of exactly so many bytes that ends in noise. */
function sized(instruction: Instruction, bytes: number): Buffer {
  const head = Buffer.concat([Buffer.from(JSON.stringify(instruction)), Buffer.from([0])])
  return Buffer.concat([head, randomBytes(bytes - head.length)])
}

test('a limit of 1 MiB', async (t) => {
  const route = await startRoute(t, {
    service: { maxMessageBytes: MEBIBYTE },
    method: PATIENT,
    topicConfig: { 'max.message.bytes': String(MEBIBYTE + 65_536) },
  })

  await t.test('a request and a result of exactly 1 MiB travel unchanged', async () => {
    const request = sized({ id: 'whole', echo: true }, MEBIBYTE)
    const answer = await route.call(request)
    assert.equal(answer.code, 0, answer.details)
    assert.equal(hash(answer.reply), hash(request))
  })

  await t.test('a request of one byte more is RESOURCE_EXHAUSTED at the proxy and never on Kafka', async () => {
    const before = await route.records()
    const answer = await route.call(sized({ id: 'over' }, MEBIBYTE + 1))
    assert.equal(answer.code, GrpcStatus.RESOURCE_EXHAUSTED, answer.details)
    assert.equal(await route.records(), before)
    assert.equal(route.runs().has('over'), false)
  })

  await t.test('a result of one byte more is RESOURCE_EXHAUSTED, and the call ran once', async () => {
    const answer = await route.call({ id: 'large', replyBytes: MEBIBYTE + 1 })
    assert.equal(answer.code, GrpcStatus.RESOURCE_EXHAUSTED)
    assert.match(answer.details, /the result is larger than maxMessageBytes/)
    assert.equal(route.runs().get('large'), 1)
  })

  await t.test('a result far too large does not grow the worker', async () => {
    const worker = route.workers[0]
    assert.ok(worker)
    const before = await route.metric(worker, 'process_resident_memory_bytes')
    for (let index = 0; index < 4; index++) {
      assert.equal((await route.call({ replyBytes: 64 * MEBIBYTE })).code, GrpcStatus.RESOURCE_EXHAUSTED)
    }
    const grown = (await route.metric(worker, 'process_resident_memory_bytes')) - before
    assert.ok(grown < 64 * MEBIBYTE, `grew by ${grown} bytes`)
  })

  await t.test('calls of 1 MiB side by side are not mixed up', async () => {
    const requests = Array.from({ length: 12 }, (_, index) =>
      sized({ id: `side-${index}`, echo: true }, MEBIBYTE - index),
    )
    const answers = await Promise.all(requests.map((request) => route.call(request)))
    assert.deepEqual(
      answers.map(({ code, reply }) => [code, hash(reply)]),
      requests.map((request) => [0, hash(request)]),
    )
  })
})

test('a topic that takes less than the proxy does', async (t) => {
  const route = await startRoute(t, {
    partitions: 1,
    method: PATIENT,
    topicConfig: { 'max.message.bytes': String(MEBIBYTE) },
  })

  await t.test('a batch that the broker refuses is split until it fits', async (part) => {
    const [proxy] = route.proxies
    assert.ok(proxy)
    const refused = () => route.metric(proxy, 'grpc_kafka_produce_errors_total', 'TOO_LARGE')
    // No two of them fit into one batch. Which of them meet in one is a matter of time, so rounds go on until some did.
    let round = 0
    const sendRound = async (): Promise<boolean> => {
      round += 1
      const requests = Array.from({ length: 24 }, (_, index) =>
        sized({ id: `part-${round}-${index}`, echo: true }, 600_000),
      )
      const answers = await Promise.all(requests.map((request) => route.call(request)))
      assert.deepEqual(
        answers.map(({ code, reply }) => [code, hash(reply)]),
        requests.map((request) => [0, hash(request)]),
      )
      return (await refused()) > 0
    }
    await until('a batch was refused', sendRound, 60_000)
    part.diagnostic(`refused in round ${round}`)
    assert.deepEqual(
      [...route.runs().values()],
      Array.from({ length: 24 * round }, () => 1),
    )
  })

  await t.test(
    'one call alone that the broker refuses is RESOURCE_EXHAUSTED, and its neighbours are answered',
    async () => {
      const [large, small] = await Promise.all([
        route.call(sized({ id: 'too-large' }, 2 * MEBIBYTE)),
        route.call(sized({ id: 'beside', echo: true }, 1000)),
      ])
      assert.deepEqual([large.code, small.code], [GrpcStatus.RESOURCE_EXHAUSTED, 0])
      assert.match(large.details, /the request is larger than maxMessageBytes/)
      assert.equal(route.runs().has('too-large'), false)
    },
  )
})

test('compression', async (t) => {
  const route = await startRoute(t, { method: PATIENT, service: { maxMessageBytes: MEBIBYTE } })
  const [proxy] = route.proxies
  assert.ok(proxy)

  await t.test("a client's gzip requests are answered, and the handler gets plain bytes", async () => {
    const client = new Client(`127.0.0.1:${proxy.port}`, credentials.createInsecure(), {
      'grpc.default_compression_algorithm': compressionAlgorithms.gzip,
      'grpc.use_local_subchannel_pool': 1,
    })
    const request = Buffer.concat([Buffer.from(JSON.stringify({ id: 'gzip', echo: true })), Buffer.alloc(200_000)])
    try {
      const reply = await new Promise<Buffer | undefined>((resolve, reject) => {
        const same = (bytes: Buffer): Buffer => bytes
        client.makeUnaryRequest('/test.Work/Do', same, same, request, (error, answer) =>
          error === null ? resolve(answer) : reject(error),
        )
      })
      assert.equal(hash(reply), hash(request))
      assert.equal(route.ledger().find(({ id }) => id === 'gzip')?.bytes, request.length)
    } finally {
      client.close()
    }
  })

  await t.test('an answer is compressed as its request was', async () => {
    const request = Buffer.from(JSON.stringify({ replyBytes: 100_000 }))
    const [asked, plain] = await withSession(proxy.port, (session) =>
      Promise.all([
        wireCall(session, { headers: { 'grpc-encoding': 'gzip' }, body: [grpcRequest(gzipSync(request), 1)] }),
        wireCall(session, { body: [grpcRequest(request)] }),
      ]),
    )
    assert.deepEqual([asked.grpcStatus, plain.grpcStatus], [0, 0])
    assert.equal(asked.body[0], 1)
    assert.ok(asked.body.length < 1000, `${asked.body.length} bytes`)
    assert.deepEqual(gunzipSync(asked.body.subarray(5)), plain.body.subarray(5))
  })

  await t.test('a small request that unpacks to more than the limit is RESOURCE_EXHAUSTED', async () => {
    const before = await route.records()
    const bomb = gzipSync(Buffer.alloc(64 * MEBIBYTE))
    const answer = await withSession(proxy.port, (session) =>
      wireCall(session, { headers: { 'grpc-encoding': 'gzip' }, body: [grpcRequest(bomb, 1)] }),
    )
    assert.equal(answer.grpcStatus, GrpcStatus.RESOURCE_EXHAUSTED)
    assert.equal(await route.records(), before)
  })

  await t.test('bytes that are no gzip are refused', async () => {
    const before = await route.records()
    const answer = await withSession(proxy.port, (session) =>
      wireCall(session, {
        headers: { 'grpc-encoding': 'gzip' },
        body: [grpcRequest(Buffer.from('{"id":"plain"}'), 1)],
      }),
    )
    assert.equal(answer.grpcStatus, GrpcStatus.INTERNAL)
    assert.equal(await route.records(), before)
  })

  await t.test('an encoding that nobody knows is UNIMPLEMENTED', async () => {
    const answer = await withSession(proxy.port, (session) =>
      wireCall(session, { headers: { 'grpc-encoding': 'lzma' }, body: [grpcRequest(Buffer.from('{}'), 1)] }),
    )
    assert.equal(answer.grpcStatus, GrpcStatus.UNIMPLEMENTED)
  })
})
