import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { describe, it } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { pino } from 'pino'
import { createKafka } from '../../../../sidecar/kafka/client.ts'
import { crc32c } from '../../../../sidecar/kafka/crc32c.ts'
import { decodeFetchReply, encodeFetch } from '../../../../sidecar/kafka/fetch-request.ts'
import type { FetchReply, FetchRequest } from '../../../../sidecar/kafka/fetch-request.ts'
import { encodeRecordBatch } from '../../../../sidecar/kafka/record-batch.ts'
import type { BatchRecord } from '../../../../sidecar/kafka/record-batch.ts'
import { decodeRecord } from '../../../../sidecar/kafka/record.ts'

const RUNS = 200

// kafkajs' own writer and reader are the judges.
const require = createRequire(import.meta.url)
const writeRequest = require('kafkajs/src/protocol/requests/fetch/v11/request') as (request: object) => {
  encode(): Promise<{ readonly buffer: Buffer }>
}
const judge = require('kafkajs/src/protocol/requests/fetch/v11/response') as {
  decode(bytes: Buffer): Promise<FetchReply>
}
// With the reading of headers mended, as the sidecar has it.
createKafka({ brokers: ['127.0.0.1:1'], clientId: 'test', logger: pino({ level: 'silent' }) })

interface PartitionReply {
  readonly partition: number
  readonly errorCode: number
  readonly highWatermark: number
  readonly aborted: readonly (readonly [producerId: number, firstOffset: number])[]
  readonly records: Buffer
}

function int(bytes: number, value: number): Buffer {
  const field = Buffer.alloc(bytes)
  if (bytes === 8) field.writeBigInt64BE(BigInt(value))
  else field.writeIntBE(value, 0, bytes)
  return field
}
const text = (value: string): Buffer => Buffer.concat([int(2, Buffer.byteLength(value)), Buffer.from(value)])

function replyOf(topics: readonly (readonly [topic: string, partitions: readonly PartitionReply[]])[]): Buffer {
  const partition = ({ partition, errorCode, highWatermark, aborted, records }: PartitionReply): Buffer[] => [
    int(4, partition),
    int(2, errorCode),
    int(8, highWatermark),
    int(8, highWatermark),
    int(8, 0),
    int(4, aborted.length),
    ...aborted.flatMap(([producerId, firstOffset]) => [int(8, producerId), int(8, firstOffset)]),
    int(4, -1),
    int(4, records.length),
    records,
  ]
  return Buffer.concat([
    int(4, 7),
    int(2, 0),
    int(4, 0),
    int(4, topics.length),
    ...topics.flatMap(([topic, partitions]) => [
      text(topic),
      int(4, partitions.length),
      ...partitions.flatMap(partition),
    ]),
  ])
}

const record = (value: string): BatchRecord => ({ key: null, value: Buffer.from(value), headers: {} })

function batchAt(offset: number, records: readonly BatchRecord[], attributes = 0): Buffer {
  const batch = encodeRecordBatch(records, 1_700_000_000_000)
  batch.writeBigInt64BE(BigInt(offset), 0)
  batch.writeInt16BE(attributes, 21)
  return withChecksum(batch)
}

function withChecksum(batch: Buffer): Buffer {
  batch.writeUInt32BE(crc32c(batch, 21), 17)
  return batch
}

/** As the method of that number leaves a batch. */
function compressedAt(
  offset: number,
  records: readonly BatchRecord[],
  method: number,
  compress: (b: Buffer) => Buffer,
) {
  const plain = batchAt(offset, records, method)
  const batch = Buffer.concat([plain.subarray(0, 61), compress(plain.subarray(61))])
  batch.writeInt32BE(batch.length - 12, 8)
  return withChecksum(batch)
}

const onePartition = (records: Buffer): Buffer =>
  replyOf([['calls', [{ partition: 2, errorCode: 0, highWatermark: 9, aborted: [], records }]]])

/** What the consumer looks at. */
function looked(reply: FetchReply | undefined) {
  assert.ok(reply !== undefined)
  return {
    throttle: reply.clientSideThrottleTime,
    responses: reply.responses.map(({ topicName, partitions }) => ({
      topicName,
      partitions: partitions.map(({ messages, partition, errorCode, highWatermark, abortedTransactions, ...rest }) => ({
        partition,
        errorCode,
        highWatermark,
        abortedTransactions,
        preferredReadReplica: rest.preferredReadReplica,
        messages: messages.map(({ offset, key, value, headers, isControlRecord, batchContext }) => ({
          offset,
          key,
          value,
          headers: { ...headers },
          isControlRecord,
          producerId: batchContext.producerId,
          inTransaction: batchContext.inTransaction,
        })),
      })),
    })),
  }
}

