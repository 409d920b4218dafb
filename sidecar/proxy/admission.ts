import type { ErrorCode } from '../errors.ts'

/** Read for each call: they may change. */
export interface AdmissionLimits {
  readonly maxInFlight: number
  readonly maxInFlightBytes: number
}

/** Counts the calls between admission and answer, and the bytes of the requests of these and of those that wait. */
export class Admission {
  readonly #limits: AdmissionLimits
  #calls = 0
  #bytes = 0

  constructor(limits: AdmissionLimits) {
    this.#limits = limits
  }

  get calls(): number {
    return this.#calls
  }

  get bytes(): number {
    return this.#bytes
  }

  /** @returns why the call is refused; undefined: its bytes are counted, until `releaseBytes`. */
  admitBytes(bytes: number): ErrorCode | undefined {
    // One call alone is let in whatever its size: its bound is maxMessageBytes.
    if (this.#bytes > 0 && this.#bytes + bytes > this.#limits.maxInFlightBytes) return 'TOO_MANY_BYTES'
    this.#bytes += bytes
    return undefined
  }

  /** @param bytes as they were admitted. */
  releaseBytes(bytes: number): void {
    this.#bytes -= bytes
  }

  /** @returns why the call is refused; undefined: it is in, until `releaseCall`. */
  admitCall(): ErrorCode | undefined {
    if (this.#calls >= this.#limits.maxInFlight) return 'TOO_MANY_IN_FLIGHT'
    this.#calls++
    return undefined
  }

  releaseCall(): void {
    this.#calls--
  }
}
