import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  collectionPath,
  compareVersions,
  controllerOf,
  keyOf,
  objectKey,
  objectPath,
  resourceName,
  splitKey,
} from '../../../../operator/controller/object.ts'
import type { Resource } from '../../../../operator/controller/object.ts'

const SERVICES: Resource = { apiVersion: 'v1', kind: 'Service', plural: 'services', namespaced: true }
const DEPLOYMENTS: Resource = { apiVersion: 'apps/v1', kind: 'Deployment', plural: 'deployments', namespaced: true }
const NODES: Resource = { apiVersion: 'v1', kind: 'Node', plural: 'nodes', namespaced: false }

test('keys name an object with its namespace, where it has one', () => {
  assert.equal(keyOf('ns', 'a'), 'ns/a')
  assert.equal(keyOf(undefined, 'a'), 'a')
  assert.deepEqual(splitKey('ns/a'), { namespace: 'ns', name: 'a' })
  assert.deepEqual(splitKey('a'), { name: 'a' })
  assert.equal(objectKey({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n' } }), 'n')
})

test('paths are those of the API', () => {
  assert.equal(collectionPath(SERVICES), '/api/v1/services')
  assert.equal(collectionPath(SERVICES, 'ns'), '/api/v1/namespaces/ns/services')
  assert.equal(collectionPath(NODES, 'ns'), '/api/v1/nodes')
  assert.equal(objectPath(DEPLOYMENTS, 'ns/a'), '/apis/apps/v1/namespaces/ns/deployments/a')
  assert.equal(objectPath(DEPLOYMENTS, 'ns/a', 'status'), '/apis/apps/v1/namespaces/ns/deployments/a/status')
  assert.equal(objectPath(NODES, 'n'), '/api/v1/nodes/n')
})

test('nothing in a name leads out of its path', () => {
  assert.equal(objectPath(NODES, '..%2f?x#y'), '/api/v1/nodes/..%252f%3Fx%23y')
})

test('resources are named by kind, version and group', () => {
  assert.equal(resourceName(SERVICES), 'Service.v1')
  assert.equal(resourceName(DEPLOYMENTS), 'Deployment.v1.apps')
})

describe('compareVersions', () => {
  for (const [a, b, sign] of [
    ['9', '10', -1],
    ['10', '9', 1],
    ['10', '10', 0],
    ['90071992547409931', '90071992547409932', -1],
  ] as const) {
    test(`${a} and ${b}`, () => assert.equal(Math.sign(compareVersions(a, b)), sign))
  }
})

test('controllerOf is the owner that controls, not any owner', () => {
  const owner = { apiVersion: 'v1', kind: 'A', name: 'a', uid: '1' }
  const object = (ownerReferences: readonly (typeof owner & { readonly controller?: boolean })[]) =>
    controllerOf({ apiVersion: 'v1', kind: 'B', metadata: { name: 'b', ownerReferences } })
  assert.equal(object([owner]), undefined)
  assert.equal(object([owner, { ...owner, name: 'c', controller: true }])?.name, 'c')
})
