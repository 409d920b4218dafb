import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'
import type { CallId } from '../call-id.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { CLAIM, CLAIM_ANSWERS, CLAIM_UPDATES, STORE_OUTCOMES, UPDATE_CLAIMS, isOutcome } from './call-state.ts'
import type { ClaimUpdate } from './call-state.ts'
import { CommandFailures } from './command-failures.ts'
import { callKey } from './keys.ts'
import { OutcomeFormatError, decodeOutcome, encodeOutcome, isSameOutcome } from './outcome.ts'
import type { Outcome } from './outcome.ts'
import type { RedisClient } from './redis.ts'

/**
 * How long a claim stands without a word of its claimant. The usual claim ends within milliseconds, when Kafka has the record;
 * while Kafka is away it is renewed. So this is only how long others wait for a proxy that died in between, and it is
 * below the default deadline of a call (3 s), so that whoever calls again at once is still answered; and it is longer than a
 * busy process stands still.
 */
export const LEASE_MILLISECONDS = 2000
/**
 * A claimant sends its record only while more than this is left of its lease. So a record that starts within this time after it was
 * made starts before anybody can have taken its claim over.
 */
export const LEASE_MARGIN_MILLISECONDS = 200
const RENEW_MILLISECONDS = 500
/** A word that Redis did not take is given up then: the lease has run out long before. */
const GIVE_UP_MILLISECONDS = 10_000
const LARGEST_BATCH = 256
/** Outcomes that ride on one answer: it must come before the limit of a command's time. */
const LARGEST_ANSWER_BYTES = 1_048_576
const STORE_PAUSE_MILLISECONDS = 50
const LOG_INTERVAL_MILLISECONDS = 1000

/** A call that claims its idempotency key, or has claimed it. */
export interface Claim {
  readonly id: CallId
  /** `CLAIM_TOKEN_BYTES` of its own: an asking whose answer was lost is known again by them. */
  readonly token: Buffer
  /** `REQUEST_HASH_BYTES` */
  readonly requestHash: Buffer
  /** Milliseconds since 1970 on the shared clock. */
  readonly deadline: number
  /** Whether anybody waits for an answer. */
  readonly wanted: boolean
  /** Monotonic milliseconds; written here. Redis may hold on to it a little longer, never shorter. */
  leaseEndsAt: number
}

export type ClaimAnswer =
  | { readonly kind: 'Claimed' }
  /** An earlier claimant may have put the call on Kafka. */
  | { readonly kind: 'TakenOver'; readonly deadline: number }
  /** Somebody else's claim stands, or Kafka has the call. */
  | { readonly kind: 'Waits' }
  | { readonly kind: 'KeyReused' }
  /** Undefined: it cannot be read. */
  | { readonly kind: 'Outcome'; readonly outcome: Outcome | undefined }
  /** Redis did not answer; the claim may stand. */
  | { readonly kind: 'NoAnswer' }

export interface CallClaimsOptions {
  readonly redis: RedisClient
  /** Seconds that a call's state is kept: an outcome, or a claim after its deadline. */
  readonly retentionSeconds: () => number
  /** Milliseconds that never go back. */
  readonly monotonicNow: () => number
  readonly logger: Logger
  readonly metrics: Metrics
}

type RawAnswer = number | Buffer | [number]

interface Asking {
  readonly claim: Claim
  readonly onAnswer: (answer: ClaimAnswer) => void
}

interface Kept {
  readonly update: ClaimUpdate
  readonly onLost: (() => void) | undefined
  readonly giveUpAt: number
}

/**
 * The claims of one proxy replica: asked for in one script call for each turn of the event loop, renewed until Kafka has the
 * call, and marked or given back then.
 */
export class CallClaims {
  readonly #redis: RedisClient
  readonly #retentionSeconds: () => number
  readonly #monotonicNow: () => number
  readonly #logger: Logger
  readonly #failures: CommandFailures
  readonly #timer: NodeJS.Timeout
  readonly #closed = new AbortController()
  readonly #askings: Asking[] = []
  #asking = false
  /** Claims that Redis has to be told of, now or while they last. */
  readonly #kept = new Map<Claim, Kept>()
  readonly #due: Claim[] = []
  #telling: Promise<void> = Promise.resolve()
  #lastLogged = -Infinity

