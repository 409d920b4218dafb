import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { describe, it } from 'node:test'
import { decodeProduceReply, encodeProduce } from '../../../../sidecar/kafka/produce-request.ts'
import { encodeRecordBatch } from '../../../../sidecar/kafka/record-batch.ts'

// kafkajs' own reader is the judge of replies.
const require = createRequire(import.meta.url)
const judge = require('kafkajs/src/protocol/requests/produce/v7/response') as {
  decode(bytes: Buffer): Promise<{
    readonly clientSideThrottleTime: number
    readonly topics: readonly {
      readonly partitions: readonly { readonly errorCode: number; readonly baseOffset: string }[]
    }[]
  }>
}

const records = [{ key: Buffer.from('k'), value: Buffer.from('v'), headers: { h: 'x' } }]

describe('encodeProduce', () => {
  it('writes the request as the protocol has it, behind the room for its header', () => {
    const topic = 'Grüße'
    const name = Buffer.from(topic)
    const batch = encodeRecordBatch(records, 1_700_000_000_000)
    const bytes = encodeProduce({ topic, partition: 5 }, records, 20, 10_000, 1_700_000_000_000).subarray(20)
    const expected = [
      'ffff ffff 00002710 00000001',
      name.length.toString(16).padStart(4, '0'),
      name.toString('hex'),
      '00000001 00000005',
      batch.length.toString(16).padStart(8, '0'),
      batch.toString('hex'),
    ]
    assert.equal(bytes.toString('hex'), expected.join('').replaceAll(' ', ''))
  })
})

/** More than 32 bits. */
const BASE_OFFSET = 2n ** 40n + 7n

/** Of one partition; with the start of the log from version 5 on. */
function replyOf(errorCode: number, throttle: number, logStart: boolean): Buffer {
  const topic = Buffer.from('calls')
  const bytes = Buffer.alloc(6 + topic.length + 4 + 4 + 2 + 16 + (logStart ? 8 : 0) + 4)
  bytes.writeInt32BE(1, 0)
  bytes.writeInt16BE(topic.length, 4)
  topic.copy(bytes, 6)
  bytes.writeInt32BE(1, 6 + topic.length)
  bytes.writeInt16BE(errorCode, 14 + topic.length)
  bytes.writeBigInt64BE(BASE_OFFSET, 16 + topic.length)
  bytes.writeInt32BE(throttle, bytes.length - 4)
  return bytes
}

describe('decodeProduceReply', () => {
  it('reads what kafkajs reads', async () => {
    for (const [errorCode, throttle] of [
      [0, 0],
      [10, 250],
      [-1, 0],
    ] as const) {
      const bytes = replyOf(errorCode, throttle, true)
      const read = await judge.decode(bytes)
      assert.deepEqual(decodeProduceReply(bytes), {
        errorCode: read.topics[0]?.partitions[0]?.errorCode,
        baseOffset: Number(read.topics[0]?.partitions[0]?.baseOffset),
        throttleMilliseconds: read.clientSideThrottleTime,
      })
      const { errorCode: code, baseOffset } = decodeProduceReply(bytes)
      assert.deepEqual([code, baseOffset], [errorCode, Number(BASE_OFFSET)])
    }
  })

  it('reads a reply of version 3', () => {
    assert.deepEqual(decodeProduceReply(replyOf(6, 0, false)), {
      errorCode: 6,
      baseOffset: Number(BASE_OFFSET),
      throttleMilliseconds: 0,
    })
  })

  it('throws a RangeError where a reply ends too early', () => {
    const bytes = replyOf(0, 0, true)
    for (let length = 0; length < 20; length++) {
      assert.throws(() => decodeProduceReply(bytes.subarray(0, length)), RangeError)
    }
  })
})
