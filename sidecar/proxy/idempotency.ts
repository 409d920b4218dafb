import { createHash } from 'node:crypto'
import type { Metadata } from '@grpc/grpc-js'
import { keyedCallId } from '../call-id.ts'
import type { CallId } from '../call-id.ts'
import { REQUEST_HASH_BYTES } from '../results/call-state.ts'
import { LEASE_MARGIN_MILLISECONDS } from '../results/claims.ts'
import type { Claim, CallClaims, ClaimAnswer } from '../results/claims.ts'
import type { Outcome, RecordPlace } from '../results/outcome.ts'
import type { Counter, Metrics } from '../telemetry/metrics.ts'
import type { Call, CallClaim, LayerFactory, OutcomeEnd, Produced, Step } from './call.ts'

/** The request metadata that holds the key, named as in draft-ietf-httpapi-idempotency-key-header. */
const IDEMPOTENCY_KEY = 'idempotency-key'

/** Printable ASCII but the comma: HTTP joins a field that stands twice with one, and a call has one key. */
const KEY = /^[\x20-\x2b\x2d-\x7e]{1,255}$/

const SHORTEST_PAUSE_MILLISECONDS = 25
const LONGEST_PAUSE_MILLISECONDS = 200

export interface IdempotencyOptions {
  readonly service: string
  readonly claims: Pick<CallClaims, 'ask' | 'keep' | 'forget' | 'enqueued' | 'giveBack' | 'storeOutcome'>
  /** Random bytes, `CLAIM_TOKEN_BYTES` of them. */
  readonly nextClaimToken: () => Buffer
  /** Milliseconds that never go back. */
  readonly monotonicNow: () => number
  readonly metrics: Metrics
}

/**
 * Calls with an idempotency key (SEMANTICS 2): the first claims the key and goes on; one whose key is known waits for the first
 * one's outcome, and takes the claim over when the first one's lease has run out.
 */
export const idempotency = (options: IdempotencyOptions): LayerFactory => {
  const { service, metrics } = options
  const joins: Joins = {
    joined: metrics.counter('grpc_kafka_joins_total', { kind: 'joined' }),
    replayed: metrics.counter('grpc_kafka_joins_total', { kind: 'replayed' }),
    takenOver: metrics.counter('grpc_kafka_joins_total', { kind: 'taken_over' }),
    reused: metrics.counter('grpc_kafka_joins_total', { kind: 'reused' }),
  }
  return (next, back) => ({
    enter: (call) => {
      const key = idempotencyKey(call.metadata)
      if (key === undefined) next(call)
      else if (key === 'INVALID') call.fail('IDEMPOTENCY_KEY_INVALID')
      else {
        call.id = keyedCallId(service, call.caller, call.method.name, key.value)
        const claimant = new Claimant(call, options, joins, next, back)
        call.claim = claimant
        claimant.ask()
      }
    },
    leave: (call) => {
      if (call.claim instanceof Claimant) call.claim.leave()
    },
  })
}

/** @returns undefined where there is none. */
export function idempotencyKey(metadata: Metadata): { readonly value: string } | 'INVALID' | undefined {
  const [value, second] = metadata.get(IDEMPOTENCY_KEY)
  if (value === undefined) return undefined
  return second === undefined && typeof value === 'string' && KEY.test(value) ? { value } : 'INVALID'
}

const placeOf = (outcome: Outcome | undefined): RecordPlace | undefined =>
  outcome !== undefined && 'place' in outcome ? outcome.place : undefined

interface Joins {
  readonly joined: Counter
  readonly replayed: Counter
  readonly takenOver: Counter
  readonly reused: Counter
}

class Claimant implements Claim, CallClaim {
  readonly id: CallId
  readonly token: Buffer
  readonly requestHash: Buffer
  deadline: number
  leaseEndsAt = -Infinity
  producedBefore = false
  /** Until Redis says that nobody else has the key. */
  mayRunElsewhere = true
  readonly #call: Call
  readonly #options: IdempotencyOptions
  readonly #joins: Joins
  readonly #next: Step
  readonly #back: Step
  #timer: NodeJS.Timeout | undefined = undefined
  #pause = SHORTEST_PAUSE_MILLISECONDS
  #answered = false
  #held = false
  /** Redis may have taken an asking that it did not answer. */
  #mayHold = false

