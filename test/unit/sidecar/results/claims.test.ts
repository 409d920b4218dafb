import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { TestContext } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { pino } from 'pino'
import { CLAIM_ANSWERS } from '../../../../sidecar/results/call-state.ts'
import { CallClaims, LEASE_MILLISECONDS } from '../../../../sidecar/results/claims.ts'
import type { Claim, ClaimAnswer } from '../../../../sidecar/results/claims.ts'
import { encodeOutcome } from '../../../../sidecar/results/outcome.ts'
import type { Outcome } from '../../../../sidecar/results/outcome.ts'
import type { Argument, RedisClient } from '../../../../sidecar/results/redis.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'
import { fakeRedis } from './fake-redis.ts'

const RENEW_MILLISECONDS = 500
const OUTCOME: Outcome = { state: 'Cancelled' }

type Reply = (name: string, keys: readonly string[], args: readonly Argument[]) => Promise<unknown>

/** Grants what is asked. */
const granted: Reply = (name, keys) => Promise.resolve(keys.map(() => (name === 'claim' ? CLAIM_ANSWERS.Claimed : 1)))
const silent: Reply = () => Promise.reject(new Error('the connection is closed'))

function setUp(t: TestContext, { reply = granted, ...redis }: Partial<RedisClient> & { readonly reply?: Reply } = {}) {
  t.mock.timers.enable({ apis: ['setInterval', 'Date'] })
  /** Every script call: its name and what it says of each call. */
  const sent: { readonly name: string; readonly count: number; readonly updates: readonly Argument[] }[] = []
  const answering = { reply }
  const claims = new CallClaims({
    redis: fakeRedis({
      parts: (items) => (items.length === 0 ? [] : [items]),
      script: ({ name }, keys, args) => {
        const updates = name === 'updateClaims' ? args.slice(1).filter((_, at) => at % 2 === 1) : []
        sent.push({ name, count: keys.length, updates })
        return answering.reply(name, keys, args)
      },
      ...redis,
    }),
    retentionSeconds: () => 60,
    monotonicNow: () => Date.now(),
    logger: pino({ enabled: false }),
    metrics: new Metrics(),
  })
  t.after(() => {
    answering.reply = granted
    return claims.close()
  })
  let made = 0
  const claimOf = (changes: Partial<Claim> = {}): Claim => ({
    id: Buffer.alloc(16, ++made),
    token: Buffer.alloc(16, made),
    requestHash: Buffer.alloc(16),
    deadline: 10_000,
    wanted: true,
    leaseEndsAt: -Infinity,
    ...changes,
  })
  const settle = async () => {
    for (let count = 0; count < 8; count++) await turn()
  }
  const pass = async (milliseconds: number) => {
    t.mock.timers.tick(milliseconds)
    await settle()
  }
  /** Asks, and resolves with the answers that have come by then. */
  const ask = async (asked: readonly Claim[]): Promise<ClaimAnswer[]> => {
    const answers: ClaimAnswer[] = []
    for (const claim of asked) claims.ask(claim, (answer) => answers.push(answer))
    await settle()
    return answers
  }
  return { claims, sent, answering, claimOf, settle, pass, ask }
}

suite('claims', () => {
  test('of one turn of the event loop are asked for together', async (t) => {
    const { sent, claimOf, ask } = setUp(t)
    const asked = [claimOf(), claimOf(), claimOf()]
    assert.deepEqual(
      await ask(asked),
      asked.map(() => ({ kind: 'Claimed' })),
    )
    assert.deepEqual(
      sent.map(({ name, count }) => [name, count]),
      [['claim', 3]],
    )
    assert.deepEqual(new Set(asked.map(({ leaseEndsAt }) => leaseEndsAt)), new Set([LEASE_MILLISECONDS]))
  })

  test('that nobody wants any more are not asked for', async (t) => {
    const { sent, claimOf, ask } = setUp(t)
    assert.deepEqual(await ask([claimOf({ wanted: false })]), [])
    assert.deepEqual(sent, [])
  })

  test('are not answered for while Redis is silent', async (t) => {
    const { claimOf, ask } = setUp(t, { reply: silent })
    const claim = claimOf()
    assert.deepEqual(await ask([claim]), [{ kind: 'NoAnswer' }])
    assert.equal(claim.leaseEndsAt, -Infinity)
  })

  test('whose outcome had no room in the answer are asked for again', async (t) => {
    let asked = 0
    const { claimOf, ask } = setUp(t, {
      reply: (_name, keys) =>
        Promise.resolve(keys.map(() => (++asked === 1 ? CLAIM_ANSWERS.Later : encodeOutcome(OUTCOME)))),
    })
    assert.deepEqual(await ask([claimOf()]), [{ kind: 'Outcome', outcome: OUTCOME }])
    assert.equal(asked, 2)
  })

  test('of masters that are away hold up no others in a Cluster', async (t) => {
    const away = Buffer.alloc(16, 1).toString('hex')
    const { claimOf, ask } = setUp(t, {
      sharded: true,
      parts: (items) => items.map((item) => [item]),
      reply: (name, keys, args) =>
        keys[0]?.includes(away) === true ? new Promise(() => undefined) : granted(name, keys, args),
    })
    assert.deepEqual(await ask([claimOf(), claimOf()]), [{ kind: 'Claimed' }])
  })
})

