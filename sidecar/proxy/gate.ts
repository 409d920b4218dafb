import type { ErrorCode } from '../errors.ts'
import type { Call } from './call.ts'

/**
 * Whether calls come in at all, and which are inside. It opens once: what Kafka and Redis do after that is each call's
 * own matter until its deadline.
 */
export class Gate {
  readonly #inside = new Set<Call>()
  #state: 'Starting' | 'Open' | 'Draining' = 'Starting'
  #onEmpty: (() => void) | undefined = undefined

  get state(): 'Starting' | 'Open' | 'Draining' {
    return this.#state
  }

  open(): void {
    if (this.#state === 'Starting') this.#state = 'Open'
  }

  drain(): void {
    this.#state = 'Draining'
  }

  /** @returns why the call is refused; undefined: it is inside, until `leave`. */
  enter(call: Call): ErrorCode | undefined {
    if (this.#state === 'Starting') return 'NOT_READY'
    if (this.#state === 'Draining') return 'DRAINING'
    this.#inside.add(call)
    return undefined
  }

  leave(call: Call): void {
    if (this.#inside.delete(call) && this.#inside.size === 0) this.#onEmpty?.()
  }

  /** Resolves when no call is inside. */
  empty(): Promise<void> {
    if (this.#inside.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#onEmpty = resolve
    })
  }

  /**
   * Ends every call inside.
   * @returns how many there were.
   */
  failAll(code: ErrorCode): number {
    const calls = [...this.#inside]
    for (const call of calls) call.fail(code)
    return calls.length
  }
}
