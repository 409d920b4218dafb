/**
 * A Consul agent's HTTP API (developer.hashicorp.com/consul/api-docs/agent), as much of it as one replica needs to keep
 * itself registered with a TTL check.
 */
import { readFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'

/** How one reaches an agent. */
export interface AgentAccess {
  /** `http://host:port` or `https://host:port`. */
  readonly address: string
  readonly token?: string | undefined
  /** PEM. Absent: the well-known authorities. */
  readonly caFile?: string | undefined
}

export type CheckStatus = 'passing' | 'critical'

/** One replica with its check. */
export interface AgentService {
  readonly id: string
  readonly name: string
  readonly tags: readonly string[]
  readonly meta: Readonly<Record<string, string>>
  readonly host: string
  readonly port: number
  /** The check is critical when nothing was said for so long. */
  readonly ttlSeconds: number
}

export interface CheckResult {
  readonly status: CheckStatus
  /** For people. */
  readonly output: string
}

/** Each may be done twice, and throws AgentProblem, or what the signal was aborted with. */
export interface ConsulAgent {
  /** Makes it, or makes it as it should be, with this result of its check. */
  register(access: AgentAccess, service: AgentService, result: CheckResult, signal: AbortSignal): Promise<void>
  /** @throws AgentProblem `Unknown` where the agent has no such check. */
  update(access: AgentAccess, id: string, result: CheckResult, signal: AbortSignal): Promise<void>
  /** One that the agent does not have is deregistered. */
  deregister(access: AgentAccess, id: string, signal: AbortSignal): Promise<void>
}

export type AgentProblemReason = 'Unknown' | 'NotAuthorized' | 'Unavailable' | 'Refused'

/** An agent does not do what it is asked. `code` is `CONSUL_AGENT`. */
export class AgentProblem extends Error {
  readonly code = 'CONSUL_AGENT'
  readonly reason: AgentProblemReason
  constructor(reason: AgentProblemReason, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'AgentProblem'
    this.reason = reason
  }
}

const MOST_BYTES = 64 * 1024
/** Somebody has to read them. */
const LONGEST_WORDS = 300
/** Consul takes no less. */
const LEAST_COLLECT_SECONDS = 60

/** As Consul names the one check of a service. */
const checkId = (id: string): string => `service:${id}`

/** Of https and http alike; each request has a connection of its own: there are few, and none of them is ever a stale one. */
export class HttpConsulAgent implements ConsulAgent {
  async register(access: AgentAccess, service: AgentService, result: CheckResult, signal: AbortSignal): Promise<void> {
    const { id, name, tags, meta, host, port, ttlSeconds } = service
    await put(
      access,
      '/v1/agent/service/register?replace-existing-checks=true',
      {
        ID: id,
        Name: name,
        Tags: tags,
        Meta: meta,
        Address: host,
        Port: port,
        Check: {
          CheckID: checkId(id),
          Name: 'Proxy readiness',
          Status: result.status,
          Notes: 'The proxy itself says whether it is ready',
          TTL: `${ttlSeconds}s`,
          // Replicas that were killed; one that only was not ready for so long registers itself again.
          DeregisterCriticalServiceAfter: `${Math.max(LEAST_COLLECT_SECONDS, 2 * ttlSeconds)}s`,
        },
      },
      signal,
    )
    // A check that the agent has already keeps the result that it had (hashicorp/consul pull request 4904).
    await this.update(access, id, result, signal)
  }

  update(access: AgentAccess, id: string, { status, output }: CheckResult, signal: AbortSignal): Promise<void> {
    const path = `/v1/agent/check/update/${encodeURIComponent(checkId(id))}`
    return put(access, path, { Status: status, Output: output }, signal)
  }

  async deregister(access: AgentAccess, id: string, signal: AbortSignal): Promise<void> {
    try {
      await put(access, `/v1/agent/service/deregister/${encodeURIComponent(id)}`, undefined, signal)
    } catch (error) {
      if (!(error instanceof AgentProblem && error.reason === 'Unknown')) throw error
    }
  }
}

async function put(access: AgentAccess, path: string, body: object | undefined, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  if (access.token !== undefined && !/^[\x21-\x7e]*$/.test(access.token)) {
    throw new AgentProblem('NotAuthorized', `${access.address}: the token has characters that no token has`)
  }
  let answer: Answer
  try {
    answer = await send(access, path, body === undefined ? '' : JSON.stringify(body), signal)
  } catch (cause) {
    signal.throwIfAborted()
    if (cause instanceof AgentProblem) throw cause
    throw new AgentProblem('Unavailable', `${access.address}: ${wordsOf(cause)}`, { cause })
  }
  if (answer.status !== 200) throw refusal(access.address, answer)
}

interface Answer {
  readonly status: number
  readonly text: string
}

async function send(
  { address, token, caFile }: AgentAccess,
  path: string,
  body: string,
  signal: AbortSignal,
): Promise<Answer> {
  const url = new URL(path, address)
  const isSecure = url.protocol === 'https:'
  const ca = isSecure && caFile !== undefined ? await readFile(caFile, { encoding: 'utf8', signal }) : undefined
  return new Promise((resolve, reject) => {
    const headers = {
      accept: 'application/json',
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      ...(token === undefined ? {} : { 'x-consul-token': token }),
    }
    const options = { method: 'PUT', headers, signal, agent: false as const, ...(ca === undefined ? {} : { ca }) }
    const sent = (isSecure ? httpsRequest : httpRequest)(url, options)
    sent.on('response', (response) => {
      const chunks: Buffer[] = []
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes > MOST_BYTES) sent.destroy(new AgentProblem('Refused', `${address}: its answer is too large`))
        else chunks.push(chunk)
      })
      response.on('error', reject)
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
      )
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

function refusal(address: string, { status, text }: Answer): AgentProblem {
  const words = text.trim().slice(0, LONGEST_WORDS) || `status ${status}`
  return new AgentProblem(reasonOf(status, words), `${address}: ${words}`)
}

function reasonOf(status: number, words: string): AgentProblemReason {
  if (status === 401 || status === 403 || /permission denied|ACL not found|ACL support/i.test(words)) {
    return 'NotAuthorized'
  }
  // Before 1.11 a check that was not there was a fault of the agent.
  if (/^Unknown (check|service)|does not have associated TTL/i.test(words)) return 'Unknown'
  return status >= 500 || status === 429 ? 'Unavailable' : 'Refused'
}

/** Without ports and addresses, which differ from one time to the next. */
function wordsOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  return code !== undefined && /^E[A-Z]/.test(code) ? code : message
}
