/** What compose.yaml starts, and how the programs here are told of it. */
const COMPOSED: ReadonlySet<string> = new Set(['Kafka', 'Redis'])
const COMPOSE =
  'with Docker: "docker compose up -d", then KAFKA_BROKERS=127.0.0.1:9092 REDIS_URL=redis://127.0.0.1:6379'

/** A part that this machine lacks and that could not be had. The message says what to do. */
export class PartMissingError extends Error {
  readonly code = 'PART_MISSING'
  readonly part: string

  /**
   * @param part  "Kafka"
   * @param reason  what was tried and what came of it
   * @param remedies  one way out each; where compose.yaml is another, it is added
   */
  constructor(part: string, reason: string, remedies: readonly string[], options?: ErrorOptions) {
    const ways = COMPOSED.has(part) ? [...remedies, COMPOSE] : remedies
    super(
      `${part} cannot be had: ${reason}\nWhat to do, one of:\n${ways.map((way) => `  - ${way}`).join('\n')}`,
      options,
    )
    this.name = 'PartMissingError'
    this.part = part
  }
}
