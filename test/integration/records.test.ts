/** Records that nobody of ours wrote: each goes its own way, and none stands in the way of its neighbours. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import type { CallId } from '../../sidecar/call-id.ts'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { packedHeader, packedPrefix, randomCallId } from './support/packed-header.ts'
import { createTopics, PATIENT, startRoute, until } from './support/route.ts'
import type { Route, Worker } from './support/route.ts'
import { OutcomeReader, headerTexts, produceRaw, readTopic } from './support/topic.ts'
import type { RawMessage } from './support/topic.ts'

/** What a call looks like on the topic. */
const call = (id: string, header: Buffer = packedHeader()): RawMessage => ({
  key: randomBytes(16),
  value: Buffer.from(JSON.stringify({ id })),
  headers: { 'grpc-kafka': header },
})

/** A route of one partition, so that what stands in the way of one record stands in the way of all. */
async function narrowRoute(
  t: TestContext,
): Promise<{ readonly route: Route; readonly worker: Worker; readonly redis: OutcomeReader }> {
  const route = await startRoute(t, { partitions: 1, method: PATIENT })
  const redis = new OutcomeReader(route)
  t.after(() => redis.close())
  const [worker] = route.workers
  assert.ok(worker)
  return { route, worker, redis }
}

interface Poison {
  readonly what: string
  readonly message: RawMessage
  /** What the failure topic says of it. */
  readonly reason: RegExp
  /** The call that its header names, and the status that its caller gets. */
  readonly outcome?: { readonly id: CallId; readonly status: number }
}

const value = Buffer.from('{"id":"poison"}')
const withHeader = (header: Buffer | Buffer[] | string): RawMessage => ({
  key: null,
  value,
  headers: { 'grpc-kafka': header },
})

function poisons(): Poison[] {
  const ids = Array.from({ length: 10 }, randomCallId) as [
    CallId,
    CallId,
    CallId,
    CallId,
    CallId,
    CallId,
    CallId,
    CallId,
    CallId,
    CallId,
  ]
  const whole = packedHeader({ id: ids[0] })
  const manyHeaders = Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`h${index}`, 'x']))
  return [
    { what: 'no headers at all', message: { key: Buffer.from('k'), value }, reason: /no grpc-kafka header/ },
    { what: 'no header of ours', message: { value, headers: { other: 'x' } }, reason: /no grpc-kafka header/ },
    {
      what: 'our header twice',
      message: withHeader([packedHeader(), packedHeader()]),
      reason: /several grpc-kafka headers/,
    },
    { what: 'an empty header', message: withHeader(Buffer.alloc(0)), reason: /header ends inside its prefix/ },
    { what: 'a header of one byte', message: withHeader(Buffer.from([1])), reason: /header ends inside its prefix/ },
    {
      what: 'a header of text',
      message: withHeader('call=1;method=Do;deadline=tomorrow'),
      reason: /header ends inside its prefix/,
    },
    {
      what: 'a header cut in its prefix',
      message: withHeader(whole.subarray(0, 20)),
      reason: /header ends inside its prefix/,
    },
    {
      what: 'a header cut in its reply channel',
      message: withHeader(packedPrefix({ replyTo: 'proxy-1' }).subarray(0, 28)),
      reason: /header ends inside its prefix/,
    },
    {
      what: 'a header cut before its method',
      message: withHeader(whole.subarray(0, 30)),
      reason: /header ends before its method/,
      outcome: { id: ids[0], status: GrpcStatus.INTERNAL },
    },
    {
      what: 'a header cut in its method',
      message: withHeader(packedHeader({ id: ids[1] }).subarray(0, 45)),
      reason: /header ends inside its method/,
      outcome: { id: ids[1], status: GrpcStatus.INTERNAL },
    },
    {
      what: 'a header with something behind it',
      message: withHeader(Buffer.concat([packedHeader({ id: ids[2] }), Buffer.from([0])])),
      reason: /another length than its parts/,
      outcome: { id: ids[2], status: GrpcStatus.INTERNAL },
    },
    {
      what: 'a header of version 0',
      message: withHeader(packedHeader({ version: 0, id: ids[3] })),
      reason: /version 0/,
      outcome: { id: ids[3], status: GrpcStatus.INTERNAL },
    },
    {
      what: 'a header of a version far ahead',
      message: withHeader(packedHeader({ version: 7, id: ids[4] })),
      reason: /version 7/,
      outcome: { id: ids[4], status: GrpcStatus.INTERNAL },
    },
    {
      what: 'attempt 0',
      message: withHeader(packedHeader({ attempt: 0, id: ids[5] })),
      reason: /attempt is 0/,
      outcome: { id: ids[5], status: GrpcStatus.INTERNAL },
    },
    {
      what: 'a reply channel that no replica has',
      message: withHeader(packedHeader({ replyTo: 'a b\r\nPUBLISH' })),
      reason: /reply channel has characters/,
    },
    {
      what: 'no value',
      message: { key: null, value: null, headers: { 'grpc-kafka': packedHeader({ id: ids[6] }) } },
      reason: /no value/,
      outcome: { id: ids[6], status: GrpcStatus.INTERNAL },
    },
    {
      what: 'ten thousand headers',
      message: { key: null, value, headers: { ...manyHeaders, 'grpc-kafka': packedHeader({ id: ids[7] }) } },
      reason: /more than 1024 headers/,
      outcome: { id: ids[7], status: GrpcStatus.INTERNAL },
    },
    {
      what: 'metadata that is none',
      message: { key: null, value, headers: { 'grpc-kafka': packedHeader({ id: ids[8] }), 'm:x-a': 'line\r\nbreak' } },
      reason: /not gRPC metadata/,
      outcome: { id: ids[8], status: GrpcStatus.INTERNAL },
    },
    {
      what: 'a method that nobody declared',
      message: withHeader(packedHeader({ id: ids[9], method: 'test.Work/Other' })),
      reason: /method test\.Work\/Other is not served/,
      outcome: { id: ids[9], status: GrpcStatus.UNIMPLEMENTED },
    },
  ]
}

