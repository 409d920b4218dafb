import assert from 'node:assert/strict'
import { test } from 'node:test'
import { retentionProblem } from '../../../../operator/consumergroup/retention.ts'
import { aGroup, aPolicy, aService } from './fixture.ts'

/** Two attempts of 10 s and a pause of 40 s: a minute. */
const GROUP = aGroup({ 'spec.timeoutMilliseconds': 10_000 })
const policy = (onExpired = 'Continue') =>
  aPolicy({
    'spec.maxAttempts': 2,
    'spec.backoff': { initialMilliseconds: 40_000, maxMilliseconds: 40_000 },
    'spec.onExpired': onExpired,
  })
const service = (timeouts: readonly number[], config: Readonly<Record<string, string>> = {}) =>
  aService({
    'spec.methods': timeouts.map((timeoutMilliseconds, index) => ({ name: `M${index}`, timeoutMilliseconds })),
    'spec.results': { retentionSeconds: 60 },
    'spec.topic.config': config,
  })

test('attempts and pauses that fit into the shortest deadline and the retention are no problem', () => {
  assert.equal(retentionProblem(service([1, 5000]), GROUP, policy()), undefined)
})

test('attempts that would come after what is kept of a call are one', () => {
  const longer = aGroup({ 'spec.timeoutMilliseconds': 10_001 })
  assert.match(
    retentionProblem(service([1, 5000]), longer, policy()) ?? '',
    /may take 60002 ms, and what is kept of it ends 60000 ms after its deadline/,
  )
})

test('a topic that keeps records for less time than calls may be run is one', () => {
  const config = (milliseconds: number) => ({ 'retention.ms': String(milliseconds) })
  assert.equal(retentionProblem(service([1, 5000], config(65_000)), GROUP, policy()), undefined)
  assert.equal(retentionProblem(service([1, 5000], config(-1)), GROUP, policy()), undefined)
  assert.match(
    retentionProblem(service([1, 5000], config(64_999)), GROUP, policy()) ?? '',
    /may be run 65000 ms after it came, and topic.config\["retention.ms"\] is 64999/,
  )
})

test('calls that end with their deadlines outlive nothing', () => {
  const patient = aGroup({ 'spec.timeoutMilliseconds': 3_585_000 })
  assert.equal(retentionProblem(service([1]), patient, policy('Drop')), undefined)
  assert.equal(retentionProblem(service([1]), patient, undefined), undefined)
})
