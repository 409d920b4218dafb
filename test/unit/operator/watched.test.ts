import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KubeObject } from '../../../operator/controller/object.ts'
import { belongsToAnother } from '../../../operator/labels.ts'
import { othersOwnReplicas } from '../../../operator/replicas-owner.ts'
import { WATCHED_DEPLOYMENTS, WATCHED_OBJECTS } from '../../../operator/watched.ts'

const owner: KubeObject = {
  apiVersion: 'grpckafka.dev/v1alpha1',
  kind: 'CalculateService',
  metadata: { name: 'calc', uid: 'u' },
}
const HPA = { manager: 'hpa', fieldsV1: { 'f:spec': { 'f:replicas': {} } } }

const object = (apiVersion?: string) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: {
    name: 'calc-proxy',
    namespace: 'team',
    uid: 'c',
    resourceVersion: '7',
    labels: { a: 'b' },
    annotations: { large: 'text' },
    managedFields: [HPA],
    ...(apiVersion === undefined
      ? {}
      : { ownerReferences: [{ apiVersion, kind: 'CalculateService', name: 'calc', uid: 'u', controller: true }] }),
  },
  data: { file: 'a megabyte' },
})

test("all of our own objects is kept, but who set which field; of others' only what they are and whose", () => {
  const { transform } = WATCHED_OBJECTS
  const ours = object('grpckafka.dev/v1beta1')
  const metadata: { managedFields?: unknown } = { ...ours.metadata }
  delete metadata.managedFields
  assert.deepEqual(transform?.(ours), { ...ours, metadata })
  for (const others of [object(), object('apps/v1')]) {
    const { name, namespace, uid, resourceVersion, ownerReferences } = others.metadata as KubeObject['metadata']
    assert.deepEqual(transform?.(others), {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        name,
        namespace,
        uid,
        resourceVersion,
        ...(ownerReferences === undefined ? {} : { ownerReferences }),
      },
    })
  }
})

test('what is kept tells whether a name is taken', () => {
  const { transform } = WATCHED_OBJECTS
  assert.equal(belongsToAnother(transform?.(object()), owner), true)
  assert.equal(
    belongsToAnother(transform?.(object('apps/v1')), { ...owner, metadata: { name: 'calc', uid: 'v' } }),
    true,
  )
  assert.equal(belongsToAnother(transform?.(object('grpckafka.dev/v1alpha1')), owner), false)
})

test('of our own Deployments it is kept who else decides about replicas', () => {
  const ours = WATCHED_DEPLOYMENTS.transform?.(object('grpckafka.dev/v1alpha1'))
  assert.ok(ours !== undefined && othersOwnReplicas(ours, 'us'))
})
