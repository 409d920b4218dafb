import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CONDITIONS } from '../../../operator/conditions.ts'
import { reasonRows } from './reason-table.ts'

type Types = Readonly<Record<string, Readonly<Record<string, { readonly status: string; readonly meaning: string }>>>>

test("the README's table has every reason of a condition as operator/conditions.ts has it, and no other", () => {
  const expected = Object.entries<Types>(CONDITIONS).flatMap(([kind, types]) =>
    Object.entries(types).flatMap(([type, reasons]) =>
      Object.entries(reasons).map(([reason, { status, meaning }]) => ({ reason, kind, type, status, meaning })),
    ),
  )
  assert.deepEqual(reasonRows(), expected)
})
