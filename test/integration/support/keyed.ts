import { Metadata } from '@grpc/grpc-js'
import { keyedCallId } from '../../../sidecar/call-id.ts'
import type { CallId } from '../../../sidecar/call-id.ts'
import { METHOD, SERVICE_NAME } from './service.ts'

/** Request metadata with an idempotency key, several when given several. All files have one Redis: a key is that of one test alone. */
export function withKey(...keys: readonly string[]): Metadata {
  const metadata = new Metadata()
  for (const key of keys) metadata.add('idempotency-key', key)
  return metadata
}

/** The id of the call that an anonymous caller makes with the key. */
export const idOfKey = (key: string): CallId => keyedCallId(SERVICE_NAME, '', METHOD.slice(1), key)
