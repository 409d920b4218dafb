import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import type { AddressInfo } from 'node:net'
import { suite, test } from 'node:test'
import type { TestContext } from 'node:test'
import { Client, credentials } from '@grpc/grpc-js'
import type { ServiceError } from '@grpc/grpc-js'
import { parseConfig } from '../../../../sidecar/config.ts'
import type { ProxyConfig } from '../../../../sidecar/config.ts'
import { LiveConfig } from '../../../../sidecar/live-config.ts'
import { startProxy } from '../../../../sidecar/proxy/proxy.ts'
import { createLogger } from '../../../../sidecar/telemetry/log.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'

/** An address where somebody listens and never says a word. */
async function silentServer(t: TestContext): Promise<string> {
  const sockets = new Set<net.Socket>()
  const server = net.createServer((socket) => sockets.add(socket.on('error', () => undefined)))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function start(t: TestContext, port = 0) {
  const silent = await silentServer(t)
  const config = parseConfig(
    {
      role: 'proxy',
      instance: 'p-1',
      service: { name: 's.S', topic: 't' },
      kafka: { brokers: [silent] },
      redis: { url: `redis://${silent}` },
      admin: { port: 1 },
      proxy: { host: '127.0.0.1', port: 1, methods: [{ name: 'M' }] },
    },
    {},
  ) as ProxyConfig
  return startProxy({
    live: new LiveConfig({ ...config, proxy: { ...config.proxy, port } }),
    logger: createLogger('silent', {}),
    metrics: new Metrics(),
    localNow: Date.now,
    monotonicNow: () => performance.now(),
  })
}

suite('a proxy whose Kafka and Redis do not answer', () => {
  test('is up, says what it waits for, refuses calls, and drains', async (t) => {
    const proxy = await start(t)
    assert.deepEqual(proxy.ready(), { ready: false, reason: 'waiting for Kafka, the reply channel, the shared clock' })

    const client = new Client(`127.0.0.1:${proxy.port}`, credentials.createInsecure())
    const raw = (bytes: Buffer): Buffer => bytes
    const error = await new Promise<ServiceError | null>((resolve) => {
      client.makeUnaryRequest('/s.S/M', raw, raw, Buffer.alloc(0), (error) => resolve(error))
    })
    client.close()
    assert.equal(error?.code, 14)
    assert.match(error.details, /does not know Kafka and Redis yet/)

    await proxy.drain()
    assert.deepEqual(proxy.ready(), { ready: false, reason: 'draining' })
    await assert.rejects(once(net.connect(proxy.port, '127.0.0.1'), 'connect'), { code: 'ECONNREFUSED' })
  })

  test('does not start on a port in use', async (t) => {
    const taken = Number((await silentServer(t)).split(':')[1])
    await assert.rejects(start(t, taken), /EADDRINUSE|No address added/)
  })
})
