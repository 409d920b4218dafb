/** W3C Trace Context (w3.org/TR/trace-context): carried as it came, and left out when it is malformed. */
import type { Metadata } from '@grpc/grpc-js'

const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[\x20-\x7e]{0,200})?$/
/** The recommendation asks that at least this much is passed on; more is not. */
const MAX_TRACESTATE = 512

export interface TraceContext {
  readonly traceparent?: string
  readonly tracestate?: string
}

const NONE: TraceContext = {}

export function traceContext(metadata: Metadata): TraceContext {
  const [traceparent, ...others] = metadata.get('traceparent')
  if (typeof traceparent !== 'string' || others.length > 0 || !TRACEPARENT.test(traceparent)) return NONE
  if (traceparent.startsWith('00') && traceparent.length !== 55) return NONE
  const tracestate = metadata.get('tracestate').join(',')
  return tracestate === '' || tracestate.length > MAX_TRACESTATE ? { traceparent } : { traceparent, tracestate }
}
