import { connect, createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { atEnd } from './clean-up.ts'

/** Stands between sidecars and Redis, and can make connections half open: what Redis says there is lost. */
export class DeafeningRelay {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #mute = new WeakSet<Socket>()
  readonly #subscribers = new Set<Socket>()
  #deaf = false
  lost = 0

  private constructor(redisUrl: string) {
    const { hostname, port } = new URL(redisUrl)
    this.#server = createServer((client) => {
      const redis = connect({ host: hostname, port: Number(port), noDelay: true })
      let subscribed = false
      client.setNoDelay(true)
      client.on('data', (bytes: Buffer) => {
        subscribed ||= bytes.includes('subscribe')
        if (subscribed) this.#subscribers.add(redis)
        redis.write(bytes)
      })
      redis.on('data', (bytes: Buffer) => {
        if ((subscribed && this.#deaf) || this.#mute.has(redis)) this.lost += 1
        else client.write(bytes)
      })
      for (const [socket, other] of [
        [client, redis],
        [redis, client],
      ] as const) {
        this.#sockets.add(socket)
        socket.on('error', () => other.destroy())
        socket.on('close', () => {
          this.#sockets.delete(socket)
          other.destroy()
        })
      }
    })
  }

  static async start(t: TestContext, redisUrl: string): Promise<DeafeningRelay> {
    const relay = new DeafeningRelay(redisUrl)
    await new Promise<void>((resolve) => relay.#server.listen(0, '127.0.0.1', resolve))
    atEnd(t, () => relay.#close())
    return relay
  }

  get url(): string {
    return `redis://127.0.0.1:${(this.#server.address() as { port: number }).port}`
  }

  /** From now on nothing reaches those who subscribed, and no connection breaks. */
  deafen(): void {
    this.#deaf = true
  }

  /** From now on nothing reaches those who have subscribed until now, and no connection breaks; new ones work. */
  deafenOpen(): void {
    for (const socket of this.#subscribers) this.#mute.add(socket)
  }

  /** From now on nothing comes back on the connections that are open, and none breaks; new ones work. */
  mute(): void {
    for (const socket of this.#sockets) this.#mute.add(socket)
  }

  #close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }
}