  constructor(call: Call, options: IdempotencyOptions, joins: Joins, next: Step, back: Step) {
    this.#call = call
    this.#options = options
    this.#joins = joins
    this.#next = next
    this.#back = back
    this.id = call.id
    this.token = options.nextClaimToken()
    this.requestHash = createHash('sha256').update(call.message).digest().subarray(0, REQUEST_HASH_BYTES)
    this.deadline = call.deadline
  }

  get wanted(): boolean {
    return !this.#call.ended
  }

  /** Then that Kafka has the call, or had it, is all that its caller asks for. */
  get #isOneWay(): boolean {
    return this.#call.method.delivery === 'OneWay'
  }

  ask(): void {
    this.#options.claims.ask(this, this.#onAnswer)
  }

  readonly #onAnswer = (answer: ClaimAnswer): void => {
    this.#mayHold = answer.kind === 'NoAnswer'
    if (this.#mayHold && !this.wanted) this.#options.claims.giveBack(this)
    switch (answer.kind) {
      case 'Claimed':
      case 'TakenOver':
        this.#onClaimed(answer.kind === 'TakenOver' ? answer.deadline : undefined)
        return
      case 'Enqueued':
        if (this.#isOneWay) {
          this.#count(this.#joins.replayed)
          this.#call.end({ kind: 'Accepted', place: undefined })
          return
        }
        this.#count(this.#joins.joined)
        this.#askLater()
        return
      case 'Waits':
        this.#count(this.#joins.joined)
        this.#askLater()
        return
      case 'NoAnswer':
        this.#askLater()
        return
      case 'KeyReused':
        this.#count(this.#joins.reused)
        this.#call.fail('IDEMPOTENCY_KEY_REUSED')
        return
      case 'Outcome':
        this.#count(this.#joins.replayed)
        if (this.#isOneWay) this.#call.end({ kind: 'Accepted', place: placeOf(answer.outcome) })
        else if (answer.outcome === undefined) this.#call.fail('RESULT_UNREADABLE')
        else this.#call.end({ kind: 'Outcome', outcome: answer.outcome })
    }
  }

  stands(): boolean {
    if (this.leaseEndsAt - this.#options.monotonicNow() > LEASE_MARGIN_MILLISECONDS) return true
    this.#claimAgain()
    return false
  }

  settled(produced: Produced): void {
    const { claims } = this.#options
    this.#held = false
    if (produced === 'OnKafka') claims.enqueued(this)
    else if (produced === 'NotOnKafka') claims.giveBack(this)
    else claims.forget(this)
  }

  conclude(end: OutcomeEnd): void {
    this.#options.claims.storeOutcome(this, end.outcome, (ours, standing) => {
      if (ours) this.#call.end(end)
      else if (standing === undefined) this.#call.fail('RESULT_UNREADABLE')
      else this.#call.end({ kind: 'Outcome', outcome: standing })
    })
  }

  /** The call has ended. */
  leave(): void {
    clearTimeout(this.#timer)
    // What is with the enqueuer still is settled by it.
    if (this.#held ? !this.#call.maybeOnKafka : this.#mayHold) this.settled('NotOnKafka')
  }

  #onClaimed(raisedDeadline: number | undefined): void {
    const { claims } = this.#options
    if (!this.wanted) {
      claims.giveBack(this)
      return
    }
    this.#held = true
    if (raisedDeadline !== undefined && !this.producedBefore) this.#joins.takenOver.inc()
    this.mayRunElsewhere = raisedDeadline !== undefined
    this.producedBefore = raisedDeadline !== undefined
    this.deadline = raisedDeadline ?? this.#call.deadline
    this.#answered = true
    claims.keep(this, () => this.#onLost())
    this.#next(this.#call)
  }

  /** This process stood still for so long that another one took the claim over, or Redis lost it. */
  #onLost(): void {
    this.#held = false
    if (this.wanted && !this.#call.maybeOnKafka) this.#claimAgain()
  }

  #claimAgain(): void {
    this.#held = false
    this.mayRunElsewhere = true
    this.#back(this.#call)
    // The enqueuer may have given it back just now, which is not to be said any more.
    this.#options.claims.forget(this)
    this.ask()
  }

  #askLater(): void {
    if (!this.wanted) return
    this.#timer = setTimeout(() => this.ask(), this.#pause)
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE_MILLISECONDS)
  }

  /** What the first answer said. */
  #count(counter: Counter): void {
    if (!this.#answered) counter.inc()
    this.#answered = true
  }
}
