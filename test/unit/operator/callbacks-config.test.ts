import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { CalculateService } from '../../../crds/types.ts'
import { validateResource } from '../../../crds/validate.ts'
import { callbackReceivers } from '../../../operator/callbacks-config.ts'
import { resource } from '../crds/cases.ts'

function specWith(...receivers: readonly { readonly [name: string]: string | { name: string; key: string } }[]) {
  const result = validateResource(
    resource('CalculateService', receivers.length === 0 ? {} : { 'spec.callbacks': { receivers } }),
  )
  assert.ok(result.ok)
  return (result.resource as CalculateService).spec
}

const OWN = { host: 'hooks.example.com', scheme: 'HTTPS', network: 'Public' } as const
const REFS = { secretRef: { name: 'hooks', key: 'a' }, caSecretRef: { name: 'hooks', key: 'ca' } }
const HERE = { host: 'localhost', scheme: 'HTTP', network: 'Loopback', port: 8080 } as const
const secret = { env: 'KEY' }

describe('receivers of callbacks', () => {
  test('have the files of their Secrets', () => {
    assert.deepEqual(callbackReceivers(specWith({ ...OWN, ...REFS }), { secretsDirectory: '/s' }), [
      { ...OWN, secret: { file: '/s/hooks/a' }, caFile: '/s/hooks/ca' },
    ])
  })

  test('are none where the resource names none', () => assert.deepEqual(callbackReceivers(specWith(), {}), []))

  test('have the one key of this machine, and this machine may be one', () => {
    const callbacks = { secret, receivers: [HERE] }
    assert.deepEqual(callbackReceivers(specWith({ ...OWN, ...REFS }), { callbacks }), [
      { ...OWN, secret },
      { ...HERE, secret },
    ])
    assert.deepEqual(callbackReceivers(specWith(), { callbacks }), [{ ...HERE, secret }])
  })

  test('are none on a machine that has no key', () => {
    assert.deepEqual(callbackReceivers(specWith({ ...OWN, ...REFS }), { callbacks: 'None' }), [])
  })
})
