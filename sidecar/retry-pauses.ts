import type { RetryConfig } from './config.ts'
import { MOST_RETRY_STEPS } from './kafka/topic-names.ts'

type Pauses = Pick<RetryConfig, 'maxAttempts' | 'backoff'>

/** The pause after so many attempts that failed, from 1, in milliseconds: exponential with a ceiling, and without its jitter. */
export const pauseMilliseconds = (backoff: RetryConfig['backoff'], failed: number): number =>
  Math.min(backoff.initialMilliseconds * (backoff.factorPercent / 100) ** (failed - 1), backoff.maxMilliseconds)

/**
 * Milliseconds that a call may wait in all between its attempts, but for the jitter. Where calls have an order those behind it
 * wait as long, so there it is bounded.
 */
export const MOST_PAUSES_IN_ORDER_MILLISECONDS = 60_000

/** Milliseconds of all pauses of the policy, but for the jitter. */
export function pausesMilliseconds({ maxAttempts, backoff }: Pauses): number {
  let sum = 0
  for (let failed = 1; failed < maxAttempts; failed++) sum += pauseMilliseconds(backoff, failed)
  return sum
}

/** How many retry topics the policy needs: one for each pause that differs, up to `MOST_RETRY_STEPS`. */
export function retrySteps({ maxAttempts, backoff }: Pauses): number {
  let steps = 0
  while (steps < Math.min(maxAttempts - 1, MOST_RETRY_STEPS)) {
    if (steps > 0 && pauseMilliseconds(backoff, steps + 1) === pauseMilliseconds(backoff, steps)) break
    steps += 1
  }
  return steps
}
