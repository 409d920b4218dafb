/**
 * Loaded before a sidecar's own modules: the process gets FATAL_SIGNAL (SIGKILL when not given), once, at FATAL_STEP of the call whose
 * request and reply hold FATAL_MARKER.
 *
 * - `claimed`: Redis has answered the claim; this process has not heard it yet
 * - `before-produce`: the record is about to go to Kafka
 * - `after-produce`: Kafka has acknowledged it
 * - `before-outcome`: the handler has answered; the outcome is about to go to Redis
 * - `after-outcome`: Redis has the outcome
 */
import { createHash } from 'node:crypto'
import { Redis } from 'ioredis'
import { Kafka } from 'kafkajs'
import type { Producer, ProducerConfig } from 'kafkajs'
import { CLAIM } from '../../../sidecar/results/call-state.ts'

const step = process.env['FATAL_STEP'] ?? ''
const marker = process.env['FATAL_MARKER'] ?? ''
const signal = (process.env['FATAL_SIGNAL'] ?? 'SIGKILL') as NodeJS.Signals
const CLAIM_SHA = createHash('sha1').update(CLAIM.lua).digest('hex')
let struck = false

function strike(at: string): void {
  if (at !== step || struck) return
  struck = true
  process.kill(process.pid, signal)
}

const isMarked = (bytes: unknown): boolean => Buffer.isBuffer(bytes) && bytes.includes(marker)

type MakeProducer = (this: Kafka, config?: ProducerConfig) => Producer
const makeProducer: MakeProducer = Reflect.get(Kafka.prototype, 'producer')
Kafka.prototype.producer = function (this: Kafka, config) {
  const producer = makeProducer.call(this, config)
  const sendBatch = producer.sendBatch.bind(producer)
  producer.sendBatch = async (batch) => {
    const messages = (batch.topicMessages ?? []).flatMap((one) => one.messages) as { readonly recordBatch?: Buffer }[]
    const marked = messages.some(({ recordBatch }) => isMarked(recordBatch))
    if (marked) strike('before-produce')
    const answer = await sendBatch(batch)
    if (marked) strike('after-produce')
    return answer
  }
  return producer
}

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
  // A claim holds a hash of the request and no marker: the first one is meant.
  if (isScript && command.args[0] === CLAIM_SHA) {
    command.promise.then(
      () => strike('claimed'),
      () => undefined,
    )
  }
  return sendCommand.call(this, command, stream)
}
