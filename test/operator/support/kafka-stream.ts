/** What relays between a client and a Kafka are made of. */
import type { Socket } from 'node:net'

/** Cuts a stream into messages, each with its length (int32) before it. */
export class Frames {
  readonly #each: (frame: Buffer) => void
  #rest = Buffer.alloc(0)

  constructor(each: (frame: Buffer) => void) {
    this.#each = each
  }

  take(bytes: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, bytes])
    while (this.#rest.length >= 4) {
      const end = 4 + this.#rest.readInt32BE(0)
      if (this.#rest.length < end) return
      const frame = this.#rest.subarray(0, end)
      this.#rest = this.#rest.subarray(end)
      this.#each(frame)
    }
  }
}

/** Each of the two ends with the other, and is in the set until then. */
export function joinSockets(client: Socket, broker: Socket, open: Set<Socket>): void {
  for (const [socket, other] of [
    [client, broker],
    [broker, client],
  ] as const) {
    open.add(socket)
    socket.on('error', () => other.destroy())
    socket.on('close', () => {
      open.delete(socket)
      other.destroy()
    })
  }
}
