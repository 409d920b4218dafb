import type { CallId } from '../call-id.ts'
import type { RecordOrigin } from '../kafka/record.ts'
import { STORE_OUTCOMES, decodeCallState, isOutcome } from './call-state.ts'
import type { CallState } from './call-state.ts'
import { CANCEL } from './cancel-board.ts'
import { callKey, cancelledKey, handleKey } from './keys.ts'
import { STATES, encodeOutcome } from './outcome.ts'
import type { RedisClient } from './redis.ts'

/** What a call's handle says, and what became of it. */
export interface KnownCall {
  readonly id: CallId
  readonly method: string
  readonly caller: string
  /** Milliseconds since 1970 on the shared clock. */
  readonly deadline: number
  readonly place: RecordOrigin | undefined
  readonly state: CallState
}

export interface CallResultsOptions {
  readonly redis: RedisClient
  /** Only its calls are found. */
  readonly topic: string
  readonly retentionSeconds: () => number
  /** Milliseconds since 1970 on the shared clock. */
  readonly now: () => number
}

/** Finds calls by their ids. What Redis does not answer is rejected: whoever asks decides whether to ask again. */
export class CallResults {
  readonly #options: CallResultsOptions
  #asked: Asked[] = []

  constructor(options: CallResultsOptions) {
    this.#options = options
  }

  /**
   * @returns undefined: no such call of the topic's is known, or no more
   * @throws OutcomeFormatError
   */
  async find(id: CallId): Promise<KnownCall | undefined> {
    const [handle, state] = await this.#options.redis.getAll([handleKey(id, this.#options.topic), callKey(id)])
    if (handle == null || state == null) return undefined
    const { method, caller, deadline, partition, offset } = JSON.parse(handle.toString()) as Handle
    const place = partition === undefined || offset === undefined ? undefined : { partition, offset }
    return { id, method, caller, deadline, place, state: decodeCallState(state) }
  }

  /** Whether something has changed since a call had no outcome. All that is asked in one turn of the event loop is asked together. */
  isPending(id: CallId): Promise<boolean> {
    const { promise, resolve, reject } = Promise.withResolvers<boolean>()
    if (this.#asked.push({ id, resolve, reject }) === 1) setImmediate(() => void this.#ask())
    return promise
  }

  /** `Cancelled` becomes the outcome where there is none; then workers are told. */
  async cancel({ id, deadline }: KnownCall): Promise<void> {
    const { redis, topic, now, retentionSeconds } = this.#options
    // Not forgotten before its record is: else that would run then.
    const keep = Math.ceil(Math.max(deadline - now(), 0)) + retentionSeconds() * 1000
    const outcome = encodeOutcome({ state: 'Cancelled' })
    await redis.script(STORE_OUTCOMES, [callKey(id)], [Math.ceil(keep / 1000), 0, id, '', outcome, '', 0])
    const [stands] = await redis.getAll([callKey(id)])
    if (stands == null || stands[1] !== STATES.Cancelled) return
    await redis.script(CANCEL, [cancelledKey(topic)], [id.toString('hex'), keep])
  }

  async #ask(): Promise<void> {
    const asked = this.#asked
    this.#asked = []
    try {
      const heads = await this.#options.redis.each(
        'getrange',
        asked.map(({ id }) => [callKey(id), 0, 1]),
      )
      asked.forEach(({ resolve }, index) => {
        const head = Buffer.from(String(heads[index]), 'latin1')
        resolve(head.length === 2 && !isOutcome(head))
      })
    } catch (error) {
      for (const { reject } of asked) reject(error)
    }
  }
}

interface Asked {
  readonly id: CallId
  readonly resolve: (pending: boolean) => void
  readonly reject: (error: unknown) => void
}

interface Handle {
  readonly method: string
  readonly caller: string
  readonly deadline: number
  readonly partition?: number
  readonly offset?: number
}
