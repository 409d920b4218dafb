import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { TestContext } from 'node:test'
import { pino } from 'pino'
import { FailureLog } from '../../../../sidecar/telemetry/failure-log.ts'
import type { FailedCall } from '../../../../sidecar/telemetry/failure-log.ts'

function logAt(t: TestContext, level = 'info') {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const lines: Record<string, unknown>[] = []
  const logger = pino(
    { level, base: null, timestamp: false, formatters: { level: (label) => ({ level: label }) } },
    { write: (line: string) => lines.push(JSON.parse(line) as Record<string, unknown>) },
  )
  let now = 0
  const failures = new FailureLog({ logger, monotonicNow: () => now })
  const pass = (milliseconds: number) => {
    now += milliseconds
    t.mock.timers.tick(milliseconds)
  }
  return { failures, lines, pass }
}

const about =
  (changes: Partial<FailedCall> = {}) =>
  () => ({
    callId: 'id',
    method: 'a.B/C',
    status: 'UNAVAILABLE',
    milliseconds: 12.6,
    deadline: 1_700_000_000_000,
    ...changes,
  })

suite('FailureLog', () => {
  test('tells of a failed call what there is to know', (t) => {
    const { failures, lines } = logAt(t)
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-00`
    failures.write(
      'KAFKA_UNAVAILABLE',
      'Kafka did not take the call',
      about({ traceparent, attempt: 2, partition: 3, offset: 4 }),
    )
    assert.deepEqual(lines, [
      {
        level: 'warn',
        code: 'KAFKA_UNAVAILABLE',
        callId: 'id',
        method: 'a.B/C',
        status: 'UNAVAILABLE',
        milliseconds: 13,
        attempt: 2,
        partition: 3,
        offset: 4,
        deadline: '2023-11-14T22:13:20.000Z',
        traceId: 'a'.repeat(32),
        msg: 'Kafka did not take the call',
      },
    ])
  })

  test('leaves out a deadline that was not set and a trace id that is none', (t) => {
    const { failures, lines } = logAt(t)
    failures.write(
      'NOT_READY',
      'x',
      about({ deadline: 0, traceparent: 'password=hunter2; and so on for 60 characters......' }),
    )
    assert.ok(!('deadline' in (lines[0] ?? {})) && !('traceId' in (lines[0] ?? {})))
  })

  test('writes ten refusals of a code in a second, then how many more there were', (t) => {
    const { failures, lines, pass } = logAt(t)
    for (let count = 0; count < 5000; count++) failures.write('RATE_LIMITED', 'x', about())
    failures.write('DRAINING', 'x', about())
    assert.equal(lines.length, 11)
    pass(1000)
    assert.deepEqual(lines.slice(11), [
      { level: 'info', code: 'RATE_LIMITED', calls: 4990, msg: 'more calls failed in the same way' },
    ])
    failures.write('RATE_LIMITED', 'x', about())
    assert.equal(lines.length, 13)
  })

  test('asks nothing about a call that gets no line', (t) => {
    const { failures, lines } = logAt(t, 'warn')
    const fails = (): never => assert.fail('asked')
    failures.write('RATE_LIMITED', 'x', fails)
    for (let count = 0; count < 100; count++) failures.write('EXPIRED', 'x', about())
    failures.write('EXPIRED', 'x', fails)
    assert.equal(lines.length, 100)
  })

  test('begins anew each second', (t) => {
    const { failures, lines, pass } = logAt(t)
    for (let second = 0; second < 3; second++) {
      for (let count = 0; count < 10; count++) failures.write('RATE_LIMITED', 'x', about())
      pass(1000)
    }
    assert.equal(lines.length, 30)
  })

  test('says at its end what it had counted', (t) => {
    const { failures, lines } = logAt(t)
    for (let count = 0; count < 12; count++) failures.write('RATE_LIMITED', 'x', about())
    failures.flush()
    assert.deepEqual(lines.at(-1)?.['calls'], 2)
    failures.flush()
    assert.equal(lines.length, 11)
  })
})
