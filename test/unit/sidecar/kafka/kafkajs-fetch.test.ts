import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { describe, it } from 'node:test'
import { pino } from 'pino'
import { createKafka } from '../../../../sidecar/kafka/client.ts'
import type { FetchReply, FetchRequest } from '../../../../sidecar/kafka/fetch-request.ts'

createKafka({ brokers: ['127.0.0.1:1'], clientId: 'test', logger: pino({ level: 'silent' }) })
const { prototype } = createRequire(import.meta.url)('kafkajs/src/broker') as {
  readonly prototype: { fetch(this: object, request: FetchRequest): Promise<FetchReply> }
}

const REQUEST: FetchRequest = {
  isolationLevel: 1,
  maxWaitTime: 200,
  minBytes: 1,
  maxBytes: 1000,
  topics: [{ topic: 't', partitions: [{ partition: 0, fetchOffset: '0', maxBytes: 1000 }] }],
}

/** throttle 9, no error, no session, one topic with one partition without records. */
function emptyReply(partitionError: number): Buffer {
  const fields = [
    '00000009 0000 00000000 00000001 0001 74 00000001 00000000',
    partitionError.toString(16).padStart(4, '0'),
    '0000000000000003 0000000000000003 0000000000000000 00000000 ffffffff 00000000',
  ]
  return Buffer.from(fields.join('').replaceAll(' ', ''), 'hex')
}

/** A broker whose connection gives this reply. */
function brokerWith(payload: Buffer) {
  const seen = { requests: [] as Buffer[], throttled: 0, index: -1, disconnected: 0 }
  let pushed: (() => void) | undefined
  const connection = {
    clientId: 'me',
    sasl: null,
    connectionStatus: 'connected',
    nextCorrelationId: () => 77,
    socket: { write: (bytes: Buffer) => seen.requests.push(bytes) },
    requestQueue: {
      maybeThrottle: (milliseconds: number) => (seen.throttled = milliseconds),
      push: (request: { sendRequest(): void; entry: { resolve(reply: { payload: Buffer }): void } }) => {
        request.sendRequest()
        pushed?.()
        request.entry.resolve({ payload })
      },
    },
  }
  const broker = {
    versions: { 1: { maxVersion: 17 } },
    connectionPool: {
      getConnection: (index: number) => {
        seen.index = index
        return Promise.resolve(connection)
      },
    },
    disconnect: () => {
      seen.disconnected++
      return Promise.resolve()
    },
  }
  return { broker, connection, seen, onPush: (happens: () => void) => (pushed = happens) }
}

describe("a fetch of kafkajs' consumer", () => {
  it('goes out in version 11 with its header on the connection for fetches, and its throttle is obeyed', async () => {
    const { broker, seen } = brokerWith(emptyReply(0))
    const { responses } = await prototype.fetch.call(broker, REQUEST)
    const [request] = seen.requests
    assert.ok(request !== undefined)
    assert.equal(request.readInt32BE(0), request.length - 4)
    assert.equal(request.toString('hex', 4, 16), '0001000b0000004d00026d65')
    assert.equal(seen.index, 1)
    assert.equal(seen.throttled, 9)
    assert.equal(responses[0]?.partitions[0]?.highWatermark, '3')
  })

  it('waits for the end of the turn, in which calls to the handler are flushed', async () => {
    const { broker, onPush } = brokerWith(emptyReply(0))
    let turnEnded = false
    let endedBefore: boolean | undefined
    setImmediate(() => (turnEnded = true))
    onPush(() => (endedBefore = turnEnded))
    await prototype.fetch.call(broker, REQUEST)
    assert.equal(endedBefore, true)
  })

  it("fails with a partition's error as kafkajs' own does", async () => {
    const { broker } = brokerWith(emptyReply(1))
    await assert.rejects(prototype.fetch.call(broker, REQUEST), { name: 'KafkaJSOffsetOutOfRange', partition: 0 })
    const { broker: stale } = brokerWith(emptyReply(6))
    await assert.rejects(prototype.fetch.call(stale, REQUEST), { type: 'NOT_LEADER_FOR_PARTITION' })
  })

  it('fails where its connection is being ended: nobody may answer what is written then', async () => {
    const { broker, seen, connection } = brokerWith(emptyReply(0))
    connection.connectionStatus = 'disconnecting'
    await assert.rejects(prototype.fetch.call(broker, REQUEST), { name: 'KafkaJSConnectionError', retriable: true })
    assert.equal(seen.requests.length, 0)
  })

  it('is left to kafkajs where the broker is older', async () => {
    const { broker, seen } = brokerWith(emptyReply(0))
    let asked = false
    const older = {
      ...broker,
      versions: { 1: { maxVersion: 10 } },
      lookupRequest: () => {
        asked = true
        throw new Error('as far as this test goes')
      },
    }
    await assert.rejects(prototype.fetch.call(older, REQUEST), /as far as this test goes/)
    assert.ok(asked)
    assert.equal(seen.requests.length, 0)
  })
})
