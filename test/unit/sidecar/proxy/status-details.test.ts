import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import protobuf from 'protobufjs'
import { encodeStatus, requestInfo, retryInfo } from '../../../../sidecar/proxy/status-details.ts'

const { root } = protobuf.parse(`
  syntax = "proto3";
  package google.rpc;
  message Duration { int64 seconds = 1; int32 nanos = 2; }
  message RetryInfo { Duration retry_delay = 1; }
  message RequestInfo { string request_id = 1; }
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
`)
const Status = root.lookupType('google.rpc.Status')
const RequestInfo = root.lookupType('google.rpc.RequestInfo')
const RetryInfo = root.lookupType('google.rpc.RetryInfo')

test('status details: what protobufjs reads of it is what was meant', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 16 }),
      fc.string({ unit: 'grapheme' }),
      fc.integer({ min: 0, max: 2 ** 40 }),
      (code, message, wait) => {
        const status = Status.toObject(Status.decode(encodeStatus(code, message, retryInfo(wait)))) as {
          code: number
          message: string
          details: [{ typeUrl: string; value: Buffer }]
        }
        assert.equal(status.code, code)
        assert.equal(status.message, message)
        assert.equal(status.details.length, 1)
        assert.equal(status.details[0].typeUrl, 'type.googleapis.com/google.rpc.RetryInfo')
        const { retryDelay = {} } = RetryInfo.toObject(RetryInfo.decode(status.details[0].value), {
          longs: Number,
        }) as {
          retryDelay?: { seconds?: number; nanos?: number }
        }
        assert.equal((retryDelay.seconds ?? 0) * 1000 + (retryDelay.nanos ?? 0) / 1e6, wait)
      },
    ),
  )
})

test('status details: the id of a request is read by protobufjs', () => {
  const id = '01890a5d-ac96-774b-bcce-b302099a8057'
  const status = Status.toObject(Status.decode(encodeStatus(4, 'late', requestInfo(id)))) as {
    details: [{ typeUrl: string; value: Buffer }]
  }
  assert.equal(status.details[0].typeUrl, 'type.googleapis.com/google.rpc.RequestInfo')
  assert.deepEqual(RequestInfo.toObject(RequestInfo.decode(status.details[0].value)), { requestId: id })
})
