import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Admission } from '../../../../sidecar/proxy/admission.ts'

suite('Admission', () => {
  test('bounds calls, and takes what was released', () => {
    const admission = new Admission({ maxInFlight: 2, maxInFlightBytes: 100 })
    assert.equal(admission.admitCall(), undefined)
    assert.equal(admission.admitCall(), undefined)
    assert.equal(admission.admitCall(), 'TOO_MANY_IN_FLIGHT')
    assert.equal(admission.calls, 2)
    admission.releaseCall()
    assert.equal(admission.admitCall(), undefined)
  })

  test('bounds bytes, and takes what was released', () => {
    const admission = new Admission({ maxInFlight: 3, maxInFlightBytes: 100 })
    assert.equal(admission.admitBytes(60), undefined)
    assert.equal(admission.admitBytes(50), 'TOO_MANY_BYTES')
    assert.equal(admission.admitBytes(40), undefined)
    assert.equal(admission.admitBytes(0), undefined)
    assert.equal(admission.bytes, 100)
    admission.releaseBytes(60)
    assert.equal(admission.admitBytes(60), undefined)
  })

  test('a single call is let in whatever its size', () => {
    const admission = new Admission({ maxInFlight: 3, maxInFlightBytes: 100 })
    assert.equal(admission.admitBytes(500), undefined)
    assert.equal(admission.admitBytes(1), 'TOO_MANY_BYTES')
  })
})
