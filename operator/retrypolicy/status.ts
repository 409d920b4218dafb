/**
 * What a RetryPolicy's status says. Pure. There is nothing to do for a policy: workers take it over from their groups'
 * configuration, and its bounds are the API server's to check.
 */
import type { RetryPolicy } from '../../crds/types.ts'
import { finding, toConditions } from '../conditions.ts'
import type { ConditionReason, Finding } from '../conditions.ts'
import { isPaused } from '../paused.ts'
import type { ObservedPolicy } from './observe.ts'

type PolicyStatus = NonNullable<RetryPolicy['status']>

/** As many names as the definition allows. */
const MOST_NAMES = 1000

export function policyStatus({ policy, groups, now }: ObservedPolicy): PolicyStatus {
  const { generation = 0 } = policy.metadata
  const conditions = (found: Finding) => toConditions([found], policy.status?.conditions, generation, now)
  if (isPaused(policy)) {
    return {
      ...policy.status,
      conditions: conditions(ready('Paused', 'the annotation grpckafka.dev/reconciliation is paused')),
    }
  }
  const names = groups.map(({ metadata }) => metadata.name).toSorted()
  const found =
    names.length === 0
      ? ready('NotUsed', '')
      : ready(
          'InUse',
          `${names.length} ConsumerGroups${policy.metadata.deletionTimestamp === undefined ? '' : ': without it they try each call once'}`,
        )
  return { conditions: conditions(found), observedGeneration: generation, consumerGroups: names.slice(0, MOST_NAMES) }
}

const ready = (reason: ConditionReason<'RetryPolicy', 'Ready'>, message: string): Finding =>
  finding('RetryPolicy', 'Ready', reason, message)
