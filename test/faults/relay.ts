import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { Server, Socket } from 'node:net'

/** Stands between sidecars and a server, and can cut connections or make them slow. */
export class Relay {
  readonly #server: Server
  readonly #target: { readonly host: string; readonly port: number }
  readonly #sockets = new Set<Socket>()
  #isCut = false
  #delayMilliseconds = 0
  #held = 0

  private constructor(target: string) {
    const [host = '', port = ''] = target.split(':')
    this.#target = { host, port: Number(port) }
    this.#server = createServer((client) => this.#serve(client))
  }

  /** @param target `host:port` */
  static async start(port: number, target: string): Promise<Relay> {
    const relay = new Relay(target)
    relay.#server.listen(port, '127.0.0.1')
    await once(relay.#server, 'listening')
    return relay
  }

  /** @returns how many connections there are. */
  get connections(): number {
    return this.#sockets.size / 2
  }

  /** Pieces that wait for their time. */
  get held(): number {
    return this.#held
  }

  /** From now on nobody gets through: connections break, and new ones end at once. */
  cut(): void {
    this.#isCut = true
    for (const socket of this.#sockets) socket.destroy()
  }

  mend(): void {
    this.#isCut = false
  }

  /** From now on bytes of either direction are so much later; their order stays. */
  slow(delayMilliseconds: number): void {
    this.#delayMilliseconds = delayMilliseconds
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.cut()
    await closed
  }

  #serve(client: Socket): void {
    if (this.#isCut) {
      client.destroy()
      return
    }
    const server = connect({ ...this.#target, noDelay: true })
    client.setNoDelay(true)
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(socket)
      this.#pass(socket, other)
      socket.on('error', () => other.destroy())
      socket.on('close', () => {
        this.#sockets.delete(socket)
        other.destroy()
      })
    }
  }

  #pass(from: Socket, to: Socket): void {
    const waiting: { readonly due: number; readonly bytes: Buffer }[] = []
    const give = (): void => {
      for (;;) {
        const [first] = waiting
        if (first === undefined) return
        const left = first.due - performance.now()
        if (left > 0) {
          setTimeout(give, left)
          return
        }
        waiting.shift()
        this.#held -= 1
        to.write(first.bytes)
      }
    }
    from.on('data', (bytes: Buffer) => {
      if (waiting.length === 0 && this.#delayMilliseconds === 0) {
        to.write(bytes)
        return
      }
      this.#held += 1
      waiting.push({ due: performance.now() + this.#delayMilliseconds, bytes })
      // The others are given after the first, whenever they are due.
      if (waiting.length === 1) give()
    })
  }
}
