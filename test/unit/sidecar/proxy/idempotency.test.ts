import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { TestContext } from 'node:test'
import { Metadata, logVerbosity, setLogVerbosity } from '@grpc/grpc-js'
import fc from 'fast-check'
import { isKeyed, keyedCallId } from '../../../../sidecar/call-id.ts'
import { Pipeline } from '../../../../sidecar/proxy/call.ts'
import type { Call, End } from '../../../../sidecar/proxy/call.ts'
import { idempotency, idempotencyKey } from '../../../../sidecar/proxy/idempotency.ts'
import { LEASE_MILLISECONDS } from '../../../../sidecar/results/claims.ts'
import type { Claim, ClaimAnswer } from '../../../../sidecar/results/claims.ts'
import type { Outcome } from '../../../../sidecar/results/outcome.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'

const ANSWER: Outcome = {
  state: 'Answered',
  status: 0,
  details: '',
  initialMetadata: [],
  trailingMetadata: [],
  message: Buffer.from('done'),
}
const CANCELLED: Outcome = { state: 'Cancelled' }

function metadataOf(...values: readonly string[]): Metadata {
  const metadata = new Metadata()
  for (const value of values) metadata.add('idempotency-key', value)
  return metadata
}

/** Claims that are answered when the test says so; what is told of them is kept, in words. */
class FakeClaims {
  readonly log: string[] = []
  readonly askings: { readonly claim: Claim; readonly onAnswer: (answer: ClaimAnswer) => void }[] = []
  onLost: (() => void) | undefined
  onStanding: ((ours: boolean, standing: Outcome | undefined) => void) | undefined

  ask(claim: Claim, onAnswer: (answer: ClaimAnswer) => void): void {
    this.log.push('ask')
    this.askings.push({ claim, onAnswer })
  }
  keep(_claim: Claim, onLost: () => void): void {
    this.log.push('keep')
    this.onLost = onLost
  }
  forget(): void {
    this.log.push('forget')
  }
  enqueued(): void {
    this.log.push('enqueued')
  }
  giveBack(): void {
    this.log.push('give back')
  }
  storeOutcome(_claim: Claim, outcome: Outcome, onStanding: NonNullable<FakeClaims['onStanding']>): void {
    this.log.push(`store ${outcome.state}`)
    this.onStanding = onStanding
  }
}

function setUp(t: TestContext) {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 })
  const claims = new FakeClaims()
  const metrics = new Metrics()
  /** What the layer behind this one sees. */
  const behind: string[] = []
  const pipeline = new Pipeline([
    idempotency({
      service: 's.S',
      claims,
      nextClaimToken: () => Buffer.alloc(16, 7),
      monotonicNow: () => Date.now(),
      metrics,
    }),
    () => ({ enter: () => behind.push('enter'), leave: () => behind.push('leave') }),
  ])
  const start = (metadata = metadataOf('key'), message = 'hello') => {
    const ends: End[] = []
    const call = pipeline.start({
      id: Buffer.alloc(16),
      method: { name: 's.S/M', timeoutMilliseconds: 3000, metadata: [], cacheSeconds: 0, partitionKey: undefined },
      message: Buffer.from(message),
      metadata,
      clientDeadline: Infinity,
      startedAt: 0,
      respond: (end) => ends.push(end),
    })
    call.deadline = 5000
    return { call, ends }
  }
  const answer = (given: ClaimAnswer) => {
    const asking = claims.askings.shift()
    assert.ok(asking !== undefined, 'nothing was asked')
    if (given.kind === 'Claimed' || given.kind === 'TakenOver')
      asking.claim.leaseEndsAt = Date.now() + LEASE_MILLISECONDS
    asking.onAnswer(given)
  }
  const joins = async (): Promise<Record<string, number>> =>
    Object.fromEntries<number>(
      [...(await metrics.expose()).matchAll(/^grpc_kafka_joins_total\{kind="(\w+)"\} (\d+)/gm)]
        .map(([, kind, count]) => [String(kind), Number(count)] as const)
        .filter(([, count]) => count > 0),
    )
  return { claims, behind, start, answer, joins }
}

