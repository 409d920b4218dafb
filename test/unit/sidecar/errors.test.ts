import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ERRORS, GRPC_STATUS_NAMES, GrpcStatus, type ErrorCode } from '../../../sidecar/errors.ts'

describe('the gRPC statuses', () => {
  test('stand in the order of their numbers, so that a number finds its name', () => {
    assert.equal(GRPC_STATUS_NAMES.length, 17)
    GRPC_STATUS_NAMES.forEach((name, number) => assert.equal(GrpcStatus[name], number))
  })
})

describe('the table of errors', () => {
  const codes = Object.keys(ERRORS) as ErrorCode[]

  test('has no row that means success, and no message that cannot stand in a header', () => {
    for (const code of codes) {
      assert.notEqual(ERRORS[code].status, 'OK', code)
      assert.match(ERRORS[code].message, /^[\x20-\x7e]{1,200}$/, code)
    }
  })

  test('names the limit in every refusal by a limit', () => {
    const limits = {
      RATE_LIMITED: 'rateLimit.requestsPerSecond',
      TOO_MANY_WAITING: 'rateLimit.maxWaiting',
      TOO_MANY_IN_FLIGHT: 'proxy.maxInFlight',
    } as const
    for (const [code, limit] of Object.entries(limits)) {
      assert.ok(ERRORS[code as keyof typeof limits].message.includes(limit), code)
      assert.equal(ERRORS[code as keyof typeof limits].status, 'RESOURCE_EXHAUSTED')
    }
  })

  test('calls nothing a refusal that Kafka may have', () => {
    for (const code of ['KAFKA_UNAVAILABLE', 'CUT_OFF', 'DEADLINE_PASSED', 'EXPIRED', 'HANDLER_UNREACHABLE'] as const) {
      assert.equal(ERRORS[code].refusal, false, code)
    }
  })

  test('says that a call did not run only where that is sure', () => {
    const claims = codes.filter((code) => ERRORS[code].message.includes('did not run'))
    assert.deepEqual(claims.sort(), ['DEADLINE_BEFORE_START', 'EXPIRED_NOT_STARTED'])
  })
})
