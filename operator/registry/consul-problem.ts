import type { ConditionReason } from '../conditions.ts'

export type ConsulReason = Extract<
  ConditionReason<'CalculateService', 'Registered'>,
  'ConsulUnavailable' | 'ConsulNotAuthorized' | 'ConsulRefused'
>

/** Consul does not do what it is asked. `code` is `CONSUL_PROBLEM`; `reason` is that of the condition. */
export class ConsulProblem extends Error {
  readonly code = 'CONSUL_PROBLEM'
  readonly reason: ConsulReason
  constructor(reason: ConsulReason, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'ConsulProblem'
    this.reason = reason
  }
}

/** Somebody has to read them. */
const LONGEST_WORDS = 300

/** What an answer that is no success means. */
export function refusal(what: string, status: number, body: string): ConsulProblem {
  const words =
    body
      .replace(/^(rpc error making call: )+/i, '')
      .trim()
      .slice(0, LONGEST_WORDS) || `status ${status}`
  return new ConsulProblem(reasonOf(status, words), `${what}: ${words}`)
}

function reasonOf(status: number, words: string): ConsulReason {
  // What a server refused comes through the agent as a fault of the server, with the server's words.
  if (status === 401 || status === 403 || /permission denied|ACL not found|ACL support/i.test(words)) {
    return 'ConsulNotAuthorized'
  }
  if (/no path to datacenter/i.test(words)) return 'ConsulRefused'
  return status >= 500 || status === 429 ? 'ConsulUnavailable' : 'ConsulRefused'
}
