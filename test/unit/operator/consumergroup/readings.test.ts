import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { AskedGroup } from '../../../../operator/consumergroup/observe.ts'
import { GroupReadings } from '../../../../operator/consumergroup/readings.ts'
import type { GroupState } from '../../../../operator/kafka/group-admin.ts'
import { KafkaProblem } from '../../../../operator/kafka/kafka-problem.ts'

const KEY = 'team/calculator'
const asked: AskedGroup = { access: { servers: ['kafka:9092'] }, topics: ['t'], groupId: 'g', startFrom: 'Earliest' }

/** Readings of a Kafka that answers when it is told to. */
function world() {
  let now = 0
  const changed: string[] = []
  const failed: unknown[] = []
  const questions: { answer: (state: GroupState) => Promise<void>; fail: (error: Error) => Promise<void> }[] = []
  const settled = (run: () => void) => async (): Promise<void> => {
    run()
    await new Promise((resolve) => setImmediate(resolve))
  }
  const readings = new GroupReadings({
    clock: { monotonic: () => now },
    use: (_access, work) =>
      work({
        read: () =>
          new Promise<GroupState>((resolve, reject) => {
            questions.push({
              answer: (state) => settled(() => resolve(state))(),
              fail: (error) => settled(() => reject(error))(),
            })
          }),
        close: () => Promise.resolve(),
      }),
    changed: (key) => changed.push(key),
    failed: (error) => failed.push(error),
  })
  return {
    readings,
    changed,
    failed,
    questions,
    look: (given: AskedGroup = asked) => readings.latest(KEY, given, 1000),
    pass: (milliseconds: number) => (now += milliseconds),
  }
}

const STATE = { lag: 3, members: 1 }

describe("Kafka's word on a group", () => {
  test('is not waited for, and wakes the group when it comes', async () => {
    const { look, questions, changed } = world()
    assert.equal(look(), undefined)
    assert.deepEqual(changed, [])
    await questions[0]!.answer(STATE)
    assert.deepEqual(changed, [KEY])
    assert.deepEqual(look(), { known: true, ...STATE })
  })

  test('is asked for once at a time, and again only when it is old', async () => {
    const { look, questions, pass } = world()
    look()
    pass(5000)
    look()
    assert.equal(questions.length, 1)
    await questions[0]!.answer(STATE)
    pass(999)
    look()
    assert.equal(questions.length, 1)
    pass(1)
    look()
    assert.equal(questions.length, 2)
  })

  test('wakes nobody when it is the same', async () => {
    const { look, questions, changed, pass } = world()
    look()
    await questions[0]!.answer(STATE)
    pass(1000)
    look()
    await questions[1]!.answer(STATE)
    assert.deepEqual(changed, [KEY])
  })

  test('is that Kafka says nothing, where it does not', async () => {
    const { look, questions, changed, failed } = world()
    look()
    await questions[0]!.fail(new KafkaProblem('KafkaUnavailable', 'no broker answers'))
    assert.deepEqual(look(), { known: false, message: 'no broker answers' })
    assert.deepEqual([changed.length, failed.length], [1, 0])
  })

  test('is asked for again sooner where Kafka said nothing', async () => {
    const { readings, questions, pass } = world()
    const look = () => readings.latest(KEY, asked, 25_000)
    look()
    await questions[0]!.fail(new KafkaProblem('KafkaUnavailable', 'no broker answers'))
    pass(8999)
    look()
    assert.equal(questions.length, 1)
    pass(1)
    look()
    assert.equal(questions.length, 2)
  })

  test('is not hidden where the fault is ours', async () => {
    const { look, questions, failed } = world()
    look()
    await questions[0]!.fail(new TypeError('x is not a function'))
    assert.equal(failed.length, 1)
  })

  test('is another when something else is asked, and an answer to the earlier question is none', async () => {
    const { look, questions, changed } = world()
    look()
    assert.equal(look({ ...asked, topics: ['other'] }), undefined)
    await questions[0]!.answer({ lag: 9, members: 9 })
    assert.equal(look({ ...asked, topics: ['other'] }), undefined)
    assert.deepEqual(changed, [])
    await questions[1]!.answer(STATE)
    assert.deepEqual(look({ ...asked, topics: ['other'] }), { known: true, ...STATE })
  })

  test('comes to nobody who is gone', async () => {
    const { readings, look, questions, changed } = world()
    look()
    readings.forget(KEY)
    await questions[0]!.answer(STATE)
    assert.deepEqual(changed, [])
  })
})
