/** Tells of one RetryPolicy who uses it. */
import type { EventRecorder } from '../controller/events.ts'
import type { KubeWriter } from '../controller/kube-client.ts'
import type { ObjectKey } from '../controller/object.ts'
import type { Reconciler, ReconcileResult } from '../controller/reconciler.ts'
import { statusToApply } from '../resource-status.ts'
import { observePolicy } from './observe.ts'
import type { PolicyCaches } from './observe.ts'
import { policyStatus } from './status.ts'

export interface PolicyReconcilerParts {
  readonly caches: PolicyCaches
  readonly writer: Pick<KubeWriter, 'applyStatus'>
  readonly events: EventRecorder
  /** Milliseconds since 1970. */
  readonly now: () => number
}

export class PolicyReconciler implements Reconciler {
  readonly #parts: PolicyReconcilerParts

  constructor(parts: PolicyReconcilerParts) {
    this.#parts = parts
  }

  async reconcile(key: ObjectKey, signal: AbortSignal): Promise<ReconcileResult> {
    const { caches, writer, events, now } = this.#parts
    const observed = observePolicy(key, caches, now())
    if (observed === undefined) return {}
    const status = policyStatus(observed)
    const wanted = statusToApply(observed.policy, status)
    if (wanted === undefined) return {}
    await writer.applyStatus(wanted, signal)
    const [before, after] = [observed.policy.status?.conditions?.[0]?.reason, status.conditions![0]!]
    if (before !== after.reason) {
      const note = after.message || after.reason
      events.record(observed.policy, { type: 'Normal', reason: after.reason, action: 'Reconcile', note })
    }
    return {}
  }
}
