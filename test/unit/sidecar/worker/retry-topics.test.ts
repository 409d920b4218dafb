import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { pino } from 'pino'
import { ProduceError } from '../../../../sidecar/kafka/producer.ts'
import type { RawOutgoingRecord } from '../../../../sidecar/kafka/record.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'
import { RetryTopics } from '../../../../sidecar/worker/retry-topics.ts'

type Produced = readonly [topic: string, values: readonly string[]]

/** Topics of a Kafka that is not there: those that are, and what was produced. */
class Harness {
  there: string[]
  readonly produced: Produced[] = []
  /** Asked before each produce; what it throws is Kafka's answer. */
  answer: (topic: string, values: readonly string[]) => void = () => undefined
  readonly topics: RetryTopics

  constructor(t: TestContext, there = ['work', 'work.retry.1', 'work.retry.2']) {
    this.there = there
    this.topics = new RetryTopics({
      admin: {
        connect: () => Promise.resolve(),
        listTopics: () => Promise.resolve(this.there),
        disconnect: () => Promise.resolve(),
      },
      producer: {
        produce: async (topic, records) => {
          const values = records.map(({ value }) => String(value).slice(0, 8))
          this.answer(topic, values)
          this.produced.push([topic, values])
        },
      },
      topic: 'work',
      logger: pino({ level: 'silent' }),
      metrics: new Metrics(),
    })
    t.after(() => this.topics.close())
  }
}

const recordOf = (value: string): RawOutgoingRecord => ({ key: null, value: Buffer.from(value), headers: {} })

describe('the retry topics that are there', () => {
  test('are those of the service that there are, in the order of their pauses, also beyond one that is missing', async (t) => {
    const harness = new Harness(t, ['work', 'work.retry.4', 'work.retry.1', 'work.retry.2', 'other.retry.3'])
    assert.equal(harness.topics.isThere, false)
    assert.deepEqual(await harness.topics.look(), ['work.retry.1', 'work.retry.2', 'work.retry.4'])
    assert.equal(harness.topics.isThere, true)
  })

  test('are no more than there can be', async (t) => {
    const harness = new Harness(
      t,
      Array.from({ length: 30 }, (_, index) => `work.retry.${index + 1}`),
    )
    assert.equal((await harness.topics.look()).length, 8)
  })
})

describe('a call that is handed on', () => {
  test('goes to the topic of its pause, and longer pauses to the last there is', async (t) => {
    const harness = new Harness(t)
    await harness.topics.look()
    await Promise.all([1, 2, 3, 9].map((failed) => harness.topics.handOn(failed, recordOf(String(failed)))))
    assert.deepEqual(harness.produced, [
      ['work.retry.1', ['1']],
      ['work.retry.2', ['2', '3', '9']],
    ])
  })

  test('goes with those of the same turn, up to 64 records or half a mebibyte', async (t) => {
    const harness = new Harness(t)
    await harness.topics.look()
    await Promise.all(Array.from({ length: 100 }, (_, index) => harness.topics.handOn(1, recordOf(String(index)))))
    assert.deepEqual(
      harness.produced.map(([, values]) => values.length),
      [64, 36],
    )
    harness.produced.length = 0
    await Promise.all(['a', 'b', 'c'].map((one) => harness.topics.handOn(1, recordOf(one.repeat(262_144)))))
    assert.deepEqual(
      harness.produced.map(([, values]) => values.length),
      [2, 1],
    )
  })

  test('is tried until Kafka has it', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const harness = new Harness(t)
    await harness.topics.look()
    let answers = 0
    harness.answer = () => {
      if (++answers < 3) throw new ProduceError(answers === 1 ? 'AMBIGUOUS' : 'REFUSED', 'not now')
    }
    const done = harness.topics.handOn(1, recordOf('a'))
    for (let count = 0; count < 10; count++) {
      await turn()
      t.mock.timers.tick(100)
    }
    await done
    assert.equal(answers, 3)
  })

  test('is not held up by one beside it that is too large, which is told', async (t) => {
    const harness = new Harness(t)
    await harness.topics.look()
    harness.answer = (_topic, values) => {
      if (values.includes('large')) throw new ProduceError('TOO_LARGE', 'too large')
    }
    const ends = await Promise.allSettled(['a', 'large', 'b'].map((one) => harness.topics.handOn(1, recordOf(one))))
    assert.deepEqual(
      ends.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled'],
    )
    assert.deepEqual(harness.produced.flatMap(([, values]) => values).toSorted(), ['a', 'b'])
  })

  test('is given up when the topics are closed before Kafka had it', async (t) => {
    const harness = new Harness(t)
    await harness.topics.look()
    harness.answer = () => {
      throw new ProduceError('REFUSED', 'not now')
    }
    const given = assert.rejects(harness.topics.handOn(1, recordOf('a')), /aborted|closed/)
    await turn()
    await harness.topics.close()
    await given
  })
})