test('records that cannot be read, each between two good calls', async (t) => {
  const { route, worker, redis } = await narrowRoute(t)
  const all = poisons()
  const answers: number[] = []
  for (const [index, { message }] of all.entries()) {
    const [answer] = await Promise.all([route.call({ id: `good-${index}` }), produceRaw(route, [message])])
    answers.push(answer.code)
  }
  answers.push((await route.call({ id: 'good-last' })).code)

  await t.test('never stop the calls beside them', () => {
    assert.deepEqual(
      answers,
      answers.map(() => 0),
    )
  })

  await t.test('never reach the handler', () => {
    assert.equal(route.runs().has('poison'), false)
    assert.equal(route.runs().size, all.length + 1)
  })

  const dead = await readTopic(route, all.length, `${route.topic}.dead`)
  const offsets = dead.map((record) => Number(headerTexts(record, 'dead-offset')[0]))
  const ordered = dead.map((_, index) => dead[offsets.indexOf([...offsets].sort((a, b) => a - b)[index] ?? -1)])
  for (const [index, { what, message, reason, outcome }] of all.entries()) {
    await t.test(`${what}: on the failure topic as it was, with the reason`, async () => {
      const record = ordered[index]
      assert.ok(record)
      assert.match(headerTexts(record, 'dead-reason')[0] ?? '', reason)
      assert.deepEqual(record.value, message.value)
      assert.deepEqual(
        {
          topic: headerTexts(record, 'dead-topic'),
          partition: headerTexts(record, 'dead-partition'),
          group: headerTexts(record, 'dead-group'),
        },
        { topic: [route.topic], partition: ['0'], group: [route.groupId] },
      )
      const header = message.headers?.['grpc-kafka']
      if (header !== undefined) {
        assert.deepEqual(headerTexts(record, 'grpc-kafka'), [header].flat().map(String))
      }
    })
    if (outcome !== undefined) {
      await t.test(`${what}: the caller that it names learns of it`, async () => {
        const settled = await redis.settled(outcome.id)
        assert.deepEqual(
          [settled.state, 'status' in settled ? settled.status : undefined],
          ['DeadLettered', outcome.status],
        )
      })
    }
  }

  await t.test('are counted', async () => {
    assert.equal(await route.metric(worker, 'grpc_kafka_records_total', 'result="dead_lettered"'), all.length)
    assert.equal(await route.metric(worker, 'grpc_kafka_records_total', 'result="answered"'), all.length + 1)
  })

  await t.test('let the offset pass', async () => {
    await until('the lag is 0', async () => (await route.lag()) === 0)
  })
})

