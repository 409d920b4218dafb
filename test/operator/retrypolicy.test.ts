/** A RetryPolicy on a real API server: what it changes at the groups that use it, and what is told of it. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { sharedCluster } from './support/cluster.ts'
import { changedFields, fieldsOf } from '../unit/crds/fields.ts'
import { NAME, Scene, WORKER, type Fields, type SceneOptions } from './support/scene.ts'
import { until } from './support/until.ts'

const KIND = 'RetryPolicy'

/** A route that is ready and names the policy. */
async function inUse(t: TestContext, options: SceneOptions = {}): Promise<Scene> {
  const scene = await Scene.start(t, options)
  await scene.applyPolicy()
  await scene.applyService()
  await scene.applyGroup({ retryPolicyRef: { name: NAME } })
  await scene.untilReady('ConsumerGroup')
  await scene.untilReady(KIND)
  return scene
}

/** What a worker is told of retries. */
async function retries({ namespace }: Scene): Promise<unknown> {
  const { data } = (await namespace.get('ConfigMap', WORKER)) ?? {}
  const config = JSON.parse(data?.['sidecar.json'] ?? '{}') as { readonly worker?: { readonly retry?: unknown } }
  return config.worker?.retry
}

const CHANGES: Readonly<Record<string, Fields>> = {
  'spec.maxAttempts': { maxAttempts: 7 },
  'spec.backoff.initialMilliseconds': { backoff: { initialMilliseconds: 7 } },
  'spec.backoff.factorPercent': { backoff: { factorPercent: 170 } },
  'spec.backoff.maxMilliseconds': { backoff: { maxMilliseconds: 7000 } },
  'spec.backoff.jitterPercent': { backoff: { jitterPercent: 7 } },
  'spec.retryableCodes[]': { retryableCodes: ['ABORTED', 'UNAVAILABLE'] },
  'spec.onExpired': { onExpired: 'Continue' },
}

test('every field changes what the workers of its groups are told, and back, and no pod for it', async (t) => {
  const scene = await inUse(t)
  await until('the workers are told', async () => (await retries(scene)) !== undefined)
  const first = await retries(scene)
  const deployment = await scene.namespace.said(['Deployment'], WORKER)
  const specNow = async (): Promise<object> => (await scene.namespace.get(KIND, NAME))?.spec ?? {}
  const firstSpec = await specNow()
  const covered: string[] = []
  for (const [field, spec] of Object.entries(CHANGES)) {
    await scene.applyPolicy(spec)
    await until(`${field} is told`, async () => !isDeepStrictEqual(await retries(scene), first))
    assert.deepEqual(changedFields(fieldsOf(KIND), firstSpec, await specNow()), [field])
    covered.push(field)
    await scene.applyPolicy()
    await until(`${field} is told as before`, async () => isDeepStrictEqual(await retries(scene), first))
  }
  assert.deepEqual(covered.toSorted(), fieldsOf(KIND).toSorted())
  assert.deepEqual(await scene.namespace.said(['Deployment'], WORKER), deployment)
})

test('resyncs write nothing, and a status that somebody wrote is put right', async (t) => {
  const scene = await inUse(t, { flags: { 'resync-seconds': 1 } })
  await until('it is known that nothing waits', async () => (await scene.statusOf('ConsumerGroup'))['lag'] === 0)
  await scene.untilLookedAt(KIND, 2)
  const mark = await sharedCluster().audit.mark()
  await scene.untilLookedAt(KIND, 3)
  assert.deepEqual(await scene.writesSince(mark), [])

  const before = await scene.statusOf(KIND)
  await scene.namespace.changeStatus(KIND, NAME, { consumerGroups: ['somebody', 'else'], observedGeneration: 99 })
  await until('it tells the truth', async () => isDeepStrictEqual(await scene.statusOf(KIND), before))
})
