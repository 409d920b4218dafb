/** What is counted, and that no client can make the counting cost more. */
import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { Metadata } from '@grpc/grpc-js'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { PATIENT, startRoute } from './support/route.ts'
import type { Sidecar } from './support/route.ts'

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
