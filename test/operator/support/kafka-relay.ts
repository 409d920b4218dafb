/**
 * Stands between a client and a Kafka of one broker: it is what the client takes for that broker (the broker's address in
 * its answers is replaced by the relay's), sees each request, and can hold answers back.
 */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { freePort } from '../../../local/platform/free-port.ts'
import { atEnd } from '../../integration/support/clean-up.ts'
import { Frames, joinSockets } from './kafka-stream.ts'

/** By their numbers (kafka.apache.org/protocol); others are told as `request N`. */
const NAMES: Readonly<Record<number, string>> = {
  3: 'Metadata',
  19: 'CreateTopics',
  20: 'DeleteTopics',
  32: 'DescribeConfigs',
  37: 'CreatePartitions',
  44: 'IncrementalAlterConfigs',
}

const CHANGES: ReadonlySet<string> = new Set([
  'CreateTopics',
  'DeleteTopics',
  'CreatePartitions',
  'IncrementalAlterConfigs',
])

/** Whether a request of this name changes topics. */
export const changesTopics = (request: string): boolean => CHANGES.has(request)

/** Answers that Kafka gave and that the client does not have yet. */
export class Held {
  /** The name of the first of these requests, when Kafka has answered it. */
  readonly met: Promise<string>
  readonly #meet: (request: string) => void
  readonly #waiting: (() => void)[] = []
  #released = false

  constructor() {
    const { promise, resolve } = Promise.withResolvers<string>()
    this.met = promise
    this.#meet = resolve
  }

  take(request: string, give: () => void): void {
    if (this.#released) give()
    else this.#waiting.push(give)
    this.#meet(request)
  }

  /** Gives them, and holds nothing any more. */
  release(): void {
    this.#released = true
    for (const give of this.#waiting.splice(0)) give()
  }
}

type Rule = { readonly matches: (request: string) => boolean; readonly held: Held }

export class KafkaRelay {
  /** `host:port` */
  readonly address: string
  /** The names of all requests so far, in order. */
  readonly requests: string[] = []
  readonly #rules: Rule[] = []
  readonly #broker: Place
  readonly #own: Place

  readonly #sockets = new Set<Socket>()
  #server: Server | undefined

  private constructor(broker: Place, own: Place) {
    this.#broker = broker
    this.#own = own
    this.address = `${own.host}:${own.port}`
  }

  /** Gone when the test is. */
  static async start(t: TestContext, broker: string): Promise<KafkaRelay> {
    const [host = '', port = ''] = broker.split(':')
    if (host !== '127.0.0.1') throw new Error(`the relay takes a Kafka of 127.0.0.1, not ${broker}`)
    const relay = new KafkaRelay({ host, port: Number(port) }, { host: '127.0.0.1', port: await freePort() })
    await relay.begin()
    atEnd(t, () => relay.stop())
    return relay
  }

  /** Listens, on the same address after `stop`. */
  async begin(): Promise<void> {
    const server = createServer((client) => this.#serve(client)).listen(this.#own)
    await once(server, 'listening')
    this.#server = server
  }

  /** From now on nobody is there: connections break, and new ones are refused. */
  async stop(): Promise<void> {
    const server = this.#server
    if (server === undefined) return
    this.#server = undefined
    const closed = once(server, 'close')
    server.close()
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  /** From now on Kafka does what matches, and its answers are held. */
  hold(matches: (request: string) => boolean): Held {
    const held = new Held()
    this.#rules.unshift({ matches, held })
    return held
  }

  #serve(client: Socket): void {
    const sockets = this.#sockets
    const broker = connect({ ...this.#broker, noDelay: true })
    client.setNoDelay(true)
    const holding = new Map<number, { readonly name: string; readonly held: Held }>()
    const requests = new Frames((frame) => {
      const number = frame.readInt16BE(4)
      const name = NAMES[number] ?? `request ${number}`
      this.requests.push(name)
      const rule = this.#rules.find(({ matches }) => matches(name))
      // Behind its length: int16 of what, int16 version, int32 correlation id, which the answer begins with.
      if (rule !== undefined) holding.set(frame.readInt32BE(8), { name, held: rule.held })
      broker.write(frame)
    })
    const answers = new Frames((frame) => {
      const id = frame.readInt32BE(4)
      const waiting = holding.get(id)
      holding.delete(id)
      const give = (): unknown => client.write(withPlace(frame, this.#broker, this.#own))
      if (waiting === undefined) give()
      else waiting.held.take(waiting.name, give)
    })
    client.on('data', (bytes: Buffer) => requests.take(bytes))
    broker.on('data', (bytes: Buffer) => answers.take(bytes))
    joinSockets(client, broker, sockets)
  }
}

type Place = { readonly host: string; readonly port: number }

/** Kafka writes an address as the host's text and an int32 behind it; both places' hosts have the same length. */
function withPlace(frame: Buffer, from: Place, to: Place): Buffer {
  const [old, now] = [bytesOf(from), bytesOf(to)]
  const copy = Buffer.from(frame)
  for (let at = copy.indexOf(old); at >= 0; at = copy.indexOf(old, at + old.length)) now.copy(copy, at)
  return copy
}

function bytesOf({ host, port }: Place): Buffer {
  const bytes = Buffer.alloc(host.length + 4)
  bytes.write(host, 'latin1')
  bytes.writeInt32BE(port, host.length)
  return bytes
}
