import assert from 'node:assert/strict'
import { test } from 'node:test'
import { exposureOf, exposures } from '../../faults/exposure.ts'
import type { Answered, Fault, History, Sent } from '../../faults/history.ts'

const sent = (request: string, at: number): Sent => ({
  request,
  call: request,
  at,
  deadlineMilliseconds: 1000,
  endedBy: 'Client',
  proxy: 0,
  keyed: false,
})
const answered = (request: string, at: number, code = 0): Answered => ({
  request,
  at,
  milliseconds: 1,
  loopDelayMilliseconds: 0,
  code,
  details: code === 0 ? '' : 'Connection dropped',
})
const fault = (at: number, until: number): Fault => ({ kind: 'kill', what: '', at, until })
const HISTORY: History = {
  sent: [sent('before', 10), sent('during', 90), sent('dropped', 95), sent('open', 96), sent('after', 130)],
  answered: [answered('before', 50), answered('during', 150), answered('dropped', 101, 14), answered('after', 140)],
  delays: [],
  runs: [],
  records: [],
  buried: new Set(),
  stored: [],
  commits: [],
  faults: [fault(100, 120), fault(135, 138)],
  exempt: new Set(),
}

test('in flight is what has no status when a fault strikes; acknowledged what ends with an outcome', () => {
  assert.deepEqual(exposureOf(fault(100, 120), HISTORY), { inFlight: 3, acknowledged: 1 })
  assert.deepEqual(exposureOf(fault(60, 70), HISTORY), { inFlight: 0, acknowledged: 0 })
})

test('the faults of a class count together', () => {
  assert.deepEqual([...exposures(HISTORY)], [['kill', { inFlight: 3 + 3, acknowledged: 1 + 2 }]])
})
