import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { suite, test } from 'node:test'
import type { TestContext } from 'node:test'
import { startAdminServer } from '../../../../sidecar/telemetry/admin-server.ts'
import type { AdminServer, AdminServerOptions } from '../../../../sidecar/telemetry/admin-server.ts'
import { createLogger } from '../../../../sidecar/telemetry/log.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'

async function start(
  t: TestContext,
  options: Partial<AdminServerOptions> = {},
): Promise<AdminServer & { readonly url: string }> {
  const admin = await startAdminServer({
    host: '127.0.0.1',
    port: 0,
    metrics: new Metrics(),
    logger: createLogger('silent', {}),
    live: () => true,
    ready: () => ({ ready: true, reason: '' }),
    ...options,
  })
  t.after(() => admin.close())
  return { ...admin, url: `http://127.0.0.1:${admin.port}` }
}

/** What the server answers to these bytes, until it closes. */
async function rawRequest(port: number, bytes: string): Promise<string> {
  const socket = net.connect(port, '127.0.0.1')
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.end(bytes)
  await once(socket, 'close')
  return Buffer.concat(chunks).toString('latin1')
}

suite('startAdminServer', () => {
  test('serves metrics with their content type', async (t) => {
    const metrics = new Metrics()
    metrics.counter('grpc_kafka_commits_total').inc()
    const { url } = await start(t, { metrics })
    const response = await fetch(`${url}/metrics?x=1`)
    assert.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
    assert.match(await response.text(), /^grpc_kafka_commits_total 1$/m)
  })

  test('serves OpenMetrics to a scraper that asks for it, as Prometheus does', async (t) => {
    const { url } = await start(t)
    const accept =
      'application/openmetrics-text;version=1.0.0;q=0.75,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1'
    const response = await fetch(`${url}/metrics`, { headers: { accept } })
    assert.equal(response.headers.get('content-type'), 'application/openmetrics-text; version=1.0.0; charset=utf-8')
    assert.equal(await response.text(), '# EOF\n')
  })

  test('/healthz follows live, /readyz follows ready and says why not', async (t) => {
    let ready = { ready: false, reason: 'waiting for Kafka' }
    let live = true
    const { url } = await start(t, { ready: () => ready, live: () => live })
    const notReady = await fetch(`${url}/readyz`)
    assert.equal(notReady.status, 503)
    assert.equal(await notReady.text(), 'waiting for Kafka\n')
    ready = { ready: true, reason: '' }
    assert.equal((await fetch(`${url}/readyz`)).status, 200)
    assert.equal((await fetch(`${url}/healthz`)).status, 200)
    live = false
    assert.equal((await fetch(`${url}/healthz`)).status, 503)
  })

  for (const method of ['GET', 'POST']) {
    test(`${method} /quiesce answers when it is done`, async (t) => {
      const { promise, resolve } = Promise.withResolvers<void>()
      const { promise: asked, resolve: ask } = Promise.withResolvers<void>()
      const { url } = await start(t, {
        quiesce: () => {
          ask()
          return promise
        },
      })
      let answered = false
      const response = fetch(`${url}/quiesce`, { method }).then((got) => {
        answered = true
        return got
      })
      await asked
      await fetch(`${url}/healthz`)
      assert.equal(answered, false)
      resolve()
      assert.equal((await response).status, 200)
    })
  }

  test('a quiesce that fails is a 500 without its reason, and the server lives on', async (t) => {
    const { url } = await start(t, { quiesce: () => Promise.reject(new Error('redis://secret')) })
    const response = await fetch(`${url}/quiesce`)
    assert.equal(response.status, 500)
    assert.doesNotMatch(await response.text(), /secret/)
    assert.equal((await fetch(`${url}/healthz`)).status, 200)
  })

  test('there are no profiles unless they are enabled', async (t) => {
    let enabled = false
    const { url } = await start(t, { profiling: () => enabled })
    assert.equal((await fetch(`${url}/profile/cpu?seconds=1`)).status, 404)
    enabled = true
    assert.equal((await fetch(`${url}/profile/cpu?seconds=1`)).status, 200)
  })

  test('a CPU profile tells where time was spent while it was taken', async (t) => {
    const { url } = await start(t, { profiling: () => true })
    const spending = setInterval(function aNameToBeFound() {
      const end = performance.now() + 20
      while (performance.now() < end);
    }, 25)
    t.after(() => clearInterval(spending))
    const isFound = async (): Promise<boolean> => {
      const response = await fetch(`${url}/profile/cpu?seconds=1`)
      assert.equal(response.headers.get('content-type'), 'application/json')
      const { nodes } = (await response.json()) as { nodes: { callFrame: { functionName: string } }[] }
      return nodes.some(({ callFrame }) => callFrame.functionName === 'aNameToBeFound')
    }
    // On a busy machine V8's sampler, a thread of its own, may have no turn within a second.
    let profiles = 1
    while (!(await isFound())) assert.ok(++profiles <= 20, 'no profile has it')
  })

  test('a heap profile tells who allocated', async (t) => {
    const { url } = await start(t, { profiling: () => true })
    const held: object[] = []
    const spending = setInterval(function anAllocatorToBeFound() {
      for (let count = 0; count < 20_000; count++) held.push({ count })
    }, 20)
    t.after(() => clearInterval(spending))
    const response = await fetch(`${url}/profile/heap?seconds=1`)
    assert.match(await response.text(), /anAllocatorToBeFound/)
  })

  test('one profile is taken at a time, and one whose client went away is given up', async (t) => {
    const { url } = await start(t, { profiling: () => true })
    const client = new AbortController()
    const first = fetch(`${url}/profile/cpu?seconds=60`, { signal: client.signal })
    const status = async () => {
      const response = await fetch(`${url}/profile/heap?seconds=1`)
      await response.text()
      return response.status
    }
    while ((await status()) !== 409);
    client.abort()
    await assert.rejects(first)
    while ((await status()) !== 200);
  })

  test('a profile has one to sixty seconds', async (t) => {
    const { url } = await start(t, { profiling: () => true })
    for (const seconds of ['0', '61', '-1', '1.5', '1e1', 'x', '', '9999999999', '%00']) {
      assert.equal((await fetch(`${url}/profile/cpu?seconds=${seconds}`)).status, 400, seconds)
    }
  })

  test('there is no other page, and no /quiesce where nothing quiesces', async (t) => {
    const { url } = await start(t)
    assert.equal((await fetch(`${url}/`)).status, 404)
    assert.equal((await fetch(`${url}/quiesce`)).status, 404)
    assert.equal((await fetch(`${url}/metrics`, { method: 'DELETE' })).status, 404)
    assert.equal((await fetch(`${url}/metrics`, { method: 'POST', body: 'x'.repeat(100_000) })).status, 404)
  })

  test('what is not HTTP, or too much of it, is answered with an error and harms nobody', async (t) => {
    const { port, url } = await start(t)
    assert.match(await rawRequest(port, 'hello\r\n\r\n'), /^HTTP\/1\.1 400 /)
    assert.match(
      await rawRequest(port, `GET /healthz HTTP/1.1\r\nHost: a\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`),
      /^HTTP\/1\.1 431 /,
    )
    assert.equal((await fetch(`${url}/healthz`)).status, 200)
  })

  test('closes though a client keeps its connection', async () => {
    const admin = await startAdminServer({
      host: '127.0.0.1',
      port: 0,
      metrics: new Metrics(),
      logger: createLogger('silent', {}),
      live: () => true,
      ready: () => ({ ready: true, reason: '' }),
    })
    const socket = net.connect(admin.port, '127.0.0.1')
    await once(socket, 'connect')
    const closed = once(socket, 'close')
    await admin.close()
    await closed
  })

  test('a port in use is thrown', async (t) => {
    const { port } = await start(t)
    await assert.rejects(start(t, { port }), { code: 'EADDRINUSE' })
  })
})
