import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { startRoute, until } from './support/route.ts'

/** A worker asks for the topic's partitions every 3 s, and its group comes together anew. */
const SEEN_MILLISECONDS = 12_000

test('partitions that are added under load: every call is answered and runs once, whichever proxy knows of them first', async (t) => {
  const route = await startRoute(t, { partitions: 1, workers: 2, method: { timeoutMilliseconds: 20_000 } })
  assert.equal((await route.call({ id: 'before' })).code, 0)
  await route.admin.createPartitions({ topicPartitions: [{ topic: route.topic, count: 4 }] })
  // It knows all four from its start; the other one learns of them later.
  await route.startProxy()
  const calls = Array.from({ length: 80 }, async (_, index) => {
    await pause(index * 20)
    return route.call({ id: `during-${index}` }, { proxy: index % 2 })
  })
  const answers = await Promise.all(calls)
  const slowest = Math.max(...answers.map(({ milliseconds }) => milliseconds))
  t.diagnostic(`the slowest call took ${slowest.toFixed(0)} ms`)
  assert.deepEqual([...new Set(answers.map(({ code, details }) => `${code} ${details}`))], ['0 '])
  assert.ok(slowest < SEEN_MILLISECONDS, `${slowest} ms`)
  assert.deepEqual(
    [...route.runs()].filter(([, runs]) => runs !== 1),
    [],
  )
  await until('the lag is 0', async () => (await route.lag()) === 0)
  const ends = await route.admin.fetchTopicOffsets(route.topic)
  assert.deepEqual(
    ends.map(({ high }) => Number(high) > 0),
    [true, true, true, true],
    'each partition got calls',
  )
})
