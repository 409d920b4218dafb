/** Readers and writers of two record versions, upgraded and rolled back while calls run (docs/adr/0011). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HEADER } from '../../sidecar/kafka/record.ts'
import { change } from './support/change.ts'
import { Load, assertAllAnswered, assertEachRanOnce } from './support/load.ts'
import { PATIENT, startRoute, until } from './support/route.ts'
import type { Route, Worker } from './support/route.ts'
import { readTopic } from './support/topic.ts'

const OLD_READER = { TEST_IMPORT: 'test/integration/support/old-reader.ts' }

/** The versions of all records of the topic. */
async function versions(route: Route, count: number): Promise<number[]> {
  const records = await readTopic(route, count)
  return records.map(({ headers = {} }) => (headers[HEADER] as Buffer)[0] as number)
}

/** Puts a worker in the place of another, as a rolling update does: first the new one, then the old one goes. */
async function replace(route: Route, old: Worker): Promise<Worker> {
  const next = await route.startWorker()
  assert.equal(await old.process.end(), 0)
  return next
}

test('readers first, then writers, and back again, under load', async (t) => {
  const isOld = (index: number) => index !== 1
  const route = await startRoute(t, { method: PATIENT, workerEnv: (index) => (isOld(index) ? OLD_READER : {}) })
  const [proxy] = route.proxies
  const [oldReader] = route.workers
  assert.ok(proxy && oldReader)
  const write = (version: number) =>
    change(route, proxy, ({ proxy: section }) => {
      section['recordVersion'] = version
    })
  const load = new Load(route, { perSecond: 100 })
  const moreAnswers = async () => {
    const { sent } = load
    await until('what was sent, and more, is answered', () => load.answered > sent + 50)
  }
  await moreAnswers()

  const newReader = await replace(route, oldReader)
  await moreAnswers()
  await write(2)
  await moreAnswers()
  await write(1)
  // The older reader comes when no newer record is left to be read.
  const { sent } = load
  await until('the calls of version 2 are answered', () => load.answered >= sent)
  const last = await replace(route, newReader)
  await moreAnswers()

  const answers = await load.stop()
  assertAllAnswered(answers)
  assertEachRanOnce(route, answers)
  assert.equal(await route.metric(last, 'grpc_kafka_records_total', 'result="newer"'), 0)
  const written = await versions(route, answers.length)
  assert.equal(written.length, answers.length)
  assert.deepEqual(new Set(written), new Set([1, 2]))
  t.diagnostic(`${answers.length} calls, ${written.filter((version) => version === 2).length} of them of version 2`)
})

test('writers first: calls of the newer version wait for their reader while the others run', async (t) => {
  const timeoutMilliseconds = 60_000
  const route = await startRoute(t, {
    method: { timeoutMilliseconds },
    proxies: 0,
    workerEnv: (index) => (index === 0 ? OLD_READER : {}),
  })
  const [oldReader] = route.workers
  assert.ok(oldReader)
  await route.startProxy()
  await route.startProxy({ recordVersion: 2 })
  const load = new Load(route, { perSecond: 50 })
  const ahead = Array.from({ length: 20 }, (_, index) =>
    route.call({ id: `ahead-${index}` }, { proxy: 1, deadline: timeoutMilliseconds }),
  )
  await until('all of them are parked', async () => (await route.metric(oldReader, 'grpc_kafka_parked_records')) === 20)
  const { sent } = load
  await until('calls sent beside them are answered', () => load.answered > sent + 50)
  assert.deepEqual(
    [...route.runs().keys()].filter((id) => id.startsWith('ahead')),
    [],
  )

  await replace(route, oldReader)
  for (const { code, details } of await Promise.all(ahead)) assert.equal(code, 0, details)
  const answers = await load.stop()
  assertAllAnswered(answers)
  const runs = route.runs()
  assert.deepEqual(
    [...runs].filter(([, times]) => times !== 1),
    [],
  )
  assert.equal(runs.size, answers.length + ahead.length)
})