const failed = (code: string) => ({ kind: 'Failed', code, retryAfterMilliseconds: undefined })
const claimOf = ({ claim }: Call) => {
  assert.ok(claim !== undefined)
  return claim
}

suite('the idempotency key of a request', () => {
  test('is what the field says', () => {
    assert.deepEqual(idempotencyKey(metadataOf('6b7c "and more"')), { value: '6b7c "and more"' })
    assert.deepEqual(idempotencyKey(metadataOf('k'.repeat(255))), { value: 'k'.repeat(255) })
  })

  test('is not asked for', () => {
    assert.equal(idempotencyKey(new Metadata()), undefined)
  })

  const refused: readonly (readonly [string, readonly string[]])[] = [
    ['empty', ['']],
    ['longer than 255 characters', ['k'.repeat(256)]],
    ['two values', ['a', 'b']],
    ['two values that HTTP has joined', ['a, b']],
  ]
  for (const [what, values] of refused)
    test(`${what}: refused`, (t) => {
      const { start, claims } = setUp(t)
      assert.deepEqual(start(metadataOf(...values)).ends, [failed('IDEMPOTENCY_KEY_INVALID')])
      assert.deepEqual(claims.log, [])
    })

  const RUNS = 2000

  test(`is any printable text but one with a comma (${RUNS} runs)`, () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[\x20-\x2b\x2d-\x7e]{1,255}$/), (value) =>
        assert.deepEqual(idempotencyKey(metadataOf(value)), { value }),
      ),
      { numRuns: RUNS },
    )
  })

  test(`is there, not there or refused, whatever the header fields hold (${RUNS} runs)`, () => {
    // What it cannot read grpc-js writes to the console.
    setLogVerbosity(logVerbosity.NONE)
    const text = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.string({ minLength: 250, maxLength: 260 }))
    fc.assert(
      fc.property(fc.oneof(text, fc.array(text, { maxLength: 3 })), (given) => {
        const key = idempotencyKey(Metadata.fromHttp2Headers({ 'idempotency-key': given }))
        if (typeof key === 'object') {
          assert.equal(key.value, Array.isArray(given) ? given.find((one) => one === key.value) : given)
          assert.match(key.value, /^[\x20-\x7e]{1,255}$/)
          assert.ok(!key.value.includes(','))
        }
      }),
      { numRuns: RUNS },
    )
  })
})

