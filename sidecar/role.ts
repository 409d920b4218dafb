/** A sidecar that runs, whichever its role. */
export interface RunningSidecar {
  /** Whether it should get work; the reason is for people. */
  ready(): { readonly ready: boolean; readonly reason: string }
  /** Worker: hands back what has not started, waits for what runs, leaves the group. Resolves when that is done. */
  quiesce?(): Promise<void>
  /** Ends it in order. Resolves when nothing is left. */
  drain(): Promise<void>
}
