/** A Kafka broker of one topic with one partition, as far as a producer's requests go, that does as it is told. */
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'

const PRODUCE = 0
const METADATA = 3
const API_VERSIONS = 18

/** Error codes of the protocol (kafka.apache.org/protocol, "Error Codes"). */
export const KafkaCode = {
  NONE: 0,
  UNKNOWN_TOPIC_OR_PARTITION: 3,
  LEADER_NOT_AVAILABLE: 5,
  NOT_LEADER_FOR_PARTITION: 6,
  REQUEST_TIMED_OUT: 7,
  MESSAGE_TOO_LARGE: 10,
  RECORD_LIST_TOO_LARGE: 18,
  NOT_ENOUGH_REPLICAS: 19,
  NOT_ENOUGH_REPLICAS_AFTER_APPEND: 20,
  POLICY_VIOLATION: 44,
  KAFKA_STORAGE_ERROR: 56,
  INVALID_RECORD: 87,
} as const

/** What becomes of a produce request once the broker has all of it. */
export type OnProduce = { readonly answer: number } | 'close' | 'close and be gone' | 'close and have no leader'

const int16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2)
  bytes.writeInt16BE(value)
  return bytes
}
const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}
const string = (value: string): Buffer => Buffer.concat([int16(value.length), Buffer.from(value)])
const array = (...items: readonly Buffer[]): Buffer => Buffer.concat([int32(items.length), ...items])

export class FakeBroker {
  readonly #server: net.Server
  readonly #topic: string
  readonly #sockets = new Set<net.Socket>()
  #topicError: number = KafkaCode.NONE
  onProduce: OnProduce = { answer: KafkaCode.NONE }
  /** Requests to produce that came in whole. */
  produced = 0

  private constructor(topic: string) {
    this.#topic = topic
    this.#server = net.createServer((socket) => this.#serve(socket))
  }

  static async start(topic: string): Promise<FakeBroker> {
    const broker = new FakeBroker(topic)
    broker.#server.listen(0, '127.0.0.1')
    await once(broker.#server, 'listening')
    return broker
  }

  get #port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`
  }

  stop(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  #serve(socket: net.Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => this.#sockets.delete(socket))
    let pending = Buffer.alloc(0)
    socket.on('data', (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk])
      while (pending.length >= 4 && pending.length >= 4 + pending.readInt32BE(0)) {
        const end = 4 + pending.readInt32BE(0)
        this.#request(socket, pending.subarray(4, end))
        pending = pending.subarray(end)
      }
    })
  }

  #request(socket: net.Socket, request: Buffer): void {
    const body = this.#answer(request.readInt16BE(0))
    if (body === undefined) {
      socket.destroy()
      return
    }
    const correlation = request.subarray(4, 8)
    socket.write(Buffer.concat([int32(correlation.length + body.length), correlation, body]))
  }

  #answer(api: number): Buffer | undefined {
    switch (api) {
      case API_VERSIONS: {
        const versions = [
          [PRODUCE, 3, 3],
          [METADATA, 0, 0],
          [API_VERSIONS, 0, 2],
        ].map((range) => Buffer.concat(range.map(int16)))
        return Buffer.concat([int16(0), array(...versions), int32(0)])
      }
      case METADATA: {
        const node = Buffer.concat([int32(1), string('127.0.0.1'), int32(this.#port)])
        const partition = Buffer.concat([int16(0), int32(0), int32(1), array(int32(1)), array(int32(1))])
        return Buffer.concat([
          array(node),
          array(Buffer.concat([int16(this.#topicError), string(this.#topic), array(partition)])),
        ])
      }
      case PRODUCE:
        return this.#produce()
      default:
        throw new Error(`the fake broker does not know API ${api}`)
    }
  }

  #produce(): Buffer | undefined {
    this.produced += 1
    if (this.onProduce === 'close and be gone') this.stop()
    if (this.onProduce === 'close and have no leader') this.#topicError = KafkaCode.LEADER_NOT_AVAILABLE
    if (typeof this.onProduce === 'string') return undefined
    const partition = Buffer.concat([int32(0), int16(this.onProduce.answer), Buffer.alloc(8), Buffer.alloc(8, 0xff)])
    return Buffer.concat([array(Buffer.concat([string(this.#topic), array(partition)])), int32(0)])
  }
}
