/** The command line cannot be understood. `code` is `USAGE`. */
export class UsageError extends Error {
  readonly code = 'USAGE'
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'UsageError'
  }
}

/** @throws UsageError unless the text is a whole number within the bounds */
export function wholeNumber(option: string, text: string, from: number, to: number): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < from || value > to) {
    throw new UsageError(`${option} must be a whole number from ${from} to ${to}, not "${text}"`)
  }
  return value
}
