import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { freePort } from '../../../local/platform/free-port.ts'
import { Relay } from '../../faults/relay.ts'

/** A relay before a server that gives back what it gets. */
async function echo(t: TestContext) {
  const server = createServer((socket) => socket.on('error', () => undefined).pipe(socket)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const port = await freePort()
  const relay = await Relay.start(port, `127.0.0.1:${(server.address() as AddressInfo).port}`)
  t.after(async () => {
    await relay.close()
    server.close()
  })
  const client = async () => {
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    return socket
  }
  return { relay, client }
}

test('bytes pass, and later by what was asked for in each direction, in their order', async (t) => {
  const { relay, client } = await echo(t)
  const socket = await client()
  socket.write('quick')
  assert.equal(String((await once(socket, 'data'))[0]), 'quick')
  relay.slow(150)
  const began = performance.now()
  let got = ''
  socket.on('data', (bytes) => (got += String(bytes)))
  socket.write('slow,')
  while (relay.held === 0) await pause(1)
  relay.slow(0)
  socket.write('behind')
  while (got.length < 11) await once(socket, 'data')
  assert.equal(got, 'slow,behind')
  assert.ok(performance.now() - began >= 149)
  socket.destroy()
})

test('a cut breaks connections and lets nobody through until it is mended', async (t) => {
  const { relay, client } = await echo(t)
  const socket = await client()
  socket.write('x')
  await once(socket, 'data')
  assert.equal(relay.connections, 1)
  relay.cut()
  await once(socket, 'close')
  const refused = await client()
  await once(refused, 'close')
  relay.mend()
  const again = await client()
  again.write('y')
  assert.equal(String((await once(again, 'data'))[0]), 'y')
  again.destroy()
})
