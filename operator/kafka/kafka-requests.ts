/** How much the operator asks of Kafka. */
import type { ControllerMetrics } from '../controller/metrics.ts'

export class KafkaRequests {
  readonly #counts = new Map<string, number>()

  /** @param request as Kafka names it: `Metadata`. */
  readonly asked = (request: string): void => {
    this.#counts.set(request, (this.#counts.get(request) ?? 0) + 1)
  }

  expose(metrics: ControllerMetrics): void {
    metrics.watchCounts(
      'grpc_kafka_operator_kafka_requests_total',
      'Requests to Kafka, by kind.',
      'request',
      () => this.#counts,
    )
  }
}
