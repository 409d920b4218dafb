/** The ACL list of docs/redis.md holds what the data plane does in Redis, and nothing else. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { Redis } from 'ioredis'
import type { RedisConfig } from '../../sidecar/config.ts'
import { CallHandles } from '../../sidecar/results/call-handles.ts'
import { CallResults } from '../../sidecar/results/call-results.ts'
import { CallClaims } from '../../sidecar/results/claims.ts'
import type { Claim } from '../../sidecar/results/claims.ts'
import { FlowBoard } from '../../sidecar/results/flow-board.ts'
import { encodeOutcome } from '../../sidecar/results/outcome.ts'
import { connectRedis } from '../../sidecar/results/redis.ts'
import { SharedClock } from '../../sidecar/results/shared-clock.ts'
import { OutcomeStore } from '../../sidecar/results/store.ts'
import { Watermarks } from '../../sidecar/results/watermarks.ts'
import { OutcomeWaiters } from '../../sidecar/results/waiters.ts'
import { Secret } from '../../sidecar/secret.ts'
import { createLogger } from '../../sidecar/telemetry/log.ts'
import { Metrics } from '../../sidecar/telemetry/metrics.ts'
import { Cancellations } from '../../sidecar/worker/cancellations.ts'
import { atEnd } from './support/clean-up.ts'
import { ownRedis } from './support/own.ts'
import { randomCallId } from './support/packed-header.ts'
import { documentedAcl } from './support/redis-acl.ts'
import { until } from './support/route.ts'

const USER = 'team'
const PASSWORD = 'correct-horse-battery'
const FLOW = {
  time: 0,
  unfinished: 0,
  places: 1,
  partitions: 1,
  rate: 1,
  serviceMilliseconds: new Map<string, number>(),
}

/** Everything that both roles do in Redis, once. Ends when it is done, or when `refused` says so. */
async function everything(config: RedisConfig, refused: () => Promise<boolean>): Promise<void> {
  const logger = createLogger('silent', {})
  const metrics = new Metrics()
  const redis = connectRedis({ config, name: 'acl', logger, metrics })
  const store = new OutcomeStore({ redis, instance: 'acl', retentionSeconds: () => 60, logger, metrics })
  const subscriber = redis.subscriber('acl:reply')
  const waiters = new OutcomeWaiters({ redis, subscriber, instance: 'acl', logger, metrics })
  const clock = new SharedClock({ redis, localNow: Date.now, metrics, logger })
  const monotonicNow = () => performance.now()
  const claims = new CallClaims({ redis, retentionSeconds: () => 60, monotonicNow, logger, metrics })
  const board = new FlowBoard({ redis, topic: 'acl', logger, metrics })
  const known = { topic: 'acl', retentionSeconds: () => 60, now: Date.now }
  const handles = new CallHandles({ redis, ...known, monotonicNow, logger, metrics })
  const results = new CallResults({ redis, ...known })
  const { promise: cancelled, resolve: onCancelled } = Promise.withResolvers<unknown>()
  const cancellations = new Cancellations({ redis, topic: 'acl', onCancelled, metrics })
  const watermarks = new Watermarks({ redis, groupId: 'acl', metrics })
  const outcome = encodeOutcome({ state: 'Expired', started: 'No' })
  const large = encodeOutcome({
    state: 'Answered',
    status: 0,
    details: '',
    initialMetadata: [],
    trailingMetadata: [],
    message: Buffer.alloc(20_000),
  })
  const told = (id: Buffer, what: Buffer) =>
    new Promise<void>((resolve) => {
      waiters.add(id, () => resolve())
      store.store(id, 'acl', what, () => undefined)
    })
  const work = async (): Promise<void> => {
    await Promise.all([waiters.start(), clock.start()])
    const id = randomCallId()
    await told(id, outcome)
    await told(id, large)
    await told(randomCallId(), large)
    await store.haveOutcomes([id])
    const start = { id: randomCallId(), attempt: 1, own: 1 }
    for (const alone of [false, true]) {
      const [begun] = await store.begin([start], { maxAttempts: 1, alone, keepMilliseconds: 60_000 })
      assert.ok(begun?.kind === 'Counted')
      await store.takeBack([{ id: start.id, token: begun.token }])
    }
    await store.handedOn(start.id, 1, 60_000)
    await store.areDone([{ id: start.id, redrive: { revision: 1, record: '0/0' } }], 60_000)
    const claim: Claim = {
      id: randomCallId(),
      token: Buffer.alloc(16, 1),
      requestHash: Buffer.alloc(16, 2),
      deadline: Date.now() + 10_000,
      wanted: true,
      leaseEndsAt: -Infinity,
    }
    const ask = () => new Promise<void>((resolve) => claims.ask(claim, () => resolve()))
    await ask()
    claims.enqueued(claim)
    await claims.close()
    await told(claim.id, large)
    await ask()
    const partitions = [{ topic: 'acl', partition: 0 }]
    await store.hold('acl', partitions, 1000)
    await store.release('acl', partitions)
    const log = { topic: 'acl', topicId: 'a'.repeat(32), partition: 0 }
    await watermarks.advance([{ ...log, offset: 1, window: 1 }])
    await watermarks.read([log])
    await board.report('acl', FLOW)
    await board.read()
    await board.withdraw('acl')
    await redis.poke('gk:reply:acl')
    const call = { id: randomCallId(), method: 'a/b', caller: '', deadline: Date.now() + 10_000, place: undefined }
    await new Promise<void>((resolve) => handles.keep(call, resolve))
    const found = await results.find(call.id)
    assert.ok(found && (await results.isPending(call.id)))
    await results.cancel(found)
    cancellations.start()
    await cancelled
  }
  let done = false
  try {
    await Promise.race([
      work().finally(() => (done = true)),
      until('everything is done', async () => done || (await refused()), 60_000),
    ])
  } finally {
    waiters.close()
    store.close()
    clock.close()
    void handles.close()
    cancellations.close()
    redis.disconnect()
  }
}

async function aclRedis(t: TestContext) {
  const redis = await ownRedis(t)
  const admin = new Redis(redis.url)
  atEnd(t, () => admin.disconnect())
  const config = {
    url: redis.url,
    username: USER,
    password: new Secret({ env: 'P' }, { P: PASSWORD }),
    commandTimeoutMilliseconds: 5000,
  }
  const setUser = async (rules: readonly string[]) => {
    await admin.call('ACL', 'SETUSER', USER, 'reset', 'on', `>${PASSWORD}`, '-@all', ...rules)
    await admin.call('ACL', 'LOG', 'RESET')
    await admin.call('SCRIPT', 'FLUSH')
  }
  const refusals = async () =>
    ((await admin.call('ACL', 'LOG')) as string[][]).map((entry) => entry[entry.indexOf('object') + 1]!)
  return { config, setUser, refusals }
}

test('with the ACL that the documentation lists nothing is refused', async (t) => {
  const { config, setUser, refusals } = await aclRedis(t)
  await setUser(documentedAcl('acl'))
  await everything(config, async () => (await refusals()).length > 0)
  assert.deepEqual(await refusals(), [])
})

test('without any one rule of that list something is refused, so that none is there for nothing', async (t) => {
  const { config, setUser, refusals } = await aclRedis(t)
  const rules = documentedAcl('acl')
  const needless: string[] = []
  for (const rule of rules) {
    await setUser(rules.filter((one) => one !== rule))
    await everything(config, async () => (await refusals()).length > 0).catch(() => undefined)
    if ((await refusals()).length === 0) needless.push(rule)
  }
  assert.ok(rules.length > 10)
  assert.deepEqual(needless, [])
})
