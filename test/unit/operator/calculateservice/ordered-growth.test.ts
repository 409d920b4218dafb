import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { CalculateService, ConsumerGroup } from '../../../../crds/types.ts'
import { validateResource } from '../../../../crds/validate.ts'
import { growthWaitsFor } from '../../../../operator/calculateservice/ordered-growth.ts'
import type { Pod } from '../../../../operator/kinds.ts'
import { resource, type Case } from '../../crds/cases.ts'

function valid(kind: 'CalculateService' | 'ConsumerGroup', put: Case['put']): unknown {
  const result = validateResource(resource(kind, put))
  assert.ok(result.ok, result.ok ? '' : result.problems.join('\n'))
  return result.resource
}

const service = (replicas: number) => valid('CalculateService', { 'spec.proxy': { replicas } }) as CalculateService

function group(ordering: string, lag?: number): ConsumerGroup {
  const one = valid('ConsumerGroup', { 'spec.ordering': ordering }) as ConsumerGroup
  return { ...one, status: { ...one.status, ...(lag !== undefined && { lag }) } }
}

const pod = {} as Pod

suite('partitions are added', () => {
  test('at any time where calls have no order', () => {
    assert.equal(growthWaitsFor(service(2), [], [pod]), undefined)
    assert.equal(growthWaitsFor(service(2), [group('None', 5)], [pod]), undefined)
  })

  for (const ordering of ['Key', 'Partition']) {
    test(`with ordering ${ordering} when no proxy is there or asked for, and nothing waits`, () => {
      assert.equal(growthWaitsFor(service(0), [group('None', 5), group(ordering, 0)], []), undefined)
      const proxies = /^calls have an order by ConsumerGroup calculator: first set spec\.proxy\.replicas to 0$/
      assert.match(growthWaitsFor(service(1), [group(ordering, 0)], []) ?? '', proxies)
      assert.match(growthWaitsFor(service(0), [group(ordering, 0)], [pod]) ?? '', proxies)
      const lag = /: waiting until the lag of ConsumerGroup calculator is 0$/
      assert.match(growthWaitsFor(service(0), [group(ordering, 1)], []) ?? '', lag)
      assert.match(growthWaitsFor(service(0), [group(ordering)], []) ?? '', lag, 'it is not known yet')
    })
  }
})