const messagesOf = (bytes: Buffer): string[] =>
  decodeFetchReply(bytes)?.responses[0]?.partitions[0]?.messages.map(
    ({ offset, value }) => `${offset} ${String(value)}`,
  ) ?? []

const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array))
const nullable = fc.option(bytes, { nil: null })
const batch = fc
  .tuple(
    fc.nat(2 ** 40),
    fc.array(
      fc.record({
        key: nullable,
        value: nullable,
        headers: fc.dictionary(
          fc.string({ unit: 'grapheme', minLength: 1, maxLength: 70 }),
          fc.oneof(nullable, fc.array(nullable, { minLength: 2, maxLength: 3 })),
          { maxKeys: 4, noNullPrototype: false },
        ),
      }),
      { minLength: 1, maxLength: 70 },
    ),
    // Transactional, and control.
    fc.constantFrom(0, 0x10, 0x30),
  )
  .map(([offset, records, attributes]) => batchAt(offset, records, attributes))
const partition = fc.record({
  partition: fc.nat(1000),
  errorCode: fc.nat(90),
  highWatermark: fc.nat(2 ** 45),
  aborted: fc.array(fc.tuple(fc.nat(1000), fc.nat(1000)), { maxLength: 2 }),
  records: fc.array(batch, { maxLength: 3 }).map((batches) => Buffer.concat(batches)),
})
const reply = fc
  .array(fc.tuple(fc.string({ maxLength: 40 }), fc.array(partition, { maxLength: 3 })), { maxLength: 2 })
  .map(replyOf)

