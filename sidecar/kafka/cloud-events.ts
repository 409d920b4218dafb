/**
 * A call as a CloudEvent: CloudEvents 1.0, Kafka protocol binding, binary content mode (github.com/cloudevents/spec,
 * bindings/kafka-protocol-binding.md). They stand beside our own headers, and no part of ours reads them.
 */
import { formatCallId } from '../call-id.ts'
import type { CallId } from '../call-id.ts'
import type { OutgoingRecord } from './record.ts'

/**
 * @param method `package.Service/Method`
 * @param time milliseconds since 1970 on the shared clock
 */
export function cloudEventHeaders(id: CallId, method: string, time: number): OutgoingRecord['headers'] {
  const service = method.slice(0, method.indexOf('/'))
  return {
    ce_specversion: '1.0',
    ce_id: formatCallId(id),
    // A URI reference (RFC 3986): the path under which gRPC knows the service.
    ce_source: `/${service}`,
    ce_type: method.replace('/', '.'),
    ce_time: new Date(time).toISOString(),
    'content-type': 'application/protobuf',
  }
}
