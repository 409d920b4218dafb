/** Observe, plan, execute, status: one ConsumerGroup at a time. */
import type { EventRecorder } from '../controller/events.ts'
import type { KubeWriter } from '../controller/kube-client.ts'
import type { KubeError } from '../controller/kube-error.ts'
import { objectKey } from '../controller/object.ts'
import type { ObjectKey } from '../controller/object.ts'
import type { Reconciler, ReconcileResult } from '../controller/reconciler.ts'
import { DEPLOYMENTS } from '../kinds.ts'
import { executeObjectAction, isToTell } from '../object-actions.ts'
import type { ObjectAction } from '../object-actions.ts'
import { statusToApply } from '../resource-status.ts'
import type { Advice } from './lag-scaling.ts'
import { observeGroup } from './observe.ts'
import type { ObserveParts } from './observe.ts'
import type { Observed } from './observed.ts'
import { planGroup } from './plan.ts'
import type { GroupPlan } from './plan.ts'
import { groupStatus } from './status.ts'
import type { Done, GroupStatus } from './status.ts'

export interface GroupReconcilerParts extends Omit<ObserveParts, 'advice'> {
  readonly writer: KubeWriter
  readonly events: EventRecorder
}

export class GroupReconciler implements Reconciler {
  readonly #parts: GroupReconcilerParts
  /** Forgotten at a restart: then no group gets fewer workers before its window has passed once. */
  readonly #advice = new Map<ObjectKey, readonly Advice[]>()

  constructor(parts: GroupReconcilerParts) {
    this.#parts = parts
  }

  async reconcile(key: ObjectKey, signal: AbortSignal): Promise<ReconcileResult> {
    const observed = observeGroup(key, { ...this.#parts, advice: this.#advice })
    if (observed === undefined) {
      this.#advice.delete(key)
      this.#parts.readings.forget(key)
      return {}
    }
    const plan = planGroup(observed)
    if (plan.decision === 'Run' && plan.advice.length > 0) this.#advice.set(key, plan.advice)
    else this.#advice.delete(key)
    const actions = plan.decision === 'Paused' ? [] : plan.actions
    const { done, error } = await this.#execute(actions, signal)
    // Without its last finalizer the object is gone.
    const gone = plan.decision === 'Delete' && actions.length > 0
    if (!gone) await this.#tell(observed, plan, done, signal)
    if (error !== undefined) throw error
    if (plan.decision === 'Paused' || plan.requeueAfterMilliseconds === undefined) return {}
    return { requeueAfterMilliseconds: plan.requeueAfterMilliseconds }
  }

  async #execute(
    actions: readonly ObjectAction[],
    signal: AbortSignal,
  ): Promise<{ readonly done: Done; readonly error?: KubeError }> {
    const { writer } = this.#parts
    let done: Done = {}
    for (const action of actions) {
      try {
        const stored = await executeObjectAction(writer, action, signal)
        if (stored?.kind === DEPLOYMENTS.kind) done = { deployment: stored }
        if (action.type === 'DeleteObject' && action.resource === DEPLOYMENTS) done = { deployment: null }
      } catch (error) {
        if (!isToTell(error)) throw error
        return { done: { ...done, failure: error.message }, error }
      }
    }
    return { done }
  }

  async #tell(observed: Observed, plan: GroupPlan, done: Done, signal: AbortSignal): Promise<void> {
    const { writer, caches } = this.#parts
    const { group } = observed
    const status = groupStatus(observed, plan, done)
    const wanted = statusToApply(group, status, caches.consumerGroups.get(objectKey(group)))
    if (wanted === undefined) return
    await writer.applyStatus(wanted, signal)
    this.#record(observed, status)
  }

  /** Events on transitions only: of Ready, and of the number of workers. */
  #record({ group, reading }: Observed, status: GroupStatus): void {
    const { events } = this.#parts
    const of = ({ conditions }: GroupStatus) => conditions?.find(({ type }) => type === 'Ready')
    const before = of(group.status ?? {})
    const now = of(status)
    if (now !== undefined && (now.status !== before?.status || now.reason !== before.reason)) {
      const type = now.status === 'False' ? 'Warning' : 'Normal'
      events.record(group, { type, reason: now.reason, action: 'Reconcile', note: now.message || now.reason })
    }
    const [from, to] = [group.status?.desiredReplicas, status.desiredReplicas]
    if (from !== undefined && to !== undefined && from !== to) {
      const why = reading?.known === true ? `${reading.lag} calls wait` : 'what waits is not known'
      events.record(group, { type: 'Normal', reason: 'Scaled', action: 'Scale', note: `from ${from} to ${to}: ${why}` })
    }
  }
}
