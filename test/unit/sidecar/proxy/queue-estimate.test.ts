import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { QueueEstimate } from '../../../../sidecar/proxy/queue-estimate.ts'
import type { FlowReport } from '../../../../sidecar/results/flow-report.ts'

const METHOD = 's.S/M'
const T0 = 1_000_000

function setUp(inFlight = 0) {
  const time = { now: T0 }
  const estimate = new QueueEstimate({ now: () => time.now })
  estimate.inFlight = inFlight
  estimate.sample()
  return { estimate, time }
}
/** Twenty places that answer a thousand calls a second. */
const report = (part: Partial<FlowReport> = {}): FlowReport => ({
  time: T0,
  unfinished: 1020,
  places: 20,
  partitions: 3,
  rate: 1000,
  serviceMilliseconds: new Map([[METHOD, 20]]),
  ...part,
})

suite('the estimate of the wait', () => {
  test('is what waits before the places over the rate, with caution, and the time of the call itself', () => {
    const { estimate } = setUp()
    estimate.update([report()])
    assert.equal(estimate.wait, 1000)
    assert.equal(estimate.tooLong(METHOD, 1271), undefined)
    assert.equal(estimate.tooLong(METHOD, 1269), 1270)
    assert.equal(estimate.tooLong('s.S/Unheard', 1250), undefined)
  })

  for (const [what, part] of [
    ['a free place', { unfinished: 19 }],
    ['nothing waiting', { unfinished: 20 }],
    ['an unknown rate', { rate: undefined }],
    ['a handler that is away', { places: 0 }],
    ['a report of three seconds ago', { time: T0 - 3000 }],
    ['a report from the future', { time: T0 + 1001 }],
    ['a worker without partitions', { partitions: 0 }],
  ] as const) {
    test(`${what} refuses nothing`, () => {
      const { estimate } = setUp()
      estimate.update([report({ unfinished: 1_000_000, ...part })])
      assert.equal(estimate.tooLong(METHOD, 1), undefined)
    })
  }

  test('no report refuses nothing', () => {
    const { estimate } = setUp(5000)
    assert.equal(estimate.tooLong(METHOD, 1), undefined)
    assert.equal(estimate.wait, undefined)
    estimate.update([])
    assert.equal(estimate.tooLong(METHOD, 1), undefined)
    assert.equal(estimate.wait, undefined)
  })

  test('a report that nobody renews says nothing after three seconds', () => {
    const { estimate, time } = setUp()
    estimate.update([report()])
    time.now += 2999
    assert.notEqual(estimate.tooLong(METHOD, 100), undefined)
    time.now += 1
    assert.equal(estimate.tooLong(METHOD, 100), undefined)
    assert.equal(estimate.wait, undefined)
  })

  test('counts what this replica has sent and got answered since the report', () => {
    const { estimate, time } = setUp(1020)
    time.now += 100
    estimate.inFlight = 1120
    estimate.sample()
    time.now += 900
    estimate.update([report()])
    assert.equal(estimate.wait, 1100)
    estimate.inFlight = 2020
    assert.equal(estimate.wait, 2000)
    estimate.inFlight = 520
    assert.equal(estimate.wait, 500)
  })

  test('takes it that other replicas do the same, by their part of a backlog', () => {
    const { estimate } = setUp(255)
    estimate.update([report()])
    assert.equal(estimate.wait, 1000)
    estimate.inFlight += 100
    assert.equal(estimate.wait, 1400)
    estimate.inFlight -= 200
    assert.equal(estimate.wait, 600)
  })

  test('takes its own part for no less than a tenth: few calls tell little of others', () => {
    const { estimate } = setUp(1)
    estimate.update([report()])
    estimate.inFlight += 1
    assert.equal(estimate.wait, 1010)
  })

  test('takes others for idle where there is no backlog', () => {
    const { estimate } = setUp(1)
    estimate.update([report({ unfinished: 20 })])
    estimate.inFlight += 1000
    assert.equal(estimate.wait, 1000)
  })

  test('is never less than what this replica has in flight makes', () => {
    const { estimate } = setUp(2000)
    estimate.update([report({ unfinished: 50 })])
    assert.equal(estimate.wait, 1980)
  })

  test('adds the workers up', () => {
    const { estimate } = setUp(2040)
    estimate.update([report(), report()])
    assert.equal(estimate.wait, 1000)
    estimate.inFlight = 4040
    assert.equal(estimate.wait, 2000)
  })

  test('a worker that never answers refuses what would come to it', () => {
    const { estimate } = setUp()
    estimate.update([report({ rate: 0 })])
    assert.equal(estimate.tooLong(METHOD, 1_000_000), Infinity)
  })

  test('one slow worker of many refuses nothing, one that has a third of the partitions does', () => {
    const { estimate } = setUp()
    const idle = report({ unfinished: 0 })
    estimate.update([report(), idle, idle, idle])
    assert.equal(estimate.tooLong(METHOD, 100), undefined)
    estimate.update([report(), idle, idle])
    assert.equal(estimate.tooLong(METHOD, 100), 1270)
  })
})
