import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { Redis } from 'ioredis'
import { countRecords, ensureTopics, TopicError } from '../../../local/kafka/admin.ts'
import { startKafka } from '../../../local/platform/kafka.ts'
import { PartFailedError } from '../../../local/platform/part-failed.ts'
import { startRedis } from '../../../local/platform/redis.ts'
import { atEnd } from '../support/clean-up.ts'

const quiet = (): void => undefined

async function ownDirectory(context: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'grpc-kafka-platform-'))
  atEnd(context, () => rm(directory, { recursive: true, force: true }))
  return directory
}

test('a broker comes back on its port with its data after a kill', async (context) => {
  const kafka = await startKafka({ directory: await ownDirectory(context), report: quiet })
  atEnd(context, () => kafka.stop())
  const plan = (partitions: number) => () => [
    { name: 'kept', partitions, replicationFactor: 1, config: { 'max.message.bytes': '2000000' }, declared: [] },
  ]
  assert.deepEqual(await ensureTopics(kafka.brokers, plan(2)), ['topic kept: created, partitions 2, copies of each 1'])
  const first = kafka.pid
  await kafka.kill('SIGKILL')
  await kafka.start()
  assert.notEqual(kafka.pid, first)
  assert.equal(await countRecords(kafka.brokers, 'kept'), 0)
  assert.deepEqual(await ensureTopics(kafka.brokers, plan(2)), [], 'nothing is left to do')
  assert.deepEqual(await ensureTopics(kafka.brokers, plan(5)), ['topic kept: grown from 2 to 5 partitions'])
  await assert.rejects(ensureTopics(kafka.brokers, plan(3)), TopicError)
})

test('a broker that cannot start says why, and nothing of it is left', async (context) => {
  const directory = await ownDirectory(context)
  await assert.rejects(
    startKafka({ directory, properties: { 'num.io.threads': '-1' }, report: quiet }),
    (error) => error instanceof Error && error.message.includes('num.io.threads'),
  )
})

test('a start that is given up leaves nothing running', async (context) => {
  const abort = new AbortController()
  const starting = startKafka({ directory: await ownDirectory(context), report: quiet }, abort.signal)
  abort.abort(new Error('changed my mind'))
  await assert.rejects(starting, /^Error: changed my mind$/)
})

test('a Redis comes back on its port, with its data where it was told to keep some', async (context) => {
  const directory = await ownDirectory(context)
  const redis = await startRedis({ directory, args: ['--appendonly', 'yes', '--appendfsync', 'always'], report: quiet })
  atEnd(context, () => redis.stop())
  const client = new Redis(redis.url, { retryStrategy: () => 20, maxRetriesPerRequest: null })
  client.on('error', quiet)
  atEnd(context, () => client.disconnect())
  await client.set('kept', 'value')
  await redis.kill('SIGKILL')
  await redis.start()
  assert.equal(await client.get('kept'), 'value')
})

test('a Redis that cannot start says why', async (context) => {
  const directory = await ownDirectory(context)
  await assert.rejects(startRedis({ directory, args: ['--no-such-option', '1'], report: quiet }), (error) => {
    assert.ok(error instanceof PartFailedError)
    assert.match(error.message, /no-such-option/)
    return true
  })
})
