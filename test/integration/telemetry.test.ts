/** What is counted, and that no client can make the counting cost more. */
import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { Metadata } from '@grpc/grpc-js'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { PATIENT, startRoute, until } from './support/route.ts'
import type { Sidecar } from './support/route.ts'
import { grpcRequest, withSession, wireCall } from './support/wire.ts'

const MANY = 100_000

async function exposition(sidecar: Sidecar): Promise<string> {
  return (await fetch(`http://127.0.0.1:${sidecar.adminPort}/metrics`)).text()
}

/** Shown while they are known, which is after the first time that all places of a worker were taken. */
const SOMETIMES: ReadonlySet<string> = new Set(['grpc_kafka_drain_rate', 'grpc_kafka_queue_wait_estimate_seconds'])

/** Names and labels of everything that the sidecar counts; what Node tells of itself comes and goes with its own doings. */
async function series(sidecar: Sidecar): Promise<string[]> {
  return (await exposition(sidecar))
    .split('\n')
    .filter((line) => line.startsWith('grpc_'))
    .map((line) => line.slice(0, line.lastIndexOf(' ')))
    .filter((name) => !SOMETIMES.has(name))
    .sort()
}

test('metrics', async (t) => {
  const route = await startRoute(t, { method: { ...PATIENT, metadata: ['x-tenant'] } })
  const [proxy] = route.proxies
  const [worker] = route.workers
  assert.ok(proxy && worker)
  const before = { proxy: await series(proxy), worker: await series(worker) }

  await t.test('count every call by how it ended', async () => {
    for (const status of [undefined, undefined, undefined, GrpcStatus.NOT_FOUND, GrpcStatus.PERMISSION_DENIED]) {
      await route.call(status === undefined ? {} : { status })
    }
    await route.call({ sleep: 2000 }, { deadline: 800 })
    const handled = (code: string) => route.metric(proxy, 'grpc_server_handled_total', `grpc_code="${code}"`)
    assert.deepEqual(
      {
        ok: await handled('OK'),
        notFound: await handled('NotFound'),
        denied: await handled('PermissionDenied'),
        started: await route.metric(proxy, 'grpc_server_started_total'),
        seconds: await route.metric(proxy, 'grpc_server_handling_seconds_bucket', 'le="+Inf"'),
      },
      { ok: 3, notFound: 1, denied: 1, started: 6, seconds: 6 },
    )
  })

  await t.test('have the same series whatever a thousand clients send', async () => {
    const answers = await Promise.all(
      Array.from({ length: 1000 }, (_, index) => {
        const metadata = new Metadata()
        metadata.add(`x-${randomUUID()}`, randomUUID())
        metadata.add('x-tenant', randomUUID())
        metadata.add('traceparent', `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-01`)
        const method = index % 4 === 0 ? '/test.Work/Do' : `/${randomUUID()}/${randomUUID()}`
        return route.call({ id: randomUUID() }, { metadata, method })
      }),
    )
    assert.deepEqual(
      [0, GrpcStatus.UNIMPLEMENTED].map((status) => answers.filter(({ code }) => code === status).length),
      [250, 750],
    )
    assert.deepEqual({ proxy: await series(proxy), worker: await series(worker) }, before)
  })

  await t.test('have the same series after a hundred thousand methods, clients and idempotency keys', async () => {
    const seriesBefore = { proxy: await series(proxy), worker: await series(worker) }
    const unserved = () => route.metric(proxy, 'grpc_kafka_unserved_requests_total', 'unimplemented')
    const refused = () => route.metric(proxy, 'grpc_kafka_refusals_total', 'METADATA_TOO_LARGE')
    const counted = { unserved: await unserved(), refused: await refused() }
    // Too much metadata is refused after the key was claimed in Redis: no call costs less and has had a key.
    const tooMuch = Array.from({ length: 100 }, () => 'x'.repeat(330))
    const body = [grpcRequest(Buffer.from('{}'))]
    await withSession(proxy.port, async (session) => {
      let next = 0
      const client = async () => {
        for (let index = next++; index < MANY; index = next++) {
          const headers = { 'user-agent': `client-${index}`, [`x-${index}`]: `${index}` }
          const asked = await wireCall(session, { path: `/test.Work/Do${index}`, headers, milliseconds: 60_000 })
          assert.equal(asked.grpcStatus, GrpcStatus.UNIMPLEMENTED)
          const keyed = { ...headers, 'idempotency-key': `key-${index}`, 'x-tenant': tooMuch }
          const answer = await wireCall(session, { headers: keyed, body, milliseconds: 60_000 })
          assert.equal(answer.grpcStatus, GrpcStatus.RESOURCE_EXHAUSTED, answer.message)
        }
      }
      await Promise.all(Array.from({ length: 200 }, client))
    })
    assert.deepEqual({ proxy: await series(proxy), worker: await series(worker) }, seriesBefore)
    await until('each is counted', async () => (await unserved()) === counted.unserved + MANY)
    assert.equal(await refused(), counted.refused + MANY)
  })

  await t.test('agree between proxy, worker and Kafka', async () => {
    const answered = await route.metric(worker, 'grpc_kafka_records_total', 'result="answered"')
    const expired = await route.metric(worker, 'grpc_kafka_records_total', 'result="expired"')
    assert.equal(answered + expired, await route.records())
    assert.equal(await route.metric(worker, 'grpc_kafka_outcomes_total'), answered + expired)
    assert.equal(await route.metric(worker, 'grpc_kafka_handler_seconds_count'), await route.records())
  })

  await t.test('hold no value of a call', async () => {
    const metadata = new Metadata()
    metadata.add('x-tenant', 'tenant-of-a-call')
    assert.equal((await route.call({ id: 'id-of-a-call' }, { metadata })).code, 0)
    for (const sidecar of [proxy, worker]) {
      assert.doesNotMatch(await exposition(sidecar), /tenant-of-a-call|id-of-a-call/)
    }
  })
})
