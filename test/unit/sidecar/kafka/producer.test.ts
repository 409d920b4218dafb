import assert from 'node:assert/strict'
import net from 'node:net'
import { describe, test, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import { pino } from 'pino'
import { ProduceError, RecordProducer, type ProduceFailure } from '../../../../sidecar/kafka/producer.ts'
import { partitionOfKey } from '../../../../sidecar/kafka/partitioner.ts'
import { FakeBroker, KafkaCode, type OnProduce } from './fake-broker.ts'

const TOPIC = 'calls'
const record = { key: Buffer.from('key'), value: Buffer.from('value'), headers: { h: Buffer.from('x') } }

async function connected(
  t: TestContext,
  partitions = 1,
  requestTimeout = 1000,
): Promise<{ readonly broker: FakeBroker; readonly producer: RecordProducer }> {
  const broker = await FakeBroker.start(TOPIC, partitions)
  const kafka = new Kafka({
    brokers: [broker.address],
    logLevel: logLevel.NOTHING,
    retry: { retries: 0 },
    requestTimeout,
  })
  const producer = new RecordProducer(kafka, pino({ enabled: false }))
  t.after(async () => {
    await producer.disconnect()
    broker.stop()
  })
  await producer.connect([TOPIC], AbortSignal.timeout(5000))
  return { broker, producer }
}

async function failureOf(producer: RecordProducer): Promise<ProduceError> {
  const outcome = await producer.produce(TOPIC, [record]).catch((error: unknown) => error)
  assert.ok(outcome instanceof ProduceError, String(outcome))
  return outcome
}

test('records that the broker takes are taken', async (t) => {
  const { broker, producer } = await connected(t)
  await producer.produce(TOPIC, [record, record])
  assert.equal(broker.produced, 1)
})

test('records are written before produce returns: a call that is alone waits for nothing', async (t) => {
  const { producer } = await connected(t)
  const written: unknown[] = []
  t.mock.method(net.Socket.prototype, 'write', function (this: net.Socket, bytes: unknown) {
    written.push(bytes)
    return true
  })
  const outcome = producer.produce(TOPIC, [record])
  assert.equal(written.length, 1)
  t.mock.restoreAll()
  // What was not really written gets no answer.
  await assert.rejects(outcome, { code: 'AMBIGUOUS' })
})

test('a broker that comes back on its port is produced to again', async (t) => {
  const { broker, producer } = await connected(t)
  broker.onProduce = 'close'
  assert.equal((await failureOf(producer)).code, 'AMBIGUOUS')
  broker.onProduce = { answer: KafkaCode.NONE }
  await producer.produce(TOPIC, [record])
  assert.equal(broker.produced, 2)
})

test('a connection on which no answer came is ended, with all that waits on it', async (t) => {
  const { broker, producer } = await connected(t, 1, 300)
  broker.onProduce = 'silence'
  const before = broker.connectionsSoFar
  const failures = [failureOf(producer), failureOf(producer)]
  assert.deepEqual(
    (await Promise.all(failures)).map(({ code }) => code),
    ['AMBIGUOUS', 'AMBIGUOUS'],
  )
  broker.onProduce = { answer: KafkaCode.NONE }
  await producer.produce(TOPIC, [record])
  assert.ok(broker.connectionsSoFar > before, 'the silent connection was used again')
})

test('while the leaders are asked for again after a failure, the other partitions are produced to', async (t) => {
  const { broker, producer } = await connected(t, 3, 60_000)
  broker.refusing.set(0, KafkaCode.NOT_LEADER_FOR_PARTITION)
  broker.metadataSilent = true
  assert.equal((await failureOf(producer)).code, 'AMBIGUOUS')
  for (let count = 0; count < 6; count++) await producer.produce(TOPIC, [record])
  assert.deepEqual(new Set(broker.producedTo.slice(1)), new Set([1, 2]))
  broker.stop()
})

test('records that have to be in one partition are put there and nowhere else', async (t) => {
  const { broker, producer } = await connected(t, 5)
  const key = Buffer.from('alice')
  const partition = producer.partitionOf(TOPIC, key)
  assert.equal(partition, partitionOfKey(key, 5))
  for (let count = 0; count < 3; count++) await producer.produce(TOPIC, [record], partition)
  assert.deepEqual(broker.producedTo, [partition, partition, partition])
})

test('records that have to be in a partition without a leader are refused until it has one', async (t) => {
  const { broker, producer } = await connected(t, 3)
  broker.leaderless.add(1)
  broker.refusing.set(1, KafkaCode.NOT_LEADER_FOR_PARTITION)
  await assert.rejects(producer.produce(TOPIC, [record], 1), { code: 'AMBIGUOUS' })
  await assert.rejects(producer.produce(TOPIC, [record], 1), { code: 'REFUSED', message: /calls\/1 has no leader/ })
  await producer.produce(TOPIC, [record], 2)
  broker.leaderless.clear()
  broker.refusing.clear()
  const limit = AbortSignal.timeout(20_000)
  for (let taken = false; !taken;) {
    limit.throwIfAborted()
    taken = await producer.produce(TOPIC, [record], 1).then(
      () => true,
      () => false,
    )
  }
  assert.deepEqual([...broker.producedTo.slice(0, 2), broker.producedTo.at(-1)], [1, 2, 1])
})

test('a partition that failed is produced to again once the leaders are known', async (t) => {
  const { broker, producer } = await connected(t, 2)
  broker.refusing.set(0, KafkaCode.NOT_LEADER_FOR_PARTITION)
  assert.equal((await failureOf(producer)).code, 'AMBIGUOUS')
  broker.refusing.clear()
  while (broker.producedTo.lastIndexOf(0) === 0) await producer.produce(TOPIC, [record])
})

test('a leader that is known and connected serves although the leaders cannot be asked for', async (t) => {
  const { broker, producer } = await connected(t)
  broker.topicError = KafkaCode.UNKNOWN_TOPIC_OR_PARTITION
  broker.onProduce = { answer: KafkaCode.NOT_LEADER_FOR_PARTITION }
  assert.equal((await failureOf(producer)).code, 'AMBIGUOUS')
  broker.onProduce = { answer: KafkaCode.NONE }
  await producer.produce(TOPIC, [record])
  assert.equal(broker.produced, 2)
})

test('a producer that is closed while it asks for leaders keeps no connection', async (t) => {
  const { broker, producer } = await connected(t)
  broker.onProduce = 'close'
  await failureOf(producer)
  const before = broker.connectionsSoFar
  await producer.disconnect()
  const limit = AbortSignal.timeout(10_000)
  for (; broker.connectionsSoFar === before || broker.connections > 0; await pause(5)) limit.throwIfAborted()
})

describe('a produce that failed is called', () => {
  const cases: readonly (readonly [what: string, onProduce: OnProduce, failure: ProduceFailure])[] = [
    ['MESSAGE_TOO_LARGE', { answer: KafkaCode.MESSAGE_TOO_LARGE }, 'TOO_LARGE'],
    ['RECORD_LIST_TOO_LARGE', { answer: KafkaCode.RECORD_LIST_TOO_LARGE }, 'TOO_LARGE'],
    ['NOT_ENOUGH_REPLICAS', { answer: KafkaCode.NOT_ENOUGH_REPLICAS }, 'REFUSED'],
    ['UNKNOWN_TOPIC_OR_PARTITION', { answer: KafkaCode.UNKNOWN_TOPIC_OR_PARTITION }, 'REFUSED'],
    ['TOPIC_AUTHORIZATION_FAILED', { answer: KafkaCode.TOPIC_AUTHORIZATION_FAILED }, 'REFUSED'],
    ['INVALID_RECORD', { answer: KafkaCode.INVALID_RECORD }, 'REFUSED'],
    ['POLICY_VIOLATION', { answer: KafkaCode.POLICY_VIOLATION }, 'REFUSED'],
    [
      'NOT_ENOUGH_REPLICAS_AFTER_APPEND: the leader has them',
      { answer: KafkaCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND },
      'AMBIGUOUS',
    ],
    [
      'NOT_LEADER_FOR_PARTITION: a leader that waited for its followers, of which one leads now, may have passed them on',
      { answer: KafkaCode.NOT_LEADER_FOR_PARTITION },
      'AMBIGUOUS',
    ],
    ['REQUEST_TIMED_OUT: the leader has them', { answer: KafkaCode.REQUEST_TIMED_OUT }, 'AMBIGUOUS'],
    [
      'KAFKA_STORAGE_ERROR: a disk failed while they were written',
      { answer: KafkaCode.KAFKA_STORAGE_ERROR },
      'AMBIGUOUS',
    ],
    ['a code that nobody knows', { answer: 1234 }, 'AMBIGUOUS'],
    ['a connection that ends before the answer', 'close', 'AMBIGUOUS'],
    // kafkajs asks for metadata before it tells of the failure, and then tells how that failed instead.
    ['a connection that ends before the answer, and a broker that is gone then', 'close and be gone', 'AMBIGUOUS'],
    [
      'a connection that ends before the answer, and a partition that has no leader then',
      'close and have no leader',
      'AMBIGUOUS',
    ],
  ]
  for (const [what, onProduce, failure] of cases) {
    test(`${failure} after ${what}`, async (t) => {
      const { broker, producer } = await connected(t)
      broker.onProduce = onProduce
      const error = await failureOf(producer)
      assert.equal(error.code, failure, error.message)
      assert.equal(broker.produced, 1, 'the producer never tries again by itself')
      assert.match(error.message, /^Kafka did not take the records: ./)
      assert.ok(error.cause instanceof Error)
    })
  }

  test('REFUSED when no broker is there to take it', async (t) => {
    const { broker, producer } = await connected(t)
    broker.stop()
    // The first produce may still find the connection; from the second on it is known to be gone.
    await failureOf(producer)
    assert.equal((await failureOf(producer)).code, 'REFUSED')
    assert.equal(broker.produced, 0)
  })

  test('REFUSED when the producer is closed', async (t) => {
    const { broker, producer } = await connected(t)
    await producer.disconnect()
    assert.equal((await failureOf(producer)).code, 'REFUSED')
    assert.equal(broker.produced, 0)
  })
})

describe('connect', () => {
  test('ends with the reason of its signal when Kafka is not there', async () => {
    const broker = await FakeBroker.start(TOPIC)
    broker.stop()
    const kafka = new Kafka({ brokers: ['127.0.0.1:1'], logLevel: logLevel.NOTHING, retry: { retries: 0 } })
    const producer = new RecordProducer(kafka, pino({ enabled: false }))
    const stop = new AbortController()
    const connecting = producer.connect([TOPIC], stop.signal)
    stop.abort(new Error('enough'))
    await assert.rejects(
      connecting,
      (error: Error) => error.name === 'AbortError' && (error.cause as Error).message === 'enough',
    )
    await producer.disconnect()
  })
})
