import type { RetryConfig } from '../config.ts'
import { GRPC_STATUS_NAMES } from '../errors.ts'
import { MOST_RETRY_STEPS } from '../kafka/topic-names.ts'

/** Whether the policy tries this gRPC status again. */
export function isRetryable(policy: RetryConfig, status: number): boolean {
  const name = GRPC_STATUS_NAMES[status]
  return (policy.retryableCodes as readonly (string | undefined)[]).includes(name)
}

/**
 * Milliseconds before the next attempt: exponential with a ceiling, then spread by the jitter to both sides.
 * @param failed attempts that failed so far, from 1.
 * @param random a number from 0 to 1.
 */
export function backoffMilliseconds({ backoff }: RetryConfig, failed: number, random: number): number {
  const spread = (backoff.jitterPercent / 100) * (2 * random - 1)
  return Math.max(1, Math.round(pauseMilliseconds(backoff, failed) * (1 + spread)))
}

/**
 * Milliseconds that a call may wait in all between its attempts, but for the jitter. Where calls have an order those behind it
 * wait as long, so there it is bounded.
 */
export const MOST_PAUSES_IN_ORDER_MILLISECONDS = 60_000

/** Milliseconds of all pauses of the policy, but for the jitter. */
export function pausesMilliseconds({ maxAttempts, backoff }: Pick<RetryConfig, 'maxAttempts' | 'backoff'>): number {
  let sum = 0
  for (let failed = 1; failed < maxAttempts; failed++) sum += pauseMilliseconds(backoff, failed)
  return sum
}

/** How many retry topics the policy needs: one for each pause that differs, up to `MOST_RETRY_STEPS`. */
export function retrySteps({ maxAttempts, backoff }: Pick<RetryConfig, 'maxAttempts' | 'backoff'>): number {
  let steps = 0
  while (steps < Math.min(maxAttempts - 1, MOST_RETRY_STEPS)) {
    if (steps > 0 && pauseMilliseconds(backoff, steps + 1) === pauseMilliseconds(backoff, steps)) break
    steps += 1
  }
  return steps
}

const pauseMilliseconds = (backoff: RetryConfig['backoff'], failed: number): number =>
  Math.min(backoff.initialMilliseconds * (backoff.factorPercent / 100) ** (failed - 1), backoff.maxMilliseconds)
