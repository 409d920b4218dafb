import { ERRORS, GrpcStatus } from '../../sidecar/errors.ts'
import type { ErrorCode } from '../../sidecar/errors.ts'
import type { Answered } from './history.ts'

/**
 * What a client may conclude from its status.
 *
 * - `Outcome`: this is the call's outcome; nobody may ever be told another
 * - `Refused`: this request did not run and never will
 * - `Unknown`: the proxy or the connection gave up; the call may run
 */
export type AnswerKind = 'Outcome' | 'Refused' | 'Unknown'

/** What the handlers of these tests begin every status message with. */
export const HANDLER_SAYS = 'handler: '

const OUTCOMES: ReadonlySet<string> = new Set<ErrorCode>([
  'EXPIRED_NOT_STARTED',
  'EXPIRED',
  'CALL_CANCELLED',
  'ATTEMPTS_USED_UP',
  'HANDLER_UNREACHABLE',
  'HANDLER_TIMEOUT',
  'HANDLER_PROTOCOL',
  'UNREADABLE_RECORD',
  'METHOD_NOT_SERVED',
  'RESULT_TOO_LARGE',
])

const BY_MESSAGE = new Map<string, AnswerKind>(
  Object.entries(ERRORS).flatMap(([code, { message, refusal }]): [string, AnswerKind][] =>
    refusal ? [[message, 'Refused']] : OUTCOMES.has(code) ? [[message, 'Outcome']] : [],
  ),
)

export function answerKind({ code, details }: Pick<Answered, 'code' | 'details'>): AnswerKind {
  if (code === GrpcStatus.OK || details.startsWith(HANDLER_SAYS)) return 'Outcome'
  const known = BY_MESSAGE.get(details)
  if (known !== undefined) return known
  // Refusals for their number tell figures in their message.
  return code === GrpcStatus.RESOURCE_EXHAUSTED ? 'Refused' : 'Unknown'
}
