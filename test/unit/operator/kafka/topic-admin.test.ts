import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { KafkaProblem } from '../../../../operator/kafka/kafka-problem.ts'
import type { NoAnswer } from '../../../../operator/kafka/kafka-problem.ts'
import { KafkaTopicAdmin } from '../../../../operator/kafka/topic-admin.ts'
import { FakeClock } from '../controller/fake-clock.ts'

/** Takes connections and never says a word; `servers` names it 32 times. */
async function startListener(t: TestContext, onConnection: (socket: Socket) => void = () => undefined) {
  const open = new Set<Socket>()
  const asked = Promise.withResolvers<void>()
  let connections = 0
  const listener = createServer((socket) => {
    connections += 1
    open.add(socket)
    socket.on('error', () => undefined).on('close', () => open.delete(socket))
    socket.on('data', () => asked.resolve())
    onConnection(socket)
  }).listen(0, '127.0.0.1')
  await once(listener, 'listening')
  t.after(() => {
    for (const socket of open) socket.destroy()
    listener.close()
  })
  const server = `127.0.0.1:${(listener.address() as AddressInfo).port}`
  const servers = Array.from({ length: 32 }, () => server)
  return { listener, servers, open, asked: asked.promise, connections: () => connections }
}

const isWithout =
  (noAnswer: NoAnswer) =>
  (error: unknown): boolean =>
    error instanceof KafkaProblem && error.reason === 'KafkaUnavailable' && error.noAnswer === noAnswer

test('to observe takes six seconds at most, however many servers say nothing', async (t) => {
  const { servers, asked } = await startListener(t)
  const clock = new FakeClock()
  const admin = new KafkaTopicAdmin({ servers }, { clock })
  t.after(() => admin.close())
  const observed = admin.observe(['a'])
  let ended = false
  void observed.catch(() => (ended = true))
  await asked
  clock.advance(5_999)
  await new Promise(setImmediate)
  assert.equal(ended, false)
  clock.advance(1)
  await new Promise(setImmediate)
  assert.equal(ended, true)
  await assert.rejects(observed, isWithout('Silent'))
  assert.equal(clock.pending, 0)
})

test('servers to which no connection is made in time are told as unreachable', async (t) => {
  const { servers } = await startListener(t)
  const clock = new FakeClock()
  const admin = new KafkaTopicAdmin({ servers }, { clock })
  t.after(() => admin.close())
  const observed = admin.observe(['a'])
  // No connection is made before this turn ends.
  clock.advance(6_000)
  await assert.rejects(observed, isWithout('Unreachable'))
})

test('an observation that its caller gives up ends at once', async (t) => {
  const { listener, servers } = await startListener(t)
  const clock = new FakeClock()
  const admin = new KafkaTopicAdmin({ servers }, { clock })
  t.after(() => admin.close())
  const stop = new AbortController()
  const connected = once(listener, 'connection')
  const observed = admin.observe(['a'], stop.signal)
  await connected
  const reason = new Error('the operator ends')
  stop.abort(reason)
  await assert.rejects(observed, (error) => error === reason)
  assert.equal(clock.pending, 0)
})

test('no more than three servers are tried at a time', async (t) => {
  const { servers, connections } = await startListener(t, (socket) => socket.destroy())
  const admin = new KafkaTopicAdmin({ servers }, { clock: new FakeClock() })
  t.after(() => admin.close())
  await assert.rejects(admin.observe(['a']), isWithout('Silent'))
  assert.equal(connections(), 3)
})

test('what an attempt connects behind a close is closed, too', { timeout: 60_000 }, async (t) => {
  const gone = Promise.withResolvers<void>()
  const { listener, servers, open, connections } = await startListener(t, (socket) => {
    // The first is closed by close itself; a later one by nobody else.
    socket.on('close', () => connections() > 1 && open.size === 0 && gone.resolve())
  })
  const clock = new FakeClock()
  const admin = new KafkaTopicAdmin({ servers }, { clock })
  const connected = once(listener, 'connection')
  const observed = admin.observe(['a'])
  await connected
  clock.advance(6_000)
  await assert.rejects(observed)
  await admin.close()
  await gone.promise
})
