import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

interface RequestQueue {
  readonly pending: readonly unknown[]
  readonly throttledUntil: number
  throttleCheckTimeoutId: NodeJS.Timeout | null
  checkPendingRequests(): void
  scheduleCheckPendingRequests(): void
}

const CHECK_INTERVAL_MILLISECONDS = 10
let idleTimerStopped = false

/**
 * kafkajs 2.2.4 re-arms a timer with a negative delay on every connection, which fires each millisecond for ever (6 % of
 * a core when idle, and a warning of Node's). Nothing waits then: the timer is needed only while requests are held back.
 */
export function stopIdleTimer(): void {
  if (idleTimerStopped) return
  idleTimerStopped = true
  const queue = require('kafkajs/src/network/requestQueue') as {
    readonly prototype: RequestQueue
  }
  queue.prototype.scheduleCheckPendingRequests = function (this: RequestQueue) {
    if (this.pending.length === 0 || this.throttleCheckTimeoutId !== null) return
    const wait = this.throttledUntil - Date.now()
    this.throttleCheckTimeoutId = setTimeout(
      () => {
        this.throttleCheckTimeoutId = null
        this.checkPendingRequests()
      },
      wait > 0 ? wait : CHECK_INTERVAL_MILLISECONDS,
    )
  }
}
