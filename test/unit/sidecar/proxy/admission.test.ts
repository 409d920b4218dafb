import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Admission } from '../../../../sidecar/proxy/admission.ts'

suite('Admission', () => {
  test('bounds calls and bytes, and takes what was released', () => {
    const admission = new Admission({ maxInFlight: 3, maxInFlightBytes: 100 })
    assert.equal(admission.admit(60), undefined)
    assert.equal(admission.admit(50), 'TOO_MANY_BYTES')
    assert.equal(admission.admit(40), undefined)
    assert.equal(admission.admit(0), undefined)
    assert.equal(admission.admit(0), 'TOO_MANY_IN_FLIGHT')
    assert.deepEqual([admission.calls, admission.bytes], [3, 100])
    admission.release(60)
    assert.equal(admission.admit(60), undefined)
  })

  test('a single call is let in whatever its size', () => {
    const admission = new Admission({ maxInFlight: 3, maxInFlightBytes: 100 })
    assert.equal(admission.admit(500), undefined)
    assert.equal(admission.admit(1), 'TOO_MANY_BYTES')
  })
})
