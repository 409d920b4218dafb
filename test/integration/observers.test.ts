import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { decodeRecord } from '../../sidecar/kafka/record.ts'
import { PATIENT, startRoute, until } from './support/route.ts'
import type { Route, Worker } from './support/route.ts'
import { OutcomeReader, produceRaw, readTopic } from './support/topic.ts'

const ranBy = ({ handler }: Worker, route: Route) =>
  route
    .ledger()
    .filter(({ event, pid }) => event === 'ended' && pid === handler.child.pid)
    .map(({ id }) => id ?? '')
    .sort()

test('an observer runs the same records as the responder, whose answer stands', async (t) => {
  const route = await startRoute(t)
  const observer = await route.startWorker({ groupId: `${route.groupId}-audit`, role: 'Observer' })
  const ids = Array.from({ length: 10 }, (_, number) => `seen-${number}`)
  const answers = await Promise.all(ids.map((id) => route.call({ id, reply: id })))
  assert.deepEqual(
    answers.map(({ code, reply }) => [code, reply?.toString()]),
    ids.map((id) => [0, id]),
  )
  await until('the observer ran them too', () => ranBy(observer, route).length === 10)
  const [responder] = route.workers
  assert.ok(responder)
  assert.deepEqual(ranBy(responder, route), ids)
  assert.deepEqual(ranBy(observer, route), ids)
  assert.equal(await route.metric(observer, 'grpc_kafka_records_total', 'result="observed"'), 10)
  assert.equal(await route.metric(observer, 'grpc_kafka_outcomes_total'), 0)
})

test('an observer alone answers nobody and writes no outcome, though it runs the call', async (t) => {
  const route = await startRoute(t, { worker: { role: 'Observer' } })
  const answer = await route.call({ id: 'unanswered' }, { deadline: 1500 })
  assert.equal(answer.code, GrpcStatus.DEADLINE_EXCEEDED)
  assert.deepEqual([...route.runs()], [['unanswered', 1]])
  const [message] = await readTopic(route, 1)
  assert.ok(message)
  const decoded = decodeRecord({ key: message.key, value: message.value, headers: message.headers ?? {} })
  assert.ok(decoded.kind === 'Call')
  const outcomes = new OutcomeReader(route)
  t.after(() => outcomes.close())
  assert.equal(await outcomes.outcome(decoded.record.id), undefined)
})

test('an observer from Latest sees only what comes after it joined, one from Earliest everything', async (t) => {
  const route = await startRoute(t)
  assert.equal((await route.call({ id: 'old' })).code, 0)
  const [latest, earliest] = await Promise.all([
    route.startWorker({ groupId: `${route.groupId}-latest`, role: 'Observer', startFrom: 'Latest' }),
    route.startWorker({ groupId: `${route.groupId}-earliest`, role: 'Observer', startFrom: 'Earliest' }),
  ])
  assert.equal((await route.call({ id: 'new' })).code, 0)
  await until('both observers ran the new call', () =>
    [latest, earliest].every((worker) => ranBy(worker, route).includes('new')),
  )
  await until('the other one ran the old call too', () => ranBy(earliest, route).length === 2)
  assert.deepEqual(ranBy(latest, route), ['new'])
  assert.deepEqual(ranBy(earliest, route), ['new', 'old'])
})

test('an observer of the failure topic runs the calls of dead letters, is told why they are there, and passes over the rest', async (t) => {
  const retry = { maxAttempts: 2, backoff: { initialMilliseconds: 50 } }
  const route = await startRoute(t, { method: PATIENT, worker: { retry } })
  const failureTopic = `${route.topic}.dead`
  const observer = await route.startWorker({
    groupId: `${route.groupId}-undertaker`,
    role: 'Observer',
    topics: [failureTopic],
  })
  await produceRaw(
    route,
    [{ value: Buffer.from('no call'), headers: { 'dead-done': 'discarded', 'dead-of': '0/9' } }],
    failureTopic,
  )
  const { code } = await route.call({ id: 'dead', status: GrpcStatus.UNAVAILABLE })
  assert.equal(code, GrpcStatus.UNAVAILABLE)
  assert.equal((await route.call({ id: 'alive' })).code, 0)
  await until('it gave the dead letter up', async () => {
    return (await route.metric(observer, 'grpc_kafka_records_total', 'result="observed"')) === 1
  })
  const seen = route.ledger().filter(({ event, pid }) => event === 'began' && pid === observer.handler.child.pid)
  assert.deepEqual(
    seen.map(({ id, attempt }) => [id, attempt]),
    [
      ['dead', 1],
      ['dead', 2],
    ],
  )
  assert.deepEqual(
    ['dead-reason', 'dead-topic', 'dead-status', 'dead-group'].map((name) => seen[0]?.metadata[name]),
    [['attempts used up, last status 14'], [route.topic], ['UNAVAILABLE'], [route.groupId]],
  )
  assert.equal(await route.records(failureTopic), 2, 'it wrote none itself')
})
