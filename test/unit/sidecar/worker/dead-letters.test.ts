import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pino } from 'pino'
import { ProduceError } from '../../../../sidecar/kafka/producer.ts'
import type { RecordProducer } from '../../../../sidecar/kafka/producer.ts'
import { decodeRecord, type RawRecord } from '../../../../sidecar/kafka/record.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'
import { DeadLetters } from '../../../../sidecar/worker/dead-letters.ts'
import { Partition } from '../../../../sidecar/worker/partition.ts'
import type { Entry } from '../../../../sidecar/worker/partition.ts'
import { fetched } from './records.ts'

type Produce = RecordProducer['produce']

const deadLetters = (produce: Produce, observer = false): DeadLetters =>
  new DeadLetters({
    producer: { produce } as unknown as RecordProducer,
    topic: 'work',
    groupId: 'group',
    observer,
    now: () => 1_700_000_000_000,
    logger: pino({ level: 'silent' }),
    metrics: new Metrics(),
  })

/** What a dead letter is made of; the rest of an entry is the dispatcher's. */
const entryOf = (raw: RawRecord): Entry =>
  ({
    offset: 42,
    raw: { ...raw, offset: 42 },
    partition: new Partition({ topic: 'work', partition: 7 }),
    attempt: 2,
    decoded: decodeRecord(raw),
    failures: [],
  }) as unknown as Entry

test('dead letters: a call has all attempts that failed with it', async () => {
  const produced: Parameters<Produce>[] = []
  const letters = deadLetters(async (...args) => {
    produced.push(args)
  })
  const failures = [{ attempt: 1, at: 1_700_000_000_000, status: 14, worker: 'w' }]
  await letters.bury({ ...entryOf(fetched(42)), failures, attempt: 1 }, 'attempts used up', 14)
  const decoded = decodeRecord(produced[0]![1][0] as RawRecord)
  assert.deepEqual(decoded.kind === 'Call' && [decoded.record.failures, decoded.record.firstFailureAt], [
    failures,
    1_700_000_000_000,
  ])
})

test('dead letters: a record stands on the failure topic as it was, with whence and why', async () => {
  const produced: Parameters<Produce>[] = []
  const letters = deadLetters(async (...args) => {
    produced.push(args)
  })
  const [key, value, one, two] = ['k', 'v', '1', '2'].map((text) => Buffer.from(text))
  assert.ok(key && value && one && two)
  await letters.bury(entryOf({ key, value, headers: { own: one, twice: [one, two] } }), 'because', 14)
  assert.deepEqual(produced, [
    [
      'work.dead',
      [
        {
          key,
          value,
          headers: {
            own: one,
            twice: [one, two],
            'dead-reason': 'because',
            'dead-topic': 'work',
            'dead-partition': '7',
            'dead-offset': '42',
            'dead-group': 'group',
            'dead-at': '1700000000000',
            'dead-attempts': '2',
            'dead-status': 'UNAVAILABLE',
          },
        },
      ],
    ],
  ])
})

test("dead letters: an Observer's say so, for the call may have been answered", async () => {
  const roles: unknown[] = []
  const letters = deadLetters(async (_topic, [record]) => void roles.push(record?.headers['dead-role']), true)
  await letters.bury(entryOf(fetched(42)), 'because', 14)
  assert.deepEqual(roles, ['Observer'])
})

test('dead letters: headers without a value, which kafkajs reads and cannot write, are empty there', async () => {
  const produced: Parameters<Produce>[] = []
  const letters = deadLetters(async (...args) => {
    produced.push(args)
  })
  const headers = { none: null, some: [Buffer.from('1'), null] } as unknown as RawRecord['headers']
  await letters.bury(entryOf({ key: null, value: null, headers }), 'because', 14)
  const written = produced[0]?.[1][0]?.headers
  assert.deepEqual([written?.['none'], written?.['some']], [Buffer.alloc(0), [Buffer.from('1'), Buffer.alloc(0)]])
})

test('dead letters: of one that the topic refuses for its size only the beginning is kept, and it says how long it was', async () => {
  const sizes: (number | undefined)[] = []
  const letters = deadLetters(async (_topic, [record]) => {
    sizes.push(record?.value?.length)
    if ((record?.value?.length ?? 0) > 2000) throw new ProduceError('TOO_LARGE', 'MESSAGE_TOO_LARGE')
    assert.equal(record?.headers['dead-truncated'], '5000')
    assert.equal(record?.headers['large'], undefined)
  })
  await letters.bury(
    entryOf({ key: null, value: Buffer.alloc(5000), headers: { large: Buffer.alloc(9000) } }),
    'because',
    14,
  )
  assert.deepEqual(sizes, [5000, 1024])
})

test('dead letters: one whose beginning was refused for its size, too, is whole when the topic takes it', async () => {
  const sizes: (number | undefined)[] = []
  const letters = deadLetters(async (_topic, [record]) => {
    sizes.push(record?.value?.length)
    if (sizes.length < 3) throw new ProduceError('TOO_LARGE', 'MESSAGE_TOO_LARGE')
  })
  await letters.bury(entryOf({ key: null, value: Buffer.alloc(5000), headers: {} }), 'because', 14)
  assert.deepEqual(sizes, [5000, 1024, 5000])
})

test('dead letters: what is not written at the close is given up', async () => {
  let refused = 0
  const letters = deadLetters(async () => {
    refused += 1
    if (refused === 2) letters.close()
    throw new ProduceError('REFUSED', 'UNKNOWN_TOPIC_OR_PARTITION')
  })
  await assert.rejects(
    letters.bury(entryOf({ key: null, value: null, headers: {} }), 'because', 14),
    /failure topic is closed|aborted/,
  )
  assert.equal(refused, 2)
})
