/** All that a RetryPolicy is judged by, from caches. */
import type { ConsumerGroup, RetryPolicy } from '../../crds/types.ts'
import type { ObjectKey } from '../controller/object.ts'
import type { Cache } from '../controller/store.ts'
import { GROUPS_BY_POLICY } from '../consumergroup/observe.ts'

export interface ObservedPolicy {
  readonly policy: RetryPolicy
  /** Those that name it. */
  readonly groups: readonly ConsumerGroup[]
  /** Milliseconds since 1970. */
  readonly now: number
}

export interface PolicyCaches {
  readonly retryPolicies: Pick<Cache<RetryPolicy>, 'get'>
  readonly consumerGroups: Pick<Cache<ConsumerGroup>, 'byIndex'>
}

/** @returns undefined where the object is gone. */
export function observePolicy(key: ObjectKey, caches: PolicyCaches, now: number): ObservedPolicy | undefined {
  const policy = caches.retryPolicies.get(key)
  if (policy === undefined) return undefined
  return { policy, groups: caches.consumerGroups.byIndex(GROUPS_BY_POLICY, key), now }
}