test('records that are odd but whole', async (t) => {
  const { route, worker, redis } = await narrowRoute(t)
  const deadRecords = () => route.records(`${route.topic}.dead`)

  await t.test('a null key is a call like any other', async () => {
    const id = randomCallId()
    await produceRaw(route, [{ ...call('null-key', packedHeader({ id })), key: null }])
    const outcome = await redis.settled(id)
    assert.deepEqual([outcome.state, 'status' in outcome && outcome.status], ['Answered', 0])
    assert.equal(route.runs().get('null-key'), 1)
  })

  await t.test('names that mean something in JavaScript are names', async () => {
    const id = randomCallId()
    const headers = {
      'grpc-kafka': packedHeader({ id }),
      constructor: 'x',
      toString: 'x',
      'm:constructor': 'y',
      'm:__proto__': 'z',
    }
    const message = { ...call('named', packedHeader({ id })), headers: { ...headers, ['__proto__']: 'x' } }
    await produceRaw(route, [message])
    const outcome = await redis.settled(id)
    assert.equal(outcome.state, 'Answered')
    const entry = route.ledger().find((one) => one.id === 'named')
    assert.deepEqual(entry?.metadata['constructor'], ['y'])
  })

  await t.test('a deadline long past is Expired(No) and never runs', async () => {
    const id = randomCallId()
    await produceRaw(route, [call('past', packedHeader({ id, deadline: Date.now() - 86_400_000 }))])
    assert.deepEqual(await redis.settled(id), { state: 'Expired', started: 'No' })
    assert.equal(route.runs().has('past'), false)
  })

  await t.test('a deadline in ten thousand years does not hold anything up', async () => {
    const id = randomCallId()
    await produceRaw(route, [call('far', packedHeader({ id, deadline: 2 ** 48 - 1 }))])
    assert.equal((await redis.settled(id)).state, 'Answered')
  })

  await t.test('the same call twice runs once more at the most, and has one outcome', async () => {
    const id = randomCallId()
    await produceRaw(route, [call('twin', packedHeader({ id })), call('twin', packedHeader({ id }))])
    assert.equal((await redis.settled(id)).state, 'Answered')
    await until('both are done', async () => (await route.lag()) === 0)
    assert.ok((route.runs().get('twin') ?? 0) <= 2)
  })

  for (const [what, name, values] of [
    ['a connection header', 'm:connection', ['close']],
    ['a header of HTTP/1', 'm:transfer-encoding', ['chunked']],
    ['several values where HTTP/2 allows one', 'm:origin', ['one', 'two']],
    ['a name that pretends to be a length', 'm:content-length', ['7']],
    ['a name that pretends to be the content type', 'm:content-type', ['text/html']],
    ['our own names', 'm:grpc-kafka-attempt', ['99']],
    ['spaces around a value', 'm:x-tenant', [' padded ']],
  ] as const) {
    await t.test(`metadata forged with ${what} ends in an outcome, and its neighbours run`, async () => {
      const id = randomCallId()
      const message = call(`forged ${name}`, packedHeader({ id }))
      await produceRaw(route, [{ ...message, headers: { ...message.headers, [name]: [...values] } }])
      const neighbour = await route.call({ id: `beside ${name}` })
      assert.equal(neighbour.code, 0)
      await redis.settled(id, 5000)
      await until('the offset passes', async () => (await route.lag()) === 0)
      assert.ok((route.runs().get(`forged ${name}`) ?? 0) <= 1)
    })
  }

  await t.test('metadata as large as a record may hold ends in an outcome, and its neighbours run', async () => {
    const id = randomCallId()
    const message = call('heavy', packedHeader({ id }))
    const heavy = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`m:x-${index}`, 'v'.repeat(2000)]))
    await produceRaw(route, [{ ...message, headers: { ...message.headers, ...heavy } }])
    assert.equal((await route.call({ id: 'beside heavy' })).code, 0)
    await redis.settled(id, 5000)
    await until('the offset passes', async () => (await route.lag()) === 0)
  })

  await t.test(
    'more metadata than a Node handler takes never reaches it, and the calls that run there are answered',
    async () => {
      const id = randomCallId()
      const running = route.call({ id: 'running', sleep: 500 })
      await until('a call runs', () => route.runs().has('running'))
      const message = call('many', packedHeader({ id }))
      const many = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`m:x-${index}`, 'v']))
      await produceRaw(route, [{ ...message, headers: { ...message.headers, ...many } }])
      assert.equal((await running).code, 0)
      assert.equal((await redis.settled(id, 5000)).state, 'DeadLettered')
      assert.equal(route.runs().has('many'), false)
    },
  )

  await t.test('leave the worker as it was', async () => {
    assert.equal(worker.process.running, true)
    assert.equal(await route.status(worker, '/readyz'), 200)
    assert.deepEqual(
      worker.process.lines.filter((line) => line.includes('a fault of the sidecar')),
      [],
    )
    t.diagnostic(`${await deadRecords()} of them were dead letters`)
  })
})