suite('a call', () => {
  test('without a key goes on at once, under its own id', (t) => {
    const { start, behind, claims } = setUp(t)
    const { call } = start(new Metadata())
    assert.deepEqual([behind, claims.log, isKeyed(call.id)], [['enter'], [], false])
  })

  test('with a key goes on once it is claimed, under the id of service, client, method and key', (t) => {
    const { start, behind, answer } = setUp(t)
    const { call } = start()
    assert.deepEqual(call.id, keyedCallId('s.S', '', 's.S/M', 'key'))
    assert.deepEqual(behind, [])
    answer({ kind: 'Claimed' })
    assert.deepEqual(behind, ['enter'])
  })

  test('asks with a hash of its request', (t) => {
    const { start, claims } = setUp(t)
    start()
    start()
    start(metadataOf('key'), 'another')
    const [one, same, other] = claims.askings.map(({ claim }) => claim.requestHash)
    assert.equal(one?.length, 16)
    assert.deepEqual(one, same)
    assert.notDeepEqual(one, other)
  })

  test('that takes over is marked and has the later deadline; only then may it run elsewhere', async (t) => {
    const { start, answer, joins } = setUp(t)
    const { call } = start()
    assert.equal(claimOf(call).mayRunElsewhere, true, 'nothing is known yet')
    answer({ kind: 'TakenOver', deadline: 9000 })
    const { deadline, producedBefore, mayRunElsewhere } = claimOf(call)
    assert.deepEqual([deadline, producedBefore, mayRunElsewhere], [9000, true, true])
    const fresh = start().call
    answer({ kind: 'Claimed' })
    assert.deepEqual([claimOf(fresh).producedBefore, claimOf(fresh).mayRunElsewhere], [false, false])
    assert.deepEqual(await joins(), { taken_over: 1 })
  })

  test('whose key is known gets the outcome', async (t) => {
    const { start, answer, joins } = setUp(t)
    const { ends } = start()
    answer({ kind: 'Outcome', outcome: ANSWER })
    assert.deepEqual(ends, [{ kind: 'Outcome', outcome: ANSWER }])
    assert.deepEqual(await joins(), { replayed: 1 })
  })

  test('whose outcome cannot be read is told so', (t) => {
    const { start, answer } = setUp(t)
    const { ends } = start()
    answer({ kind: 'Outcome', outcome: undefined })
    assert.deepEqual(ends, [failed('RESULT_UNREADABLE')])
  })

  test('whose key belongs to another request is refused', async (t) => {
    const { start, answer, joins } = setUp(t)
    const { ends } = start()
    answer({ kind: 'KeyReused' })
    assert.deepEqual(ends, [failed('IDEMPOTENCY_KEY_REUSED')])
    assert.deepEqual(await joins(), { reused: 1 })
  })

  for (const kind of ['Waits', 'NoAnswer'] as const)
    test(`that is answered ${kind} asks again after 25, 50, 100 and then each 200 ms`, (t) => {
      const { start, answer, claims } = setUp(t)
      start()
      for (const pause of [25, 50, 100, 200, 200]) {
        answer({ kind })
        t.mock.timers.tick(pause - 1)
        assert.equal(claims.askings.length, 0)
        t.mock.timers.tick(1)
        assert.equal(claims.askings.length, 1, `not after ${pause} ms`)
      }
    })

  test('that joined counts as joined, whatever comes then', async (t) => {
    const { start, answer, joins } = setUp(t)
    const { ends } = start()
    answer({ kind: 'Waits' })
    t.mock.timers.tick(25)
    answer({ kind: 'Outcome', outcome: ANSWER })
    assert.equal(ends.length, 1)
    assert.deepEqual(await joins(), { joined: 1 })
  })

  test('that ends while it waits asks no more', (t) => {
    const { start, answer, claims } = setUp(t)
    const { call } = start()
    answer({ kind: 'Waits' })
    call.end({ kind: 'Abandoned' })
    t.mock.timers.tick(10_000)
    assert.deepEqual(claims.log, ['ask'])
  })

  test('that ended before its claim was answered gives the claim back', (t) => {
    const { start, answer, claims, behind } = setUp(t)
    const { call } = start()
    call.end({ kind: 'Abandoned' })
    answer({ kind: 'Claimed' })
    assert.deepEqual([claims.log, behind], [['ask', 'give back'], []])
  })

  test('that ends when Redis may have taken its claim without an answer gives it back', (t) => {
    const { start, answer, claims } = setUp(t)
    const { call } = start()
    answer({ kind: 'NoAnswer' })
    call.end({ kind: 'Abandoned' })
    assert.deepEqual(claims.log, ['ask', 'give back'])
  })

  test('that ended before Redis was known to be silent gives back what that may have taken', (t) => {
    const { start, answer, claims } = setUp(t)
    const { call } = start()
    call.end({ kind: 'Abandoned' })
    answer({ kind: 'NoAnswer' })
    assert.deepEqual(claims.log, ['ask', 'give back'])
  })

  test('that learned that somebody else has the key gives nothing back', (t) => {
    const { start, answer, claims } = setUp(t)
    const { call } = start()
    answer({ kind: 'NoAnswer' })
    t.mock.timers.tick(25)
    answer({ kind: 'Waits' })
    call.end({ kind: 'Abandoned' })
    assert.deepEqual(claims.log, ['ask', 'ask'])
  })

  test('that ends before Kafka was given it gives its claim back', (t) => {
    const { start, answer, claims } = setUp(t)
    const { call } = start()
    answer({ kind: 'Claimed' })
    call.end({ kind: 'Abandoned' })
    assert.deepEqual(claims.log, ['ask', 'keep', 'give back'])
  })

  test('that ends while Kafka may have it keeps its claim until that is known', (t) => {
    const { start, answer, claims } = setUp(t)
    const { call } = start()
    answer({ kind: 'Claimed' })
    call.maybeOnKafka = true
    call.end({ kind: 'Abandoned' })
    assert.deepEqual(claims.log, ['ask', 'keep'])
    claimOf(call).settled('OnKafka')
    assert.deepEqual(claims.log, ['ask', 'keep', 'enqueued'])
  })

  for (const [produced, told] of [
    ['OnKafka', 'enqueued'],
    ['NotOnKafka', 'give back'],
    ['Unknown', 'forget'],
  ] as const)
    test(`that is ${produced} leads to: ${told}`, (t) => {
      const { start, answer, claims } = setUp(t)
      const { call } = start()
      answer({ kind: 'Claimed' })
      claimOf(call).settled(produced)
      assert.equal(claims.log.at(-1), told)
    })
})

