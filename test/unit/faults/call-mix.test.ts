import assert from 'node:assert/strict'
import { test } from 'node:test'
import { callMix } from '../../faults/call-mix.ts'

const first = (seed: number) =>
  callMix('c0', seed)
    .take(200)
    .map(({ request, ...rest }) => ({ ...request, ...rest }))
    .toArray()

test('a seed gives the same calls again', () => {
  assert.deepEqual(first(1), first(1))
})

test('calls of two seeds have no name, and so no idempotency key, in common', () => {
  const names = new Set(first(1).map(({ call }) => call))
  assert.deepEqual(
    first(2).filter(({ call }) => names.has(call)),
    [],
  )
})
