import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { crc32c } from '../../../../sidecar/kafka/crc32c.ts'
import { encodeRecordBatch } from '../../../../sidecar/kafka/record-batch.ts'
import type { BatchRecord } from '../../../../sidecar/kafka/record-batch.ts'

interface ReadRecord {
  readonly offset: string
  readonly timestamp: string
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Readonly<Record<string, Buffer | null | readonly (Buffer | null)[]>>
}

// kafkajs' reader is the judge of what is written here.
const require = createRequire(import.meta.url)
const Decoder = require('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => object
const readBatch = require('kafkajs/src/protocol/recordBatch/v0/decoder') as (
  from: object,
) => Promise<{ readonly records: readonly ReadRecord[]; readonly lastOffsetDelta: number }>

const readBack = async (records: readonly BatchRecord[], timestamp = 1_700_000_000_123) =>
  readBatch(new Decoder(encodeRecordBatch(records, timestamp)))

const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array))
const nullable = fc.option(bytes, { nil: null })
// kafkajs' reader takes names that every object has (`__proto__`, `valueOf`) for something else.
const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 100 }).filter((text) => !(text in {}))

describe('crc32c', () => {
  it('gives the check values of RFC 3720, B.4, and of the catalogue of CRCs', () => {
    assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa)
    assert.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43)
    assert.equal(crc32c(Buffer.from(Array.from({ length: 32 }, (_, index) => index))), 0x46dd794e)
    assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283)
    assert.equal(crc32c(Buffer.alloc(0)), 0)
  })

  it('takes the part that it is given', () => {
    assert.equal(crc32c(Buffer.from('abc123456789xyz'), 3, 12), 0xe3069283)
  })
})

describe('encodeRecordBatch', () => {
  it('writes what a reader of record batches reads', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            key: nullable,
            value: nullable,
            headers: fc.dictionary(name, fc.oneof(nullable, fc.array(nullable, { minLength: 2, maxLength: 4 })), {
              maxKeys: 5,
            }),
          }),
          { minLength: 1, maxLength: 70 },
        ),
        async (records) => {
          const read = await readBack(records)
          assert.equal(read.lastOffsetDelta, records.length - 1)
          assert.deepEqual(
            read.records.map(({ offset, key, value, headers }) => ({ offset, key, value, headers: { ...headers } })),
            records.map(({ key, value, headers }, index) => ({
              offset: String(index),
              key,
              value,
              headers: { ...headers },
            })),
          )
        },
      ),
      { numRuns: 60 },
    )
  })

  it('writes the timestamp of every record in 64 bits', async () => {
    const { records } = await readBack([{ key: null, value: Buffer.from('v'), headers: {} }], 4_102_444_800_001)
    assert.equal(records[0]?.timestamp, '4102444800001')
  })

  it('leaves out a header that is undefined, and writes text as UTF-8', async () => {
    const { records } = await readBack([
      { key: null, value: null, headers: { gone: undefined, text: 'Grüße', several: ['a', 'b'] } },
    ])
    assert.deepEqual(
      { ...records[0]?.headers },
      { text: Buffer.from('Grüße'), several: [Buffer.from('a'), Buffer.from('b')] },
    )
  })

  it('writes lengths that need several bytes', async () => {
    for (const length of [0, 63, 64, 8191, 8192, 1_048_575, 1_048_576]) {
      const { records } = await readBack([{ key: null, value: Buffer.alloc(length, 'x'), headers: {} }])
      assert.equal(records[0]?.value?.length, length)
    }
  })

  it('has a checksum of everything from the attributes on', () => {
    const batch = encodeRecordBatch([{ key: Buffer.from('k'), value: Buffer.from('v'), headers: {} }], 1)
    assert.equal(batch.readUInt32BE(17), crc32c(batch, 21))
    assert.equal(batch.readInt32BE(8), batch.length - 12)
  })
})
