import type { Metrics } from './metrics.ts'

const INTERVAL_MILLISECONDS = 20

/**
 * Measures for the life of the process how late a timer fires. `perf_hooks.monitorEventLoopDelay` does the same and counts its
 * own interval in; its percentiles hold since the last reading only and cannot be added over replicas, buckets can.
 */
export function measureEventLoopDelay(metrics: Metrics): void {
  const delay = metrics.histogram('grpc_kafka_event_loop_delay_seconds')
  let expected = performance.now() + INTERVAL_MILLISECONDS
  setInterval(() => {
    const now = performance.now()
    delay.observe(Math.max(0, now - expected) / 1000)
    expected = now + INTERVAL_MILLISECONDS
  }, INTERVAL_MILLISECONDS).unref()
}
