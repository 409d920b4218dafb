/** What clients ask for: calls of every kind, in a mix that follows from the seed. */
import { GrpcStatus } from '../../sidecar/errors.ts'
import { METHOD, OTHER_METHOD } from '../integration/support/service.ts'
import type { Request } from './handler.ts'
import { randomOf } from './random.ts'

/** The method whose callers set no deadline: the proxy ends them by the resource's. */
export const HURRIED_MILLISECONDS = 2000
/** Longer than any recovery. */
export const PATIENT_MILLISECONDS = 60_000

export interface Asked {
  readonly request: Request
  readonly method: string
  /** Undefined: the client sets none. */
  readonly deadlineMilliseconds: number | undefined
  /** Asked a second time with the same idempotency key, through another proxy, so much later. */
  readonly againAfterMilliseconds?: number
}

/** The seed is part of the calls' names, which are their idempotency keys too: several runs may use one Redis. */
export function* callMix(name: string, seed: number): Generator<Asked, never> {
  const random = randomOf(seed)
  for (let number = 0; ; number++) {
    const call = `${name}-${seed}-${number}`
    const request: Request = { call, sleepMilliseconds: random.integer(20, 250) }
    const patient = { request, method: METHOD, deadlineMilliseconds: random.integer(20_000, PATIENT_MILLISECONDS) }
    const kind = random.integer(1, 100)
    if (kind <= 60) yield patient
    else if (kind <= 70) yield { ...patient, deadlineMilliseconds: random.integer(200, 1000) }
    else if (kind <= 75)
      yield {
        request: random.percent(50) ? request : { ...request, sleepMilliseconds: 2 * HURRIED_MILLISECONDS },
        method: OTHER_METHOD,
        deadlineMilliseconds: undefined,
      }
    else if (kind <= 90) yield { ...patient, againAfterMilliseconds: random.integer(0, 1500) }
    else if (kind <= 93) yield { ...patient, request: { ...request, status: GrpcStatus.INVALID_ARGUMENT } }
    else if (kind <= 98)
      yield { ...patient, request: { ...request, status: GrpcStatus.UNAVAILABLE, failures: random.integer(1, 2) } }
    else yield { ...patient, request: { ...request, status: GrpcStatus.UNAVAILABLE } }
  }
}
