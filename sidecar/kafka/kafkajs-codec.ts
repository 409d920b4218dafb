/**
 * Lets kafkajs send record batches that are encoded already. The module of kafkajs 2.2.4 that writes Produce requests is
 * wrapped, which works as long as it was not used before; messages of another kind are written as ever.
 */
import { createRequire } from 'node:module'

/** Given to kafkajs in the place of a message: all records for one partition. */
export interface EncodedBatch {
  /** kafkajs asks that there is one. */
  readonly value: Buffer
  /** Read once, when the request is written and thus about to be sent. */
  readonly recordBatch: Buffer
}

interface ProduceRequest {
  readonly acks: number
  readonly timeout: number
  readonly transactionalId?: string | null
  readonly topicData: readonly {
    readonly topic: string
    readonly partitions: readonly { readonly partition: number; readonly messages: readonly object[] }[]
  }[]
}

/** What kafkajs takes for an encoder of its own. */
interface Encoded {
  readonly buf: Buffer
  readonly buffer: Buffer
}

type WriteProduce = (request: ProduceRequest) => { encode(): Promise<Encoded> }

/** Versions 4 to 7 are written by version 3's code. */
const PRODUCE_REQUEST = 'kafkajs/src/protocol/requests/produce/v3/request'
let installed = false

export function acceptEncodedBatches(): void {
  if (installed) return
  installed = true
  const require = createRequire(import.meta.url)
  const original = require(PRODUCE_REQUEST) as WriteProduce
  const module = require.cache[require.resolve(PRODUCE_REQUEST)]
  if (module === undefined) throw new Error('kafkajs has no module to wrap')
  const wrapped: WriteProduce = (request) => {
    const standard = original(request)
    return {
      ...standard,
      encode: () => {
        const bytes = encodeBody(request)
        return bytes === undefined ? standard.encode() : Promise.resolve({ buf: bytes, buffer: bytes })
      },
    }
  }
  module.exports = wrapped
}

/**
 * transactional_id => NULLABLE_STRING, acks => INT16, timeout => INT32, [topic => STRING, [partition => INT32, record_set
 * => BYTES]] (kafka.apache.org/protocol, Produce).
 * @returns undefined when there is anything but one encoded batch for each partition.
 */
function encodeBody({ acks, timeout, transactionalId, topicData }: ProduceRequest): Buffer | undefined {
  if (transactionalId != null) return undefined
  const partitionsOf = topicData.flatMap(({ partitions }) => partitions)
  if (!partitionsOf.every(({ messages }) => messages.length === 1 && isEncoded(messages[0]))) return undefined
  const batches = partitionsOf.map(({ messages }) => (messages[0] as EncodedBatch).recordBatch)

  const names = topicData.map(({ topic }) => Buffer.from(topic))
  let size = 12
  for (const name of names) size += 6 + name.length
  for (const batch of batches) size += 8 + batch.length
  const bytes = Buffer.allocUnsafe(size)
  bytes.writeInt16BE(-1, 0)
  bytes.writeInt16BE(acks, 2)
  bytes.writeInt32BE(timeout, 4)
  bytes.writeInt32BE(topicData.length, 8)
  let at = 12
  let next = 0
  topicData.forEach(({ partitions }, index) => {
    const name = names[index] as Buffer
    bytes.writeInt16BE(name.length, at)
    bytes.set(name, at + 2)
    bytes.writeInt32BE(partitions.length, at + 2 + name.length)
    at += 6 + name.length
    for (const { partition } of partitions) {
      const batch = batches[next++] as Buffer
      bytes.writeInt32BE(partition, at)
      bytes.writeInt32BE(batch.length, at + 4)
      bytes.set(batch, at + 8)
      at += 8 + batch.length
    }
  })
  return bytes
}

const isEncoded = (message: object | undefined): boolean => message !== undefined && 'recordBatch' in message
