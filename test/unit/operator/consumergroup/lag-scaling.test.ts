import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { scaleByLag } from '../../../../operator/consumergroup/lag-scaling.ts'
import type { Advice, ScalingInput } from '../../../../operator/consumergroup/lag-scaling.ts'

const scaling = { minReplicas: 1, maxReplicas: 10, lagPerReplica: 100, stabilizationSeconds: 300 }
const T0 = Date.UTC(2026, 0, 1)
const input: ScalingInput = { scaling, partitions: 12, lag: 0, current: 1, earlier: [], now: T0 }

describe('how many workers a lag asks for', () => {
  const table: readonly { readonly name: string; readonly given: Partial<ScalingInput>; readonly gives: number }[] = [
    { name: 'nothing waits', given: { lag: 0 }, gives: 1 },
    { name: 'less than one worker is for', given: { lag: 99 }, gives: 1 },
    { name: 'just what one worker is for', given: { lag: 100 }, gives: 1 },
    { name: 'one call more', given: { lag: 101 }, gives: 2 },
    { name: 'more than the maximum is for', given: { lag: 5000 }, gives: 10 },
    { name: 'more than there are partitions', given: { lag: 5000, partitions: 4 }, gives: 4 },
    { name: 'partitions that are not known', given: { lag: 5000, partitions: undefined }, gives: 10 },
    {
      name: 'fewer partitions than the minimum',
      given: { scaling: { ...scaling, minReplicas: 5 }, partitions: 3 },
      gives: 3,
    },
    { name: 'a topic without partitions, as one that is not there', given: { lag: 500, partitions: 0 }, gives: 1 },
    { name: 'nothing, and zero is allowed', given: { scaling: { ...scaling, minReplicas: 0 }, current: 0 }, gives: 0 },
    {
      name: 'one call, and none is there',
      given: { scaling: { ...scaling, minReplicas: 0 }, current: 0, lag: 1 },
      gives: 1,
    },
    { name: 'it is not known', given: { lag: undefined, current: 7 }, gives: 7 },
    {
      name: 'it is not known, and none is there',
      given: { scaling: { ...scaling, minReplicas: 0 }, lag: undefined, current: 0 },
      gives: 0,
    },
    { name: 'it is not known, and there are more than the maximum', given: { lag: undefined, current: 20 }, gives: 10 },
    { name: 'it is not known, and there are fewer than the minimum', given: { lag: undefined, current: 0 }, gives: 1 },
    { name: 'less than before, for the first time seen', given: { lag: 0, current: 7 }, gives: 7 },
    {
      name: 'less than before, and no window',
      given: { scaling: { ...scaling, stabilizationSeconds: 0 }, lag: 0, current: 7 },
      gives: 1,
    },
  ]
  for (const { name, given, gives } of table) {
    test(name, () => assert.equal(scaleByLag({ ...input, ...given }).replicas, gives))
  }
})

/** The numbers decided for lags seen one after the other, so many seconds apart. */
function run(lags: readonly (number | undefined)[], seconds: number, first: number): readonly number[] {
  let current = first
  let earlier: readonly Advice[] = []
  return lags.map((lag, index) => {
    const decided = scaleByLag({ ...input, lag, current, earlier, now: T0 + index * seconds * 1000 })
    earlier = decided.advice
    current = decided.replicas
    return current
  })
}

describe('the window', () => {
  test('lets workers become fewer when fewer would have done for all of it', () => {
    assert.deepEqual(run([700, 0, 0, 0, 0], 100, 1), [7, 7, 7, 1, 1])
  })

  test('goes down to what was needed most within it', () => {
    assert.deepEqual(run([700, 400, 0, 0, 0, 0], 100, 1), [7, 7, 7, 4, 1, 1])
  })

  test('begins anew with every peak', () => {
    assert.deepEqual(run([700, 0, 0, 700, 0, 0, 0], 100, 1), [7, 7, 7, 7, 7, 7, 1])
  })

  test('does not hold back more workers', () => {
    assert.deepEqual(run([0, 700], 1, 1), [1, 7])
  })

  test('does not pass while nothing is known', () => {
    assert.deepEqual(run([700, undefined, undefined, undefined, undefined, 0, 0, 0], 100, 1), [7, 7, 7, 7, 7, 7, 7, 1])
  })
})

test('workers are enough for the lag, within bounds, and as many as the window needed', () => {
  const step = fc.record({
    lag: fc.option(fc.integer({ min: 0, max: 3000 }), { nil: undefined }),
    seconds: fc.integer({ min: 1, max: 200 }),
  })
  const bounds = fc.record({
    minReplicas: fc.integer({ min: 0, max: 5 }),
    maxReplicas: fc.integer({ min: 5, max: 20 }),
    lagPerReplica: fc.integer({ min: 1, max: 300 }),
    stabilizationSeconds: fc.integer({ min: 0, max: 600 }),
  })
  fc.assert(
    fc.property(
      bounds,
      fc.integer({ min: 1, max: 15 }),
      fc.integer({ min: 0, max: 25 }),
      fc.array(step),
      (scaling, partitions, first, steps) => {
        const most = Math.min(scaling.maxReplicas, partitions)
        const least = Math.min(scaling.minReplicas, most)
        const within = (replicas: number): number => Math.max(least, Math.min(replicas, most))
        let now = T0
        let current = first
        let earlier: readonly Advice[] = []
        const needed: Advice[] = [{ at: T0 + 1000 * (steps[0]?.seconds ?? 0), replicas: within(first) }]
        for (const { lag, seconds } of steps) {
          now += seconds * 1000
          const need = lag === undefined ? within(current) : within(Math.ceil(lag / scaling.lagPerReplica))
          needed.push({ at: now, replicas: need })
          const since = now - scaling.stabilizationSeconds * 1000
          // All of the history, where scaleByLag keeps what can still count.
          const inWindow = needed.filter(({ at }, index) => at > since || index === needed.length - 1)
          const stabilized = Math.max(...inWindow.map(({ replicas }) => replicas))
          const decided = scaleByLag({ scaling, partitions, lag, current, earlier, now })
          assert.equal(decided.replicas, need > current ? need : Math.min(within(current), stabilized))
          assert.ok(decided.advice.length <= most - least + 1)
          current = decided.replicas
          earlier = decided.advice
        }
      },
    ),
    { numRuns: 500 },
  )
})
