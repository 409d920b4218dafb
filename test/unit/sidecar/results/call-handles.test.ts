import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { TestContext } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { pino } from 'pino'
import { keyedCallId } from '../../../../sidecar/call-id.ts'
import { CallHandles } from '../../../../sidecar/results/call-handles.ts'
import type { CallHandle } from '../../../../sidecar/results/call-handles.ts'
import { decodeCallState } from '../../../../sidecar/results/call-state.ts'
import { callKey, handleKey } from '../../../../sidecar/results/keys.ts'
import type { RedisClient } from '../../../../sidecar/results/redis.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'
import { fakeRedis } from './fake-redis.ts'

const ID = Buffer.alloc(16, 0x71)
const HANDLE: CallHandle = {
  id: ID,
  method: 's.S/M',
  caller: '',
  deadline: 5000,
  place: { partition: 1, offset: 2 },
}

function setUp(t: TestContext, each: RedisClient['each']) {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1000 })
  const sent: (readonly unknown[])[][] = []
  const metrics = new Metrics()
  const handles = new CallHandles({
    redis: fakeRedis({
      each: (command, rows) => {
        assert.equal(command, 'set')
        sent.push([...rows])
        return each(command, rows)
      },
    }),
    topic: 'work',
    retentionSeconds: () => 60,
    now: () => Date.now(),
    monotonicNow: () => Date.now(),
    logger: pino({ enabled: false }),
    metrics,
  })
  t.after(() => void handles.close())
  const kept: number[] = []
  const keep = (handle = HANDLE) => handles.keep(handle, () => kept.push(Date.now()))
  const settle = async (): Promise<void> => {
    for (let count = 0; count < 6; count++) await turn()
  }
  const pass = async (milliseconds: number): Promise<void> => {
    t.mock.timers.tick(milliseconds)
    await settle()
  }
  const lost = async () => Number(/^grpc_kafka_call_handles_lost_total (\d+)/m.exec(await metrics.expose())?.[1])
  return { handles, sent, kept, keep, settle, pass, lost }
}

suite('what a call is known by', () => {
  test('is kept as long as its outcome, though that comes a retention after the deadline; a call without a key is enqueued there, too', async (t) => {
    const { sent, kept, keep, settle } = setUp(t, () => Promise.resolve([]))
    keep()
    await settle()
    const [[state, handle] = []] = sent
    assert.deepEqual(state?.[0], callKey(ID))
    const { deadline, state: name } = decodeCallState(state?.[1] as Buffer) as { deadline: number; state: string }
    assert.deepEqual([name, deadline, ...(state?.slice(2) ?? [])], ['Enqueued', 5000, 'PX', 124_000, 'NX'])
    assert.deepEqual(handle, [
      handleKey(ID, 'work'),
      JSON.stringify({ method: 's.S/M', caller: '', deadline: 5000, partition: 1, offset: 2 }),
      'PX',
      184_000,
      'NX',
    ])
    assert.deepEqual(kept, [1000])
  })

  test('leaves the claim of a call with a key as it is', async (t) => {
    const { sent, keep, settle } = setUp(t, () => Promise.resolve([]))
    const id = keyedCallId('s.S', '', 's.S/M', 'key')
    keep({ ...HANDLE, id, place: undefined })
    await settle()
    assert.deepEqual(
      sent[0]?.map(([key]) => key),
      [handleKey(id, 'work')],
    )
  })

  test('goes together with that of others in one turn of the event loop', async (t) => {
    const { sent, keep, settle } = setUp(t, () => Promise.resolve([]))
    keep()
    keep()
    await settle()
    assert.deepEqual(
      sent.map((rows) => rows.length),
      [4],
    )
  })

  test('is not waited for longer than a quarter of a second', async (t) => {
    const { kept, keep, settle, pass } = setUp(t, () => new Promise(() => undefined))
    keep()
    await settle()
    await pass(249)
    assert.deepEqual(kept, [])
    await pass(1)
    assert.deepEqual(kept, [1250])
  })

  test('is not waited for longer either where it came while Redis was asked for others', async (t) => {
    const { kept, keep, settle, pass } = setUp(t, () => new Promise(() => undefined))
    keep()
    await settle()
    await pass(200)
    keep()
    await pass(50)
    await pass(199)
    assert.deepEqual(kept, [1250])
    await pass(1)
    assert.deepEqual(kept, [1250, 1450])
  })

  test('is given up, the earliest first, where too many wait, also once those that failed wait again', async (t) => {
    const failed = Promise.withResolvers<unknown[]>()
    const { handles, keep, settle, lost } = setUp(t, () => failed.promise)
    for (let count = 0; count < 256; count++) keep()
    await settle()
    for (let count = 0; count < 10_000; count++) handles.keep(HANDLE)
    assert.equal(await lost(), 0)
    failed.reject(new Error('away'))
    await settle()
    assert.equal(await lost(), 256)
    handles.keep(HANDLE)
    assert.equal(await lost(), 257)
  })

  test('is with Redis when all is closed, though it was told of just before', async (t) => {
    const redis = Promise.withResolvers<unknown[]>()
    const { handles, sent, keep, settle } = setUp(t, () => redis.promise)
    keep()
    let closed = false
    void handles.close().then(() => (closed = true))
    await settle()
    assert.deepEqual([sent.length, closed], [1, false])
    redis.resolve([])
    await settle()
    assert.ok(closed)
  })

  test('that Redis does not take is not sent again once all is closed', async (t) => {
    const { handles, sent, keep, lost } = setUp(t, () => Promise.reject(new Error('away')))
    keep()
    await handles.close()
    assert.deepEqual([sent.length, await lost()], [1, 1])
  })

  test('that Redis does not take is waited for no more, sent again, and lost after ten seconds', async (t) => {
    const { sent, kept, keep, settle, pass, lost } = setUp(t, () => Promise.reject(new Error('away')))
    keep()
    await settle()
    assert.deepEqual(kept, [1000])
    for (let count = 0; count < 39; count++) await pass(250)
    assert.deepEqual([sent.length, await lost()], [40, 0])
    await pass(250)
    assert.deepEqual([sent.length, await lost(), kept.length], [41, 1, 1])
    await pass(1000)
    assert.equal(sent.length, 41)
  })
})