  constructor({ redis, retentionSeconds, monotonicNow, logger, metrics }: CallClaimsOptions) {
    this.#redis = redis
    this.#retentionSeconds = retentionSeconds
    this.#monotonicNow = monotonicNow
    this.#logger = logger
    this.#failures = new CommandFailures(metrics)
    this.#timer = setInterval(() => this.#renew(), RENEW_MILLISECONDS)
    this.#timer.unref()
  }

  /** Claims a call, or asks what became of it. `onAnswer` is called once, unless nobody wants it when it would be sent. */
  ask(claim: Claim, onAnswer: (answer: ClaimAnswer) => void): void {
    this.#askings.push({ claim, onAnswer })
    if (this.#asking) return
    this.#asking = true
    setImmediate(() => void this.#askAll())
  }

  /** Renews a claim that was answered for until it is told of below. @param onLost it is not this claimant's any more. */
  keep(claim: Claim, onLost: () => void): void {
    this.#kept.set(claim, { update: 'Renewed', onLost, giveUpAt: Infinity })
  }

  /** The claim's lease runs out. */
  forget(claim: Claim): void {
    this.#kept.delete(claim)
  }

  /** Kafka has the call. */
  enqueued(claim: Claim): void {
    this.#tell(claim, 'Enqueued')
  }

  /** Its claimant put nothing on Kafka: the next one may have it at once. */
  giveBack(claim: Claim): void {
    this.#tell(claim, 'GivenBack')
  }

  /**
   * Stores an outcome that no worker made; repeated while Redis is silent and somebody waits.
   * @param onStanding is told the outcome that stands: this one, or an earlier one (undefined: it cannot be read).
   */
  storeOutcome(
    claim: Claim,
    outcome: Outcome,
    onStanding: (ours: boolean, standing: Outcome | undefined) => void,
  ): void {
    void this.#store(claim, encodeOutcome(ofNoRecord(outcome))).then(
      (bytes) => {
        if (bytes !== undefined) onStanding(bytes.ours, bytes.ours ? outcome : readOutcome(bytes.standing))
      },
      () => undefined,
    )
  }

  /** Resolves when what was to be told has been. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#closed.abort()
    while (this.#due.length > 0) await (this.#telling = this.#telling.then(() => this.#tellAll()))
    await this.#telling
  }

  async #askAll(): Promise<void> {
    while (this.#askings.length > 0) {
      const batch = this.#askings.splice(0, LARGEST_BATCH).filter(({ claim }) => claim.wanted)
      for (const part of this.#redis.parts(batch)) {
        const asked = this.#askPart(part)
        // A master that is away must not hold up the others.
        if (!this.#redis.sharded) await asked
      }
    }
    this.#asking = false
  }

  async #askPart(batch: readonly Asking[]): Promise<void> {
    const sentAt = this.#monotonicNow()
    const keys = batch.map(({ claim }) => callKey(claim.id))
    const args = batch.flatMap(({ claim }) => [claim.token, claim.requestHash, claim.deadline])
    let answers: RawAnswer[]
    try {
      const settings = [LEASE_MILLISECONDS, this.#retentionSeconds() * 1000, LARGEST_ANSWER_BYTES]
      answers = (await this.#redis.script(CLAIM, keys, [...settings, ...args])) as RawAnswer[]
    } catch (error) {
      this.#failed('claim', error)
      for (const { onAnswer } of batch) onAnswer({ kind: 'NoAnswer' })
      return
    }
    batch.forEach(({ claim, onAnswer }, index) => {
      const answer = answers[index]
      if (answer === CLAIM_ANSWERS.Later) this.ask(claim, onAnswer)
      else {
        if (answer === CLAIM_ANSWERS.Claimed || Array.isArray(answer)) claim.leaseEndsAt = sentAt + LEASE_MILLISECONDS
        onAnswer(toAnswer(answer))
      }
    })
  }

  #tell(claim: Claim, update: ClaimUpdate): void {
    if (this.#due.length === 0) this.#telling = this.#telling.then(() => nextTurn()).then(() => this.#tellAll())
    this.#kept.set(claim, { update, onLost: undefined, giveUpAt: this.#monotonicNow() + GIVE_UP_MILLISECONDS })
    this.#due.push(claim)
  }

  #renew(): void {
    const now = this.#monotonicNow()
    for (const [claim, { update, giveUpAt }] of this.#kept) {
      if (giveUpAt < now) this.#kept.delete(claim)
      else if (update !== 'Renewed' || claim.leaseEndsAt - now < LEASE_MILLISECONDS - RENEW_MILLISECONDS) {
        if (this.#due.length === 0) this.#telling = this.#telling.then(() => this.#tellAll())
        this.#due.push(claim)
      }
    }
  }

  async #tellAll(): Promise<void> {
    while (this.#due.length > 0) {
      const batch = this.#due.splice(0, LARGEST_BATCH).flatMap((claim) => {
        const kept = this.#kept.get(claim)
        return kept === undefined ? [] : [{ claim, kept }]
      })
      for (const part of this.#redis.parts(batch)) {
        const told = this.#tellPart(part)
        if (!this.#redis.sharded) await told
      }
    }
  }

  async #tellPart(part: readonly { readonly claim: Claim; readonly kept: Kept }[]): Promise<void> {
    const sentAt = this.#monotonicNow()
    const keys = part.map(({ claim }) => callKey(claim.id))
    const args = part.flatMap(({ claim, kept }) => [claim.token, CLAIM_UPDATES[kept.update]])
    let answers: number[]
    try {
      answers = (await this.#redis.script(UPDATE_CLAIMS, keys, [LEASE_MILLISECONDS, ...args])) as number[]
    } catch (error) {
      // What was to be told is due again at the next renewal.
      this.#failed('update', error)
      return
    }
    part.forEach(({ claim, kept }, index) => {
      // Something else is to be told meanwhile.
      if (this.#kept.get(claim) !== kept) return
      if (kept.update === 'Renewed' && answers[index] === 1) {
        claim.leaseEndsAt = sentAt + LEASE_MILLISECONDS
        return
      }
      this.#kept.delete(claim)
      kept.onLost?.()
    })
  }

  async #store(
    claim: Claim,
    outcome: Buffer,
  ): Promise<{ readonly ours: boolean; readonly standing: Buffer } | undefined> {
    const key = callKey(claim.id)
    while (claim.wanted && !this.#closed.signal.aborted) {
      try {
        await this.#redis.script(STORE_OUTCOMES, [key], [this.#retentionSeconds(), 0, claim.id, '', outcome, '', 0])
        const [standing] = await this.#redis.getAll([key])
        // Redis may have lost it in between, or somebody have claimed the call that had expired.
        if (standing != null && isOutcome(standing)) return { ours: isSameOutcome(standing, outcome), standing }
      } catch (error) {
        this.#failed('store', error)
      }
      await pause(STORE_PAUSE_MILLISECONDS, undefined, { signal: this.#closed.signal })
    }
    return undefined
  }

  #failed(what: string, error: unknown): void {
    this.#failures.add(error)
    const now = this.#monotonicNow()
    if (now - this.#lastLogged < LOG_INTERVAL_MILLISECONDS) return
    this.#lastLogged = now
    this.#logger.warn(
      { what, reason: (error as Error).message },
      'Redis did not answer about idempotency keys; asking again',
    )
  }
}

function toAnswer(answer: RawAnswer | undefined): ClaimAnswer {
  if (Buffer.isBuffer(answer)) return { kind: 'Outcome', outcome: readOutcome(answer) }
  if (Array.isArray(answer)) return { kind: 'TakenOver', deadline: answer[0] }
  switch (answer) {
    case CLAIM_ANSWERS.Claimed:
      return { kind: 'Claimed' }
    case CLAIM_ANSWERS.KeyReused:
      return { kind: 'KeyReused' }
    default:
      return { kind: 'Waits' }
  }
}

/** An answer that is given again, from the cache or with another call, came of another call's record. */
const ofNoRecord = (outcome: Outcome): Outcome =>
  outcome.state === 'Answered' || outcome.state === 'DeadLettered' ? { ...outcome, place: undefined } : outcome

function readOutcome(bytes: Buffer): Outcome | undefined {
  try {
    return decodeOutcome(bytes)
  } catch (error) {
    if (error instanceof OutcomeFormatError) return undefined
    throw error
  }
}
