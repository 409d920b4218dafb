/** What a refusal tells a client that can wait: `grpc-retry-pushback-ms` (gRFC A6) for gRPC libraries, RetryInfo for programs. */
import { Metadata } from '@grpc/grpc-js'
import { encodeStatus, retryInfo } from './status-details.ts'

export function pushback(status: number, message: string, retryAfterMilliseconds: number): Metadata {
  const metadata = new Metadata()
  metadata.set('grpc-retry-pushback-ms', String(retryAfterMilliseconds))
  metadata.set('grpc-status-details-bin', encodeStatus(status, message, retryInfo(retryAfterMilliseconds)))
  return metadata
}
