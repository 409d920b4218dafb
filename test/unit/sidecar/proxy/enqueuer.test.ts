import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { TestContext } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { ErrorCode } from '../../../../sidecar/errors.ts'
import { ProduceError } from '../../../../sidecar/kafka/producer.ts'
import { decodeRecord, encodeRecord } from '../../../../sidecar/kafka/record.ts'
import type { OutgoingRecord } from '../../../../sidecar/kafka/record.ts'
import { Enqueuer } from '../../../../sidecar/proxy/enqueuer.ts'
import type { Enqueued } from '../../../../sidecar/proxy/enqueuer.ts'
import { createLogger } from '../../../../sidecar/telemetry/log.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'

class Waiting implements Enqueued {
  record: OutgoingRecord
  readonly recordBytes: number
  readonly partition: number | undefined
  ended = false
  maybeOnKafka = false
  failure: ErrorCode | undefined = undefined

  constructor(name: string, recordBytes = 10, partition?: number) {
    this.recordBytes = recordBytes
    this.partition = partition
    this.record = encodeRecord({
      id: Buffer.alloc(16, 1),
      deadline: 1,
      replyTo: 'p',
      method: 's/m',
      attempt: 1,
      producedAgain: false,
      enqueuedAt: 1,
      firstFailureAt: 0,
      caller: '',
      metadata: [],
      message: Buffer.from(name),
    })
  }

  fail(code: ErrorCode): void {
    this.failure = code
    this.ended = true
  }
}

/** A call with an idempotency key. */
class Claiming extends Waiting {
  stood = true
  readonly told: string[] = []
  readonly claim = {
    stands: () => this.stood,
    settled: (produced: string) => void this.told.push(produced),
  }
}

/** A broker that answers each request when the test says so. */
class Broker {
  readonly requests: {
    readonly records: readonly OutgoingRecord[]
    readonly names: string[]
    readonly partition: number | undefined
    take(): void
    refuse(error: unknown): void
  }[] = []

  async produce(_topic: string, records: readonly OutgoingRecord[], partition?: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const names = records.map(({ value }) => value.toString())
    this.requests.push({ records, names, partition, take: resolve, refuse: reject })
    return promise
  }

  get names(): string[][] {
    return this.requests.map(({ names }) => names)
  }
}

function setUp(t: TestContext, maxBatchBytes = 1000) {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const broker = new Broker()
  const metrics = new Metrics()
  const enqueuer = new Enqueuer({
    producer: broker,
    topic: 'calc',
    maxBatchBytes,
    logger: createLogger('silent', {}),
    metrics,
  })
  const add = (name: string, bytes?: number, partition?: number): Waiting => {
    const call = new Waiting(name, bytes, partition)
    enqueuer.add(call)
    return call
  }
  /** As the pipeline does it. */
  const end = (call: Waiting): void => {
    call.ended = true
    enqueuer.forget(call)
  }
  /** Lets everything happen that needs no time to pass. */
  const settle = async (): Promise<void> => {
    for (let turn = 0; turn < 4; turn++) await nextTurn()
  }
  const pass = async (milliseconds: number): Promise<void> => {
    t.mock.timers.tick(milliseconds)
    await settle()
  }
  return { broker, metrics, enqueuer, add, end, settle, pass }
}

/** A call that was put in, ended, and dropped by all but the enqueuer, after a collection of garbage. */
async function endedAndCollected(
  put: (call: Waiting) => void | Promise<void>,
  enqueuer: Enqueuer,
): Promise<WeakRef<Waiting>> {
  const made = await (async () => {
    const call = new Waiting('ended')
    await put(call)
    call.ended = true
    enqueuer.forget(call)
    return new WeakRef(call)
  })()
  // A WeakRef holds its target until the turn in which it was made has ended.
  await nextTurn()
  setFlagsFromString('--expose-gc')
  ;(runInNewContext('gc') as () => void)()
  return made
}

const producedAgain = (record: OutgoingRecord | undefined): boolean | undefined => {
  if (record === undefined) return undefined
  const decoded = decodeRecord(record)
  return decoded.kind === 'Call' ? decoded.record.producedAgain : undefined
}

