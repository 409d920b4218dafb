import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { describe, test } from 'node:test'
import { pino } from 'pino'
import { createKafka } from '../../../../sidecar/kafka/client.ts'

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
