import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { decodeCallState, isOutcome } from '../../../../sidecar/results/call-state.ts'
import type { ClaimedCall } from '../../../../sidecar/results/call-state.ts'
import { OutcomeFormatError } from '../../../../sidecar/results/outcome.ts'

/** Runs of each property below. */
const RUNS = 2000

const CLAIM_BYTES = 47
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length }).map((all) => Buffer.from(all))
const time = fc.nat(2 ** 48 - 1)
const claims: fc.Arbitrary<ClaimedCall> = fc.record(
  {
    state: fc.constantFrom('Claimed' as const, 'Enqueued' as const),
    requestHash: bytes(16),
    producedBefore: fc.boolean(),
    claimedAgain: fc.boolean(),
    deadline: time,
    token: bytes(16),
    leaseUntil: time,
  },
  { noNullPrototype: true },
)

/** As the scripts write it (call-state.ts draws the bytes). */
function claimBytes(claim: ClaimedCall): Buffer {
  const all = Buffer.alloc(CLAIM_BYTES)
  all[0] = 2
  all[1] = claim.state === 'Claimed' ? 5 : 6
  claim.requestHash.copy(all, 2)
  all[18] = (claim.producedBefore ? 1 : 0) + (claim.claimedAgain ? 2 : 0)
  all.writeUIntBE(claim.deadline, 19, 6)
  claim.token.copy(all, 25)
  all.writeUIntBE(claim.leaseUntil, 41, 6)
  return all
}

/** Anything but a state or the one error that is promised fails the test. */
function decodeOrRefuse(given: Buffer): unknown {
  try {
    return decodeCallState(given)
  } catch (error) {
    assert.ok(error instanceof OutcomeFormatError, String(error))
    return undefined
  }
}

suite('the bytes of a call', () => {
  test(`that hold a claim are read as they were written (${RUNS} runs)`, () => {
    fc.assert(
      fc.property(claims, (claim) => {
        assert.deepEqual(decodeCallState(claimBytes(claim)), claim)
        assert.equal(isOutcome(claimBytes(claim)), false)
      }),
      { numRuns: RUNS },
    )
  })

  test(`of a claim that are cut off, or too many, are refused (${RUNS} runs)`, () => {
    fc.assert(
      fc.property(claims, fc.nat(CLAIM_BYTES - 1), fc.uint8Array({ minLength: 1 }), (claim, length, more) => {
        const whole = claimBytes(claim)
        assert.equal(decodeOrRefuse(whole.subarray(0, length)), undefined)
        assert.equal(decodeOrRefuse(Buffer.concat([whole, more])), undefined)
      }),
      { numRuns: RUNS },
    )
  })

  test(`whatever they are, are a state or an OutcomeFormatError (${RUNS} runs)`, () => {
    const head = fc.tuple(fc.nat(4), fc.nat(8)).map((two) => Buffer.from(two))
    const any = fc.uint8Array({ maxLength: 80 }).map((all) => Buffer.from(all))
    fc.assert(
      fc.property(
        fc.oneof(
          any,
          fc.tuple(head, any).map((parts) => Buffer.concat(parts)),
          fc.tuple(head, bytes(45)).map((parts) => Buffer.concat(parts)),
        ),
        (given) => {
          const state = decodeOrRefuse(given)
          if (state !== undefined) assert.equal(isOutcome(given), (given[1] ?? 0) <= 4)
        },
      ),
      { numRuns: RUNS },
    )
  })
})
