import type { CallbackReceiver } from '../config.ts'
import { OutcomeFormatError } from '../results/outcome.ts'
import type { Outcome } from '../results/outcome.ts'
import type { OutcomeStore } from '../results/store.ts'
import type { Counter, Metrics } from '../telemetry/metrics.ts'
import { messageOf } from './message.ts'
import type { CallbackMessage, ToldCall } from './message.ts'
import { PostError } from './post.ts'
import type { Post } from './post.ts'
import { ReceiverLine } from './receiver-line.ts'
import { signedHeaders, signingKeys } from './signature.ts'
import { findTarget } from './target.ts'
import type { Target } from './target.ts'
import { withTimeLimit } from './time-limit.ts'

const ATTEMPT_MILLISECONDS = 5000
const SHORTEST_PAUSE_MILLISECONDS = 500
const LONGEST_PAUSE_MILLISECONDS = 8000
/** A part of each pause is random, so that callbacks that failed together do not come back together. */
const JITTER = 0.2

export interface CallbacksOptions {
  readonly receivers: readonly CallbackReceiver[]
  /** From the outcome to the end of the last attempt. */
  readonly giveUpAfterSeconds: () => number
  readonly store: Pick<OutcomeStore, 'outcomeOf'>
  /** @returns the HTTP status. @throws PostError; the signal's reason */
  readonly post: (post: Post, signal: AbortSignal) => Promise<number>
  readonly readFile: (path: string) => string
  /** @throws the signal's reason */
  readonly pause: (milliseconds: number, signal: AbortSignal) => Promise<void>
  /** Milliseconds since 1970 on the shared clock. */
  readonly now: () => number
  /** From 0 to 1. */
  readonly random: () => number
  readonly metrics: Metrics
}

/** A call that has its outcome, and whom its caller wants to be told. */
export interface FinishedCall extends ToldCall {
  /** As the caller gave it. */
  readonly url: string
  /** Whether it is still this worker that is to tell: asked before each attempt. */
  readonly isOurs: () => boolean
  /** Whether other calls cannot start before this one is finished: then it is not tried again. */
  readonly holdsOthersUp: () => boolean
}

/** What came of it. Nothing: there was nothing to tell, or it is another worker's turn. */
export type Told =
  | { readonly kind: 'Delivered' | 'Nothing' }
  /** @property reason for the log: holds nothing of the URL but its host. */
  | { readonly kind: 'NotDelivered'; readonly reason: string }

/**
 * Tells receivers by HTTP what became of calls: at least once while their worker or another one lives, and for `giveUpAfterSeconds` at
 * most. What is told is the outcome that stands in Redis, whoever stored it.
 */
export class Callbacks {
  readonly #options: CallbacksOptions
  /** By origin; there are as many as there are receivers. */
  readonly #lines = new Map<string, ReceiverLine>()
  readonly #closed = new AbortController()
  readonly #results: Readonly<Record<'delivered' | 'refused' | 'given_up', Counter>>
  #pending = 0

  constructor(options: CallbacksOptions) {
    this.#options = options
    const result = (name: string) => options.metrics.counter('grpc_kafka_callbacks_total', { result: name })
    this.#results = { delivered: result('delivered'), refused: result('refused'), given_up: result('given_up') }
    options.metrics.gaugeFrom('grpc_kafka_callbacks_pending', {}, () => this.#pending)
  }

  /** Ends what is under way: its records are read again by their next owner. */
  close(): void {
    this.#closed.abort(new Error('the callbacks are closed'))
  }

  /**
   * Resolves when the receiver has it or it is given up.
   * @throws the reason, once closed.
   */
  async tell(call: FinishedCall): Promise<Told> {
    this.#pending += 1
    try {
      return await this.#tell(call)
    } finally {
      this.#pending -= 1
    }
  }

  async #tell(call: FinishedCall): Promise<Told> {
    const { receivers, giveUpAfterSeconds, now } = this.#options
    const target = findTarget(call.url, receivers)
    if (target.kind === 'Refused') return this.#notDelivered('refused', `the callback's URL ${target.reason}`)
    let outcome: Outcome | undefined
    try {
      outcome = await this.#options.store.outcomeOf(call.id)
    } catch (error) {
      this.#closed.signal.throwIfAborted()
      if (!(error instanceof OutcomeFormatError)) throw error
      return this.#notDelivered('given_up', error.message)
    }
    if (outcome === undefined || isOfEarlierRevision(outcome, call)) return NOTHING
    const message = messageOf(call, outcome, now())
    return withTimeLimit(giveUpAfterSeconds() * 1000, this.#closed.signal, (end) =>
      this.#deliver(call, target, message, end),
    )
  }

