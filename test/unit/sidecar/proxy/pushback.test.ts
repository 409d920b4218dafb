import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pushback } from '../../../../sidecar/proxy/pushback.ts'
import { encodeStatus, retryInfo } from '../../../../sidecar/proxy/status-details.ts'

test('pushback: grpc libraries find their own field, programs a RetryInfo', () => {
  const metadata = pushback(8, 'full', 25)
  assert.deepEqual(metadata.get('grpc-retry-pushback-ms'), ['25'])
  assert.deepEqual(metadata.get('grpc-status-details-bin'), [encodeStatus(8, 'full', retryInfo(25))])
})
