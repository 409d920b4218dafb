import type { ErrorCode } from '../errors.ts'

export interface AdmissionLimits {
  readonly maxInFlight: number
  readonly maxInFlightBytes: number
}

/** Counts the calls between admission and answer, and the bytes of their requests. */
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

  /** @returns why the call is refused; undefined: it is in, until `release`. */
  admit(bytes: number): ErrorCode | undefined {
    if (this.#calls >= this.#limits.maxInFlight) return 'TOO_MANY_IN_FLIGHT'
    // One call alone is let in whatever its size: its bound is maxMessageBytes.
    if (this.#calls > 0 && this.#bytes + bytes > this.#limits.maxInFlightBytes) return 'TOO_MANY_BYTES'
    this.#calls++
    this.#bytes += bytes
    return undefined
  }

  /** @param bytes as it was admitted. */
  release(bytes: number): void {
    this.#calls--
    this.#bytes -= bytes
  }
}
