/**
 * Consul's HTTP catalog API (developer.hashicorp.com/consul/api-docs/catalog), as much of it as keeping instances takes.
 * Instances stand on a node that no agent runs on, as those of consul-k8s do: Consul itself then leaves them alone.
 */
import { request as httpRequest } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { z } from 'zod'
import type { ConsulAction, ConsulInstance, ObservedInstance } from './consul-plan.ts'
import { ConsulProblem, refusal } from './consul-problem.ts'

/** How one reaches a Consul. */
export interface ConsulAccess {
  /** `http://host:port` or `https://host:port`. */
  readonly address: string
  readonly datacenter?: string
  readonly token?: string
  /** PEM. Absent: the well-known authorities. */
  readonly ca?: string
}

/** Which instances are ours: those of the node that have one of these in their meta. */
export interface ConsulScope {
  readonly node: string
  /** Each of them: all of its pairs. */
  readonly marks: readonly Readonly<Record<string, string>>[]
}

export interface ObservedCatalog {
  readonly instances: readonly ObservedInstance[]
  /** The token may not read all that stands on the node. */
  readonly isPartial: boolean
}

/** An instance that some agent has, as clients find it. */
export interface FoundInstance {
  readonly id: string
  readonly address: string
  /** Its own checks and those of its node. */
  readonly isPassing: boolean
}

export interface FoundInstances {
  readonly instances: readonly FoundInstance[]
  /** The token may not read all of them. */
  readonly isPartial: boolean
}

export interface ConsulCatalog {
  /** @throws ConsulProblem; what the signal was aborted with. */
  observe(access: ConsulAccess, scope: ConsulScope, signal: AbortSignal): Promise<ObservedCatalog>
  /**
   * Instances of a service with this meta, on whatever node. Each agent answers it for its whole datacenter.
   * @throws ConsulProblem; what the signal was aborted with.
   */
  find(
    access: ConsulAccess,
    service: string,
    mark: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<FoundInstances>
  /** May be done twice. @throws ConsulProblem; what the signal was aborted with. */
  execute(access: ConsulAccess, node: string, action: ConsulAction, signal: AbortSignal): Promise<void>
}

const REQUEST_MILLISECONDS = 5_000
const MOST_BYTES = 16 * 1024 * 1024
/** Nobody calls it: instances have addresses of their own. */
const NODE_ADDRESS = '127.0.0.1'
/** So that it does not look like one that consul-esm should probe (its README, "external-node"). */
const NODE_META = { 'external-node': 'true', 'external-probe': 'false' }

const services = z.object({
  Services: z
    .array(
      z.object({
        ID: z.string(),
        Service: z.string(),
        Address: z.string(),
        Port: z.number(),
        Tags: z.array(z.string()).nullish(),
        Meta: z.record(z.string(), z.string()).nullish(),
      }),
    )
    .nullish(),
})
const checks = z.array(z.object({ CheckID: z.string(), ServiceID: z.string(), Status: z.string() }))

const found = z.array(
  z.object({
    Service: z.object({ ID: z.string(), Address: z.string() }),
    Checks: z.array(z.object({ Status: z.string() })),
  }),
)

/** In Consul's language of filters (developer.hashicorp.com/consul/api-docs/features/filtering). */
const having = (meta: string, mark: Readonly<Record<string, string>>): string =>
  Object.entries(mark)
    .map(([key, value]) => `${meta}[${JSON.stringify(key)}] == ${JSON.stringify(value)}`)
    .join(' and ')

const checkId = (id: string): string => `${id}/kubernetes-readiness`

export class HttpConsulCatalog implements ConsulCatalog {
  /** Which operator, of several, something in Consul's log comes from. */
  readonly #userAgent: string

  /** @param instance this operator's name, as in its Lease. */
  constructor(instance: string) {
    this.#userAgent = `grpc-kafka-operator (${instance})`
  }

  async observe(access: ConsulAccess, { node, marks }: ConsulScope, signal: AbortSignal): Promise<ObservedCatalog> {
    const name = encodeURIComponent(node)
    const ours = marks.map((mark) => `(${having('Meta', mark)})`).join(' or ')
    const [present, health] = await Promise.all([
      this.#read(access, `/v1/catalog/node-services/${name}`, { filter: ours }, services, signal),
      this.#read(access, `/v1/health/node/${name}`, {}, checks, signal),
    ])
    const statusOf = new Map(health.value.map((check) => [check.CheckID, check.Status]))
    return {
      isPartial: present.isPartial || health.isPartial,
      instances: (present.value.Services ?? []).map(({ ID, Service, Address, Port, Tags, Meta }) => {
        const status = statusOf.get(checkId(ID))
        return {
          id: ID,
          service: Service,
          address: Address,
          port: Port,
          tags: Tags ?? [],
          meta: Meta ?? {},
          ...(status === undefined ? {} : { health: status }),
        }
      }),
    }
  }

