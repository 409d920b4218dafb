import { relative } from 'node:path'

/** Where a resource was written. */
export type Origin = {
  /** The file's absolute path. */
  readonly file: string
  /** Its folder. */
  readonly directory: string
  /** Which document of the file, counted from 1. */
  readonly document: number
  /** "ConsumerGroup calculator", as far as it is known. */
  readonly title: string
}

export type Located<T> = { readonly resource: T; readonly origin: Origin }

/** `examples/calculator/calculator.yaml, document 2 (ConsumerGroup calculator): spec.groupId: is required` */
export const problemAt = ({ file, document, title }: Origin, problem: string): string => {
  const shown = relative(process.cwd(), file)
  const path = shown.startsWith('..') ? file : shown
  return `${path}, document ${document}${title === '' ? '' : ` (${title})`}: ${problem}`
}

/** The given resources cannot be used. `problems` has one line each: file, document, field, reason. */
export class ResourcesError extends Error {
  readonly code = 'RESOURCES_INVALID'
  readonly problems: readonly string[]
  constructor(problems: readonly string[], options?: ErrorOptions) {
    super(problems.join('\n'), options)
    this.name = 'ResourcesError'
    this.problems = problems
  }
}
