import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createTopics, startRoute, until } from './support/route.ts'

test('calls are answered again after the topic was deleted and made anew under the same name', async (t) => {
  const route = await startRoute(t, { partitions: 2 })
  const before = await Promise.all(Array.from({ length: 50 }, (_, index) => route.call({ id: `before-${index}` })))
  assert.deepEqual(new Set(before.map(({ code }) => code)), new Set([0]))
  await until('everything is committed', async () => (await route.lag()) === 0)

  await route.admin.deleteTopics({ topics: [route.topic] })
  await until('the topic is gone', async () => !(await route.admin.listTopics()).includes(route.topic))
  await createTopics(route.admin, [{ topic: route.topic, numPartitions: 2 }])

  const after = await Promise.all(
    Array.from({ length: 20 }, (_, index) => route.call({ id: `after-${index}` }, { deadline: 60_000 })),
  )
  assert.deepEqual(new Set(after.map(({ code }) => code)), new Set([0]))
  const runs = route.runs()
  for (let index = 0; index < 20; index++) assert.ok((runs.get(`after-${index}`) ?? 0) >= 1)
})