suite('Enqueuer', () => {
  test('what is pending goes out together', async (t) => {
    const { broker, add, settle } = setUp(t)
    add('a')
    add('b')
    assert.deepEqual(broker.names, [])
    await settle()
    assert.deepEqual(broker.names, [['a', 'b']])
  })

  test('gathers while two requests are in flight', async (t) => {
    const { broker, add, settle } = setUp(t)
    for (const name of ['a', 'b', 'c', 'd']) {
      add(name)
      await settle()
    }
    assert.deepEqual(broker.names, [['a'], ['b']])
    broker.requests[0]?.take()
    await settle()
    assert.deepEqual(broker.names, [['a'], ['b'], ['c', 'd']])
  })

  test('a request that is late no longer holds up the others, up to 16 in all', async (t) => {
    const { broker, add, settle, pass } = setUp(t)
    const sent = (): number => broker.requests.length
    const turn = async (): Promise<void> => {
      add('x')
      await settle()
    }
    for (let call = 0; call < 3; call++) await turn()
    await pass(499)
    assert.equal(sent(), 2)
    await pass(1)
    assert.equal(sent(), 3)
    for (let more = 0; more < 20; more++) {
      await turn()
      await pass(500)
    }
    assert.equal(sent(), 16)
    broker.requests[0]?.take()
    await settle()
    assert.equal(sent(), 17)
    await pass(500)
    assert.equal(sent(), 17)
    for (const request of broker.requests) request.take()
    await settle()
    const before = sent()
    for (let call = 0; call < 4; call++) await turn()
    assert.equal(sent(), before + 2, 'all that was late is counted no more')
  })

  test('caps a request in bytes, and sends alone what is larger', async (t) => {
    const { broker, add, settle } = setUp(t, 100)
    add('a', 60)
    add('b', 40)
    add('c', 1)
    add('large', 500)
    await settle()
    assert.deepEqual(broker.names, [['a', 'b'], ['c']])
    broker.requests[0]?.take()
    await settle()
    assert.deepEqual(broker.names.at(-1), ['large'])
  })

  test('drops whose caller went away before it was sent', async (t) => {
    const { broker, add, settle } = setUp(t)
    add('a').ended = true
    const b = add('b')
    await settle()
    assert.deepEqual(broker.names, [['b']])
    assert.equal(b.maybeOnKafka, true)
    add('c').ended = true
    await settle()
    assert.equal(broker.requests.length, 1)
  })

  test('while Kafka is silent, holds nothing of calls that ended before they were sent', async (t) => {
    const { broker, enqueuer, add, settle } = setUp(t)
    for (const name of ['a', 'b']) {
      add(name)
      await settle()
    }
    const ended = await endedAndCollected((call) => enqueuer.add(call), enqueuer)
    assert.equal(ended.deref(), undefined)
    assert.deepEqual(broker.names, [['a'], ['b']])
  })

  test('a batch that waits to be sent again holds nothing of calls that ended', async (t) => {
    const { broker, enqueuer, settle, add } = setUp(t)
    add('a')
    const ended = await endedAndCollected(async (call) => {
      enqueuer.add(call)
      await settle()
      broker.requests.shift()?.refuse(new ProduceError('REFUSED', 'NOT_ENOUGH_REPLICAS'))
      await settle()
    }, enqueuer)
    assert.equal(ended.deref(), undefined)
  })

  test('splits what the broker finds too large, down to the one that is', async (t) => {
    const { broker, add, settle } = setUp(t)
    const calls = ['a', 'b', 'c', 'd'].map((name) => add(name))
    await settle()
    const answer = async (): Promise<void> => {
      const request = broker.requests.at(-1)
      if (request?.names.includes('c') === true) request.refuse(new ProduceError('TOO_LARGE', 'MESSAGE_TOO_LARGE'))
      else request?.take()
      await settle()
    }
    for (let request = 0; request < 5; request++) await answer()
    assert.deepEqual(broker.names, [['a', 'b', 'c', 'd'], ['a', 'b'], ['c', 'd'], ['c'], ['d']])
    assert.deepEqual(
      calls.map(({ failure }) => failure),
      [undefined, undefined, 'REQUEST_TOO_LARGE', undefined],
    )
    assert.equal(calls[2]?.maybeOnKafka, false)
  })

  test('what waits for the first half of its batch is dropped when it ends', async (t) => {
    const { broker, add, end, settle } = setUp(t)
    const calls = ['a', 'b', 'c', 'd'].map((name) => add(name))
    await settle()
    broker.requests[0]?.refuse(new ProduceError('TOO_LARGE', 'MESSAGE_TOO_LARGE'))
    await settle()
    end(calls[2] as Waiting)
    broker.requests[1]?.take()
    await settle()
    assert.deepEqual(broker.names, [['a', 'b', 'c', 'd'], ['a', 'b'], ['d']])
  })

  test('sends again what was refused, with a growing pause, unmarked', async (t) => {
    const { broker, add, settle, pass } = setUp(t)
    const call = add('a')
    await settle()
    for (const pause of [50, 100, 200, 400, 800, 1000, 1000]) {
      const before = broker.requests.length
      broker.requests.at(-1)?.refuse(new ProduceError('REFUSED', 'NOT_ENOUGH_REPLICAS'))
      await settle()
      assert.equal(call.maybeOnKafka, false)
      await pass(pause - 1)
      assert.equal(broker.requests.length, before)
      await pass(1)
      assert.equal(broker.requests.length, before + 1)
    }
    assert.equal(producedAgain(broker.requests.at(-1)?.records[0]), false)
  })

  test('marks the copy when the first may have been written, and never takes that back', async (t) => {
    const { broker, add, settle, pass } = setUp(t)
    const call = add('a')
    await settle()
    assert.equal(producedAgain(broker.requests[0]?.records[0]), false)
    broker.requests[0]?.refuse(new ProduceError('AMBIGUOUS', 'timed out'))
    await settle()
    await pass(50)
    assert.equal(producedAgain(broker.requests[1]?.records[0]), true)
    broker.requests[1]?.refuse(new ProduceError('REFUSED', 'NOT_ENOUGH_REPLICAS'))
    await settle()
    assert.equal(call.maybeOnKafka, true)
    await pass(100)
    assert.equal(producedAgain(broker.requests[2]?.records[0]), true)
  })

  test('an error that nobody knows counts as ambiguous', async (t) => {
    const { broker, metrics, add, settle, pass } = setUp(t)
    add('a')
    await settle()
    broker.requests[0]?.refuse(new TypeError('a fault'))
    await settle()
    await pass(50)
    assert.equal(producedAgain(broker.requests[1]?.records[0]), true)
    assert.match(await metrics.expose(), /^grpc_kafka_produce_errors_total\{reason="AMBIGUOUS"\} 1$/m)
  })

  test('sends again only for those who still wait, and stops when nobody does', async (t) => {
    const { broker, add, end, settle, pass } = setUp(t)
    const [a, b] = [add('a'), add('b')]
    await settle()
    broker.requests[0]?.refuse(new ProduceError('REFUSED', 'NOT_ENOUGH_REPLICAS'))
    await settle()
    end(a)
    await pass(50)
    assert.deepEqual(broker.names.at(-1), ['b'])
    broker.requests[1]?.refuse(new ProduceError('REFUSED', 'NOT_ENOUGH_REPLICAS'))
    await settle()
    end(b)
    await pass(100)
    assert.equal(broker.requests.length, 2)
    add('c')
    await settle()
    assert.deepEqual(broker.names.at(-1), ['c'])
  })

  test('closing ends what would be sent again', async (t) => {
    const { broker, enqueuer, add, settle } = setUp(t)
    const call = add('a')
    await settle()
    broker.requests[0]?.refuse(new ProduceError('REFUSED', 'NOT_ENOUGH_REPLICAS'))
    await settle()
    enqueuer.close()
    await settle()
    assert.equal(call.failure, 'KAFKA_UNAVAILABLE')
    assert.equal(broker.requests.length, 1)
  })

  test('measures requests and their records', async (t) => {
    const { broker, metrics, add, settle } = setUp(t)
    add('a')
    add('b')
    await settle()
    broker.requests[0]?.take()
    await settle()
    const text = await metrics.expose()
    assert.match(text, /^grpc_kafka_produce_batch_records_sum 2$/m)
    assert.match(text, /^grpc_kafka_produce_seconds_count 1$/m)
  })
})

