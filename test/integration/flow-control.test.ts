import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeRecord } from '../../sidecar/kafka/record.ts'
import { randomCallId } from './support/packed-header.ts'
import { startRoute, until } from './support/route.ts'
import type { Route } from './support/route.ts'
import { METHOD } from './support/service.ts'
import { produceRaw } from './support/topic.ts'

const WINDOW = 1024

/** The most calls that ran at the same time, by the ledger. */
function mostAtOnce(route: Route): number {
  let running = 0
  let most = 0
  for (const { event } of route.ledger()) {
    running += event === 'began' ? 1 : -1
    most = Math.max(most, running)
  }
  return most
}

test('the handler runs as many calls at once as it may, and no more', async (t) => {
  const route = await startRoute(t, { worker: { concurrency: 7 }, method: { timeoutMilliseconds: 20_000 } })
  const calls = Array.from({ length: 70 }, (_, number) => route.call({ id: `busy-${number}`, sleep: 100 }))
  for (const { code } of await Promise.all(calls)) assert.equal(code, 0)
  assert.equal(mostAtOnce(route), 7)
})

test('a slow call lets later ones be answered, holds the offset, and holds starts back at the end of the window', async (t) => {
  const route = await startRoute(t, { partitions: 1, method: { timeoutMilliseconds: 30_000 } })
  const committed = async () => {
    const [group] = await route.admin.fetchOffsets({ groupId: route.groupId, topics: [route.topic] })
    return Number(group?.partitions[0]?.offset)
  }
  let slowDone = false
  const slow = route.call({ id: 'slow', sleep: 6000 }).finally(() => (slowDone = true))
  await until('the slow call runs', () => route.ledger().length === 1)
  const later = Array.from({ length: 1500 }, (_, number) => route.call({ id: `later-${number}` }, { deadline: 30_000 }))
  await until('the window is used up', () => route.runs().size === WINDOW)
  const inWindow = await Promise.all(later.slice(0, 500))
  for (const { code } of inWindow) assert.equal(code, 0)
  await until('all were produced', async () => (await route.records()) === 1501)
  assert.equal(slowDone, false, 'the slow call ended before the window was seen')
  assert.equal(await committed(), 0)
  assert.equal(route.runs().size, WINDOW)

  assert.equal((await slow).code, 0)
  for (const { code } of await Promise.all(later)) assert.equal(code, 0)
  assert.equal(route.runs().size, 1501)
  await until('the offset passed them all', async () => (await committed()) === 1501)
})

test('a backlog of 20,000 records is read only as far as it can be worked on, and memory stays flat', async (t) => {
  const route = await startRoute(t, { workers: 0, proxies: 0, partitions: 1, worker: { concurrency: 4 } })
  const now = Date.now()
  const records = 20_000
  const batch = 500
  for (let produced = 0; produced < records; produced += batch) {
    await produceRaw(
      route,
      Array.from({ length: batch }, (_, number) =>
        encodeRecord({
          id: randomCallId(),
          deadline: now + 600_000,
          replyTo: '',
          method: METHOD.slice(1),
          attempt: 1,
          producedAgain: false,
          enqueuedAt: now,
          firstFailureAt: 0,
          caller: '',
          metadata: [],
          message: Buffer.concat([
            Buffer.from(JSON.stringify({ id: `deep-${produced + number}`, sleep: 50 })),
            Buffer.alloc(1000),
          ]),
        }),
      ),
    )
  }
  const worker = await route.startWorker()
  const buffered = () => route.metric(worker, 'grpc_kafka_buffered_records')
  const memory = async () => (await route.metric(worker, 'process_resident_memory_bytes')) / 1_048_576
  await until('the worker reads ahead', async () => (await buffered()) >= 4096)
  const before = await memory()
  const begun = route.runs().size
  let most = 0
  let highest = 0
  await until('some hundred calls were made', async () => {
    most = Math.max(most, await buffered())
    highest = Math.max(highest, await memory())
    return route.runs().size > begun + 300
  })
  t.diagnostic(`at most ${most} records buffered; ${Math.round(before)} MiB, at most ${Math.round(highest)} MiB`)
  // Reading pauses at 4096; one fetch of 1 MiB may come on top.
  assert.ok(most < 4096 + 1100, `${most} records are buffered`)
  assert.ok(highest < before + 64, `memory grew from ${Math.round(before)} to ${Math.round(highest)} MiB`)
})
