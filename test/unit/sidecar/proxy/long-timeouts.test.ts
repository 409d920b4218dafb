import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { fittingTimeout } from '../../../../sidecar/proxy/long-timeouts.ts'

/** Runs of each property below. */
const RUNS = 5000

suite('fittingTimeout', () => {
  for (const timeout of ['596H', '35791M', '2147482S', '99999999m', '99999999u', '0H', '1S', '', 'H', 'soonS', '5']) {
    test(`leaves "${timeout}" as it is`, () => assert.equal(fittingTimeout(timeout), timeout))
  }

  for (const timeout of ['597H', '99999999H', '35792M', '2147483S', '99999999S']) {
    test(`shortens "${timeout}" to what fits in 32 bits`, () => {
      assert.equal(fittingTimeout(timeout), '2147482S')
      assert.ok(2147482 * 1000 < 2 ** 31)
    })
  }

  // grpc-js finds a timeout anywhere in the value, and keeps what it found in 32 bits.
  for (const timeout of ['99999999 H', 'x99999999H', '99999999Hours', '199999999H', '99999999M9m']) {
    test(`shortens "${timeout}", which is no timeout and read as one`, () => {
      assert.equal(fittingTimeout(timeout), '2147482S')
    })
  }

  const UNITS = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 } as const
  /** As grpc-js 1.14 reads the field. */
  const milliseconds = (timeout: string): number | undefined => {
    const [, digits, unit] = /(\d{1,8})\s*([HMSmun])/.exec(timeout) ?? []
    return unit === undefined ? undefined : Number(digits) * UNITS[unit as keyof typeof UNITS]
  }
  const LONGEST = 2_147_482_000

  test(`gives the same time, or the longest that fits, for every timeout there is (${RUNS} runs)`, () => {
    const units = fc.constantFrom(...(Object.keys(UNITS) as (keyof typeof UNITS)[]))
    fc.assert(
      fc.property(fc.nat(99_999_999), units, (count, unit) => {
        const asked = count * UNITS[unit]
        const given = milliseconds(fittingTimeout(`${count}${unit}`))
        assert.equal(given, asked > LONGEST ? LONGEST : asked)
      }),
      { numRuns: RUNS },
    )
  })

  test(`lets nothing through that does not fit, whatever the field holds (${RUNS} runs)`, () => {
    const piece = fc.oneof(
      fc.stringMatching(/^[0-9]{1,9}$/),
      fc.constantFrom('H', 'M', 'S', 'm', ' ', '-', '.', 'e'),
      fc.string(),
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 5 }), (pieces) => {
        const asked = milliseconds(pieces.join(''))
        const given = milliseconds(fittingTimeout(pieces.join('')))
        assert.equal(given, asked === undefined ? undefined : Math.min(asked, LONGEST))
      }),
      { numRuns: RUNS },
    )
  })
})
