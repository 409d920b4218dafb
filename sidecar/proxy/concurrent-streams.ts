import type { Server } from '@grpc/grpc-js'
import type { ServerHttp2Session } from 'node:http2'
import { http2ServersOf } from './http2-servers.ts'

/**
 * How many streams a client's connection may hold. grpc-js takes the number when a server is made; here the connections
 * that are there, and those that come, are told another one.
 */
export class ConcurrentStreams {
  readonly #http2Servers: ReturnType<typeof http2ServersOf>
  readonly #toBeTold = new WeakSet<ServerHttp2Session>()
  #streams = 0

  constructor(server: Server) {
    this.#http2Servers = http2ServersOf(server)
  }

  change(streams: number): void {
    this.#streams = streams
    for (const [http2Server, { sessions }] of this.#http2Servers) {
      http2Server.updateSettings({ maxConcurrentStreams: streams })
      for (const session of sessions) this.#tell(session)
    }
  }

  #tell(session: ServerHttp2Session): void {
    if (session.closed || session.destroyed || this.#toBeTold.has(session)) return
    if (!session.pendingSettingsAck) {
      session.settings({ maxConcurrentStreams: this.#streams })
      return
    }
    // node:http2 ends a connection on which more than ten settings wait for the client's word.
    this.#toBeTold.add(session)
    session.once('localSettings', () => {
      this.#toBeTold.delete(session)
      this.#tell(session)
    })
  }
}
