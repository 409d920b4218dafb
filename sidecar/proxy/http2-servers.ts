import type { Server } from '@grpc/grpc-js'
import type { Http2Server, ServerHttp2Session } from 'node:http2'

/**
 * The HTTP/2 servers of a grpc-js 1.14 server, each with its connections: a private field, reached from here only. A live map, empty
 * until the server is bound.
 */
export function http2ServersOf(
  server: Server,
): ReadonlyMap<Http2Server, { readonly sessions: ReadonlySet<ServerHttp2Session> }> {
  return (server as unknown as { readonly http2Servers: ReturnType<typeof http2ServersOf> }).http2Servers
}