suite('Enqueuer, for calls with an idempotency key', () => {
  const start = (t: TestContext) => {
    const given = setUp(t)
    const call = new Claiming('a')
    given.enqueuer.add(call)
    return { ...given, call }
  }
  const refused = new ProduceError('REFUSED', 'NOT_ENOUGH_REPLICAS')
  const ambiguous = new ProduceError('AMBIGUOUS', 'timed out')

  test('tells when Kafka has the call', async (t) => {
    const { broker, settle, call } = start(t)
    await settle()
    assert.deepEqual(call.told, [])
    broker.requests[0]?.take()
    await settle()
    assert.deepEqual(call.told, ['OnKafka'])
  })

  test('does not send one whose claim has lapsed, and sends the others', async (t) => {
    const { broker, settle, add, call } = start(t)
    call.stood = false
    add('b')
    await settle()
    assert.deepEqual([broker.names, call.told], [[['b']], []])
  })

  test('does not send it again when the claim lapsed while Kafka refused', async (t) => {
    const { broker, settle, pass, call } = start(t)
    await settle()
    broker.requests[0]?.refuse(refused)
    await settle()
    call.stood = false
    await pass(50)
    assert.equal(broker.requests.length, 1)
  })

  test('sends what Kafka may have again whatever became of the claim', async (t) => {
    const { broker, settle, pass, call } = start(t)
    await settle()
    broker.requests[0]?.refuse(ambiguous)
    await settle()
    call.stood = false
    await pass(50)
    assert.equal(broker.requests.length, 2)
  })

  for (const [error, told] of [
    [refused, 'NotOnKafka'],
    [ambiguous, 'Unknown'],
  ] as const) {
    test(`a call that ended in flight, which then fails as ${error.code}, is ${told}`, async (t) => {
      const { broker, settle, end, call } = start(t)
      await settle()
      end(call)
      assert.deepEqual(call.told, [])
      broker.requests[0]?.refuse(error)
      await settle()
      assert.deepEqual(call.told, [told])
    })

    test(`a call that ends after it failed as ${error.code}, before it is sent again, is ${told}`, async (t) => {
      const { broker, settle, end, call } = start(t)
      await settle()
      broker.requests[0]?.refuse(error)
      await settle()
      end(call)
      assert.deepEqual(call.told, [told])
    })
  }

  test('a call that is too large, or for which there is no more time, is not on Kafka', async (t) => {
    const { broker, settle, enqueuer, call } = start(t)
    await settle()
    broker.requests[0]?.refuse(new ProduceError('TOO_LARGE', 'MESSAGE_TOO_LARGE'))
    await settle()
    const late = new Claiming('late')
    enqueuer.add(late)
    await settle()
    broker.requests[1]?.refuse(refused)
    await settle()
    enqueuer.close()
    await settle()
    assert.deepEqual([call.told, late.told], [['NotOnKafka'], ['NotOnKafka']])
  })
})

