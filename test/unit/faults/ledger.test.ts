import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { Ledger, readLedger } from '../../faults/ledger.ts'

function ledgerFile(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'grpc-kafka-ledger-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return join(directory, 'ledger')
}

test('a line is in the file when its write resolves, however many come at once', async (t) => {
  const file = ledgerFile(t)
  const ledger = new Ledger(file)
  const lines = Array.from({ length: 50 }, (_, number) => number)
  await Promise.all(
    lines.map(async (number) => {
      await ledger.write({ number })
      assert.ok(readFileSync(file, 'utf8').includes(`{"number":${number}}\n`))
    }),
  )
  ledger.close()
  assert.deepEqual(
    readLedger<{ number: number }>(file).map(({ number }) => number),
    lines,
  )
})

test('a line that was cut off is not read', async (t) => {
  const file = ledgerFile(t)
  const ledger = new Ledger(file)
  await ledger.write({ whole: 1 })
  ledger.close()
  appendFileSync(file, '{"who')
  assert.deepEqual(readLedger(file), [{ whole: 1 }])
})
