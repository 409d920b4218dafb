import type { RetryConfig } from '../config.ts'
import { GRPC_STATUS_NAMES } from '../errors.ts'
import { pauseMilliseconds } from '../retry-pauses.ts'

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
