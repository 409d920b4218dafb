/** A Kafka broker of one topic, which leads all its partitions, as far as a producer's requests go, that does as it is told. */
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
  TOPIC_AUTHORIZATION_FAILED: 29,
  POLICY_VIOLATION: 44,
  KAFKA_STORAGE_ERROR: 56,
  INVALID_RECORD: 87,
} as const

/** What becomes of a produce request once the broker has all of it. */
export type OnProduce =
  { readonly answer: number } | 'silence' | 'close' | 'close and be gone' | 'close and have no leader'

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
  readonly #partitions: number
  readonly #sockets = new Set<net.Socket>()
  #topicError: number = KafkaCode.NONE
  onProduce: OnProduce = { answer: KafkaCode.NONE }
  /** Partitions that answer otherwise. */
  readonly refusing = new Map<number, number>()
  /** Partitions that nobody leads. */
  readonly leaderless = new Set<number>()
  /** Left without an answer while true. */
  metadataSilent = false
  /** The first request of a connection, likewise: a process that stands still, on a machine that does not. */
  versionsSilent = false
  /** Of the next answer to a question about the topics only so many bytes are sent. */
  metadataCutTo: number | undefined
  /** Partitions of the requests to produce that came in whole. */
  readonly producedTo: number[] = []
  connectionsSoFar = 0

  private constructor(topic: string, partitions: number) {
    this.#topic = topic
    this.#partitions = partitions
    this.#server = net.createServer((socket) => this.#serve(socket))
  }

  static async start(topic: string, partitions = 1): Promise<FakeBroker> {
    const broker = new FakeBroker(topic, partitions)
    broker.#server.listen(0, '127.0.0.1')
    await once(broker.#server, 'listening')
    return broker
  }

  get #port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get produced(): number {
    return this.producedTo.length
  }

  get connections(): number {
    return this.#sockets.size
  }

  set topicError(code: number) {
    this.#topicError = code
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
    this.connectionsSoFar += 1
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
    const body = this.#answer(request)
    if (body === 'silence') return
    if (body === undefined) {
      socket.destroy()
      return
    }
    const correlation = request.subarray(4, 8)
    const reply = Buffer.concat([int32(correlation.length + body.length), correlation, body])
    const isCut = this.metadataCutTo !== undefined && request.readInt16BE(0) === METADATA
    socket.write(isCut ? reply.subarray(0, this.metadataCutTo) : reply)
    if (isCut) this.metadataCutTo = undefined
  }

  #answer(request: Buffer): Buffer | 'silence' | undefined {
    const api = request.readInt16BE(0)
    switch (api) {
      case API_VERSIONS: {
        if (this.versionsSilent) return 'silence'
        const versions = [
          [PRODUCE, 3, 3],
          [METADATA, 0, 0],
          [API_VERSIONS, 0, 2],
        ].map((range) => Buffer.concat(range.map(int16)))
        return Buffer.concat([int16(0), array(...versions), int32(0)])
      }
      case METADATA: {
        const node = Buffer.concat([int32(1), string('127.0.0.1'), int32(this.#port)])
        if (this.metadataSilent) return 'silence'
        const partitions = Array.from({ length: this.#partitions }, (_, number) =>
          Buffer.concat([
            int16(0),
            int32(number),
            int32(this.leaderless.has(number) ? -1 : 1),
            array(int32(1)),
            array(int32(1)),
          ]),
        )
        return Buffer.concat([
          array(node),
          array(Buffer.concat([int16(this.#topicError), string(this.#topic), array(...partitions)])),
        ])
      }
      case PRODUCE:
        return this.#produce(partitionOf(request))
      default:
        throw new Error(`the fake broker does not know API ${api}`)
    }
  }

  #produce(number: number): Buffer | 'silence' | undefined {
    this.producedTo.push(number)
    if (this.onProduce === 'close and be gone') this.stop()
    if (this.onProduce === 'close and have no leader') this.#topicError = KafkaCode.LEADER_NOT_AVAILABLE
    if (this.onProduce === 'silence') return 'silence'
    if (typeof this.onProduce === 'string') return undefined
    const code = this.refusing.get(number) ?? this.onProduce.answer
    const partition = Buffer.concat([int32(number), int16(code), Buffer.alloc(8), Buffer.alloc(8, 0xff)])
    return Buffer.concat([array(Buffer.concat([string(this.#topic), array(partition)])), int32(0)])
  }
}

/** Of a request to produce one batch: behind the client's name, 12 bytes, the topic's name and a count. */
function partitionOf(request: Buffer): number {
  const topicAt = 10 + request.readInt16BE(8) + 12
  return request.readInt32BE(topicAt + 2 + request.readInt16BE(topicAt) + 4)
}
