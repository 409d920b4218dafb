import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import test from 'node:test'
import { freePort, isFree, PortInUseError } from '../../../../local/platform/free-port.ts'

test('a port that somebody listens on is not free', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  assert.equal(await isFree(address.port), false)
  server.close()
  await once(server, 'close')
  assert.equal(await isFree(address.port), true)
})

test('no port is given twice, and none that the system gives to clients', async () => {
  const ports = await Promise.all(Array.from({ length: 50 }, () => freePort()))
  assert.equal(new Set(ports).size, 50)
  assert.ok(
    ports.every((port) => port >= 1024 && port < 32_768),
    ports.join(),
  )
})

test('it gives up when nothing is free', async () => {
  const always = await freePort(() => 0.5)
  assert.equal(await isFree(always), true)
  await assert.rejects(
    freePort(() => 0.5),
    PortInUseError,
  )
})
