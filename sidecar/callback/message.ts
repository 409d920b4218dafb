/** What a receiver is told of a call. */
import { formatCallId } from '../call-id.ts'
import type { CallId } from '../call-id.ts'
import { ERRORS, GRPC_STATUS_NAMES, GrpcStatus } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import type { Outcome } from '../results/outcome.ts'

/** A larger response is left out: receivers of such messages have limits, and whoever wants it asks for it by the call's id. */
export const LARGEST_RESPONSE_BYTES = 65_536

/** A call as its record names it. */
export interface ToldCall {
  readonly id: CallId
  /** Of the redrive that the record is of; 0: none. */
  readonly revision: number
  /** `package.Service/Method`; empty: the record does not say. */
  readonly method: string
}

export interface CallbackMessage {
  /** The same each time that this outcome is told: receivers know it again by it. */
  readonly id: string
  /** JSON. */
  readonly body: Buffer
}

/** @param now milliseconds since 1970. */
export function messageOf({ id, revision, method }: ToldCall, outcome: Outcome, now: number): CallbackMessage {
  const text = formatCallId(id)
  const body = {
    type: 'grpckafka.call.completed',
    timestamp: new Date(now).toISOString(),
    data: { id: text, ...(revision > 0 && { redrive: revision }), method, ...told(outcome) },
  }
  return { id: `${text}${suffixOf(revision, outcome)}`, body: Buffer.from(JSON.stringify(body)) }
}

function suffixOf(revision: number, outcome: Outcome): string {
  if (revision > 0) return `-${revision}`
  // Its idempotency key may be claimed again: the call then runs under the same id, and has another outcome.
  return outcome.state === 'Expired' && outcome.started === 'No' ? '-not-started' : ''
}

/** States are named as `grpckafka.v1.Calls` names them. */
function told(outcome: Outcome) {
  switch (outcome.state) {
    case 'Expired':
      return { state: 'EXPIRED', status: ownStatus(outcome.started === 'No' ? 'EXPIRED_NOT_STARTED' : 'EXPIRED') }
    case 'Cancelled':
      return { state: 'CANCELLED', status: ownStatus('CALL_CANCELLED') }
    case 'Answered':
    case 'DeadLettered': {
      const { status, details, message, place } = outcome
      return {
        state: outcome.state === 'Answered' ? 'ANSWERED' : 'DEAD_LETTERED',
        status: { code: status, name: GRPC_STATUS_NAMES[status] ?? '', message: details },
        ...(place !== undefined && { attempts: place.attempts }),
        ...(status === GrpcStatus.OK && message !== null && responseOf(message)),
      }
    }
  }
}

const responseOf = (message: Buffer) => ({
  responseBytes: message.length,
  ...(message.length <= LARGEST_RESPONSE_BYTES
    ? { response: message.toString('base64') }
    : { responseOmitted: true as const }),
})

const ownStatus = (code: ErrorCode) => {
  const { status, message } = ERRORS[code]
  return { code: GrpcStatus[status], name: status, message }
}
