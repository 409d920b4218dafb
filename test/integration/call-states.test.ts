/** The scripts of a call's states, on a real Redis. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { Redis } from 'ioredis'
import type { CallId } from '../../sidecar/call-id.ts'
import { decodeCallState } from '../../sidecar/results/call-state.ts'
import type { CallState } from '../../sidecar/results/call-state.ts'
import { CallClaims, LEASE_MILLISECONDS } from '../../sidecar/results/claims.ts'
import type { Claim, ClaimAnswer } from '../../sidecar/results/claims.ts'
import { callKey } from '../../sidecar/results/keys.ts'
import { encodeOutcome } from '../../sidecar/results/outcome.ts'
import type { Outcome, RecordPlace } from '../../sidecar/results/outcome.ts'
import { connectRedis } from '../../sidecar/results/redis.ts'
import { OutcomeStore } from '../../sidecar/results/store.ts'
import { createLogger } from '../../sidecar/telemetry/log.ts'
import { Metrics } from '../../sidecar/telemetry/metrics.ts'
import { atEnd } from './support/clean-up.ts'
import { randomCallId } from './support/packed-header.ts'
import { redisOfEnvironment, until } from './support/route.ts'

const RETENTION_SECONDS = 60
const ANSWER: Outcome = {
  state: 'Answered',
  status: 0,
  details: '',
  initialMetadata: [],
  trailingMetadata: [],
  message: Buffer.from('the answer'),
}
const EXPIRED: Outcome = { state: 'Expired', started: 'No' }
const dead = (revision: number, place?: RecordPlace): Outcome => ({
  ...ANSWER,
  state: 'DeadLettered',
  status: 14,
  message: null,
  revision,
  ...(place !== undefined && { place }),
})
const PLACE: RecordPlace = { partition: 1, offset: 2, attempts: 3 }

test('the states of a call in Redis', async (t) => {
  const logger = createLogger('error', {})
  const metrics = new Metrics()
  const redis = connectRedis({
    config: { url: redisOfEnvironment(), commandTimeoutMilliseconds: 5000 },
    name: 'call-states',
    logger,
    metrics,
  })
  const store = new OutcomeStore({
    redis,
    instance: 'call-states',
    retentionSeconds: () => RETENTION_SECONDS,
    logger,
    metrics,
  })
  const claims = new CallClaims({
    redis,
    retentionSeconds: () => RETENTION_SECONDS,
    monotonicNow: () => performance.now(),
    logger,
    metrics,
  })
  atEnd(t, async () => {
    await claims.close()
    store.close()
    redis.disconnect()
  })
  await redis.whenReady()
  const raw = new Redis(redisOfEnvironment())
  atEnd(t, () => raw.quit())

  const hash = randomBytes(16)
  const claimOf = (id: CallId, changes: Partial<Claim> = {}): Claim => ({
    id,
    token: randomBytes(16),
    requestHash: hash,
    deadline: Date.now() + 10_000,
    wanted: true,
    leaseEndsAt: -Infinity,
    ...changes,
  })
  const ask = (claim: Claim) => new Promise<ClaimAnswer>((resolve) => claims.ask(claim, resolve))
  const save = (id: CallId, outcome: Outcome, expiredAt?: number, revision?: number) =>
    new Promise<number | undefined>((resolve) =>
      store.store(id, '', encodeOutcome(outcome), resolve, expiredAt, revision),
    )
  const redrive = (id: CallId, outcome: Outcome, revision: number) => save(id, outcome, undefined, revision)
  const isDone = async (id: CallId, revision: number, record = '0/1') => {
    const [done] = await store.areDone([{ id, redrive: { revision, record } }], 60_000)
    return done
  }
  const stateOf = async (id: CallId): Promise<CallState | undefined> => {
    const bytes = await raw.getBuffer(callKey(id))
    return bytes === null ? undefined : decodeCallState(bytes)
  }
  const claimed = async (id: CallId) => {
    const state = await stateOf(id)
    assert.ok(state?.state === 'Claimed' || state?.state === 'Enqueued', String(state?.state))
    return state
  }
  /** The claimant has been silent for as long as its lease lasts. */
  const runOut = (id: CallId) => raw.setrange(callKey(id), 41, Buffer.from([0, 0, 0, 0, 0, 1]))
  const expire = async (id: CallId) => {
    const { deadline } = await claimed(id)
    return save(id, EXPIRED, deadline)
  }

  await t.test('the first claim is kept until the deadline and the retention are over', async () => {
    const claim = claimOf(randomCallId())
    assert.deepEqual(await ask(claim), { kind: 'Claimed' })
    const state = await claimed(claim.id)
    assert.deepEqual(
      { ...state, leaseUntil: 0 },
      {
        state: 'Claimed',
        requestHash: hash,
        producedBefore: false,
        claimedAgain: false,
        deadline: claim.deadline,
        token: claim.token,
        leaseUntil: 0,
      },
    )
    const left = await raw.pttl(callKey(claim.id))
    assert.ok(left > RETENTION_SECONDS * 1000 && left <= RETENTION_SECONDS * 1000 + 10_000, `${left} ms`)
  })

  await t.test('an asking whose answer was lost gets its claim again, with a new lease', async () => {
    const claim = claimOf(randomCallId())
    await ask(claim)
    await runOut(claim.id)
    assert.deepEqual(await ask(claim), { kind: 'Claimed' })
    assert.ok((await claimed(claim.id)).leaseUntil > 1)
  })

  await t.test('two claims of one key in one batch: the second waits', async () => {
    const id = randomCallId()
    const answers = await Promise.all([ask(claimOf(id)), ask(claimOf(id))])
    assert.deepEqual(answers, [{ kind: 'Claimed' }, { kind: 'Waits' }])
  })

  await t.test('another request with the key is told so, in every state', async () => {
    const id = randomCallId()
    const other = () => ask(claimOf(id, { requestHash: randomBytes(16) }))
    const claim = claimOf(id)
    await ask(claim)
    assert.deepEqual(await other(), { kind: 'KeyReused' })
    claims.enqueued(claim)
    await until('Kafka has it', async () => (await claimed(id)).state === 'Enqueued')
    assert.deepEqual(await other(), { kind: 'KeyReused' })
    await save(id, ANSWER)
    assert.deepEqual(await other(), { kind: 'KeyReused' })
  })

  await t.test('a claim whose lease ran out is taken over with the later deadline', async () => {
    const first = claimOf(randomCallId(), { deadline: Date.now() + 20_000 })
    await ask(first)
    const second = claimOf(first.id)
    assert.deepEqual(await ask(second), { kind: 'Waits' })
    await runOut(first.id)
    assert.deepEqual(await ask(second), { kind: 'TakenOver', deadline: first.deadline })
    const state = await claimed(first.id)
    assert.deepEqual(
      { token: state.token, producedBefore: state.producedBefore },
      { token: second.token, producedBefore: true },
    )
    await runOut(first.id)
    const third = claimOf(first.id, { deadline: Date.now() + 30_000 })
    assert.deepEqual(await ask(third), { kind: 'TakenOver', deadline: third.deadline })
  })

  await t.test('a claim that was given back is free at once, and nothing was produced before', async () => {
    const first = claimOf(randomCallId())
    await ask(first)
    claims.giveBack(first)
    await until('it is given back', async () => (await claimed(first.id)).leaseUntil === 0)
    assert.deepEqual(await ask(claimOf(first.id)), { kind: 'Claimed' })
    assert.equal((await claimed(first.id)).producedBefore, false)
  })

  await t.test('a claim given back after a takeover stays one that may have been produced before', async () => {
    const id = randomCallId()
    await ask(claimOf(id))
    await runOut(id)
    const second = claimOf(id)
    await ask(second)
    claims.giveBack(second)
    await until('it is given back', async () => (await claimed(id)).leaseUntil === 0)
    assert.equal((await ask(claimOf(id))).kind, 'TakenOver')
  })

  await t.test('what Kafka has is not taken over, however old its lease', async () => {
    const claim = claimOf(randomCallId())
    await ask(claim)
    claims.enqueued(claim)
    await until('Kafka has it', async () => (await claimed(claim.id)).state === 'Enqueued')
    await runOut(claim.id)
    assert.deepEqual(await ask(claimOf(claim.id)), { kind: 'Waits' })
  })

  await t.test('who lost a claim neither marks it nor gives it back', async () => {
    const first = claimOf(randomCallId())
    await ask(first)
    await runOut(first.id)
    const second = claimOf(first.id)
    await ask(second)
    const before = await claimed(first.id)
    claims.enqueued(first)
    claims.giveBack(first)
    // Told in this order, so that the last one's effect shows that the others had theirs.
    const last = claimOf(randomCallId())
    await ask(last)
    claims.giveBack(last)
    await until('the last one is given back', async () => (await claimed(last.id)).leaseUntil === 0)
    assert.deepEqual(await claimed(first.id), before)
  })

  await t.test('a claim is renewed for as long as it is kept, and whoever lost it is told', async () => {
    const claim = claimOf(randomCallId())
    await ask(claim)
    let lost = false
    claims.keep(claim, () => (lost = true))
    const { leaseUntil } = await claimed(claim.id)
    await until('it was renewed', async () => (await claimed(claim.id)).leaseUntil > leaseUntil)
    assert.equal(lost, false)
    await raw.setrange(callKey(claim.id), 25, randomBytes(16))
    await until('the loss is told', () => lost)
  })

  await t.test('a claim that nobody keeps lasts its lease and no longer', async () => {
    const claim = claimOf(randomCallId())
    const asked = performance.now()
    await ask(claim)
    const other = claimOf(claim.id)
    await until('it is taken over', async () => (await ask(other)).kind === 'TakenOver')
    assert.ok(performance.now() - asked >= LEASE_MILLISECONDS)
  })

  for (const what of ['Claimed', 'Enqueued'] as const) {
    await t.test(
      `an outcome takes the place of ${what}, keeps the request's hash, and is kept for the retention`,
      async () => {
        const claim = claimOf(randomCallId(), { deadline: Date.now() + 100_000 })
        await ask(claim)
        if (what === 'Enqueued') {
          claims.enqueued(claim)
          await until('Kafka has it', async () => (await claimed(claim.id)).state === 'Enqueued')
        }
        assert.deepEqual(await store.haveOutcomes([claim.id]), [false])
        await save(claim.id, ANSWER)
        assert.deepEqual(await store.haveOutcomes([claim.id]), [true])
        assert.deepEqual(await ask(claimOf(claim.id)), { kind: 'Outcome', outcome: ANSWER })
        const left = await raw.ttl(callKey(claim.id))
        assert.ok(left <= RETENTION_SECONDS, `${left} s`)
      },
    )
  }

  await t.test('the first outcome wins', async () => {
    const claim = claimOf(randomCallId())
    await ask(claim)
    await save(claim.id, ANSWER)
    await save(claim.id, { state: 'Cancelled' })
    assert.deepEqual(await stateOf(claim.id), ANSWER)
  })

  await t.test('an outcome from elsewhere than a worker is stored, or the one that stands is told', async () => {
    const claim = claimOf(randomCallId())
    await ask(claim)
    const settle = (outcome: Outcome) =>
      new Promise<unknown>((resolve) =>
        claims.storeOutcome(claim, outcome, (ours, standing) => resolve({ ours, standing })),
      )
    assert.deepEqual(await settle(ANSWER), { ours: true, standing: ANSWER })
    assert.deepEqual(await settle({ state: 'Cancelled' }), { ours: false, standing: ANSWER })
    assert.deepEqual(await ask(claimOf(claim.id)), { kind: 'Outcome', outcome: ANSWER })
  })

  await t.test('Expired without a start may be claimed again, by the same request only', async () => {
    const first = claimOf(randomCallId())
    await ask(first)
    await expire(first.id)
    assert.deepEqual(await stateOf(first.id), EXPIRED)
    assert.deepEqual(await ask(claimOf(first.id, { requestHash: randomBytes(16) })), { kind: 'KeyReused' })
    assert.deepEqual(await ask(claimOf(first.id)), { kind: 'Claimed' })
    const state = await claimed(first.id)
    assert.deepEqual([state.claimedAgain, state.producedBefore], [true, false])
  })

  await t.test('Expired that may have started stands', async () => {
    const claim = claimOf(randomCallId())
    await ask(claim)
    await save(claim.id, { state: 'Expired', started: 'Unknown' }, claim.deadline)
    assert.deepEqual(await ask(claimOf(claim.id)), {
      kind: 'Outcome',
      outcome: { state: 'Expired', started: 'Unknown' },
    })
  })

  await t.test('a record does not expire when a takeover has raised the deadline of its call', async () => {
    const first = claimOf(randomCallId())
    await ask(first)
    await runOut(first.id)
    const second = claimOf(first.id, { deadline: first.deadline + 5000 })
    await ask(second)
    assert.equal(await save(first.id, EXPIRED, first.deadline), second.deadline)
    assert.equal((await claimed(first.id)).state, 'Claimed')
    assert.equal(await save(first.id, EXPIRED, second.deadline), undefined)
    assert.deepEqual(await stateOf(first.id), { state: 'Expired', started: 'Unknown' }, 'a copy of it may have started')
  })

  await t.test('the record of an earlier claim that had expired says nothing of the later one', async () => {
    const first = claimOf(randomCallId())
    await ask(first)
    await expire(first.id)
    const second = claimOf(first.id, { deadline: first.deadline + 5000 })
    await ask(second)
    assert.equal(await save(first.id, EXPIRED, first.deadline), undefined)
    assert.equal((await claimed(first.id)).state, 'Claimed')
    await expire(first.id)
    assert.deepEqual(await stateOf(first.id), EXPIRED, 'it may be claimed a third time')
  })

  await t.test('a start of a record is counted under a claim and refused after an outcome', async () => {
    const claim = claimOf(randomCallId())
    await ask(claim)
    const begin = async () => {
      const [begun] = await store.begin([{ id: claim.id, attempt: 1, own: 1 }], {
        maxAttempts: 3,
        alone: true,
        keepMilliseconds: 60_000,
      })
      return begun?.kind
    }
    assert.equal(await begin(), 'Counted')
    await save(claim.id, ANSWER)
    assert.equal(await begin(), 'Done')
  })

  for (const [what, place] of [
    ['', undefined],
    [' that tells its record', PLACE],
  ] as const) {
    await t.test(`a redrive replaces a dead letter of a lower revision${what}, and none that is as high`, async () => {
      const id = randomCallId()
      await save(id, dead(0, place))
      await redrive(id, dead(2, place), 2)
      assert.deepEqual(await stateOf(id), dead(2, place))
      await redrive(id, ANSWER, 2)
      await redrive(id, ANSWER, 1)
      await save(id, ANSWER)
      assert.deepEqual(await stateOf(id), dead(2, place))
      await redrive(id, ANSWER, 3)
      assert.deepEqual(await stateOf(id), ANSWER)
      await redrive(id, dead(9, place), 9)
      assert.deepEqual(await stateOf(id), ANSWER, 'what was answered stands')
    })

    await t.test(`a redrive of a call with a key${what} keeps the hash of its request`, async () => {
      const claim = claimOf(randomCallId())
      await ask(claim)
      await save(claim.id, dead(0, place))
      const again = await ask(claimOf(claim.id))
      assert.deepEqual(
        again,
        { kind: 'Outcome', outcome: dead(0, place) },
        'until then its caller gets the last status',
      )
      await redrive(claim.id, ANSWER, 1)
      const answer = await ask(claimOf(claim.id))
      assert.deepEqual(answer, { kind: 'Outcome', outcome: ANSWER })
      assert.deepEqual(await ask(claimOf(claim.id, { requestHash: randomBytes(16) })), { kind: 'KeyReused' })
    })
  }

  await t.test('a redrive whose call Redis has forgotten has an outcome like any other', async () => {
    const id = randomCallId()
    assert.equal(await isDone(id, 1), false)
    await redrive(id, ANSWER, 1)
    assert.deepEqual(await stateOf(id), ANSWER)
    assert.equal(await isDone(id, 2), true)
  })

  await t.test('a redrive has nothing to do where an outcome of its revision, or another, stands', async () => {
    const id = randomCallId()
    await save(id, dead(1))
    assert.deepEqual([await isDone(id, 1), await isDone(id, 2)], [true, false])
    await redrive(id, { state: 'Expired', started: 'Unknown' }, 2)
    assert.equal(await isDone(id, 3), true)
  })

  await t.test('a redrive leaves a later call with the same key alone', async () => {
    const claim = claimOf(randomCallId())
    await ask(claim)
    assert.equal(await isDone(claim.id, 1), true)
    await redrive(claim.id, ANSWER, 1)
    assert.equal((await claimed(claim.id)).state, 'Claimed')
  })

  await t.test('of the copies of a redrive the first that asks does the work', async () => {
    const id = randomCallId()
    await save(id, dead(0))
    assert.deepEqual(
      [await isDone(id, 1, '0/7'), await isDone(id, 1, '0/8'), await isDone(id, 1, '0/7')],
      [false, true, false],
    )
    assert.equal(await isDone(id, 2, '0/8'), false, 'each redrive has its own')
  })

  await t.test('the starts of a redrive are counted anew', async () => {
    const id = randomCallId()
    const begin = async (revision: number) => {
      const redriven = revision === 0 ? {} : { redrive: { revision, record: '0/1' } }
      const [begun] = await store.begin([{ id, attempt: 3, own: 3, ...redriven }], {
        maxAttempts: 3,
        alone: true,
        keepMilliseconds: 60_000,
      })
      return begun?.kind
    }
    assert.deepEqual([await begin(0), await begin(0), await begin(0)], ['Counted', 'UsedUp', 'UsedUp'])
    assert.deepEqual([await begin(1), await begin(1)], ['Counted', 'UsedUp'])
    assert.deepEqual([await begin(2), await begin(0)], ['Counted', 'UsedUp'])
  })

  await t.test('outcomes above what fits into one answer come one by one', async () => {
    const large = (size: number): Outcome => ({ ...ANSWER, message: Buffer.alloc(size, size % 251) })
    const calls = [700_000, 700_001, 2_000_000].map((size) => ({
      claim: claimOf(randomCallId()),
      outcome: large(size),
    }))
    for (const { claim, outcome } of calls) {
      await ask(claim)
      await save(claim.id, outcome)
    }
    const answers = await Promise.all(calls.map(({ claim }) => ask(claimOf(claim.id))))
    assert.deepEqual(
      answers,
      calls.map(({ outcome }) => ({ kind: 'Outcome', outcome })),
    )
  })
})
