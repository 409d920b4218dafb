import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { pino } from 'pino'
import { EventSink } from '../../../../operator/controller/events.ts'
import type { KubeEvent } from '../../../../operator/controller/events.ts'
import { KubeError } from '../../../../operator/controller/kube-error.ts'
import type { KubeObject } from '../../../../operator/controller/object.ts'
import type { RestRequest } from '../../../../operator/controller/rest-client.ts'
import { FakeClock, settle } from './fake-clock.ts'

const service = (name = 'calc'): KubeObject => ({
  apiVersion: 'grpckafka.dev/v1alpha1',
  kind: 'CalculateService',
  metadata: { name, namespace: 'ns', uid: `uid-of-${name}` },
})
const created: KubeEvent = { type: 'Normal', reason: 'TopicCreated', action: 'CreateTopic', note: 'made topic calc' }

function sinkWith(answer: (request: RestRequest) => Promise<unknown> = () => Promise.resolve({})) {
  const requests: RestRequest[] = []
  const clock = new FakeClock()
  const sink = new EventSink({
    client: {
      request: (request) => {
        requests.push(request)
        return answer(request)
      },
    },
    clock,
    random: () => 0.5,
    logger: pino({ level: 'silent' }),
    reportingController: 'grpckafka.dev/operator',
    reportingInstance: 'pod-1',
  })
  return { sink, clock, requests }
}

const bodyOf = (request: RestRequest | undefined) => request?.body as Readonly<Record<string, unknown>>

describe('EventSink', () => {
  test("makes an event in the object's namespace that says what happened to what", async () => {
    const { sink, requests } = sinkWith()
    sink.record(service(), created)
    await sink.flush()
    const [{ method, path, body }] = requests as [RestRequest]
    assert.deepEqual([method, path], ['POST', '/apis/events.k8s.io/v1/namespaces/ns/events'])
    const { metadata, ...event } = body as { readonly metadata: { readonly name: string; readonly namespace: string } }
    assert.match(metadata.name, /^calc\.[0-9a-f]+$/)
    assert.equal(metadata.namespace, 'ns')
    assert.deepEqual(event, {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      eventTime: '2026-01-01T00:00:00.000000Z',
      reportingController: 'grpckafka.dev/operator',
      reportingInstance: 'pod-1',
      regarding: {
        apiVersion: 'grpckafka.dev/v1alpha1',
        kind: 'CalculateService',
        namespace: 'ns',
        name: 'calc',
        uid: 'uid-of-calc',
      },
      ...created,
    })
  })

  test('counts what is said again in a series, written once a minute', async () => {
    const { sink, clock, requests } = sinkWith()
    for (let times = 0; times < 50; times++) {
      sink.record(service(), created)
      clock.advance(1000)
    }
    await sink.flush()
    assert.equal(requests.length, 1)
    clock.advance(20_000)
    await sink.flush()
    assert.equal(requests.length, 2)
    const { method, path, contentType, body } = requests[1]!
    assert.deepEqual([method, contentType], ['PATCH', 'application/merge-patch+json'])
    assert.ok(path.startsWith('/apis/events.k8s.io/v1/namespaces/ns/events/calc.'))
    assert.deepEqual(body, { series: { count: 50, lastObservedTime: '2026-01-01T00:00:49.000000Z' } })
  })

  test('what is said again after six silent minutes is an event of its own', async () => {
    const { sink, clock, requests } = sinkWith()
    sink.record(service(), created)
    clock.advance(6 * 60_000)
    sink.record(service(), created)
    await sink.flush()
    assert.deepEqual(
      requests.map(({ method }) => method),
      ['POST', 'POST'],
    )
    assert.notEqual(bodyOf(requests[0])['metadata'], bodyOf(requests[1])['metadata'])
  })

  test('another note is another event', async () => {
    const { sink, requests } = sinkWith()
    sink.record(service(), created)
    sink.record(service(), { ...created, note: 'made topic calc.dead' })
    await sink.flush()
    assert.equal(requests.length, 2)
  })

  test('an object that says ever new things is cut off after 25, and its neighbour is not', async () => {
    const { sink, clock, requests } = sinkWith()
    for (let times = 0; times < 100; times++) sink.record(service('loud'), { ...created, note: `note ${times}` })
    sink.record(service('quiet'), created)
    await sink.flush()
    assert.equal(requests.length, 26)
    clock.advance(300_000)
    sink.record(service('loud'), { ...created, note: 'after five minutes' })
    await sink.flush()
    assert.equal(requests.length, 27)
  })

  test('an API server that refuses, or throws what is no error, hurts nobody, and the next event is stored', async () => {
    let answers = 0
    const { sink, requests } = sinkWith(() => {
      answers += 1
      return answers === 1 ? Promise.reject(new KubeError('Forbidden', 'no')) : Promise.resolve({})
    })
    sink.record(service(), created)
    await sink.flush()
    sink.record(service(), created)
    await sink.flush()
    assert.deepEqual(
      requests.map(({ method }) => method),
      ['POST', 'POST'],
    )
  })

  test('while the API server does not answer, it keeps a thousand events and loses the others', async () => {
    let answer: (() => void) | undefined
    const { sink, requests } = sinkWith(() =>
      answer === undefined ? new Promise((resolve) => (answer = () => resolve({}))) : Promise.resolve({}),
    )
    for (let object = 0; object < 3000; object++) sink.record(service(`calc-${object}`), created)
    await settle()
    assert.equal(requests.length, 1)
    answer!()
    await sink.flush()
    assert.equal(requests.length, 1000)
    sink.record(service('calc-2999'), created)
    await sink.flush()
    assert.equal(requests.length, 1001, 'what was lost can be told again')
  })

  test('cuts a note to 1024 bytes between two characters', async () => {
    const { sink, requests } = sinkWith()
    sink.record(service(), { ...created, note: 'ä'.repeat(600) + 'x' })
    sink.record(service('calc-2'), { ...created, note: `x${'ä'.repeat(600)}` })
    await sink.flush()
    assert.equal(bodyOf(requests[0])['note'], 'ä'.repeat(512))
    assert.equal(bodyOf(requests[1])['note'], `x${'ä'.repeat(511)}`)
  })

  test('an event of a cluster-wide object lies in the namespace default', async () => {
    const { sink, requests } = sinkWith()
    sink.record({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n', uid: 'u' } }, created)
    await sink.flush()
    assert.equal(requests[0]?.path, '/apis/events.k8s.io/v1/namespaces/default/events')
  })

  test("keeps its name short and valid, whatever the object's is", async () => {
    const { sink, requests } = sinkWith()
    sink.record(service(`${'a'.repeat(199)}-${'b'.repeat(53)}`), created)
    await sink.flush()
    const { name } = bodyOf(requests[0])['metadata'] as { readonly name: string }
    assert.match(name, /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/)
  })
})