suite('calls that have to be in a partition', () => {
  const to = (partition: number | undefined, names: readonly string[]) => ({ partition, names })
  const asked = (broker: Broker) => broker.requests.map(({ partition, names }) => ({ partition, names }))

  test('go together, and to that one', async (t) => {
    const { broker, add, settle } = setUp(t)
    add('a', 10, 3)
    add('b', 10, 5)
    add('c')
    add('d', 10, 3)
    await settle()
    assert.deepEqual(asked(broker), [to(undefined, ['c']), to(3, ['a', 'd']), to(5, ['b'])])
  })

  test('go there one batch after the other, also when one has to be sent again', async (t) => {
    const { broker, add, settle, pass } = setUp(t)
    add('a', 10, 3)
    await settle()
    add('b', 10, 3)
    await settle()
    broker.requests[0]?.refuse(new ProduceError('REFUSED', 'there is no leader'))
    await settle()
    add('c', 10, 3)
    await pass(49)
    assert.deepEqual(asked(broker), [to(3, ['a'])])
    await pass(1)
    assert.deepEqual(asked(broker), [to(3, ['a']), to(3, ['a'])])
    broker.requests[1]?.take()
    await settle()
    assert.deepEqual(asked(broker).at(-1), to(3, ['b', 'c']))
  })

  test('wait for it and hold up no other, however many of them wait', async (t) => {
    const { broker, add, settle } = setUp(t)
    for (let partition = 0; partition < 20; partition++) add(`a${partition}`, 10, partition)
    await settle()
    assert.equal(broker.requests.length, 8, 'so many at a time')
    for (let refused = 0; refused < 20; refused++) {
      broker.requests[refused]?.refuse(new ProduceError('REFUSED', 'there is no leader'))
      await settle()
    }
    assert.equal(new Set(broker.requests.map(({ partition }) => partition)).size, 20)
    add('other', 10, 99)
    add('anywhere')
    await settle()
    assert.deepEqual(asked(broker).slice(-2), [to(undefined, ['anywhere']), to(99, ['other'])])
  })

  test('hold up no other while a broker is silent', async (t) => {
    const { broker, add, settle, pass } = setUp(t)
    for (let partition = 0; partition < 8; partition++) add(`a${partition}`, 10, partition)
    await settle()
    add('other', 10, 99)
    await pass(499)
    assert.equal(broker.requests.length, 8)
    await pass(1)
    assert.deepEqual(asked(broker).at(-1), to(99, ['other']))
    for (const request of broker.requests) request.take()
    await settle()
    for (let partition = 0; partition < 9; partition++) add(`b${partition}`, 10, partition)
    await settle()
    assert.equal(broker.requests.length, 9 + 8, 'all that was late is counted no more')
  })

  test('are forgotten when they end before they were sent', async (t) => {
    const { broker, add, end, settle, metrics } = setUp(t)
    add('a', 10, 3)
    await settle()
    const gone = add('gone', 10, 3)
    end(gone)
    assert.match(await metrics.expose(), /^grpc_kafka_produce_pending_calls 0$/m)
    broker.requests[0]?.take()
    await settle()
    assert.equal(broker.requests.length, 1)
  })
})
