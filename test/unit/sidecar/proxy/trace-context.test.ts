import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Metadata } from '@grpc/grpc-js'
import fc from 'fast-check'
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

/** Runs of each property below. */
const RUNS = 2000

suite('any trace context whatever', () => {
  const hex = (digits: number) => fc.stringMatching(new RegExp(`^[0-9a-f]{${digits}}$`))
  const good = fc
    .tuple(hex(2), hex(32), hex(16), hex(2))
    .filter(([version, trace, parent]) => version !== 'ff' && !/^0+$/.test(trace) && !/^0+$/.test(parent))
    .map((parts) => parts.join('-'))
  const printable = fc.stringMatching(/^[\x20-\x7e]{0,100}$/)

  test(`that is well-formed is carried as it came (${RUNS} runs)`, () => {
    fc.assert(
      fc.property(good, (traceparent) => assert.deepEqual(context([traceparent]), { traceparent })),
      { numRuns: RUNS },
    )
  })

  test(`is carried well-formed and short, or left out (${RUNS} runs)`, () => {
    const nearly = fc
      .record({ whole: good, at: fc.nat(55), piece: printable, skip: fc.nat(3) })
      .map(({ whole, at, piece, skip }) => whole.slice(0, at) + piece.slice(0, 5) + whole.slice(at + skip))
    const states = fc.array(fc.stringMatching(/^[\x20-\x7e]{0,300}$/), { maxLength: 4 })
    fc.assert(
      fc.property(fc.array(fc.oneof(nearly, good, printable), { maxLength: 2 }), states, (parents, given) => {
        const { traceparent, tracestate } = context(parents, given)
        if (traceparent === undefined) {
          assert.equal(tracestate, undefined)
          return
        }
        const [version = '', trace = '', parent = '', flags = '', ...more] = traceparent.split('-')
        assert.deepEqual(
          [version, trace, parent, flags].map(({ length }) => length),
          [2, 32, 16, 2],
        )
        for (const part of [version, trace, parent, flags]) assert.match(part, /^[0-9a-f]+$/)
        assert.ok(BigInt(`0x${trace}`) > 0n && BigInt(`0x${parent}`) > 0n && version !== 'ff')
        assert.ok(version !== '00' || more.length === 0)
        assert.ok(traceparent.length <= 256 && (tracestate ?? '').length <= 512)
        assert.equal(traceparent, parents[0])
      }),
      { numRuns: RUNS },
    )
  })
})
