/** From the end of a call to what its caller gets. */
import { Metadata } from '@grpc/grpc-js'
import { ERRORS, GrpcStatus } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import type { RecordOrigin } from '../kafka/record.ts'
import type { Answer, Outcome } from '../results/outcome.ts'
import type { End } from './call.ts'
import { toGrpcMetadata } from './metadata.ts'
import { pushback } from './pushback.ts'

/** What goes out on the wire. */
export interface Reply {
  readonly status: number
  readonly details: string
  readonly initialMetadata?: Metadata
  readonly trailingMetadata?: Metadata
  /** Present with status OK, and only then. */
  readonly message?: Buffer
  /** The row of `ERRORS` when the sidecar itself ended the call; absent when the handler did. */
  readonly code?: ErrorCode
}

/** @param maxMessageBytes the largest message that may go out. */
export function replyTo(end: Exclude<End, { kind: 'Abandoned' }>, maxMessageBytes: number): Reply {
  if (end.kind === 'Accepted') return accepted(end.place)
  return end.kind === 'Failed'
    ? failure(end.code, end.retryAfterMilliseconds, end.details)
    : end.cached === true
      ? markCached(outcomeReply(end.outcome, maxMessageBytes))
      : outcomeReply(end.outcome, maxMessageBytes)
}

const EMPTY = Buffer.alloc(0)

/** Its caller reads of the record already with the headers; the call's id is added to both by who sends them. */
function accepted(place: RecordOrigin | undefined): Reply {
  const [initialMetadata, trailingMetadata] = [new Metadata(), new Metadata()]
  if (place !== undefined) {
    for (const metadata of [initialMetadata, trailingMetadata]) {
      metadata.set('grpc-kafka-partition', String(place.partition))
      metadata.set('grpc-kafka-offset', String(place.offset))
    }
  }
  return { status: GrpcStatus.OK, details: '', initialMetadata, trailingMetadata, message: EMPTY }
}

function markCached(reply: Reply): Reply {
  const trailingMetadata = reply.trailingMetadata ?? new Metadata()
  trailingMetadata.set('grpc-kafka-cache', 'hit')
  return { ...reply, trailingMetadata }
}

function outcomeReply(outcome: Outcome, maxMessageBytes: number): Reply {
  switch (outcome.state) {
    case 'Answered':
    case 'DeadLettered':
      return answerReply(outcome, maxMessageBytes)
    case 'Expired':
      return failure(outcome.started === 'No' ? 'EXPIRED_NOT_STARTED' : 'EXPIRED')
    case 'Cancelled':
      return failure('CALL_CANCELLED')
  }
}

function answerReply(answer: Answer, maxMessageBytes: number): Reply {
  const { status, message } = answer
  if (status === GrpcStatus.OK && message === null) return failure('HANDLER_PROTOCOL')
  if (message !== null && message.length > maxMessageBytes) return failure('RESULT_TOO_LARGE')
  return {
    status,
    details: answer.details,
    ...(answer.initialMetadata.length > 0 && { initialMetadata: toGrpcMetadata(answer.initialMetadata) }),
    ...(answer.trailingMetadata.length > 0 && { trailingMetadata: toGrpcMetadata(answer.trailingMetadata) }),
    ...(status === GrpcStatus.OK && message !== null && { message }),
  }
}

function failure(code: ErrorCode, retryAfterMilliseconds?: number, details: string = ERRORS[code].message): Reply {
  const status = GrpcStatus[ERRORS[code].status]
  if (retryAfterMilliseconds === undefined) return { status, details, code }
  return { status, details, code, trailingMetadata: pushback(status, details, retryAfterMilliseconds) }
}
