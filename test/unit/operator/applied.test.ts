import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { APPLIED_HASH, covers, hashOf, needsApply, withAppliedHash } from '../../../operator/applied.ts'

const wanted = withAppliedHash({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'calc-proxy', annotations: { mine: 'yes' } },
  spec: { replicas: 2, template: { spec: { containers: [{ name: 'proxy', image: 'a' }], tolerations: [] } } },
})

/** As the API server gives it back: with its own fields. */
const stored = () => {
  const live = structuredClone(wanted) as unknown as {
    metadata: { annotations: Record<string, string>; uid?: string }
    spec: { replicas: number; paused?: boolean; template: { spec: { containers: object[]; tolerations?: [] } } }
  }
  live.metadata.uid = '1'
  live.metadata.annotations['deployment.kubernetes.io/revision'] = '1'
  live.spec.template.spec.containers = [{ name: 'proxy', image: 'a', terminationMessagePath: '/dev/termination-log' }]
  delete live.spec.template.spec.tolerations
  return live
}

describe('an object', () => {
  test('that is not there is applied', () => assert.equal(needsApply(wanted, undefined), true))

  test('with what the API server filled in is as wanted', () => {
    assert.equal(needsApply(wanted, stored() as never), false)
  })

  test('that somebody changed is applied', () => {
    const live = stored()
    live.spec.replicas = 3
    assert.equal(needsApply(wanted, live as never), true)
  })

  test('to which somebody added a container is applied', () => {
    const live = stored()
    live.spec.template.spec.containers.push({ name: 'other' })
    assert.equal(needsApply(wanted, live as never), true)
  })

  test('with a field that nobody asked for is as wanted', () => {
    const live = stored()
    live.spec.paused = true
    assert.equal(needsApply(wanted, live as never), false)
  })

  test('that was applied with a field which is no longer wanted is applied', () => {
    const live = stored()
    live.metadata.annotations[APPLIED_HASH] = hashOf('something else')
    assert.equal(needsApply(wanted, live as never), true)
  })
})

describe('a field that the API server leaves out', () => {
  test('is as wanted where its absence means the same', () => {
    assert.ok(covers({ env: [{ name: 'A' }] }, { env: [{ name: 'A', value: '' }], hostNetwork: false, priority: 0 }))
  })

  test('is missing where its absence means something else', () => {
    for (const wanted of [{ automountServiceAccountToken: false }, { replicas: 0 }, { runAsUser: 0 }]) {
      assert.equal(covers({}, wanted), false, JSON.stringify(wanted))
    }
  })
})

test('a hash does not depend on the order of fields, and on nothing that is undefined', () => {
  assert.equal(hashOf({ a: 1, b: { c: 2, d: undefined } }), hashOf({ b: { c: 2 }, a: 1 }))
  assert.notEqual(hashOf({ a: 1 }), hashOf({ a: 2 }))
  assert.notEqual(hashOf(['a', 'b']), hashOf(['b', 'a']))
})

describe('amounts of resources are compared by what they amount to', () => {
  const cases: readonly (readonly [live: string, wanted: string, same: boolean])[] = [
    ['1', '1000m', true],
    ['500m', '0.5', true],
    ['1Gi', '1024Mi', true],
    ['1Gi', '1G', false],
    ['100m', '200m', false],
    ['1e3', '1k', true],
    ['nonsense', '1', false],
  ]
  for (const [live, want, same] of cases) {
    test(`${live} ${same ? 'is' : 'is not'} ${want}`, () => {
      assert.equal(covers({ resources: { limits: { cpu: live } } }, { resources: { limits: { cpu: want } } }), same)
    })
  }

  test('wherever a Pod has one', () => {
    const pod = (amount: string) => ({
      overhead: { memory: amount },
      volumes: [{ emptyDir: { sizeLimit: amount } }],
      containers: [{ env: [{ valueFrom: { resourceFieldRef: { divisor: amount } } }] }],
    })
    assert.ok(covers(pod('1Gi'), pod('1024Mi')))
    assert.equal(covers(pod('1Gi'), pod('1025Mi')), false)
  })

  test('and only they', () => assert.equal(covers({ args: ['1'] }, { args: ['1000m'] }), false))
})
