import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { decodeFlowReport, encodeFlowReport } from '../../../../sidecar/results/flow-report.ts'

const count = fc.nat({ max: 1_000_000_000 })
const report = fc.record(
  {
    time: fc.nat({ max: 2 ** 47 }),
    unfinished: count,
    places: count,
    partitions: count,
    rate: fc.option(
      count.map((thousandths) => thousandths / 1000),
      { nil: undefined },
    ),
    serviceMilliseconds: fc
      .array(fc.tuple(fc.stringMatching(/^[a-z0-9_.]{1,20}\/[A-Za-z0-9_]{1,20}$/), count), { maxLength: 5 })
      .map((pairs) => new Map(pairs)),
  },
  { noNullPrototype: true },
)

suite('flow reports', () => {
  test('come back as they were written (1,000 runs)', () => {
    fc.assert(
      fc.property(report, (one) => assert.deepEqual(decodeFlowReport(encodeFlowReport(one)), one)),
      { numRuns: 1000 },
    )
  })

  test('are numbers that can be reckoned with, or nothing, whatever stands in Redis (2,000 runs)', () => {
    const damaged = fc
      .tuple(report, fc.nat(), fc.string({ unit: 'binary', maxLength: 4 }), fc.nat(3))
      .map(([one, at, put, cut]) => {
        const text = encodeFlowReport(one)
        const place = at % (text.length + 1)
        return text.slice(0, place) + put + text.slice(place + cut)
      })
    fc.assert(
      fc.property(fc.oneof(damaged, fc.string({ unit: 'binary' })), (text) => {
        const read = decodeFlowReport(text)
        if (read === undefined) return
        const { time, unfinished, places, partitions, rate = 0, serviceMilliseconds } = read
        for (const number of [time, unfinished, places, partitions, rate, ...serviceMilliseconds.values()])
          assert.ok(Number.isFinite(number) && number >= 0, text)
      }),
      { numRuns: 2000 },
    )
  })

  for (const [what, text] of [
    ['nothing', ''],
    ['a later format', '2 1000 5 5 5 5'],
    ['too few numbers', '1 1000 5 5 5'],
    ['a negative number', '1 1000 -5 5 5 5'],
    ['a number in another notation', '1 1e3 5 5 5 5'],
    ['no number', '1 NaN 5 5 5 5'],
    ['a method without its time', '1 1000 5 5 5 5 s.S/M='],
    ['a method without its service', '1 1000 5 5 5 5 M=1'],
    ['two spaces', '1 1000 5 5 5 5  s.S/M=1'],
    ['far too much', `1 1000 5 5 5 5${' s.S/M=1'.repeat(20_000)}`],
  ] as const) {
    test(`${what} is no report`, () => assert.equal(decodeFlowReport(text), undefined))
  }
})