describe('decodeFetchReply', () => {
  it(`reads what kafkajs reads, in ${RUNS} replies`, async () => {
    await fc.assert(
      fc.asyncProperty(reply, async (given) => {
        assert.deepEqual(looked(decodeFetchReply(given)), looked(await judge.decode(given)))
      }),
      { numRuns: RUNS },
    )
  })

  it(`reads a reply that is cut off anywhere as a RangeError and nothing else, in ${RUNS} replies`, () => {
    fc.assert(
      fc.property(reply, fc.double({ min: 0, max: 1, noNaN: true }), (given, part) => {
        const cut = given.subarray(0, Math.floor(part * (given.length - 1)))
        assert.throws(() => decodeFetchReply(cut), RangeError)
      }),
      { numRuns: RUNS },
    )
  })

  it(`ends, with a reply or a RangeError, whatever byte is wrong, in ${5 * RUNS} replies`, () => {
    fc.assert(
      fc.property(reply, fc.nat(), fc.integer({ min: 0, max: 255 }), (given, place, value) => {
        const wrong = Buffer.from(given)
        wrong[place % wrong.length] = value
        try {
          decodeFetchReply(wrong)
        } catch (error) {
          assert.ok(error instanceof RangeError, String(error))
        }
      }),
      { numRuns: 5 * RUNS },
    )
  })

  it('leaves a last batch that is cut off for the next fetch', () => {
    const whole = batchAt(5, [record('a'), record('b')])
    assert.deepEqual(messagesOf(onePartition(Buffer.concat([whole, batchAt(7, [record('c')]).subarray(0, -1)]))), [
      '5 a',
      '6 b',
    ])
  })

  it('leaves a batch of an older format to kafkajs', () => {
    const old = batchAt(0, [record('a')])
    old[16] = 1
    assert.equal(decodeFetchReply(onePartition(old)), undefined)
  })

  it('reads what other producers have compressed with gzip as kafkajs does', async () => {
    const given = onePartition(compressedAt(5, [record('a'), record('b')], 1, gzipSync))
    assert.deepEqual(messagesOf(given), ['5 a', '6 b'])
    assert.deepEqual(looked(decodeFetchReply(given)), looked(await judge.decode(given)))
  })

  it('reads what other producers have compressed with Zstandard', () => {
    assert.deepEqual(messagesOf(onePartition(compressedAt(5, [record('a'), record('b')], 4, zstdCompressSync))), [
      '5 a',
      '6 b',
    ])
  })

  const neighbours = (batch: Buffer): Buffer =>
    onePartition(Buffer.concat([batchAt(5, [record('a')]), batch, batchAt(8, [record('d')])]))

  for (const [method, name] of [
    [2, 'Snappy'],
    [3, 'LZ4'],
    [5, 'an unknown method'],
  ] as const) {
    it(`hands a batch that is compressed with ${name} over as one message with the reason, and its neighbours as they are`, () => {
      const batch = compressedAt(6, [record('b'), record('c')], method, (bytes) => bytes)
      const messages = decodeFetchReply(neighbours(batch))?.responses[0]?.partitions[0]?.messages ?? []
      assert.deepEqual(
        messages.map(({ offset }) => offset),
        ['5', '7', '8'],
      )
      assert.deepEqual(messages[1]?.value, batch)
      assert.equal(messages[1].key, null)
      assert.deepEqual(decodeRecord(messages[1]), {
        kind: 'Unreadable',
        reason: `the whole batch: it is compressed with ${name}, which is not supported`,
      })
    })
  }

  it('hands a batch over as one message where its producer wrote nonsense', () => {
    for (const broken of [
      compressedAt(6, [record('b'), record('c')], 1, (bytes) => bytes),
      compressedAt(6, [record('b'), record('c')], 0, (bytes) => bytes.fill(0x7f, 0, 3)),
      compressedAt(6, [record('b'), record('c')], 1, (bytes) => gzipSync(bytes.subarray(0, -1))),
    ]) {
      const messages = decodeFetchReply(neighbours(broken))?.responses[0]?.partitions[0]?.messages ?? []
      assert.deepEqual(
        messages.map(({ offset }) => offset),
        ['5', '7', '8'],
      )
      const read = decodeRecord(messages[1]!)
      assert.ok(read.kind === 'Unreadable')
      assert.match(read.reason, /^the whole batch: ./)
    }
  })

  it('ends at once where a record says it has a thousand million headers, also where their names lead back', () => {
    for (const name of [0x02, 0x03]) {
      const batch = batchAt(6, [{ key: null, value: null, headers: { a: null } }])
      // The end of the record: the count of headers (zigzag), the length of a name, `a` and no value.
      const count = batch.length - 4
      assert.equal(batch[count], 2)
      const end = Buffer.from([0xfe, 0xff, 0xff, 0xff, 0x07, name, 0x61, 0x01])
      const many = Buffer.concat([batch.subarray(0, count), end])
      many.writeInt32BE(many.length - 12, 8)
      const messages = decodeFetchReply(neighbours(withChecksum(many)))?.responses[0]?.partitions[0]?.messages ?? []
      assert.deepEqual(
        messages.map(({ offset }) => offset),
        ['5', '6', '8'],
      )
    }
  })

  it('refuses a batch that is not what its producer wrote, and says which: another fetch may read it', () => {
    for (const attributes of [0, 1, 2]) {
      const broken = batchAt(6, [record('b'), record('c')], attributes)
      broken.fill(0x7f, 61, 64)
      assert.throws(() => decodeFetchReply(neighbours(broken)), {
        name: 'RangeError',
        message: /^the batch of calls\/2 at offset 6 is not what its producer wrote: ./,
      })
    }
  })

  it('refuses a batch whose length would lead back to itself', () => {
    const endless = batchAt(0, [record('a')])
    endless.writeInt32BE(-12, 8)
    endless.writeInt32BE(0, 57)
    assert.throws(() => decodeFetchReply(onePartition(endless)), RangeError)
  })

  it('takes `__proto__` and `constructor` for names like any other', () => {
    const headers = JSON.parse('{"__proto__":"p","constructor":"c"}') as Record<string, string>
    const given = onePartition(batchAt(0, [{ key: null, value: null, headers }]))
    const read = decodeFetchReply(given)?.responses[0]?.partitions[0]?.messages[0]?.headers
    assert.deepEqual(Object.entries(read ?? {}), [
      ['__proto__', Buffer.from('p')],
      ['constructor', Buffer.from('c')],
    ])
  })
})

describe('encodeFetch', () => {
  const request: FetchRequest = {
    isolationLevel: 1,
    maxWaitTime: 200,
    minBytes: 1,
    maxBytes: 10_485_760,
    rackId: 'räck',
    topics: [
      {
        topic: 'calls',
        partitions: [0, 1, 2].map((number) => ({
          partition: number,
          fetchOffset: String(2 ** 40 + number),
          maxBytes: 1_048_576,
        })),
      },
      { topic: 'Grüße', partitions: [{ partition: 0, fetchOffset: '0', maxBytes: 1 }] },
    ],
  }

  it('writes what kafkajs writes', async () => {
    const { buffer } = await writeRequest({ replicaId: -1, ...request }).encode()
    assert.deepEqual(encodeFetch(request, 10, 0).subarray(10), buffer)
  })

  it('puts another partition first in each turn', async () => {
    const [calls, other] = request.topics
    const turned = [...calls!.partitions.slice(1), ...calls!.partitions.slice(0, 1)]
    const topics = [{ topic: 'calls', partitions: turned }, other]
    const { buffer } = await writeRequest({ replicaId: -1, ...request, topics }).encode()
    assert.deepEqual(encodeFetch(request, 0, 1), buffer)
  })
})
