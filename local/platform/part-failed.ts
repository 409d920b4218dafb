/** A part is here and does not run. The message ends with the last lines of its log. */
export class PartFailedError extends Error {
  readonly code = 'PART_FAILED'

  /**
   * @param part  "Kafka"
   * @param reason  what happened
   * @param log  the end of its log; may be empty
   */
  constructor(part: string, reason: string, log: string, options?: ErrorOptions) {
    super(`${part}: ${reason}${log === '' ? '' : `\nthe end of its log:\n${log.replace(/^/gm, '    ')}`}`, options)
    this.name = 'PartFailedError'
  }
}
