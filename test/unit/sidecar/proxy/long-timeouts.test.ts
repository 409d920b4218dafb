import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { fittingTimeout } from '../../../../sidecar/proxy/long-timeouts.ts'

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
})