suite('a claim', () => {
  test('stands until shortly before its lease ends; then the call is taken back and claims again', (t) => {
    const { start, answer, claims, behind } = setUp(t)
    const { call } = start()
    answer({ kind: 'Claimed' })
    t.mock.timers.tick(LEASE_MILLISECONDS - 201)
    assert.equal(claimOf(call).stands(), true)
    t.mock.timers.tick(1)
    assert.equal(claimOf(call).stands(), false)
    assert.deepEqual(
      [behind, claims.log],
      [
        ['enter', 'leave'],
        ['ask', 'keep', 'forget', 'ask'],
      ],
    )
    answer({ kind: 'TakenOver', deadline: 9000 })
    assert.deepEqual(behind, ['enter', 'leave', 'enter'])
  })

  test('that was taken over and has to be claimed again counts as one takeover', async (t) => {
    const { start, answer, joins } = setUp(t)
    const { call } = start()
    answer({ kind: 'TakenOver', deadline: 9000 })
    t.mock.timers.tick(LEASE_MILLISECONDS)
    assert.equal(claimOf(call).stands(), false)
    answer({ kind: 'TakenOver', deadline: 9000 })
    assert.deepEqual(await joins(), { taken_over: 1 })
  })

  test('that is lost while the call waits for Kafka makes it wait for the outcome of whoever has it', (t) => {
    const { start, answer, claims, behind } = setUp(t)
    const { call, ends } = start()
    answer({ kind: 'Claimed' })
    claims.onLost?.()
    assert.deepEqual(behind, ['enter', 'leave'])
    answer({ kind: 'Outcome', outcome: ANSWER })
    assert.equal(call.ended, true)
    assert.deepEqual(ends, [{ kind: 'Outcome', outcome: ANSWER }])
  })

  test('that is lost when Kafka may have the call changes nothing', (t) => {
    const { start, answer, claims, behind } = setUp(t)
    const { call } = start()
    answer({ kind: 'Claimed' })
    call.maybeOnKafka = true
    claims.onLost?.()
    assert.deepEqual([behind, claims.log], [['enter'], ['ask', 'keep']])
  })
})

suite('an outcome that no worker made', () => {
  test('is stored before the caller gets it', (t) => {
    const { start, answer, claims } = setUp(t)
    const { call, ends } = start()
    answer({ kind: 'Claimed' })
    call.conclude({ kind: 'Outcome', outcome: ANSWER, cached: true })
    assert.deepEqual([ends, claims.log.at(-1)], [[], 'store Answered'])
    claims.onStanding?.(true, ANSWER)
    assert.deepEqual(ends, [{ kind: 'Outcome', outcome: ANSWER, cached: true }])
  })

  test('gives way to the one that stands', (t) => {
    const { start, answer, claims } = setUp(t)
    const { call, ends } = start()
    answer({ kind: 'Claimed' })
    call.conclude({ kind: 'Outcome', outcome: ANSWER, cached: true })
    claims.onStanding?.(false, CANCELLED)
    assert.deepEqual(ends, [{ kind: 'Outcome', outcome: CANCELLED }])
  })

  test('ends a call without a key at once', (t) => {
    const { start, claims } = setUp(t)
    const { call, ends } = start(new Metadata())
    call.conclude({ kind: 'Outcome', outcome: ANSWER })
    assert.deepEqual([ends.length, claims.log], [1, []])
  })
})
