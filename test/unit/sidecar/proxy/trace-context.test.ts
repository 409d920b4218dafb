import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Metadata } from '@grpc/grpc-js'
import { traceContext } from '../../../../sidecar/proxy/trace-context.ts'

const PARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

function context(traceparent: readonly string[], tracestate: readonly string[] = []) {
  const metadata = new Metadata()
  for (const value of traceparent) metadata.add('traceparent', value)
  for (const value of tracestate) metadata.add('tracestate', value)
  return traceContext(metadata)
}

suite('traceContext', () => {
  test('carries both as they came, several tracestate values as one list', () => {
    assert.deepEqual(context([PARENT]), { traceparent: PARENT })
    assert.deepEqual(context([PARENT], ['a=1', 'b=2']), { traceparent: PARENT, tracestate: 'a=1,b=2' })
  })

  test('a later version may have more fields', () => {
    const later = `01${PARENT.slice(2)}-extra`
    assert.deepEqual(context([later]), { traceparent: later })
  })

  for (const [what, value] of [
    ['another length', PARENT.slice(0, -1)],
    ['upper case', PARENT.toUpperCase()],
    ['the version ff', `ff${PARENT.slice(2)}`],
    ['no trace id', PARENT.replace('0af7651916cd43dd8448eb211c80319c', '0'.repeat(32))],
    ['no parent id', PARENT.replace('b7ad6b7169203331', '0'.repeat(16))],
    ['more fields in version 00', `${PARENT}-extra`],
    ['something else', 'hello'],
  ] as const) {
    test(`ignores a traceparent with ${what}, and its tracestate`, () =>
      assert.deepEqual(context([value], ['a=1']), {}))
  }

  test('ignores a traceparent that stands twice, and a tracestate that is too long', () => {
    assert.deepEqual(context([PARENT, PARENT]), {})
    assert.deepEqual(context([PARENT], [`a=${'x'.repeat(511)}`]), { traceparent: PARENT })
    assert.deepEqual(context([], ['a=1']), {})
  })
})
