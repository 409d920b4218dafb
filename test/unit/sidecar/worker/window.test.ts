import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { WINDOW_RECORDS } from '../../../../sidecar/worker/partition.ts'
import { readWindow, windowMetadata } from '../../../../sidecar/worker/window.ts'

const RUNS = 2000

suite('the window in the metadata of a commit', () => {
  test('is read as it was written', () => assert.equal(readWindow(windowMetadata()), WINDOW_RECORDS))

  test("of another version is that version's", () => {
    assert.equal(readWindow('{"window":7,"more":true}'), 7)
    assert.equal(readWindow('{"window":1000000}'), 1_000_000)
  })

  for (const metadata of [
    '',
    'null',
    '[]',
    '7',
    '{"window":0}',
    '{"window":-1}',
    '{"window":1.5}',
    '{"window":1000001}',
    '{"window":"7"}',
    '{',
  ])
    test(`${JSON.stringify(metadata)} is none: ours is assumed`, () =>
      assert.equal(readWindow(metadata), WINDOW_RECORDS))

  test(`is a window whatever stands there (${RUNS} runs)`, () => {
    const metadata = fc.oneof(
      fc.string(),
      fc.json(),
      fc.jsonValue().map((window) => JSON.stringify({ window })),
      fc.constant('['.repeat(100_000)),
    )
    fc.assert(
      fc.property(metadata, (text) => {
        const window = readWindow(text)
        assert.ok(Number.isInteger(window) && window >= 1 && window <= 1_000_000, String(window))
      }),
      { numRuns: RUNS },
    )
  })
})
