import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { pino } from 'pino'
import { createKafka } from '../../../../sidecar/kafka/client.ts'
import { decodeRecord } from '../../../../sidecar/kafka/record.ts'
import type { RawRecord } from '../../../../sidecar/kafka/record.ts'
import { encodeRecordBatch } from '../../../../sidecar/kafka/record-batch.ts'

interface RequestQueue {
  pending: object[]
  throttleCheckTimeoutId: NodeJS.Timeout | null
  scheduleCheckPendingRequests(): void
  destroy(): void
}

function requestQueue(): RequestQueue {
  createKafka({ brokers: ['127.0.0.1:1'], clientId: 'test', logger: pino({ level: 'silent' }) })
  const Queue = createRequire(import.meta.url)('kafkajs/src/network/requestQueue') as new (
    options: object,
  ) => RequestQueue
  return new Queue({
    requestTimeout: 1000,
    enforceRequestTimeout: true,
    clientId: 'test',
    broker: '127.0.0.1:1',
    logger: { debug: () => undefined },
    isConnected: () => true,
  })
}

describe("a kafkajs connection's timer for requests that are held back", () => {
  test('is not armed while none is, where kafkajs fires it each millisecond', () => {
    const queue = requestQueue()
    queue.scheduleCheckPendingRequests()
    assert.equal(queue.throttleCheckTimeoutId, null)
  })

  test('is armed while one is', (t) => {
    const queue = requestQueue()
    t.after(() => queue.destroy())
    queue.pending = [{}]
    queue.scheduleCheckPendingRequests()
    assert.notEqual(queue.throttleCheckTimeoutId, null)
  })
})

describe('a batch of records as kafkajs reads it for us', () => {
  const RUNS = 2000
  createKafka({ brokers: ['127.0.0.1:1'], clientId: 'test', logger: pino({ level: 'silent' }) })
  const require = createRequire(import.meta.url)
  const Decoder = require('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => object
  const decode = require('kafkajs/src/protocol/recordBatch/v0/decoder') as (
    from: object,
  ) => Promise<{ readonly records: readonly RawRecord[] }>
  const read = (bytes: Buffer) => decode(new Decoder(bytes))

  const bytes = fc.option(
    fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array)),
    { nil: null },
  )
  const name = fc.oneof(fc.string({ maxLength: 8 }), fc.constantFrom('__proto__', 'constructor', 'grpc-kafka', 'm:a'))
  const records = fc.array(
    fc.record({ key: bytes, value: bytes, headers: fc.dictionary(name, bytes, { maxKeys: 4 }) }),
    { minLength: 1, maxLength: 5 },
  )

  test(`is what was written, whatever its headers are called (${RUNS} runs)`, async () => {
    await fc.assert(
      fc.asyncProperty(records, async (written) => {
        const { records: found } = await read(encodeRecordBatch(written, 1))
        assert.deepEqual(
          found.map(({ key, value, headers }) => ({ key, value, headers: Object.entries(headers) })),
          written.map(({ key, value, headers }) => ({ key, value, headers: Object.entries(headers) })),
        )
      }),
      { numRuns: RUNS },
    )
  })

  test(`is read or refused when bytes of it are wrong, and each record that is read is judged (${RUNS} runs)`, async () => {
    const wrong = fc.array(fc.record({ at: fc.nat(400), byte: fc.nat(255) }), { minLength: 1, maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(records, wrong, fc.nat(400), async (written, changes, cut) => {
        const batch = encodeRecordBatch(written, 1)
        // The attributes tell how it is compressed, and the count is checked by the broker.
        for (const { at, byte } of changes) batch[61 + (at % (batch.length - 61))] = byte
        const found = await read(cut < batch.length ? batch.subarray(0, cut) : batch).catch((error: unknown) => {
          assert.ok(error instanceof Error)
          return { records: [] }
        })
        for (const { key, value, headers } of found.records) decodeRecord({ key, value, headers })
      }),
      { numRuns: RUNS },
    )
  })

  test('is refused at once where a record says it has a thousand million headers', async () => {
    const batch = encodeRecordBatch([{ key: null, value: null, headers: { a: null } }], 1)
    // The record: its length, attributes, two deltas, key, value, the count of headers (zigzag), `a` and no value.
    const count = batch.length - 4
    assert.equal(batch[count], 2)
    const many = Buffer.concat([batch.subarray(0, count), Buffer.from('feffffff07', 'hex'), batch.subarray(count + 1)])
    many[61] = (many[61] ?? 0) + 2 * 4
    many.writeInt32BE(many.length - 12, 8)
    await assert.rejects(read(many), /a record has not the headers that it says it has/)
  })
})
