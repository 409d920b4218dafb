/** How many retry topics a service has. */
import type { CalculateService, RetryPolicy } from '../../crds/types.ts'
import { MOST_RETRY_STEPS, retryTopic } from '../../sidecar/kafka/topic-names.ts'
import { retrySteps } from '../../sidecar/retry-pauses.ts'
import { perhapsMadeTopics } from './reconciliation.ts'

/**
 * As many as the pauses of its Responders' policies ask for, and never fewer than it has, or may have: calls may wait in them,
 * and they may have to go with it.
 * @param policies of those who answer its calls; one that is not there asks for none.
 */
export function retryStepsOf(service: CalculateService, policies: readonly RetryPolicy[]): number {
  const { spec, status } = service
  const names = new Set([...(status?.topics ?? []).map(({ name }) => name), ...perhapsMadeTopics(service)])
  const steps = Array.from({ length: MOST_RETRY_STEPS }, (_, index) => index + 1)
  const remembered = steps.filter((step) => names.has(retryTopic(spec.topic.name, step)))
  return Math.max(0, ...remembered, ...policies.map((policy) => retrySteps(policy.spec)))
}