  async #deliver(call: FinishedCall, target: Allowed, message: CallbackMessage, end: AbortSignal): Promise<Told> {
    const { pause, random } = this.#options
    const { origin, host } = target.url
    const line = this.#lineOf(origin)
    const answersBefore = line.answers
    let reason: string | undefined
    for (let wait = SHORTEST_PAUSE_MILLISECONDS; ; wait = Math.min(2 * wait, LONGEST_PAUSE_MILLISECONDS)) {
      const entered = await line.enter(end)
      this.#closed.signal.throwIfAborted()
      if (!entered) break
      // Its place is free while it pauses: one message that fails again and again keeps few others waiting.
      const result = call.isOurs() ? await this.#attempt(target, message, end) : undefined
      line.leave()
      if (result === undefined) return NOTHING
      if (result.kind === 'Answered') {
        line.answered()
        if (result.status < 200 || result.status > 299)
          return this.#notDelivered('refused', `${host}: status ${result.status}`)
        this.#results.delivered.inc()
        return { kind: 'Delivered' }
      }
      reason = result.reason
      if (result.kind === 'NotAllowed') return this.#notDelivered('refused', `${host}: ${reason}`)
      if (line.isAway || call.holdsOthersUp()) return this.#notDelivered('given_up', `${host}: ${reason}`)
      const goesOn = await isPausedFor(pause, wait * (1 - JITTER * random()), end)
      this.#closed.signal.throwIfAborted()
      if (!goesOn) break
      if (call.holdsOthersUp()) return this.#notDelivered('given_up', `${host}: ${reason}`)
    }
    // Where it answered others meanwhile it was this message that failed.
    if (reason !== undefined && line.answers === answersBefore) line.isAway = true
    return this.#notDelivered('given_up', `${host}: ${reason ?? 'does not answer those before it'}`)
  }

  async #attempt({ url, receiver }: Allowed, { id, body }: CallbackMessage, end: AbortSignal): Promise<Attempt> {
    const { post, readFile, now } = this.#options
    try {
      // Read for each, so that they may be changed while the worker runs.
      const keys = signingKeys(receiver.secret.read())
      const message = {
        url,
        network: receiver.network,
        ca: receiver.caFile === undefined ? undefined : readFile(receiver.caFile),
        headers: {
          'content-type': 'application/json',
          'user-agent': 'grpc-kafka',
          ...signedHeaders(keys, id, Math.floor(now() / 1000), body),
        },
        body,
      }
      const status = await withTimeLimit(ATTEMPT_MILLISECONDS, end, (signal) => post(message, signal))
      return isWorthRepeating(status) ? { kind: 'Failed', reason: `status ${status}` } : { kind: 'Answered', status }
    } catch (error) {
      const isNotAllowed = error instanceof PostError && error.code === 'ADDRESS_NOT_ALLOWED'
      return { kind: isNotAllowed ? 'NotAllowed' : 'Failed', reason: (error as Error).message }
    }
  }

  #lineOf(origin: string): ReceiverLine {
    const known = this.#lines.get(origin)
    if (known !== undefined) return known
    const line = new ReceiverLine()
    this.#lines.set(origin, line)
    return line
  }

  #notDelivered(result: 'refused' | 'given_up', reason: string): Told {
    this.#results[result].inc()
    return { kind: 'NotDelivered', reason }
  }
}

type Allowed = Extract<Target<CallbackReceiver>, { kind: 'Allowed' }>

type Attempt =
  /** For good, well or not. */
  | { readonly kind: 'Answered'; readonly status: number }
  | { readonly kind: 'Failed' | 'NotAllowed'; readonly reason: string }

const NOTHING: Told = { kind: 'Nothing' }

/** Then another record, of a later redrive or of the same, has the work and tells of it. */
const isOfEarlierRevision = (outcome: Outcome, { revision }: FinishedCall): boolean =>
  outcome.state === 'DeadLettered' && outcome.revision < revision

/** Redirects are refusals, too: where they lead to was not looked at. */
const isWorthRepeating = (status: number): boolean =>
  status >= 500 || status === 408 || status === 425 || status === 429

/** @returns whether the pause came to its end. */
const isPausedFor = (pause: CallbacksOptions['pause'], milliseconds: number, end: AbortSignal): Promise<boolean> =>
  pause(milliseconds, end).then(
    () => true,
    () => false,
  )
