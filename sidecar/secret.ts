import { readFileSync } from 'node:fs'

/** Where a secret is: the name of an environment variable, or the path of a file (a trailing newline is cut). */
export type SecretReference = { readonly env: string } | { readonly file: string }

/** Thrown for a secret that is not where it should be; says where, and never what. */
export class SecretError extends Error {
  readonly code = 'SECRET_UNREADABLE'
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'SecretError'
  }
}

/** A secret that is read each time it is needed, so that a file may be rotated. Printed, it shows its reference only. */
export class Secret {
  readonly reference: SecretReference
  readonly #environment: Readonly<Record<string, string | undefined>>
  readonly #readFile: (path: string) => string

  constructor(
    reference: SecretReference,
    environment: Readonly<Record<string, string | undefined>>,
    readFile: (path: string) => string = (path) => readFileSync(path, 'utf8'),
  ) {
    this.reference = reference
    this.#environment = environment
    this.#readFile = readFile
  }

  /** @throws SecretError */
  read(): string {
    const { reference } = this
    if ('env' in reference) {
      // `toString` and its like are no variables.
      const value = Object.hasOwn(this.#environment, reference.env) ? this.#environment[reference.env] : undefined
      if (value === undefined || value === '') throw new SecretError(`the variable ${reference.env} is not set`)
      return value
    }
    let secret: string
    try {
      secret = this.#readFile(reference.file).replace(/\r?\n$/, '')
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code ?? 'unknown'
      throw new SecretError(`${reference.file} cannot be read (${code})`, { cause })
    }
    // Somebody is about to write it; no secret is empty.
    if (secret === '') throw new SecretError(`${reference.file} is empty`)
    return secret
  }

  toJSON(): SecretReference {
    return this.reference
  }
}
