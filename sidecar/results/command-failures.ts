import type { Counter, Metrics } from '../telemetry/metrics.ts'

const REASONS = ['command', 'timeout', 'out_of_memory', 'read_only'] as const
type Reason = (typeof REASONS)[number]

/** Why Redis did not do what it was asked: by the code that its answer begins with, or ioredis' own words. */
export function failureReason({ message }: Error): Reason {
  if (message.startsWith('OOM ')) return 'out_of_memory'
  if (message.startsWith('READONLY ')) return 'read_only'
  return message === 'Command timed out' || message.startsWith('Socket timeout') ? 'timeout' : 'command'
}

/** Counts commands that failed, by why. */
export class CommandFailures {
  readonly #counters: ReadonlyMap<Reason, Counter>

  constructor(metrics: Metrics) {
    this.#counters = new Map(
      REASONS.map((reason) => [reason, metrics.counter('grpc_kafka_redis_errors_total', { reason })]),
    )
  }

  add(error: unknown): void {
    this.#counters.get(failureReason(error as Error))?.inc()
  }
}
