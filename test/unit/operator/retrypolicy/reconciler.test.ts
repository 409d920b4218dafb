import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { CONDITIONS } from '../../../../operator/conditions.ts'
import { GROUP_INDEXES } from '../../../../operator/consumergroup/observe.ts'
import type { KubeEvent } from '../../../../operator/controller/events.ts'
import { CONSUMER_GROUPS, RETRY_POLICIES } from '../../../../operator/kinds.ts'
import { PolicyReconciler } from '../../../../operator/retrypolicy/reconciler.ts'
import { policyStatus } from '../../../../operator/retrypolicy/status.ts'
import type { Case } from '../../crds/cases.ts'
import { aGroup, aPolicy, T0 } from '../consumergroup/fixture.ts'
import { FakeCluster } from '../fake-cluster.ts'

const KEY = 'team/quick'
const uses = (name: string) => aGroup({ 'metadata.name': name, 'spec.retryPolicyRef': { name: 'quick' } })

function world(put: Case['put'] = {}) {
  const cluster = new FakeCluster()
  const events: KubeEvent[] = []
  cluster.put(aPolicy(put))
  const reconciler = new PolicyReconciler({
    caches: {
      retryPolicies: cluster.cache(RETRY_POLICIES),
      consumerGroups: cluster.cache(CONSUMER_GROUPS, GROUP_INDEXES),
    },
    writer: cluster,
    events: { record: (_object, event) => events.push(event) },
    now: () => T0,
  })
  return {
    cluster,
    events,
    reconcile: () => reconciler.reconcile(KEY, new AbortController().signal),
    status: () => cluster.get(RETRY_POLICIES, KEY)?.status,
  }
}

describe('a RetryPolicy', () => {
  test('says who uses it, in the order of their names', async () => {
    const { cluster, reconcile, status } = world()
    for (const name of ['b', 'a']) cluster.put(uses(name))
    cluster.put(aGroup({ 'metadata.name': 'c' }))
    cluster.put({ ...uses('d'), metadata: { ...uses('d').metadata, namespace: 'other' } })
    await reconcile()
    assert.deepEqual(status(), {
      conditions: [
        {
          type: 'Ready',
          status: 'True',
          observedGeneration: 1,
          lastTransitionTime: '2026-01-01T00:00:00Z',
          reason: 'InUse',
          message: '2 ConsumerGroups',
        },
      ],
      observedGeneration: 1,
      consumerGroups: ['a', 'b'],
    })
  })

  test('is written once, and told of when it changes', async () => {
    const { cluster, reconcile, events } = world()
    await reconcile()
    await reconcile()
    assert.deepEqual(cluster.writes, ['status RetryPolicy quick'])
    cluster.put(uses('a'))
    await reconcile()
    await reconcile()
    assert.equal(cluster.writes.length, 2)
    assert.deepEqual(
      events.map(({ reason }) => reason),
      ['NotUsed', 'InUse'],
    )
  })

  test('that is gone is nobody', async () => {
    const { cluster, reconcile } = world()
    cluster.remove(RETRY_POLICIES, KEY)
    assert.deepEqual(await reconcile(), {})
    assert.deepEqual(cluster.writes, [])
  })

  test('that is deleted while it is used says what its groups do without it', () => {
    const policy = aPolicy({ 'metadata.deletionTimestamp': '2026-01-01T00:00:00Z' })
    const { conditions } = policyStatus({ policy, groups: [uses('a')], now: T0 })
    assert.equal(conditions?.[0]?.message, '1 ConsumerGroups: without it they try each call once')
  })

  test('has every reason', () => {
    const paused = { 'metadata.annotations': { 'grpckafka.dev/reconciliation': 'paused' } }
    const reasons = [
      policyStatus({ policy: aPolicy(), groups: [], now: T0 }),
      policyStatus({ policy: aPolicy(), groups: [uses('a')], now: T0 }),
      policyStatus({ policy: aPolicy(paused), groups: [uses('a')], now: T0 }),
    ].map(({ conditions }) => conditions?.[0]?.reason)
    assert.deepEqual(new Set(reasons), new Set(Object.keys(CONDITIONS.RetryPolicy.Ready)))
  })
})
