/**
 * Clients that know nothing of each other: calls at a steady rate, whatever becomes of those before, until SIGTERM; then it
 * waits for the last answers and ends. A call's line is on disk before the request goes out, and another one when it has its status.
 *
 * Its one argument is a `ClientOptions` in JSON. It prints a `ClientReport` ten times a second.
 */
import { Metadata } from '@grpc/grpc-js'
import type { ServiceError } from '@grpc/grpc-js'
import { setTimeout as pause } from 'node:timers/promises'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { withKey } from '../integration/support/keyed.ts'
import { rawClient } from '../integration/support/service.ts'
import { callMix, HURRIED_MILLISECONDS } from './call-mix.ts'
import type { Asked } from './call-mix.ts'
import type { Answered, Sent } from './history.ts'
import { Ledger } from './ledger.ts'
import { LoopDelay } from './loop-delay.ts'

export interface ClientOptions {
  readonly name: string
  readonly seed: number
  readonly perSecond: number
  /** Ends by itself after so many calls. */
  readonly calls?: number
  /** Ports of the proxies. */
  readonly proxies: readonly number[]
  readonly ledger: string
}

export type ClientLine = ({ readonly event: 'sent' } & Sent) | ({ readonly event: 'answered' } & Answered)

export interface ClientReport {
  readonly inFlight: number
  /** Answered with OK, until now. */
  readonly ok: number
}

const REPORT_MILLISECONDS = 100
/** Whoever has a key asks again where nobody knows what became of the call. */
const KEYED_TRIES = 4
const KEYED_PAUSE_MILLISECONDS = 500

const options = JSON.parse(process.argv[2] ?? '') as ClientOptions
const ledger = new Ledger(options.ledger)
const loopDelay = new LoopDelay()
const clients = options.proxies.map((port) => rawClient(port))
const asked = callMix(options.name, options.seed)
let inFlight = 0
let ok = 0

const raw = (bytes: Buffer): Buffer => bytes
const write = (line: ClientLine): Promise<void> => ledger.write(line)

/** Makes one request; resolves with its status, which is on disk then. */
async function request(name: string, { request, method, deadlineMilliseconds }: Asked, target: number, key?: string) {
  const proxy = target % clients.length
  inFlight += 1
  const patience = deadlineMilliseconds ?? HURRIED_MILLISECONDS
  const ofProxy = deadlineMilliseconds === undefined
  await write({
    event: 'sent',
    at: Date.now(),
    request: name,
    call: request.call,
    keyed: key !== undefined,
    deadlineMilliseconds: patience,
    endedBy: ofProxy ? 'Proxy' : 'Client',
    proxy,
  })
  const started = performance.now()
  const answer = await new Promise<Answered>((resolve) => {
    let callId: string | undefined
    const call = clients[proxy]!.makeUnaryRequest(
      method,
      raw,
      raw,
      Buffer.from(JSON.stringify(request)),
      key === undefined ? new Metadata() : withKey(key),
      ofProxy ? {} : { deadline: Date.now() + deadlineMilliseconds },
      (error: ServiceError | null, reply?: Buffer) => {
        const milliseconds = performance.now() - started
        const loopDelayMilliseconds =
          milliseconds > patience ? loopDelay.since(ofProxy ? started : started + patience) : 0
        // The status event comes with or right after the callback: its metadata is wanted too.
        setImmediate(() =>
          resolve({
            request: name,
            at: Date.now(),
            milliseconds,
            loopDelayMilliseconds,
            code: error?.code ?? GrpcStatus.OK,
            details: error?.details ?? '',
            ...(reply !== undefined && { reply: reply.toString() }),
            ...(callId !== undefined && { callId }),
          }),
        )
      },
    )
    call.on('status', ({ metadata }: { readonly metadata: Metadata }) => {
      const [id] = metadata.get('grpc-kafka-call-id')
      if (id !== undefined) callId = String(id).replaceAll('-', '')
    })
  })
  await write({ event: 'answered', ...answer })
  inFlight -= 1
  if (answer.code === GrpcStatus.OK) ok += 1
  return answer
}

/** Asks again while a lost connection is all that is known. */
async function keyedRequest(name: string, one: Asked, first: number): Promise<void> {
  for (let attempt = 0; attempt < KEYED_TRIES; attempt++) {
    const answer = await request(`${name}.${attempt}`, one, first + attempt, one.request.call)
    if (answer.code !== GrpcStatus.UNAVAILABLE || answer.callId !== undefined) return
    await pause(KEYED_PAUSE_MILLISECONDS)
  }
}

async function begin(number: number, one: Asked): Promise<void> {
  const { call } = one.request
  const { againAfterMilliseconds } = one
  if (againAfterMilliseconds === undefined) {
    await request(call, one, number)
    return
  }
  await Promise.all([
    keyedRequest(`${call}.a`, one, number),
    pause(againAfterMilliseconds).then(() => keyedRequest(`${call}.b`, one, number + 1)),
  ])
}

const open = new Set<Promise<void>>()
let begun = 0
const ending = new AbortController()
const end = (): void => ending.abort()
process.on('SIGTERM', end)
const report = setInterval(
  () => process.stdout.write(`${JSON.stringify({ inFlight, ok } satisfies ClientReport)}\n`),
  REPORT_MILLISECONDS,
)
const startedAt = performance.now()
const making = setInterval(() => {
  const due = ((performance.now() - startedAt) / 1000) * options.perSecond
  for (; begun < Math.min(due, options.calls ?? Infinity); begun++) {
    const done = begin(begun, asked.next().value).finally(() => open.delete(done))
    open.add(done)
  }
  if (begun === options.calls) end()
}, 10)
await new Promise((resolve) => ending.signal.addEventListener('abort', resolve, { once: true }))
clearInterval(making)
while (open.size > 0) await Promise.all(open)
clearInterval(report)
loopDelay.stop()
for (const client of clients) client.close()
ledger.close()
process.off('SIGTERM', end)
