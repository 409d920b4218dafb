import { ERRORS, GRPC_STATUS_NAMES } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import type { Counter, Histogram, Metrics } from '../telemetry/metrics.ts'

/** What go-grpc-middleware writes into `grpc_code`, by the status' number (google.golang.org/grpc/codes). */
const GRPC_CODE_LABELS: readonly string[] = GRPC_STATUS_NAMES.map((name) =>
  name === 'OK'
    ? name
    : name === 'CANCELLED'
      ? 'Canceled'
      : name.toLowerCase().replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase()),
)

/** The counters of one method, each series there from the start. */
export class MethodMetrics {
  readonly started: Counter
  readonly #seconds: Histogram
  readonly #handled: readonly Counter[]

  constructor(metrics: Metrics, service: string, method: string) {
    const labels = { grpc_type: 'unary', grpc_service: service, grpc_method: method }
    this.started = metrics.counter('grpc_server_started_total', labels)
    this.#seconds = metrics.histogram('grpc_server_handling_seconds', labels)
    this.#handled = GRPC_CODE_LABELS.map((grpc_code) =>
      metrics.counter('grpc_server_handled_total', { ...labels, grpc_code }),
    )
  }

  /**
   * @param status a gRPC status code.
   * @param traceparent of the call, where it is known and well-formed.
   */
  handled(status: number, milliseconds: number, traceparent: string | undefined): void {
    this.#handled[status]?.inc()
    this.#seconds.observe(milliseconds / 1000, traceparent)
  }
}

/** One counter for each way of being refused. */
export function refusalCounters(metrics: Metrics): ReadonlyMap<ErrorCode, Counter> {
  const codes = (Object.keys(ERRORS) as ErrorCode[]).filter((code) => ERRORS[code].refusal)
  return new Map(codes.map((code) => [code, metrics.counter('grpc_kafka_refusals_total', { limit: code })]))
}
