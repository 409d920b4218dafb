import assert from 'node:assert/strict'
import test from 'node:test'
import { warningTexts } from '../../../../local/platform/kube-api.ts'

test('every text of a Warning header is read, with its quotes', () => {
  assert.deepEqual(warningTexts('299 - "unknown field \\"spec.a\\"", 299 - "spec.b: deprecated, use c"'), [
    'unknown field "spec.a"',
    'spec.b: deprecated, use c',
  ])
  assert.deepEqual(warningTexts(undefined), [])
})
