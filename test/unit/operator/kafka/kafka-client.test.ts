import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { assertUsable, kafkaClient } from '../../../../operator/kafka/kafka-client.ts'
import { createCluster } from '../../../../sidecar/kafka/cluster.ts'

test('a client begins at any of the servers, so that one that is made anew each time comes to all of them', async (t) => {
  const asked: number[] = []
  const servers = await Promise.all(
    [0, 1, 2, 3].map(async (index) => {
      const listener = createServer((socket) => {
        asked.push(index)
        socket.on('error', () => undefined).destroy()
      }).listen(0, '127.0.0.1')
      await once(listener, 'listening')
      t.after(() => listener.close())
      return `127.0.0.1:${(listener.address() as AddressInfo).port}`
    }),
  )
  const cluster = createCluster(kafkaClient({ servers }, undefined, () => 0.75))
  await assert.rejects(cluster.connect())
  await cluster.disconnect()
  assert.equal(asked[0], 3)
})

test('authorities that are no certificates are told of, though Node would pass over them', () => {
  for (const ca of ['no certificate', '', Buffer.from([0, 255, 10]).toString('utf8')]) {
    assert.throws(() => assertUsable({ ca }), { reason: 'KafkaNotAuthorized', message: /^spec\.kafka\.tls: / }, ca)
  }
})
