import type { OperatorContext } from '../context.ts'
import { forItself, forOthers } from '../controller/controller.ts'
import { keyOf } from '../controller/object.ts'
import { CONSUMER_GROUPS, RETRY_POLICIES } from '../kinds.ts'
import { PolicyReconciler } from './reconciler.ts'

export const WRITTEN_FOR_POLICIES = [RETRY_POLICIES]

/** Adds the controller of RetryPolicies to the manager. That of ConsumerGroups is there: it makes the index by policy. */
export function addPolicyController({ config, manager, writer, events, clock }: OperatorContext): void {
  const retryPolicies = manager.informer(RETRY_POLICIES)
  const consumerGroups = manager.informer(CONSUMER_GROUPS)
  manager.addController({
    name: 'retrypolicy',
    workers: config.concurrency,
    sources: [
      forItself(retryPolicies),
      forOthers(consumerGroups, ({ metadata, spec }) =>
        spec.retryPolicyRef === undefined ? [] : [keyOf(metadata.namespace, spec.retryPolicyRef.name)],
      ),
    ],
    reconciler: new PolicyReconciler({
      caches: { retryPolicies: retryPolicies.cache, consumerGroups: consumerGroups.cache },
      writer,
      events,
      now: () => clock.now(),
    }),
  })
}
