import type { Server } from '@grpc/grpc-js'
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import { GrpcStatus } from '../errors.ts'
import type { Counter, Metrics } from '../telemetry/metrics.ts'
import { http2ServersOf } from './http2-servers.ts'

/** Trailing metadata of every answer of ours: what `grpc-kafka calls show` and the logs know the call by. */
export const CALL_ID = 'grpc-kafka-call-id'

/** Standard services, and our own: their answers have no call id. */
const OTHER_SERVICES = ['/grpc.', '/grpckafka.']

/**
 * Counts what grpc-js refuses by itself, before any layer of ours sees it: an undeclared method, a message over the limit,
 * a compression that it does not know. It tells nobody; but such an answer has its status in its first headers and has no
 * call id. A passed deadline and a client that went away are ours to count, what is asked of health, reflection and Calls is nobody's.
 * To be called once the server is bound.
 */
export function countUnservedRequests(server: Server, metrics: Metrics): void {
  const counter = (reason: string): Counter => metrics.counter('grpc_kafka_unserved_requests_total', { reason })
  const byStatus = new Map<number, Counter>([
    [GrpcStatus.UNIMPLEMENTED, counter('unimplemented')],
    [GrpcStatus.RESOURCE_EXHAUSTED, counter('too_large')],
  ])
  const malformed = counter('malformed')
  const others: ReadonlySet<number> = new Set([GrpcStatus.OK, GrpcStatus.CANCELLED, GrpcStatus.DEADLINE_EXCEEDED])

  function count(this: ServerHttp2Stream): void {
    const { sentHeaders } = this
    if (sentHeaders === undefined) return
    const status = sentHeaders['grpc-status']
    if (status === undefined ? sentHeaders[':status'] === 200 : sentHeaders[CALL_ID] !== undefined) return
    if (!others.has(Number(status))) (byStatus.get(Number(status)) ?? malformed).inc()
  }

  for (const http2Server of http2ServersOf(server).keys()) {
    http2Server.prependListener('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      const path = headers[':path'] ?? ''
      if (!OTHER_SERVICES.some((service) => path.startsWith(service))) stream.once('close', count)
    })
  }
}
