import assert from 'node:assert/strict'
import { test } from 'node:test'
import { randomOf } from '../../faults/random.ts'
import { FAULT_CLASSES, roundOf, scheduleOf } from '../../faults/schedule.ts'

const SIZES = { proxies: 2, workers: 3, brokers: 3 }
const classes = FAULT_CLASSES.filter((one) => one !== 'delete-topic')
const steps = (seed: number, count: number) => scheduleOf(classes, SIZES, randomOf(seed)).take(count).toArray()

test('a seed gives the same faults again, and another one others', () => {
  assert.deepEqual(steps(7, 40), steps(7, 40))
  assert.notDeepEqual(steps(7, 40), steps(8, 40))
})

test('each round has every class, and a kill of each kind of victim', () => {
  const round = roundOf(classes)
  for (let seed = 0; seed < 20; seed++) {
    const all = steps(seed, 2 * round).map(({ plan }) => (plan.kind === 'kill' ? plan.victim : plan.kind))
    const expected = [...classes.filter((one) => one !== 'kill'), 'worker', 'handler', 'proxy'].sort()
    assert.deepEqual(all.slice(0, round).sort(), expected, `seed ${seed}`)
    assert.deepEqual(all.slice(round).sort(), expected, `seed ${seed}`)
  }
})

test('every victim, broker and connection is chosen sooner or later, and none that is not there', () => {
  const chosen = new Set(
    steps(1, 600).map(({ plan }) => {
      const { kind } = plan
      if (kind === 'kill') return `${plan.victim} ${plan.number}`
      if ('number' in plan) return `${kind} ${plan.number}`
      return 'to' in plan ? `${kind} ${plan.to}` : kind
    }),
  )
  const expected = [
    ...[0, 1, 2].flatMap((number) =>
      ['worker', 'handler', 'freeze', 'restart-broker'].map((one) => `${one} ${number}`),
    ),
    ...[0, 1].map((number) => `proxy ${number}`),
    ...['Kafka', 'Redis'].flatMap((to) => [`cut-connections ${to}`, `slow-connections ${to}`]),
    'restart-redis',
    'cut-subscriptions',
    'slow-handler',
    'failing-handler',
  ]
  assert.deepEqual([...chosen].sort(), expected.sort())
})

test('numbers are even enough to choose by, and stay within their bounds', () => {
  const random = randomOf(3)
  const counts = [0, 0, 0, 0]
  for (let index = 0; index < 4000; index++) counts[random.integer(0, 3)]! += 1
  for (const count of counts) assert.ok(count > 850 && count < 1150, counts.join(' '))
})