  async find(
    access: ConsulAccess,
    service: string,
    mark: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<FoundInstances> {
    const path = `/v1/health/service/${encodeURIComponent(service)}`
    const { value, isPartial } = await this.#read(access, path, { filter: having('Service.Meta', mark) }, found, signal)
    return {
      isPartial,
      instances: value.map(({ Service, Checks }) => ({
        id: Service.ID,
        address: Service.Address,
        isPassing: Checks.every(({ Status }) => Status === 'passing'),
      })),
    }
  }

  async execute(access: ConsulAccess, node: string, action: ConsulAction, signal: AbortSignal): Promise<void> {
    const place = { Node: node, ...(access.datacenter === undefined ? {} : { Datacenter: access.datacenter }) }
    const [path, body] =
      action.type === 'RegisterInstance'
        ? (['/v1/catalog/register', { ...place, ...registration(action.instance) }] as const)
        : (['/v1/catalog/deregister', { ...place, ServiceID: action.id }] as const)
    await send(access, { method: 'PUT', path, body: JSON.stringify(body), userAgent: this.#userAgent }, signal)
  }

  async #read<T>(
    access: ConsulAccess,
    path: string,
    query: Readonly<Record<string, string>>,
    shape: z.ZodType<T>,
    signal: AbortSignal,
  ): Promise<{ readonly value: T; readonly isPartial: boolean }> {
    const parameters = new URLSearchParams(query)
    if (access.datacenter !== undefined) parameters.set('dc', access.datacenter)
    const target = parameters.size === 0 ? path : `${path}?${parameters.toString()}`
    const request = { method: 'GET', path: target, userAgent: this.#userAgent } as const
    const { headers, text } = await send(access, request, signal)
    try {
      return {
        value: shape.parse(JSON.parse(text)),
        isPartial: headers['x-consul-results-filtered-by-acls'] === 'true',
      }
    } catch (cause) {
      throw new ConsulProblem('ConsulRefused', `${access.address}: its answer is not Consul's`, { cause })
    }
  }
}

function registration({ id, service, address, port, tags, meta, health }: ConsulInstance) {
  const isReady = health === 'passing'
  return {
    Address: NODE_ADDRESS,
    NodeMeta: NODE_META,
    Service: { ID: id, Service: service, Address: address, Port: port, Tags: tags, Meta: meta },
    Check: {
      CheckID: checkId(id),
      Name: 'Kubernetes readiness',
      Type: 'kubernetes-readiness',
      ServiceID: id,
      Status: health,
      Output: isReady ? 'the pod is ready' : 'the pod is not ready',
    },
  }
}

interface ConsulRequest {
  readonly method: 'GET' | 'PUT'
  readonly path: string
  readonly userAgent: string
  readonly body?: string
}

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
}

async function send(access: ConsulAccess, request: ConsulRequest, signal: AbortSignal): Promise<Answer> {
  signal.throwIfAborted()
  if (access.token !== undefined && !/^[\x21-\x7e]*$/.test(access.token)) {
    throw new ConsulProblem('ConsulNotAuthorized', `${access.address}: the token has characters that no token has`)
  }
  const inTime = AbortSignal.timeout(REQUEST_MILLISECONDS)
  const limit = AbortSignal.any([signal, inTime])
  let answer: Answer
  try {
    // All requests may be made twice: a connection that Consul closed while it lay idle is no failure.
    answer = await sendOnce(access, request, limit).catch((error: unknown) => {
      if (error instanceof StaleConnection) return sendOnce(access, request, limit)
      throw error
    })
  } catch (cause) {
    signal.throwIfAborted()
    if (cause instanceof ConsulProblem) throw cause
    const why = inTime.aborted ? `no answer within ${REQUEST_MILLISECONDS} ms` : wordsOf(cause)
    throw new ConsulProblem('ConsulUnavailable', `${access.address}: ${why}`, { cause })
  }
  if (answer.status !== 200) throw refusal(access.address, answer.status, answer.text)
  return answer
}

class StaleConnection extends Error {}

function sendOnce(
  { address, token, ca }: ConsulAccess,
  { method, path, userAgent, body }: ConsulRequest,
  signal: AbortSignal,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const url = new URL(path, address)
    const open = url.protocol === 'https:' ? httpsRequest : httpRequest
    const headers = {
      accept: 'application/json',
      'user-agent': userAgent,
      ...(token === undefined ? {} : { 'x-consul-token': token }),
      ...(body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
    }
    const sent = open(url, { method, headers, signal, ...(ca === undefined ? {} : { ca }) })
    sent.on('response', (response) => {
      const chunks: Buffer[] = []
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes > MOST_BYTES) {
          sent.destroy(new ConsulProblem('ConsulRefused', `${address}: its answer is too large`))
          return
        }
        chunks.push(chunk)
      })
      response.on('error', reject)
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text: Buffer.concat(chunks).toString('utf8'),
        }),
      )
    })
    sent.on('error', (cause: NodeJS.ErrnoException) => {
      const isStale = sent.reusedSocket && (cause.code === 'ECONNRESET' || cause.code === 'EPIPE')
      reject(isStale ? new StaleConnection('closed while idle', { cause }) : cause)
    })
    sent.end(body)
  })
}

/** Without ports and addresses, which differ from one time to the next; what is told should not. */
function wordsOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  return code !== undefined && /^E[A-Z]/.test(code) ? code : message
}
