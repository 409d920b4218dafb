import assert from 'node:assert/strict'
import { test } from 'node:test'
import { failureReason } from '../../../../sidecar/results/command-failures.ts'

for (const [message, reason] of [
  ["OOM command not allowed when used memory > 'maxmemory'. script: 0a, on @user_script:5.", 'out_of_memory'],
  ["READONLY You can't write against a read only replica. script: 0a, on @user_script:2.", 'read_only'],
  ['Command timed out', 'timeout'],
  ["Socket timeout. Expecting data, but didn't receive any in 5000ms.", 'timeout'],
  ['NOPERM this user has no permissions', 'command'],
  ['', 'command'],
] as const) {
  test(`"${message}" is ${reason}`, () => assert.equal(failureReason(new Error(message)), reason))
}
