/** Kafka as one that is too old would show itself: a relay before a real one that changes what it says it knows. */
import { connect, createServer, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { atEnd } from '../../integration/support/clean-up.ts'
import { Frames, joinSockets } from './kafka-stream.ts'

const API_VERSIONS = 18

/**
 * A reply to ApiVersions v0 to v2 (correlation id, error, [api key, lowest, highest]) in which these requests are known up
 * to these versions only.
 */
function lowered(reply: Buffer, highest: ReadonlyMap<number, number>): Buffer {
  const changed = Buffer.from(reply)
  const count = changed.readInt32BE(10)
  for (let at = 14; at < 14 + 6 * count; at += 6) {
    const most = highest.get(changed.readInt16BE(at))
    if (most !== undefined) changed.writeInt16BE(most, at + 4)
  }
  return changed
}

/**
 * Answers `host:port`. Whoever connects there is told by ApiVersions of lower versions than Kafka has; all else is Kafka's
 * own.
 */
export async function startOldKafka(
  t: TestContext,
  server: string,
  highest: ReadonlyMap<number, number>,
): Promise<string> {
  const sockets = new Set<Socket>()
  const relay = createServer((client) => {
    const port = Number(server.slice(server.lastIndexOf(':') + 1))
    const kafka = connect({ host: server.slice(0, server.lastIndexOf(':')), port })
    const asked = new Set<number>()
    const requests = new Frames((request) => {
      if (request.readInt16BE(4) === API_VERSIONS) asked.add(request.readInt32BE(8))
    })
    const replies = new Frames((reply) => {
      client.write(asked.delete(reply.readInt32BE(4)) ? lowered(reply, highest) : reply)
    })
    client.on('data', (bytes: Buffer) => {
      requests.take(bytes)
      kafka.write(bytes)
    })
    kafka.on('data', (bytes: Buffer) => replies.take(bytes))
    joinSockets(client, kafka, sockets)
  })
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve))
  atEnd(t, () => {
    relay.close()
    for (const socket of sockets) socket.destroy()
  })
  return `127.0.0.1:${(relay.address() as { readonly port: number }).port}`
}
