/** A part that this machine lacks and that could not be had. The message says what to do. */
export class PartMissingError extends Error {
  readonly code = 'PART_MISSING'
  readonly part: string

  /**
   * @param part  "Kafka"
   * @param reason  what was tried and what came of it
   * @param remedies  one way out each; the one that always exists, compose.yaml, is added
   */
  constructor(part: string, reason: string, remedies: readonly string[], options?: ErrorOptions) {
    const ways = [
      ...remedies,
      'with Docker: "docker compose up -d", then KAFKA_BROKERS=127.0.0.1:9092 REDIS_URL=redis://127.0.0.1:6379',
    ]
    super(
      `${part} cannot be had: ${reason}\nWhat to do, one of:\n${ways.map((way) => `  - ${way}`).join('\n')}`,
      options,
    )
    this.name = 'PartMissingError'
    this.part = part
  }
}
