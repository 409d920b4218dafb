/**
 * The load generator: a bare grpc-js client with one channel (one HTTP/2 connection) to each target. It checks every
 * reply.
 */
import { randomBytes } from 'node:crypto'
import { createHistogram } from 'node:perf_hooks'
import type { RecordableHistogram } from 'node:perf_hooks'
import { Client, Metadata, credentials } from '@grpc/grpc-js'
import { METHOD_NAME, isReplyTo, pathOf } from './echo.ts'
import type { MethodName } from './echo.ts'
import { serve } from './program.ts'

interface Common {
  /** The 99th percentile is that of all loads with the same key so far. */
  readonly key: string
  readonly port: number
  /** Of each request, and of its reply. */
  readonly bytes: number
  /** Default: `METHOD_NAME`. */
  readonly method?: MethodName
  /** Each call has an idempotency key of its own. */
  readonly keyed?: boolean
  /** Every request is the same. */
  readonly same?: boolean
  /** How long calls are begun; those begun are waited for. */
  readonly milliseconds: number
}
/** So many callers, each with its next call when the last one is answered. */
export interface ClosedLoop extends Common {
  readonly kind: 'Closed'
  readonly concurrency: number
  /** Ends earlier when so many are answered. */
  readonly calls?: number
}
/**
 * Calls begin at random times (a Poisson process), whatever becomes of those before. A latency counts from the time at
 * which the call was to begin, so that a generator held up counts what its callers would have waited (no coordinated
 * omission).
 */
export interface OpenLoop extends Common {
  readonly kind: 'Open'
  readonly callsPerSecond: number
}
export type Load = ClosedLoop | OpenLoop

export interface LoadResult {
  readonly calls: number
  readonly seconds: number
  /** Of this load, milliseconds. */
  readonly p50: number
  /** Of all loads with this key so far, milliseconds. */
  readonly p99OfAll: number
}

const CALL_MILLISECONDS = 30_000
const raw = (bytes: Buffer): Buffer => bytes
const clients = new Map<number, Client>()
const histograms = new Map<string, RecordableHistogram>()
/** Keys of other runs are not ours. */
const RUN = randomBytes(8).toString('hex')
let numbered = 0n

serve(async (load: Load): Promise<LoadResult> => {
  const latencies = createHistogram({ figures: 3 })
  const run = new Run(load, latencies)
  const began = performance.now()
  await (load.kind === 'Closed' ? closedLoop(load, run) : openLoop(load, run))
  const seconds = (performance.now() - began) / 1000
  const all = histograms.get(load.key)
  if (all === undefined) histograms.set(load.key, latencies)
  else all.add(latencies)
  const milliseconds = (histogram: RecordableHistogram, percentile: number) => histogram.percentile(percentile) / 1e6
  return {
    calls: run.calls,
    seconds,
    p50: milliseconds(latencies, 50),
    p99OfAll: milliseconds(all ?? latencies, 99),
  }
})

class Run {
  readonly #client: Client
  readonly #template: Buffer
  readonly #histogram: RecordableHistogram
  readonly #path: string
  readonly #keyed: boolean
  readonly #same: boolean
  calls = 0

  constructor(
    { port, bytes, method = METHOD_NAME, keyed = false, same = false }: Load,
    histogram: RecordableHistogram,
  ) {
    let client = clients.get(port)
    if (client === undefined) {
      client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 })
      clients.set(port, client)
    }
    this.#client = client
    this.#template = same ? Buffer.alloc(bytes) : randomBytes(bytes)
    this.#path = pathOf(method)
    this.#keyed = keyed
    this.#same = same
    this.#histogram = histogram
  }

  /** @param from what the latency counts from, monotonic milliseconds. */
  call(from: number, done: (error: Error | undefined) => void): void {
    const request = Buffer.from(this.#template)
    const number = numbered++
    if (!this.#same) request.writeBigUInt64BE(number)
    const metadata = new Metadata()
    if (this.#keyed) metadata.set('idempotency-key', `${RUN}-${number}`)
    const deadline = Date.now() + CALL_MILLISECONDS
    this.#client.makeUnaryRequest<Buffer, Buffer>(
      this.#path,
      raw,
      raw,
      request,
      metadata,
      { deadline },
      (error, reply) => {
        this.#histogram.record(Math.max(1, Math.round((performance.now() - from) * 1e6)))
        this.calls++
        if (error !== null) done(error)
        else if (reply === undefined || !isReplyTo(request, reply))
          done(new Error('a reply belongs to another request'))
        else done(undefined)
      },
    )
  }
}

function closedLoop({ concurrency, milliseconds, calls = Infinity }: ClosedLoop, run: Run): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = performance.now() + milliseconds
    let callers = concurrency
    const next = (error: Error | undefined): void => {
      if (error !== undefined) {
        reject(error)
        return
      }
      const now = performance.now()
      if (now < end && run.calls < calls) run.call(now, next)
      else if (--callers === 0) resolve()
    }
    for (let caller = 0; caller < concurrency; caller++) run.call(performance.now(), next)
  })
}

function openLoop({ callsPerSecond, milliseconds }: OpenLoop, run: Run): Promise<void> {
  return new Promise((resolve, reject) => {
    const pause = (): number => (-Math.log(1 - Math.random()) * 1000) / callsPerSecond
    let intended = performance.now()
    const end = intended + milliseconds
    let outstanding = 0
    const done = (error: Error | undefined): void => {
      outstanding--
      if (error !== undefined) reject(error)
      else if (outstanding === 0 && intended >= end) resolve()
    }
    const tick = (): void => {
      const now = performance.now()
      for (; intended <= now && intended < end; intended += pause()) {
        outstanding++
        run.call(intended, done)
      }
      if (intended < end) setTimeout(tick, intended - now)
    }
    tick()
  })
}
