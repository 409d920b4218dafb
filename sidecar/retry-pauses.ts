import type { RetryConfig } from './config.ts'
import { MOST_RETRY_STEPS } from './kafka/topic-names.ts'

type Pauses = Pick<RetryConfig, 'maxAttempts' | 'backoff'>

/** The pause after so many attempts that failed, from 1, in milliseconds: exponential with a ceiling, and without its jitter. */
export const pauseMilliseconds = (backoff: RetryConfig['backoff'], failed: number): number =>
  Math.min(backoff.initialMilliseconds * (backoff.factorPercent / 100) ** (failed - 1), backoff.maxMilliseconds)

/** How many retry topics the policy needs: one for each pause that differs, up to `MOST_RETRY_STEPS`. */
export function retrySteps({ maxAttempts, backoff }: Pauses): number {
  let steps = 0
  while (steps < Math.min(maxAttempts - 1, MOST_RETRY_STEPS)) {
    if (steps > 0 && pauseMilliseconds(backoff, steps + 1) === pauseMilliseconds(backoff, steps)) break
    steps += 1
  }
  return steps
}
