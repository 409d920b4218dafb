import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { DrainRate } from '../../../../sidecar/worker/drain-rate.ts'

const METHOD = 's.S/M'

function setUp() {
  const time = { now: 0 }
  const rate = new DrainRate(() => time.now)
  /** Every place taken for so long, with answers at even times. */
  const full = (milliseconds: number, answers: number, service = 20) => {
    rate.setFull(true)
    for (let answer = 0; answer < answers; answer++) {
      time.now += milliseconds / answers
      rate.answered(METHOD, service)
    }
    if (answers === 0) time.now += milliseconds
  }
  const free = (milliseconds: number, answers: number) => {
    rate.setFull(false)
    time.now += milliseconds
    for (let answer = 0; answer < answers; answer++) rate.answered(METHOD, 20)
  }
  return { rate, full, free, time }
}
const near = (actual: number | undefined, expected: number, percent = 5) =>
  assert.ok(
    actual !== undefined && Math.abs(actual - expected) <= (expected * percent) / 100,
    `${actual}, not about ${expected}`,
  )

suite('the drain rate', () => {
  test('is not known before every place was taken for a while', () => {
    const { rate, full, free } = setUp()
    free(10_000, 5000)
    assert.equal(rate.perSecond(20), undefined)
    full(100, 100)
    assert.equal(rate.perSecond(20), undefined)
    full(200, 200)
    near(rate.perSecond(20), 1000)
  })

  test('is that of the time in which every place was taken, however little of it there is', () => {
    const { rate, full, free } = setUp()
    for (let second = 0; second < 20; second++) {
      full(50, 50)
      free(950, 10)
      rate.perSecond(20)
    }
    near(rate.perSecond(20), 1000)
  })

  test('is not known when the number of places has changed, until it is measured with the new one', () => {
    const { rate, full } = setUp()
    full(1000, 1000)
    near(rate.perSecond(20), 1000)
    assert.equal(rate.perSecond(200), undefined)
    full(1000, 5000)
    near(rate.perSecond(200), 5000)
  })

  test('follows a handler that becomes slower within some seconds, and one that becomes faster', () => {
    const { rate, full } = setUp()
    full(1000, 1000)
    near(rate.perSecond(20), 1000)
    for (let second = 0; second < 10; second++) {
      full(1000, 100)
      rate.perSecond(20)
    }
    near(rate.perSecond(20), 100, 40)
    for (let second = 0; second < 10; second++) {
      full(1000, 1000)
      rate.perSecond(20)
    }
    near(rate.perSecond(20), 1000)
  })

  test('is steady where calls take long and end together', () => {
    const { rate, full } = setUp()
    const seen: (number | undefined)[] = []
    for (let round = 0; round < 10; round++) {
      for (let second = 0; second < 9; second++) {
        full(1000, 0)
        seen.push(rate.perSecond(20))
      }
      full(1000, 20, 10_000)
      seen.push(rate.perSecond(20))
    }
    for (const one of seen.slice(20)) near(one, 2)
  })

  test('comes to nothing while the handler answers nothing, and back', () => {
    const { rate, full } = setUp()
    full(1000, 1000)
    near(rate.perSecond(20), 1000)
    for (let second = 0; second < 10; second++) {
      full(1000, 0)
      rate.perSecond(20)
    }
    near(rate.perSecond(20), 36, 5)
    for (let second = 0; second < 12; second++) {
      full(1000, 1000)
      rate.perSecond(20)
    }
    near(rate.perSecond(20), 1000)
  })

  test('is the same after the process stood still', () => {
    const { rate, full } = setUp()
    full(1000, 1000)
    near(rate.perSecond(20), 1000)
    full(15_000, 0)
    near(rate.perSecond(20), 1000)
    full(1000, 1000)
    near(rate.perSecond(20), 1000)
  })

  test('is forgotten half a minute after every place was last taken', () => {
    const { rate, full, free } = setUp()
    full(1000, 1000)
    free(30_000, 0)
    near(rate.perSecond(20), 1000)
    free(1, 0)
    assert.equal(rate.perSecond(20), undefined)
  })

  test('knows how long the calls of each method take', () => {
    const { rate } = setUp()
    rate.answered('s.S/A', 100)
    for (let call = 0; call < 200; call++) {
      rate.answered('s.S/A', 200)
      rate.answered('s.S/B', 10)
    }
    near(rate.serviceMilliseconds.get('s.S/A'), 200, 1)
    near(rate.serviceMilliseconds.get('s.S/B'), 10, 1)
  })
})
