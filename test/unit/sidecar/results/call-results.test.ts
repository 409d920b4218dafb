import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { CallResults } from '../../../../sidecar/results/call-results.ts'
import type { KnownCall } from '../../../../sidecar/results/call-results.ts'
import { decodeCallState, encodeEnqueued } from '../../../../sidecar/results/call-state.ts'
import { callKey, handleKey } from '../../../../sidecar/results/keys.ts'
import { encodeOutcome } from '../../../../sidecar/results/outcome.ts'
import type { RedisClient } from '../../../../sidecar/results/redis.ts'
import { fakeRedis } from './fake-redis.ts'

const ID = Buffer.alloc(16, 7)
const CANCELLED = encodeOutcome({ state: 'Cancelled' })
const CALL: KnownCall = {
  id: ID,
  method: 's.S/M',
  caller: '',
  deadline: 6000,
  place: undefined,
  state: decodeCallState(encodeEnqueued(6000)),
}

const resultsOn = (redis: Partial<RedisClient>) =>
  new CallResults({ redis: fakeRedis(redis), topic: 'work', retentionSeconds: () => 60, now: () => 1000 })

suite('results', () => {
  test('are found by what the topic knows the call by, and by its state', async () => {
    const handle = { method: 's.S/M', caller: '', deadline: 6000 }
    const stored = new Map<string, Buffer>([
      [handleKey(ID, 'work'), Buffer.from(JSON.stringify({ ...handle, partition: 0, offset: 3 }))],
      [callKey(ID), encodeEnqueued(6000)],
    ])
    const results = resultsOn({ getAll: (keys) => Promise.resolve(keys.map((key) => stored.get(key) ?? null)) })
    assert.deepEqual(await results.find(ID), { ...CALL, place: { partition: 0, offset: 3 } })
    stored.set(handleKey(ID, 'work'), Buffer.from(JSON.stringify(handle)))
    assert.deepEqual(await results.find(ID), CALL)
    stored.delete(callKey(ID))
    assert.equal(await results.find(ID), undefined, 'its retention is over')
    stored.set(callKey(ID), encodeEnqueued(6000))
    stored.delete(handleKey(ID, 'work'))
    assert.equal(await results.find(ID), undefined, 'it is of another topic, or was never told of')
  })

  test('are looked for together in one turn of the event loop', async () => {
    const asked: number[] = []
    const heads = ['\x02\x06', '\x03\x01', '']
    const results = resultsOn({
      each: (_command, rows) => {
        asked.push(rows.length)
        return Promise.resolve(rows.map((_, index) => heads[index]))
      },
    })
    assert.deepEqual(await Promise.all([1, 2, 3].map(() => results.isPending(ID))), [true, false, false])
    assert.deepEqual(asked, [3])
  })

  const standings = [
    ['and workers are told, for as long as the record may stand there', CANCELLED, ['storeOutcomes', 'cancel']],
    [
      'and nobody is told where another came first',
      encodeOutcome({ state: 'Expired', started: 'No' }),
      ['storeOutcomes'],
    ],
  ] as const
  for (const [what, standing, scripts] of standings)
    test(`cancelled is an outcome, ${what}`, async () => {
      const ran: (readonly unknown[])[] = []
      const results = resultsOn({
        script: ({ name }, keys, args) => Promise.resolve(ran.push([name, keys, args])),
        getAll: () => Promise.resolve([standing]),
      })
      await results.cancel(CALL)
      assert.deepEqual(
        ran.map(([name]) => name),
        scripts,
      )
      assert.deepEqual(ran[0]?.[2], [65, 0, ID, '', CANCELLED, '', 0])
      if (ran.length > 1) assert.deepEqual(ran[1]?.slice(1), [['gk:cancelled:{work}'], [ID.toString('hex'), 65_000]])
    })
})
