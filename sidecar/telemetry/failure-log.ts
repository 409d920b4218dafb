import type { ErrorCode } from '../errors.ts'
import { ERRORS } from '../errors.ts'
import { TRACE_ID } from './histogram.ts'
import type { Logger } from './log.ts'

/** What a line about a failed call tells. Never a value of its metadata, nor a byte of its request. */
export interface FailedCall {
  /** Undefined for a record that tells none. */
  readonly callId: string | undefined
  /** `package.Service/Method`, where it is known. */
  readonly method?: string | undefined
  readonly code: FailureCode
  /** The gRPC status that the caller gets, by name. */
  readonly status: string
  /** Since the proxy got the call (proxy), or since it was enqueued (worker). */
  readonly milliseconds: number
  /** Milliseconds since 1970 on the shared clock; 0: none was set yet. */
  readonly deadline: number
  readonly attempt?: number
  readonly topic?: string
  readonly partition?: number
  readonly offset?: number
  readonly traceparent?: string | undefined
  /** What else is known, for people. */
  readonly reason?: string | undefined
}

/**
 * `CALLER_GONE`: the caller cancelled, disconnected, or its own deadline passed before ours. `CALLBACK_NOT_DELIVERED`: the call has its
 * outcome, and whom its caller wanted to be told does not know.
 */
export type FailureCode = ErrorCode | 'CALLER_GONE' | 'CALLBACK_NOT_DELIVERED'

export interface FailureLogOptions {
  readonly logger: Logger
  /** Milliseconds that never go back. */
  readonly monotonicNow: () => number
}

const PERIOD_MILLISECONDS = 1000
/** Lines of one code in a period. Overload refuses thousands a second, which nobody reads one by one. */
const LINES_OF_A_REFUSAL = 10
const LINES_OF_A_FAILURE = 100

interface Period {
  readonly endsAt: number
  lines: number
  unwritten: number
}

/**
 * One line for each failed call. What is over the limit of its code is counted, and one line at the end of the second says
 * how many there were.
 */
export class FailureLog {
  readonly #logger: Logger
  readonly #monotonicNow: () => number
  readonly #periods = new Map<FailureCode, Period>()
  #timer: NodeJS.Timeout | undefined

  constructor({ logger, monotonicNow }: FailureLogOptions) {
    this.#logger = logger
    this.#monotonicNow = monotonicNow
  }

  /** @param about is asked only when there is a line for it. */
  write(code: FailureCode, message: string, about: () => Omit<FailedCall, 'code'>): void {
    const level = levelOf(code)
    if (!this.#logger.isLevelEnabled(level)) return
    const period = this.#period(code)
    if (period.lines >= linesOf(code)) {
      period.unwritten += 1
      this.#timer ??= setTimeout(this.#onTimer, PERIOD_MILLISECONDS).unref()
      return
    }
    period.lines += 1
    const { traceparent, deadline, ...fields } = about()
    const traceId = traceparent?.slice(3, 35)
    this.#logger[level](
      {
        code,
        ...fields,
        milliseconds: Math.round(fields.milliseconds),
        ...(deadline > 0 && { deadline: new Date(deadline).toISOString() }),
        ...(traceId !== undefined && TRACE_ID.test(traceId) && { traceId }),
      },
      message,
    )
  }

  /** Says what was counted and not said yet. */
  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    for (const [code, { unwritten }] of this.#periods) {
      if (unwritten > 0) this.#logger[levelOf(code)]({ code, calls: unwritten }, 'more calls failed in the same way')
    }
    this.#periods.clear()
  }

  readonly #onTimer = (): void => this.flush()

  #period(code: FailureCode): Period {
    const now = this.#monotonicNow()
    const current = this.#periods.get(code)
    if (current !== undefined && (now < current.endsAt || current.unwritten > 0)) return current
    const next = { endsAt: now + PERIOD_MILLISECONDS, lines: 0, unwritten: 0 }
    this.#periods.set(code, next)
    return next
  }
}

const isCheap = (code: FailureCode): boolean =>
  code !== 'CALLER_GONE' && code !== 'CALLBACK_NOT_DELIVERED' && ERRORS[code].refusal

const linesOf = (code: FailureCode): number => (isCheap(code) ? LINES_OF_A_REFUSAL : LINES_OF_A_FAILURE)

/** A refused call may be sent again, and a caller who goes away does so for reasons of its own. */
const levelOf = (code: FailureCode): 'info' | 'warn' => (isCheap(code) || code === 'CALLER_GONE' ? 'info' : 'warn')
