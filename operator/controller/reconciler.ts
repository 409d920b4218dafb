import type { ObjectKey } from './object.ts'

/** What is known after one reconcile that did not fail. */
export interface ReconcileResult {
  /** Look again after so long, whatever happens meanwhile. Absent: only when something changes, or at the next resync. */
  readonly requeueAfterMilliseconds?: number
}

/**
 * Brings what is there towards what is wanted, for one object. It is given a key and nothing else (level-triggered): what
 * happened before does not matter, and the object may be gone.
 */
export interface Reconciler {
  /**
   * @param signal aborted when the reconcile took too long, the process ends, or the leadership is lost: nothing may be
   * written from then on.
   * @throws anything: it is tried again, after a growing pause. A TerminalError is not.
   */
  reconcile(key: ObjectKey, signal: AbortSignal): Promise<ReconcileResult>
}

/**
 * The reconcile failed, and would fail again until the object or something that it refers to changes
 * (controller-runtime's `reconcile.TerminalError`). `code` is `TERMINAL`.
 */
export class TerminalError extends Error {
  readonly code = 'TERMINAL'
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'TerminalError'
  }
}
