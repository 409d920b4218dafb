import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import type { TestContext } from 'node:test'

const MAIN = join(import.meta.dirname, '../../../sidecar/main.ts')

interface Run {
  readonly child: ChildProcess
  /** Resolves with the exit code when the process has ended and all its output was read. */
  readonly ended: Promise<number | null>
  readonly output: () => string
}

function run(t: TestContext, args: readonly string[]): Run {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(() => child.kill('SIGKILL'))
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text))
  return { child, ended: once(child, 'close').then(([code]) => code as number | null), output: () => output }
}

function configFile(t: TestContext, value: unknown): string {
  const directory = mkdtempSync(join(tmpdir(), 'main-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const file = join(directory, 'config.json')
  writeFileSync(file, JSON.stringify(value))
  return file
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** A proxy that finds neither Kafka nor Redis: nobody listens on port 1. */
async function lonelyProxy(t: TestContext) {
  const admin = await freePort()
  const started = run(t, [
    '--config',
    configFile(t, {
      role: 'proxy',
      instance: 'p-1',
      service: { name: 's.S', topic: 't' },
      kafka: { brokers: ['127.0.0.1:1'] },
      redis: { url: 'redis://127.0.0.1:1' },
      admin: { host: '127.0.0.1', port: admin },
      proxy: { host: '127.0.0.1', port: await freePort(), methods: [{ name: 'M' }] },
    }),
  ])
  const get = (path: string): Promise<Response> => fetch(`http://127.0.0.1:${admin}${path}`)
  while (!started.output().includes('metrics and probes'))
    await once(started.child.stdout as NodeJS.EventEmitter, 'data')
  return { ...started, get }
}

suite('main', () => {
  test('without a configuration it says how it is used', async (t) => {
    const { ended, output } = run(t, ['--colour', 'red'])
    assert.equal(await ended, 1)
    assert.match(output(), /usage: node sidecar\/main\.ts --config FILE/)
  })

  test('a wrong configuration ends it with every error named', async (t) => {
    const { ended, output } = run(t, [
      '--config',
      configFile(t, { role: 'proxy', instance: 'a b', kafka: { brokers: [] } }),
    ])
    assert.equal(await ended, 1)
    for (const path of ['instance', 'kafka.brokers', 'redis', 'admin', 'proxy'])
      assert.match(output(), new RegExp(`^ {2}${path.replace('.', '\\.')}: `, 'm'))
  })

  test('it is live before it is ready, exposes metrics, and ends with 0 on SIGTERM', async (t) => {
    const { child, ended, get, output } = await lonelyProxy(t)
    assert.equal((await get('/healthz')).status, 200)
    const ready = await get('/readyz')
    assert.equal(ready.status, 503)
    assert.match(await ready.text(), /waiting for Kafka/)
    assert.equal((await get('/quiesce')).status, 404)
    assert.match(await (await get('/metrics')).text(), /^grpc_server_started_total\{.*grpc_method="M"\} 0$/m)
    child.kill('SIGTERM')
    assert.equal(await ended, 0)
    for (const line of output().trim().split('\n'))
      assert.equal((JSON.parse(line) as { service: string }).service, 's.S')
  })

  test('SIGHUP reads the configuration again and says so', async (t) => {
    const { child, ended, get, output } = await lonelyProxy(t)
    child.kill('SIGHUP')
    while (!output().includes('the configuration was read again and applied'))
      await once(child.stdout as NodeJS.EventEmitter, 'data')
    assert.equal((await get('/healthz')).status, 200)
    child.kill('SIGINT')
    assert.equal(await ended, 0)
  })
})
