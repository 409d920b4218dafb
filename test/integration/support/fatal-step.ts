/**
 * Loaded before a sidecar's own modules: the process gets FATAL_SIGNAL (SIGKILL when not given), once, at FATAL_STEP of the call whose
 * request and reply hold FATAL_MARKER.
 *
 * - `claimed`: Redis has answered the claim; this process has not heard it yet
 * - `before-produce`: the record is about to go to Kafka
 * - `after-produce`: Kafka has acknowledged it
 * - `before-outcome`: the handler has answered; the outcome is about to go to Redis
 * - `after-outcome`: Redis has the outcome
 * - `handed-on`: Redis knows that another record has the next attempt; this process has not heard it yet
 */
import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import { Socket } from 'node:net'
import { Redis } from 'ioredis'
import { CLAIM } from '../../../sidecar/results/call-state.ts'
import type { Script } from '../../../sidecar/results/redis.ts'
import { HAND_ON } from '../../../sidecar/results/scripts.ts'

const step = process.env['FATAL_STEP'] ?? ''
const marker = process.env['FATAL_MARKER'] ?? ''
const signal = (process.env['FATAL_SIGNAL'] ?? 'SIGKILL') as NodeJS.Signals
const shaOf = ({ lua }: Script): string => createHash('sha1').update(lua).digest('hex')
const CLAIM_SHA = shaOf(CLAIM)
const HAND_ON_SHA = shaOf(HAND_ON)
let struck = false

function strike(at: string): void {
  if (at !== step || struck) return
  struck = true
  process.kill(process.pid, signal)
}

const isMarked = (bytes: unknown): boolean => Buffer.isBuffer(bytes) && bytes.includes(marker)

/** Correlation ids of produce requests with the call in them. */
const produced = new Set<number>()

type Write = (this: Socket, bytes: unknown, ...rest: unknown[]) => boolean
const write = Reflect.get(Socket.prototype, 'write') as Write
const watchedWrite: Write = function (this: Socket, bytes, ...rest) {
  if (Buffer.isBuffer(bytes) && isProduce(bytes) && isMarked(bytes)) {
    produced.add(bytes.readInt32BE(8))
    strike('before-produce')
  }
  return write.call(this, bytes, ...rest)
}
Reflect.set(Socket.prototype, 'write', watchedWrite)

/** A request of Kafka's protocol: its size, then API 0. */
const isProduce = (bytes: Buffer): boolean =>
  bytes.length > 12 && bytes.readInt32BE(0) === bytes.length - 4 && bytes.readInt16BE(4) === 0

interface RequestQueue {
  readonly inflight: ReadonlyMap<number, { readonly entry: { readonly apiName: string } }>
}
type Fulfill = (this: RequestQueue, answer: { readonly correlationId: number }) => void
const { prototype } = createRequire(import.meta.url)('kafkajs/src/network/requestQueue') as {
  readonly prototype: object
}
const fulfill = Reflect.get(prototype, 'fulfillRequest') as Fulfill
const watchedFulfill: Fulfill = function (this: RequestQueue, answer) {
  const isAnswer = this.inflight.get(answer.correlationId)?.entry.apiName === 'Produce'
  if (isAnswer && produced.has(answer.correlationId)) strike('after-produce')
  fulfill.call(this, answer)
}
Reflect.set(prototype, 'fulfillRequest', watchedFulfill)

type SendCommand = (this: Redis, ...args: Parameters<Redis['sendCommand']>) => unknown
const sendCommand: SendCommand = Reflect.get(Redis.prototype, 'sendCommand')
Redis.prototype.sendCommand = function (this: Redis, command, stream) {
  const isScript = command.name === 'evalsha' || command.name === 'eval'
  if (isScript && command.args.some(isMarked)) {
    strike('before-outcome')
    command.promise.then(
      () => strike('after-outcome'),
      () => undefined,
    )
  }
  // These hold no request and no marker: the first one is meant.
  for (const [sha, at] of [
    [CLAIM_SHA, 'claimed'],
    [HAND_ON_SHA, 'handed-on'],
  ] as const) {
    if (!isScript || command.args[0] !== sha) continue
    command.promise.then(
      () => strike(at),
      () => undefined,
    )
  }
  return sendCommand.call(this, command, stream)
}
