import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startsKey } from '../../sidecar/results/keys.ts'
import { connectRedis } from '../../sidecar/results/redis.ts'
import { encodeOutcome } from '../../sidecar/results/outcome.ts'
import { OutcomeStore } from '../../sidecar/results/store.ts'
import { createLogger } from '../../sidecar/telemetry/log.ts'
import { Metrics } from '../../sidecar/telemetry/metrics.ts'
import { randomCallId } from './support/packed-header.ts'
import { redisOfEnvironment } from './support/route.ts'

test('the counting of starts that may be repeated', async (t) => {
  const logger = createLogger('error', {})
  const metrics = new Metrics()
  const redis = connectRedis({
    config: { url: redisOfEnvironment(), commandTimeoutMilliseconds: 5000 },
    name: 'starts',
    logger,
    metrics,
  })
  const store = new OutcomeStore({ redis, instance: 'starts', retentionSeconds: () => 60, logger, metrics })
  t.after(() => {
    store.close()
    redis.disconnect()
  })
  await redis.whenReady()
  const ask = async (id: Buffer, attempt: number, { maxAttempts = 3, alone = false } = {}) => {
    const [begun] = await store.begin([{ id, attempt, own: attempt }], { maxAttempts, alone, keepMilliseconds: 60_000 })
    assert.ok(begun)
    return begun
  }
  const counted = async (...args: Parameters<typeof ask>) => {
    const begun = await ask(...args)
    assert.ok(begun.kind === 'Counted', begun.kind)
    return begun
  }

  await t.test('a start has the number that is known of it, where nothing else is', async () => {
    assert.equal((await counted(randomCallId(), 2)).start, 2)
  })

  await t.test('a record that another one started may start alone only, and the asking counts nothing', async () => {
    const id = randomCallId()
    await counted(id, 2)
    assert.deepEqual(await ask(id, 2), { kind: 'OnlyAlone' })
    assert.deepEqual(await ask(id, 2), { kind: 'OnlyAlone' })
    assert.equal((await counted(id, 2, { alone: true })).start, 3)
  })

  await t.test('after as many starts as are allowed, the last one alone, they are used up', async () => {
    const id = randomCallId()
    await counted(id, 2)
    await counted(id, 2, { alone: true })
    assert.deepEqual(await ask(id, 2), { kind: 'UsedUp', starts: 3 })
    assert.deepEqual(await ask(id, 2, { alone: true }), { kind: 'UsedUp', starts: 3 })
  })

  for (const maxAttempts of [1, 2]) {
    await t.test(`with ${maxAttempts} allowed, one that never ran alone gets one more start, alone`, async () => {
      const id = randomCallId()
      await counted(id, maxAttempts, { maxAttempts })
      assert.deepEqual(await ask(id, maxAttempts, { maxAttempts }), { kind: 'OnlyAlone' })
      assert.equal((await counted(id, maxAttempts, { maxAttempts, alone: true })).start, maxAttempts + 1)
      assert.deepEqual(await ask(id, maxAttempts, { maxAttempts }), { kind: 'UsedUp', starts: maxAttempts + 1 })
    })
  }

  await t.test('two records of one call that are asked about together are two starts', async () => {
    const id = randomCallId()
    const starts = [
      { id, attempt: 2, own: 1 },
      { id, attempt: 2, own: 2 },
    ]
    const [first, second] = await store.begin(starts, { maxAttempts: 3, alone: false, keepMilliseconds: 60_000 })
    assert.partialDeepStrictEqual([first, second], [{ kind: 'Counted', start: 2 }, { kind: 'OnlyAlone' }])
  })

  await t.test('a start that is taken back was none, also when it is taken back twice', async () => {
    const id = randomCallId()
    const { token } = await counted(id, 1, { maxAttempts: 1 })
    await store.takeBack([{ id, token }])
    await store.takeBack([{ id, token }])
    const second = await counted(id, 1, { maxAttempts: 1 })
    assert.equal(second.start, 1)
    await store.takeBack([{ id, token }])
    assert.deepEqual(
      await ask(id, 1, { maxAttempts: 1 }),
      { kind: 'OnlyAlone' },
      "an earlier asking's token took it back",
    )
  })

  await t.test('a start alone that is taken back leaves standing that it ran alone before', async () => {
    const id = randomCallId()
    await counted(id, 1, { maxAttempts: 1, alone: true })
    await counted(id, 1, { maxAttempts: 2, alone: true }).then(({ token }) => store.takeBack([{ id, token }]))
    assert.deepEqual(await ask(id, 1, { maxAttempts: 1 }), { kind: 'UsedUp', starts: 1 })
  })

  await t.test('a start alone that is taken back leaves no word of having run alone', async () => {
    const id = randomCallId()
    await counted(id, 1, { maxAttempts: 1 })
    await counted(id, 1, { maxAttempts: 1, alone: true }).then(({ token }) => store.takeBack([{ id, token }]))
    assert.deepEqual(await ask(id, 1, { maxAttempts: 1 }), { kind: 'OnlyAlone' })
  })

  await t.test('a worker that comes back under its name counts on: its first asking is no repeated one', async (t) => {
    const id = randomCallId()
    const starts: unknown[] = []
    for (const alone of [false, true]) {
      const life = new OutcomeStore({ redis, instance: 'comes-back', retentionSeconds: () => 60, logger, metrics })
      t.after(() => life.close())
      starts.push(await life.begin([{ id, attempt: 2, own: 2 }], { maxAttempts: 3, alone, keepMilliseconds: 60_000 }))
    }
    assert.partialDeepStrictEqual(starts, [[{ kind: 'Counted', start: 2 }], [{ kind: 'Counted', start: 3 }]])
  })

  await t.test('a record whose next attempt is that of another record does not start, and that one does', async () => {
    const id = randomCallId()
    await store.handedOn(id, 2, 60_000)
    // Said late, and once more: of a copy.
    await store.handedOn(id, 1, 60_000)
    assert.deepEqual(await ask(id, 1), { kind: 'HandedOn' })
    assert.deepEqual(await ask(id, 2, { alone: true }), { kind: 'HandedOn' })
    assert.equal((await counted(id, 3)).start, 3)
  })

  await t.test('a lost count begins at the attempt that the record asks for', async () => {
    const id = randomCallId()
    await counted(id, 2)
    await redis.each('del', [[startsKey(id)]])
    assert.equal((await counted(id, 3)).start, 3)
  })

  await t.test('a record with an outcome does not start', async () => {
    const id = randomCallId()
    await new Promise<void>((resolve) => {
      store.store(id, '', encodeOutcome({ state: 'Expired', started: 'No' }), () => resolve())
    })
    assert.deepEqual(await ask(id, 1), { kind: 'Done' })
    assert.deepEqual(await ask(id, 3, { alone: true }), { kind: 'Done' })
  })
})
