import assert from 'node:assert/strict'
import { test } from 'node:test'
import { tooOld } from '../../../operator/server-version.ts'

for (const [major, minor, old] of [
  ['1', '28', true],
  ['1', '28+', true],
  ['0', '40', true],
  ['1', '29', false],
  ['1', '29+', false],
  ['1', '35', false],
  ['2', '0', false],
  ['', '', false],
] as const) {
  test(`Kubernetes ${major}.${minor} is ${old ? 'too old' : 'tried'}`, () => {
    assert.equal(tooOld({ major, minor }) !== undefined, old)
  })
}

test('says what it found and what it needs', () => {
  assert.match(tooOld({ major: '1', minor: '27', gitVersion: 'v1.27.3' }) ?? '', /v1\.27\.3; 1\.29 is the oldest/)
})
