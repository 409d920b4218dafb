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

/** Reads certificates anew for each connection, so that they may be rotated. */
export class TlsFiles {
  readonly #config: TlsConfig
  readonly #onProblem: (problem: string) => void
  #last: TlsMaterial

  /**
   * @param onProblem told when files that were usable no longer are (in the middle of a rotation): the last ones are used.
   * @throws TlsError when they are not usable now
   */
  constructor(config: TlsConfig, onProblem: (problem: string) => void) {
    this.#config = config
    this.#onProblem = onProblem
    this.#last = load(config)
  }

  read(): TlsMaterial {
    try {
      this.#last = load(this.#config)
    } catch (error) {
      this.#onProblem((error as Error).message)
    }
    return this.#last
  }
}

function load({ caFile, certFile, keyFile, serverName }: TlsConfig): TlsMaterial {
  const ca = readPem(caFile)
  const cert = readPem(certFile)
  const key = readPem(keyFile)
  try {
    return {
      secureContext: createSecureContext({
        ...(ca && { ca }),
        ...(cert && { cert }),
        ...(key && { key }),
      }),
      ...(serverName !== undefined && { servername: serverName }),
    }
  } catch (cause) {
    const files = [caFile, certFile, keyFile].filter((file) => file !== undefined).join(', ')
    throw new TlsError(`${files}: ${(cause as NodeJS.ErrnoException).code ?? 'not usable'}`, { cause })
  }
}

function readPem(file: string | undefined): string | undefined {
  if (file === undefined) return undefined
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
