import type { Metadata } from '@grpc/grpc-js'
import type { CallId } from '../call-id.ts'
import type { ErrorCode } from '../errors.ts'
import type { OutgoingRecord, RecordOrigin } from '../kafka/record.ts'
import type { MetadataPairs } from '../metadata.ts'
import type { Outcome } from '../results/outcome.ts'
import type { ServedMethod } from './method.ts'

export interface OutcomeEnd {
  readonly kind: 'Outcome'
  readonly outcome: Outcome
  /** It came from the cache of this replica. */
  readonly cached?: boolean
}

/** How a call ended, seen from its caller. */
export type End =
  | OutcomeEnd
  /** Kafka has the call and its caller waits for no answer. Without a place where another call put it there. */
  | { readonly kind: 'Accepted'; readonly place: RecordOrigin | undefined }
  | {
      readonly kind: 'Failed'
      /** A row of `ERRORS`. */
      readonly code: ErrorCode
      /** When it makes sense to try again. */
      readonly retryAfterMilliseconds: number | undefined
      /** What its caller reads, where that says more than the row. */
      readonly details?: string
    }
  /** The caller cancelled, disconnected, or its own deadline passed: nobody hears the answer. */
  | { readonly kind: 'Abandoned' }

/**
 * One layer of the proxy. `enter` lets the call go on by calling the step that it was given, now or later, or ends the
 * call. `leave` runs once for each call that entered, when the call has ended, whoever ended it, and is told how.
 */
export interface Layer {
  readonly enter: Step
  readonly leave?: (call: Call, end: End) => void
}
export type Step = (call: Call) => void

/**
 * A layer that still has to be told what comes after it, and how to take a call back: every layer behind it lets go of the call
 * then, which may be given the next step again later.
 */
export type LayerFactory = (next: Step, back: Step) => Layer

/** What became of a call that was to be put on Kafka. */
export type Produced = 'OnKafka' | 'NotOnKafka' | 'Unknown'

/** What a call with an idempotency key has of its claim (SEMANTICS 2). */
export interface CallClaim {
  /** The record's deadline, milliseconds since 1970 on the shared clock; later than the call's own after a takeover. */
  readonly deadline: number
  /** An earlier claimant may have put the call on Kafka. */
  readonly producedBefore: boolean
  /** The call may run by somebody else's doing. */
  readonly mayRunElsewhere: boolean
  /** Whether the claim stands, and the call may be put on Kafka now; if not, the call is claimed again and comes back later. */
  stands(): boolean
  settled(produced: Produced): void
  /** Stores the outcome, then ends the call with the one that stands. */
  conclude(end: OutcomeEnd): void
}

/** What a layer is told when it lets go of a call that goes on: nothing came of it. */
const TAKEN_BACK: End = { kind: 'Abandoned' }

/** A call on its way. One object for each, and its fields are what the layers know of it. */
export class Call {
  /** Replaced where the caller gave an idempotency key. */
  id: CallId
  readonly method: ServedMethod
  readonly message: Buffer
  readonly metadata: Metadata
  /** Milliseconds since 1970 on this machine's clock, as the client asked; Infinity: it did not. */
  readonly clientDeadline: number
  /** Monotonic milliseconds. */
  readonly startedAt: number
  /** Who calls; empty: anonymous. */
  caller = ''
  /** Milliseconds since 1970 on the shared clock. */
  deadline = 0
  /** Monotonic milliseconds. */
  patienceEndsAt = 0
  deadlineTimer: NodeJS.Timeout | undefined = undefined
  bytesAdmitted = false
  /** At which its caller wants to be told of the outcome; it may be. */
  callback: string | undefined = undefined
  /** The metadata that travels, once a layer has asked for it. */
  travelling: MetadataPairs | undefined = undefined
  admitted = false
  queued = false
  /** Well-formed; undefined also until the layer that enqueues has read it. */
  traceparent: string | undefined = undefined
  /** Set by the layer that enqueues. */
  record!: OutgoingRecord
  recordBytes = 0
  /** The partition that the record has to be in; undefined: any. */
  partition: number | undefined = undefined
  /** Whether Kafka may have the record. */
  maybeOnKafka = false
  /** Set where the caller gave an idempotency key. */
  claim: CallClaim | undefined = undefined
  /** Where Kafka has it, once it has said so to who waits for no more. */
  place: RecordOrigin | undefined = undefined
  /** Set by the layer that waits, where Kafka's word is all that is waited for. */
  onKafka: ((place: RecordOrigin) => void) | undefined = undefined
  /** Set by the layer that waits. */
  onOutcome: ((outcome: Outcome | undefined) => void) | undefined = undefined
  ended = false

  readonly #pipeline: Pipeline
  readonly #respond: (end: End, call: Call) => void
  /** Index of the layer that was entered last. */
  #depth = -1

  constructor(init: CallInit, pipeline: Pipeline) {
    this.id = init.id
    this.method = init.method
    this.message = init.message
    this.metadata = init.metadata
    this.clientDeadline = init.clientDeadline
    this.startedAt = init.startedAt
    this.#respond = init.respond
    this.#pipeline = pipeline
  }

  enter(depth: number): void {
    if (this.ended) return
    this.#depth = depth
    this.#pipeline.layers[depth]?.enter(this)
  }

  /** Ends the call: every layer that it entered lets go of it, the innermost first; then its caller is answered. */
  end(end: End): void {
    if (this.ended) return
    this.ended = true
    for (let depth = this.#depth; depth >= 0; depth--) this.#pipeline.layers[depth]?.leave?.(this, end)
    this.#respond(end, this)
  }

  /** Every layer behind this one lets go of the call. */
  backTo(depth: number): void {
    if (this.ended) return
    for (; this.#depth > depth; this.#depth--) this.#pipeline.layers[this.#depth]?.leave?.(this, TAKEN_BACK)
  }

  /** Ends the call with an outcome that no worker stored: where it has an idempotency key, the outcome is stored first. */
  conclude(end: OutcomeEnd): void {
    if (this.claim === undefined) this.end(end)
    else this.claim.conclude(end)
  }

  fail(code: ErrorCode, retryAfterMilliseconds?: number, details?: string): void {
    this.end({ kind: 'Failed', code, retryAfterMilliseconds, ...(details !== undefined && { details }) })
  }
}

export interface CallInit {
  readonly id: CallId
  readonly method: ServedMethod
  readonly message: Buffer
  readonly metadata: Metadata
  readonly clientDeadline: number
  readonly startedAt: number
  /** Called exactly once. */
  readonly respond: (end: End, call: Call) => void
}

/** Layers in the order in which a call passes them. */
export class Pipeline {
  readonly layers: readonly Layer[]

  constructor(factories: readonly LayerFactory[]) {
    this.layers = factories.map((factory, depth) =>
      factory(
        (call) => call.enter(depth + 1),
        (call) => call.backTo(depth),
      ),
    )
  }

  start(init: CallInit): Call {
    const call = new Call(init, this)
    call.enter(0)
    return call
  }
}