suite('a claim that is kept', () => {
  test('is renewed while it lasts, and not once it was forgotten', async (t) => {
    const { claims, sent, claimOf, ask, pass } = setUp(t)
    const claim = claimOf()
    await ask([claim])
    claims.keep(claim, () => assert.fail('it was lost'))
    await pass(RENEW_MILLISECONDS)
    await pass(RENEW_MILLISECONDS)
    assert.ok(claim.leaseEndsAt > LEASE_MILLISECONDS)
    const renewals = sent.filter(({ updates }) => updates.includes('r')).length
    assert.ok(renewals > 0)
    claims.forget(claim)
    await pass(RENEW_MILLISECONDS)
    await pass(RENEW_MILLISECONDS)
    assert.equal(sent.filter(({ updates }) => updates.includes('r')).length, renewals)
  })

  test('tells when somebody else has it', async (t) => {
    const { claims, answering, claimOf, ask, pass } = setUp(t)
    const claim = claimOf()
    await ask([claim])
    let lost = 0
    claims.keep(claim, () => (lost += 1))
    answering.reply = (_name, keys) => Promise.resolve(keys.map(() => 0))
    for (let count = 0; count < 4; count++) await pass(RENEW_MILLISECONDS)
    assert.equal(lost, 1)
  })

  test('runs out while Redis is silent, and is not said to be lost', async (t) => {
    const { claims, answering, claimOf, ask, pass } = setUp(t)
    const claim = claimOf()
    await ask([claim])
    claims.keep(claim, () => assert.fail('it was lost'))
    answering.reply = silent
    for (let count = 0; count < 8; count++) await pass(RENEW_MILLISECONDS)
    assert.equal(claim.leaseEndsAt, LEASE_MILLISECONDS)
  })
})

suite('what Redis is told of a claim', () => {
  for (const [told, letter] of [
    ['enqueued', 'e'],
    ['giveBack', 'g'],
  ] as const) {
    test(`${told}: goes out together, once`, async (t) => {
      const { claims, sent, claimOf, settle, pass } = setUp(t)
      for (const claim of [claimOf(), claimOf()]) claims[told](claim)
      await settle()
      assert.deepEqual(
        sent.map(({ updates }) => updates),
        [[letter, letter]],
      )
      await pass(RENEW_MILLISECONDS)
      assert.equal(sent.length, 1)
    })

    test(`${told}: is repeated until Redis takes it, for ten seconds at the most`, async (t) => {
      const { claims, sent, answering, claimOf, settle, pass } = setUp(t, { reply: silent })
      claims[told](claimOf())
      await settle()
      await pass(RENEW_MILLISECONDS)
      assert.equal(sent.length, 2)
      answering.reply = granted
      await pass(RENEW_MILLISECONDS)
      await pass(RENEW_MILLISECONDS)
      assert.equal(sent.length, 3)
      answering.reply = silent
      claims[told](claimOf())
      await settle()
      for (let count = 0; count < 22; count++) await pass(RENEW_MILLISECONDS)
      const given = sent.length
      await pass(RENEW_MILLISECONDS)
      assert.equal(sent.length, given)
    })
  }

  test('goes out before the end', async (t) => {
    const { claims, sent, claimOf } = setUp(t)
    claims.giveBack(claimOf())
    await claims.close()
    assert.deepEqual(
      sent.map(({ updates }) => updates),
      [['g']],
    )
  })
})

suite('an outcome that a proxy stores', () => {
  const stored = encodeOutcome(OUTCOME)
  const claim = Buffer.concat([Buffer.from([2, 5]), Buffer.alloc(45)])

  for (const [what, found] of [
    ['Redis lost it before it was read', null],
    ['it was claimed anew before it was read', claim],
  ] as const)
    test(`is stored again when ${what}`, async (t) => {
      const reads: (Buffer | null)[] = [found, stored]
      const { claims, sent, claimOf } = setUp(t, { getAll: () => Promise.resolve([reads.shift() as Buffer | null]) })
      const { promise, resolve } = Promise.withResolvers<unknown>()
      claims.storeOutcome(claimOf(), OUTCOME, (ours, standing) => resolve({ ours, standing }))
      assert.deepEqual(await promise, { ours: true, standing: OUTCOME })
      assert.deepEqual(
        sent.map(({ name }) => name),
        ['storeOutcomes', 'storeOutcomes'],
      )
    })
})
