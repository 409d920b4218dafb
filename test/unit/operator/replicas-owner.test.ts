import assert from 'node:assert/strict'
import { test } from 'node:test'
import { keepReplicasOwners, othersOwnReplicas } from '../../../operator/replicas-owner.ts'

const owns = (manager: string, field: string) => ({ manager, fieldsV1: { 'f:spec': { [`f:${field}`]: {} } } })
const deployment = (managedFields: readonly unknown[] | undefined) => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'a', ...(managedFields === undefined ? {} : { managedFields }) },
})

test('somebody else owns replicas who set it, not who set another field, and not we', () => {
  assert.ok(othersOwnReplicas(deployment([owns('us', 'replicas'), owns('hpa', 'replicas')]), 'us'))
  assert.ok(!othersOwnReplicas(deployment([owns('us', 'replicas'), owns('hpa', 'paused')]), 'us'))
  assert.ok(!othersOwnReplicas(deployment(undefined), 'us'))
})

test('of who set what, only that is kept', () => {
  const kept = keepReplicasOwners(deployment([owns('us', 'template'), owns('hpa', 'replicas'), { manager: 'odd' }]))
  assert.deepEqual((kept.metadata as { managedFields?: unknown }).managedFields, [owns('hpa', 'replicas')])
})
