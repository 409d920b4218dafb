import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import type { SecureContext } from 'node:tls'

/** Files in PEM. Without a CA the well-known ones are trusted; certificate and key are what this side shows of itself. */
export interface TlsConfig {
  readonly caFile?: string | undefined
  readonly certFile?: string | undefined
  readonly keyFile?: string | undefined
  /** The name that the server's certificate must have, where it is not the one that is called. */
  readonly serverName?: string | undefined
}

/** What node:tls takes for a connection. */
export interface TlsMaterial {
  readonly secureContext: SecureContext
  readonly servername?: string
}

/** Thrown for files that cannot be read or do not fit together. */
export class TlsError extends Error {
  readonly code = 'TLS_FILES_UNUSABLE'
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'TlsError'
  }
}

/** Whom this side trusts. */
interface Trusted {
  readonly ca?: string
}

/** What this side shows of itself. */
interface Shown {
  readonly cert?: string
  readonly key?: string
}

/** Reads certificates anew for each connection, so that they may be rotated. */
export class TlsFiles {
  readonly #config: TlsConfig
  readonly #onProblem: (problem: string) => void
  #trusted: Trusted
  #shown: Shown

  /**
   * @param onProblem told when files that were usable no longer are (in the middle of a rotation): the last ones are used.
   * @throws TlsError when they are not usable now
   */
  constructor(config: TlsConfig, onProblem: (problem: string) => void) {
    this.#config = config
    this.#onProblem = onProblem
    this.#trusted = readTrusted(config)
    this.#shown = readShown(config)
  }

  read(): TlsMaterial {
    // Each by itself: while a certificate waits for its key, a new authority is trusted all the same.
    this.#trusted = this.#readOr(() => readTrusted(this.#config), this.#trusted)
    this.#shown = this.#readOr(() => readShown(this.#config), this.#shown)
    const { serverName } = this.#config
    return {
      secureContext: createSecureContext({ ...this.#trusted, ...this.#shown }),
      ...(serverName !== undefined && { servername: serverName }),
    }
  }

  #readOr<T>(read: () => T, last: T): T {
    try {
      return read()
    } catch (error) {
      this.#onProblem((error as Error).message)
      return last
    }
  }
}

function readTrusted({ caFile }: TlsConfig): Trusted {
  if (caFile === undefined) return {}
  return usable([caFile], { ca: readPem(caFile) })
}

function readShown({ certFile, keyFile }: TlsConfig): Shown {
  if (certFile === undefined || keyFile === undefined) return {}
  return usable([certFile, keyFile], { cert: readPem(certFile), key: readPem(keyFile) })
}

function usable<T extends Trusted | Shown>(files: readonly string[], content: T): T {
  try {
    createSecureContext(content)
    return content
  } catch (cause) {
    throw new TlsError(`${files.join(', ')}: ${(cause as NodeJS.ErrnoException).code ?? 'not usable'}`, { cause })
  }
}

function readPem(file: string): string {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    throw new TlsError(`${file} cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'unknown'})`, { cause })
  }
  // An empty or cut file would make no context that fails: nobody would be trusted.
  if (!/-----BEGIN [A-Z ]+-----[\s\S]+-----END [A-Z ]+-----\s*$/.test(text)) throw new TlsError(`${file} is not PEM`)
  return text
}