test('a record of the next version', async (t) => {
  const { route, worker, redis } = await narrowRoute(t)
  const id = randomCallId()
  const deadline = Date.now() + 3000
  await produceRaw(route, [
    {
      key: id,
      value,
      headers: { 'grpc-kafka': Buffer.concat([packedPrefix({ version: 3, id, deadline }), randomBytes(40)]) },
    },
  ])

  await t.test('waits for a reader that knows it, while its neighbours run', async () => {
    await until(
      'it was read',
      async () => (await route.metric(worker, 'grpc_kafka_records_total', 'result="newer"')) === 1,
    )
    for (let index = 0; index < 20; index++) assert.equal((await route.call({ id: `beside-${index}` })).code, 0)
    assert.ok(Date.now() < deadline, 'the neighbours were quick enough for this test')
    assert.equal(await redis.outcome(id), undefined)
    assert.equal(await route.lag(), 21, 'the offset waits for it')
  })

  await t.test('is Expired(No) at its deadline, and the offset passes', async () => {
    assert.deepEqual(await redis.settled(id), { state: 'Expired', started: 'No' })
    assert.ok(Date.now() >= deadline - 100)
    await until('the lag is 0', async () => (await route.lag()) === 0)
    assert.equal(await route.records(`${route.topic}.dead`), 0)
    assert.equal(route.runs().size, 20)
  })
})

test('a failure topic that is gone', async (t) => {
  const { route, worker } = await narrowRoute(t)
  const failureTopic = `${route.topic}.dead`
  assert.equal((await route.call({ id: 'before' })).code, 0)
  await until('the lag is 0', async () => (await route.lag()) === 0)
  await route.admin.deleteTopics({ topics: [failureTopic] })
  await until('it is gone', async () => !(await route.admin.listTopics()).includes(failureTopic))
  const beyondWindow = 1200
  await produceRaw(route, [{ key: null, value, headers: {} }])

  await t.test('stops no call inside the window', async () => {
    assert.equal((await route.call({ id: 'inside' })).code, 0)
  })

  await t.test('is reported', async () => {
    await until('a log line names it', () =>
      worker.process.lines.some((line) => line.includes(`the failure topic ${failureTopic} does not take a record`)),
    )
  })

  await t.test('holds the offset, and what is started stays within the window of 1024', async () => {
    await produceRaw(
      route,
      Array.from({ length: beyondWindow }, (_, index) =>
        call(`w-${index}`, packedHeader({ deadline: Date.now() + 60_000 })),
      ),
    )
    // The poison record is offset 1 and the one inside it offset 2.
    await until('the window is used up', () => route.runs().size === 2 + 1024 - 2)
    // A proxy would refuse it: it knows how long the queue is.
    const deadline = Date.now() + 1000
    await produceRaw(route, [call('outside', packedHeader({ deadline }))])
    await until('its deadline is over', () => Date.now() > deadline)
    assert.equal(route.runs().size, 1024)
    assert.equal(await route.lag(), beyondWindow + 3)
  })

  await t.test('goes on when it is made again', async () => {
    await createTopics(route.admin, [{ topic: failureTopic, numPartitions: 1 }])
    await until('the lag is 0', async () => (await route.lag()) === 0)
    assert.equal(await route.records(failureTopic), 1)
    assert.deepEqual(
      [...route.runs().values()].filter((runs) => runs !== 1),
      [],
    )
    assert.equal(route.runs().size, 2 + beyondWindow)
    assert.equal((await route.call({ id: 'after' })).code, 0)
  })
})
