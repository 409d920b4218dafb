import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startRoute } from './support/route.ts'

test('a call travels through Kafka and Redis and back', async (t) => {
  const route = await startRoute(t)
  const answer = await route.call({ id: 'one', reply: 'hello' })
  assert.deepEqual({ code: answer.code, reply: answer.reply?.toString() }, { code: 0, reply: 'hello' })
  assert.equal(await route.records(), 1)
  assert.deepEqual([...route.runs()], [['one', 1]])
})
