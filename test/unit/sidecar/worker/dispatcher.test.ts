import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { pino } from 'pino'
import type { Ordering } from '../../../../sidecar/config.ts'
import type { FetchedRecord } from '../../../../sidecar/kafka/consumer.ts'
import { LEASE_MARGIN_MILLISECONDS } from '../../../../sidecar/results/claims.ts'
import { keyOf, type TopicPartition } from '../../../../sidecar/kafka/topic-partition.ts'
import type { BeginOptions, Begun, OutcomeStore, Start } from '../../../../sidecar/results/store.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'
import type { CallRunner } from '../../../../sidecar/worker/call-runner.ts'
import { Dispatcher } from '../../../../sidecar/worker/dispatcher.ts'
import { WINDOW_RECORDS, type Entry } from '../../../../sidecar/worker/partition.ts'
import { at, fetched, fetchedOfVersion2, fetchedWithKey, idAt, keyedAt, newer, NOW, poison, range } from './records.ts'

const W = WINDOW_RECORDS

/** What Redis would say, without Redis. */
class FakeStore {
  readonly outcomes = new Set<string>()
  /** Other instances that hold a partition. */
  readonly others = new Map<number, number>()
  readonly held: number[][] = []
  readonly released: number[] = []
  readonly asked: { readonly attempt: number; readonly offset: number; readonly alone: boolean }[] = []
  readonly redrives: Start['redrive'][] = []
  readonly takenBack: number[] = []
  lookedUp = 0
  answer: (start: Start, alone: boolean) => Begun = ({ attempt }) => ({
    kind: 'Counted',
    start: attempt,
    token: 'token',
  })
  /** Awaited before every answer to `begin` and `haveOutcomes`. */
  gate: Promise<void> = Promise.resolve()
  reachable = true

  async haveOutcomes(ids: readonly Buffer[]): Promise<boolean[]> {
    this.lookedUp += ids.length
    await this.gate
    return ids.map((id) => this.outcomes.has(id.toString('hex')))
  }

  keepMilliseconds = 0

  async begin(starts: readonly Start[], { alone, keepMilliseconds }: BeginOptions): Promise<Begun[]> {
    this.keepMilliseconds = keepMilliseconds
    for (const { id, attempt, redrive } of starts) {
      this.asked.push({ offset: id.readUInt32BE(12), attempt, alone })
      if (redrive !== undefined) this.redrives.push(redrive)
    }
    await this.gate
    return starts.map((start) => this.answer(start, alone))
  }

  async takeBack(starts: readonly { readonly id: Buffer }[]): Promise<void> {
    this.takenBack.push(...starts.map(({ id }) => id.readUInt32BE(12)))
    await this.gate
  }

  async hold(_group: string, partitions: readonly TopicPartition[]): Promise<number[]> {
    if (!this.reachable) throw new Error('Redis is away')
    this.held.push(partitions.map(({ partition }) => partition))
    return partitions.map(({ partition }) => this.others.get(partition) ?? 0)
  }

  async release(_group: string, partitions: readonly TopicPartition[]): Promise<void> {
    this.released.push(...partitions.map(({ partition }) => partition))
  }
}

interface HarnessOptions {
  readonly concurrency?: number
  readonly maxAttempts?: number
  readonly observer?: boolean
  readonly healthy?: boolean
  readonly longestWaitMilliseconds?: number
  readonly beyondDeadlineMilliseconds?: number
  readonly ordering?: Ordering
}

class Harness {
  readonly store = new FakeStore()
  readonly metrics = new Metrics()
  readonly dispatcher: Dispatcher
  /** Entries at the handler now, and every start that was made, as `partition/offset`. */
  readonly running: Entry[] = []
  readonly starts: string[] = []
  readonly expired: number[] = []
  readonly skipped: number[] = []
  /** Ids that are said to be cancelled, in hexadecimal. */
  readonly cancelled = new Set<string>()
  readonly buried: { readonly entry: Entry; readonly code: string; readonly reason: string }[] = []
  readonly paused: number[] = []
  readonly resumed: number[] = []
  readonly lost: string[] = []
  /** The shared clock. */
  clock = NOW
  readonly #t: TestContext
  #monotonic = 1000
  /** Calls that end the moment they start. */
  endAtOnce = false
  /** The process is stopped for so long while it starts a call. */
  stoppedInStart = 0
  /** What a takeover has raised the deadlines of calls to. */
  raisedDeadline: number | undefined = undefined

  constructor(
    t: TestContext,
    {
      concurrency = 64,
      maxAttempts = 3,
      observer = false,
      healthy = true,
      longestWaitMilliseconds = 60_000,
      beyondDeadlineMilliseconds = 0,
      ordering = 'None',
    }: HarnessOptions = {},
  ) {
    this.#t = t
    t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
    t.mock.method(performance, 'now', () => this.#monotonic)
    this.dispatcher = new Dispatcher({
      groupId: 'group',
      observer,
      ordering,
      concurrency,
      maxAttempts,
      startsRetentionMilliseconds: 60_000,
      longestWaitMilliseconds,
      isCancelled: (id) => this.cancelled.has(id.toString('hex')),
      beyondDeadlineMilliseconds,
      store: this.store as unknown as OutcomeStore,
      now: () => this.clock,
      pause: ({ partition }) => this.paused.push(partition),
      resume: ({ partition }) => this.resumed.push(partition),
      onHandlerLost: (reason) => this.lost.push(reason),
      logger: pino({ enabled: false }),
      metrics: this.metrics,
    })
    const { dispatcher } = this
    const runner = {
      start: (entry: Entry) => {
        this.starts.push(`${entry.partition.partition}/${entry.offset}`)
        this.running.push(entry)
        this.#monotonic += this.stoppedInStart
        if (this.endAtOnce) this.end(entry)
      },
      expire: (entry: Entry) => {
        this.expired.push(entry.offset)
        if (this.raisedDeadline === undefined) dispatcher.finished(entry, 'expired')
        else dispatcher.raised(entry, this.raisedDeadline)
      },
      skip: (entry: Entry) => {
        this.skipped.push(entry.offset)
        dispatcher.finished(entry, 'skipped')
      },
      bury: (entry: Entry, code: string, reason: string) => this.buried.push({ entry, code, reason }),
    }
    dispatcher.start(runner as unknown as CallRunner)
    dispatcher.setHealthy(healthy)
    t.after(() => dispatcher.close())
  }

  /** Lets what waits for no timer happen. */
  async settle(): Promise<void> {
    for (let count = 0; count < 8; count++) await turn()
  }

  /** Both clocks go on, tick by tick. */
  async pass(milliseconds: number): Promise<void> {
    for (let passed = 0; passed < milliseconds; passed += 50) {
      const step = Math.min(50, milliseconds - passed)
      this.#monotonic += step
      this.clock += step
      this.#t.mock.timers.tick(step)
      await this.settle()
    }
  }

  /** A partition that is ours, open and held, with these records in it. */
  async own(
    records: readonly FetchedRecord[],
    { number = 0, offset = records[0]?.offset ?? 0, takenOver = false, window = W } = {},
  ): Promise<void> {
    const others = [...this.dispatcher.partitions.values()].filter(({ partition }) => partition !== number)
    this.dispatcher.assign([...others, at(number)], true)
    this.dispatcher.open(at(number), { offset, window }, takenOver)
    this.dispatcher.deliver(at(number), records, (records.at(-1)?.offset ?? -1) + 1)
    await this.settle()
  }

  entry(offset: number): Entry {
    const found = this.running.find((one) => one.offset === offset)
    assert.ok(found !== undefined, `${offset} does not run`)
    return found
  }

  /** The handler is done with it. */
  free(entry: Entry): void {
    this.running.splice(this.running.indexOf(entry), 1)
    this.dispatcher.handlerFree()
  }

  end(entry: Entry): void {
    this.free(entry)
    this.dispatcher.finished(entry, 'answered')
  }

  async gauge(name: string): Promise<number> {
    const line = (await this.metrics.expose()).split('\n').find((one) => one.startsWith(`${name} `))
    return Number(line?.slice(name.length))
  }

  get runningOffsets(): number[] {
    return this.running.map(({ offset }) => offset)
  }

  watermark(number = 0): number | undefined {
    return this.dispatcher.partitions.get(keyOf(at(number)))?.watermark()
  }
}

const offsetsTo = (end: number): number[] => Array.from({ length: end }, (_, offset) => offset)

describe('a record starts only', () => {
  test('when the committed offset of its partition is known', async (t) => {
    const harness = new Harness(t)
    harness.dispatcher.assign([at(0)], true)
    harness.dispatcher.deliver(at(0), range(0, 3), 3)
    await harness.settle()
    assert.deepEqual(harness.starts, [])
    harness.dispatcher.open(at(0), { offset: 0, window: W }, false)
    assert.deepEqual(harness.runningOffsets, [0, 1, 2])
  })

  test('when our word stands in Redis', async (t) => {
    const harness = new Harness(t)
    harness.store.reachable = false
    await harness.own(range(0, 1))
    await harness.pass(2000)
    assert.deepEqual(harness.starts, [])
    harness.store.reachable = true
    await harness.pass(1000)
    assert.deepEqual(harness.starts, ['0/0'])
  })

  test('while our word stands: not from half a second before it lapses', async (t) => {
    const harness = new Harness(t)
    await harness.own([])
    harness.store.reachable = false
    await harness.pass(2450)
    harness.dispatcher.deliver(at(0), range(0, 1), 1)
    assert.deepEqual(harness.starts, ['0/0'])
    await harness.pass(50)
    harness.dispatcher.deliver(at(0), range(1, 2), 2)
    await harness.pass(3000)
    assert.deepEqual(harness.starts, ['0/0'])
  })

  test('while our word stands, also when the process was stopped between one start and the next', async (t) => {
    const harness = new Harness(t)
    await harness.own([])
    harness.stoppedInStart = 3000
    harness.dispatcher.deliver(at(0), range(0, 2), 2)
    assert.deepEqual(harness.starts, ['0/0'])
  })

  test('inside the window, which moves with the commits', async (t) => {
    const harness = new Harness(t, { concurrency: 10_000 })
    await harness.own(range(0, W + 10))
    assert.deepEqual(harness.runningOffsets, offsetsTo(W))
    harness.end(harness.entry(0))
    assert.equal(harness.starts.length, W, 'a completion that is not committed moves nothing')
    harness.dispatcher.committed(at(0), { offset: 1, window: W })
    assert.equal(harness.starts.length, W + 1)
  })

  test('while the handler is healthy', async (t) => {
    const harness = new Harness(t, { healthy: false })
    await harness.own(range(0, 2))
    await harness.pass(500)
    assert.deepEqual(harness.starts, [])
    harness.dispatcher.setHealthy(true)
    assert.deepEqual(harness.starts, ['0/0', '0/1'])
  })

  test('when a place is free, in the order of the offsets', async (t) => {
    const harness = new Harness(t, { concurrency: 2 })
    await harness.own(range(0, 5))
    assert.deepEqual(harness.runningOffsets, [0, 1])
    harness.free(harness.entry(1))
    assert.deepEqual(harness.runningOffsets, [0, 2])
    assert.equal(harness.dispatcher.running, 2)
  })

  test('in turn with other partitions, and every other one of all is the oldest', async (t) => {
    const aged = (from: number, age: number) =>
      Array.from({ length: 100 }, (_, index) => fetched(from + index, { enqueuedAt: NOW - age }))
    const harness = new Harness(t, { concurrency: 12, healthy: false })
    await harness.own(aged(0, 10), { number: 0 })
    await harness.own(aged(0, 1000), { number: 1 })
    await harness.own(aged(0, 20), { number: 2 })
    harness.dispatcher.setHealthy(true)
    const of = (number: number) => harness.starts.filter((start) => start.startsWith(`${number}/`)).length
    assert.deepEqual([of(0), of(1), of(2)], [2, 8, 2])
  })

  test('the older one of two partitions first, however much younger ones wait in the other', async (t) => {
    const harness = new Harness(t, { concurrency: 4, healthy: false })
    await harness.own(range(0, 100), { number: 0 })
    await harness.own([fetched(0, { enqueuedAt: NOW - 1000 })], { number: 1 })
    harness.dispatcher.setHealthy(true)
    assert.equal(harness.starts[0], '1/0')
    assert.equal(harness.starts.length, 4)
  })
})

test('thousands of calls that end the moment they start do not grow the stack', async (t) => {
  const harness = new Harness(t, { concurrency: 1, healthy: false })
  for (let number = 0; number < 20; number++) await harness.own(range(0, W), { number })
  harness.endAtOnce = true
  harness.dispatcher.setHealthy(true)
  await harness.settle()
  assert.equal(harness.starts.length, 20 * W)
})

describe('completions', () => {
  test('in any order move the watermark in order', async (t) => {
    const harness = new Harness(t)
    await harness.own(range(0, 4))
    harness.end(harness.entry(2))
    harness.end(harness.entry(1))
    assert.equal(harness.watermark(), 0)
    harness.end(harness.entry(0))
    assert.equal(harness.watermark(), 3)
    harness.end(harness.entry(3))
    assert.equal(harness.watermark(), 4)
  })

  test('count when the outcome is stored, not when the handler is free', async (t) => {
    const harness = new Harness(t)
    await harness.own(range(0, 1))
    const entry = harness.entry(0)
    harness.free(entry)
    assert.equal(harness.watermark(), 0)
    harness.dispatcher.finished(entry, 'answered')
    assert.equal(harness.watermark(), 1)
  })
})

describe('the window of an earlier owner', () => {
  test('is looked up: what has an outcome is skipped, what has none waits while another may run it', async (t) => {
    const harness = new Harness(t)
    harness.store.others.set(0, 1)
    for (const offset of [0, 2]) harness.store.outcomes.add(idAt(offset).toString('hex'))
    await harness.own(range(0, 4), { takenOver: true })
    await harness.pass(1000)
    assert.deepEqual(harness.skipped, [0, 2])
    assert.deepEqual(harness.starts, [])
    assert.equal(harness.watermark(), 1)
    // The other one finishes one of the two and gives its word up.
    harness.store.outcomes.add(idAt(1).toString('hex'))
    harness.store.others.set(0, 0)
    await harness.pass(300)
    assert.deepEqual(harness.skipped, [0, 2, 1])
    assert.deepEqual(harness.starts, ['0/3'])
  })

  test('waits also while it is not known whether another is there', async (t) => {
    const harness = new Harness(t)
    harness.store.reachable = false
    await harness.own(range(0, 1), { takenOver: true })
    await harness.pass(1000)
    assert.deepEqual(harness.store.asked, [])
    // One is, as it turns out.
    harness.store.others.set(0, 1)
    harness.store.reachable = true
    await harness.pass(1500)
    assert.deepEqual(harness.starts, [])
  })

  test('does not hold back what lies beyond it', async (t) => {
    const harness = new Harness(t)
    harness.store.others.set(0, 1)
    await harness.own(range(0, 4), { takenOver: true, window: 2 })
    await harness.settle()
    // Beyond the window nobody else can have started anything; but our own starts end there too.
    assert.deepEqual(harness.starts, [])
    harness.dispatcher.committed(at(0), { offset: 0, window: W })
    assert.deepEqual(harness.starts, ['0/2', '0/3'])
  })

  test('is asked about with a first start assumed, where more than one is allowed', async (t) => {
    const harness = new Harness(t)
    await harness.own(range(0, 2), { takenOver: true })
    await harness.settle()
    assert.deepEqual(harness.store.asked, [
      { offset: 0, attempt: 2, alone: false },
      { offset: 1, attempt: 2, alone: false },
    ])
    assert.deepEqual(
      harness.running.map(({ offset, attempt, mayHaveRun }) => ({ offset, attempt, mayHaveRun })),
      [
        { offset: 0, attempt: 2, mayHaveRun: true },
        { offset: 1, attempt: 2, mayHaveRun: true },
      ],
    )
  })

  test('is run at least once where one attempt is allowed', async (t) => {
    const harness = new Harness(t, { maxAttempts: 1 })
    await harness.own(range(0, 1), { takenOver: true })
    await harness.settle()
    assert.deepEqual(harness.store.asked, [{ offset: 0, attempt: 1, alone: false }])
    assert.deepEqual(harness.starts, ['0/0'])
  })

  test('is asked about when a place is free for it and no earlier, because asking counts a start', async (t) => {
    const harness = new Harness(t, { concurrency: 2, healthy: false })
    await harness.own(range(0, 5), { takenOver: true })
    await harness.pass(500)
    assert.deepEqual(harness.store.asked, [])
    harness.dispatcher.setHealthy(true)
    await harness.settle()
    assert.deepEqual(
      harness.store.asked.map(({ offset }) => offset),
      [0, 1],
    )
    harness.end(harness.entry(0))
    await harness.settle()
    assert.deepEqual(
      harness.store.asked.map(({ offset }) => offset),
      [0, 1, 2],
    )
    assert.deepEqual(harness.runningOffsets, [1, 2])
  })

  test('is not looked up by an observer, whose records have no outcomes', async (t) => {
    const harness = new Harness(t, { observer: true })
    await harness.own(range(0, 1), { takenOver: true })
    await harness.settle()
    assert.equal(harness.store.lookedUp, 0)
    assert.deepEqual(harness.starts, ['0/0'])
  })
})

describe('what is said to be cancelled', () => {
  test('is asked about, and skipped where it has its outcome', async (t) => {
    const harness = new Harness(t)
    for (const offset of [0, 2]) harness.cancelled.add(idAt(offset).toString('hex'))
    harness.store.answer = ({ id, attempt }) =>
      id.equals(idAt(0)) ? { kind: 'Done' } : { kind: 'Counted', start: attempt, token: 'token' }
    await harness.own(range(0, 3))
    assert.deepEqual(
      harness.store.asked.map(({ offset }) => offset),
      [0, 2],
    )
    assert.deepEqual([harness.skipped, harness.starts], [[0], ['0/1', '0/2']])
  })
})

describe('what may have run before', () => {
  for (const [what, record] of [
    ['produced again', fetched(0, { producedAgain: true })],
    ['of a later attempt', fetched(0, { attempt: 2 })],
  ] as const) {
    test(`a record ${what} is asked about outside any window`, async (t) => {
      const harness = new Harness(t)
      await harness.own([record, fetched(1)])
      assert.deepEqual(
        harness.store.asked.map(({ offset }) => offset),
        [0],
      )
      await harness.settle()
      assert.deepEqual(
        harness.runningOffsets.toSorted((a, b) => a - b),
        [0, 1],
      )
    })
  }

  test('is skipped when it has an outcome', async (t) => {
    const harness = new Harness(t)
    harness.store.answer = () => ({ kind: 'Done' })
    await harness.own([fetched(0, { producedAgain: true })])
    assert.deepEqual(harness.skipped, [0])
    assert.deepEqual(harness.starts, [])
    assert.equal(harness.watermark(), 1)
  })

  test('is passed over, and said to have no outcome, when its next attempt is that of another record', async (t) => {
    const harness = new Harness(t)
    harness.store.answer = () => ({ kind: 'HandedOn' })
    await harness.own([fetched(0, { producedAgain: true })])
    assert.deepEqual([harness.skipped, harness.starts, harness.watermark()], [[], [], 1])
  })

  test('is dead-lettered when its starts are used up', async (t) => {
    const harness = new Harness(t)
    harness.store.answer = () => ({ kind: 'UsedUp', starts: 3 })
    await harness.own([fetched(0, { producedAgain: true })])
    assert.deepEqual(
      harness.buried.map(({ code, reason }) => [code, reason]),
      [['ATTEMPTS_USED_UP', 'started 3 times without an answer']],
    )
    assert.equal(harness.watermark(), 0, 'the offset waits for the failure topic')
    harness.dispatcher.finished((harness.buried[0] as { entry: Entry }).entry, 'dead_lettered')
    assert.equal(harness.watermark(), 1)
  })

  test('is kept to its place while it is asked about', async (t) => {
    const harness = new Harness(t, { concurrency: 1 })
    const { promise, resolve } = Promise.withResolvers<void>()
    harness.store.gate = promise
    await harness.own([fetched(0, { producedAgain: true }), fetched(1)])
    assert.deepEqual(harness.starts, [])
    resolve()
    await harness.settle()
    assert.deepEqual(harness.starts, ['0/0'])
  })

  test('does not make the handler look slow while Redis says nothing', async (t) => {
    const harness = new Harness(t, { concurrency: 1 })
    harness.store.gate = new Promise(() => undefined)
    await harness.own([fetched(0, { producedAgain: true }), fetched(1)])
    for (let second = 0; second < 12; second++) {
      await harness.pass(1000)
      assert.equal(harness.dispatcher.load().rate, undefined)
    }
  })
})

describe('a record that came back without an answer', () => {
  /** Record 1 may start alone only. */
  const onlyAlone = (start: Start, alone: boolean): Begun =>
    alone ? { kind: 'Counted', start: start.attempt + 1, token: 'lone' } : { kind: 'OnlyAlone' }

  test('waits for what runs, lets nothing go before it, and runs alone', async (t) => {
    const harness = new Harness(t)
    harness.store.answer = onlyAlone
    await harness.own([fetched(0), fetched(1, { producedAgain: true })])
    assert.deepEqual(harness.runningOffsets, [0])
    harness.dispatcher.deliver(at(0), range(2, 4), 4)
    await harness.settle()
    assert.deepEqual(harness.runningOffsets, [0])
    harness.end(harness.entry(0))
    await harness.settle()
    assert.deepEqual(harness.runningOffsets, [1])
    assert.equal(harness.entry(1).attempt, 2)
    harness.end(harness.entry(1))
    await harness.settle()
    assert.deepEqual(harness.runningOffsets, [2, 3])
  })

  test('is counted one at a time: those behind it are not counted by its end', async (t) => {
    const harness = new Harness(t)
    harness.store.answer = onlyAlone
    await harness.own(range(0, 4), { takenOver: true })
    await harness.settle()
    assert.deepEqual(
      harness.store.asked.filter(({ alone }) => alone).map(({ offset }) => offset),
      [0],
    )
    for (const offset of [0, 1, 2, 3]) {
      assert.deepEqual(harness.runningOffsets, [offset])
      harness.end(harness.entry(offset))
      await harness.settle()
    }
    assert.equal(harness.watermark(), 4)
  })

  test('does not stop the others when its partition is lost', async (t) => {
    const harness = new Harness(t)
    harness.store.answer = onlyAlone
    await harness.own([fetched(0)], { number: 0 })
    await harness.own([fetched(1, { producedAgain: true })], { number: 1 })
    harness.dispatcher.assign([at(0)], true)
    harness.end(harness.entry(0))
    harness.dispatcher.deliver(at(0), [fetched(1), fetched(2)], 3)
    await harness.settle()
    assert.deepEqual(harness.starts, ['0/0', '0/1', '0/2'])
  })
})

describe('a record with an idempotency key', () => {
  const record = (waited: number) => fetched(0, { id: keyedAt(0), enqueuedAt: NOW - waited })

  test('that comes so late that its claim may have been taken over is asked about, and skipped when it has an outcome', async (t) => {
    const harness = new Harness(t)
    harness.store.answer = () => ({ kind: 'Done' })
    await harness.own([record(LEASE_MARGIN_MILLISECONDS)])
    assert.deepEqual(harness.store.asked, [{ offset: 0, attempt: 1, alone: false }])
    assert.deepEqual([harness.skipped, harness.starts, harness.watermark()], [[0], [], 1])
  })

  test('that comes late and has no outcome is asked about once, and runs', async (t) => {
    const harness = new Harness(t)
    await harness.own([record(60_000)])
    assert.deepEqual([harness.store.asked.length, harness.starts], [1, ['0/0']])
  })

  test('that comes in time runs without asking', async (t) => {
    const harness = new Harness(t)
    await harness.own([record(LEASE_MARGIN_MILLISECONDS - 1)])
    assert.deepEqual([harness.store.asked, harness.starts], [[], ['0/0']])
  })

  test('is not asked about for an observer, which has no outcomes', async (t) => {
    const harness = new Harness(t, { observer: true })
    await harness.own([record(60_000)])
    assert.deepEqual([harness.store.asked, harness.starts], [[], ['0/0']])
  })
})

test('a record without an idempotency key runs without asking, however late it comes', async (t) => {
  const harness = new Harness(t)
  await harness.own([fetched(0, { enqueuedAt: NOW - 60_000 })])
  assert.deepEqual([harness.store.asked, harness.starts], [[], ['0/0']])
})

describe('a call that goes on beyond its deadline', () => {
  test('waits for a handler that is away until what is kept of it ends, and runs when that comes before', async (t) => {
    const harness = new Harness(t, { healthy: false, beyondDeadlineMilliseconds: 2000 })
    await harness.own([fetched(0, { deadline: NOW + 100 }), fetched(1, { deadline: NOW + 1000 })])
    await harness.pass(2050)
    assert.deepEqual(harness.expired, [])
    await harness.pass(100)
    assert.deepEqual(harness.expired, [0])
    harness.dispatcher.setHealthy(true)
    assert.deepEqual(harness.runningOffsets, [1])
  })
})

describe('a record whose deadline a takeover raised', () => {
  test('is asked about and runs with that deadline, when it comes to its turn after its own', async (t) => {
    const harness = new Harness(t, { healthy: false })
    await harness.own([fetched(0, { deadline: NOW + 100 })])
    harness.raisedDeadline = NOW + 5000
    await harness.pass(150)
    assert.deepEqual([harness.expired, harness.watermark()], [[0], 0])
    harness.dispatcher.setHealthy(true)
    await harness.settle()
    assert.deepEqual(harness.store.asked, [{ offset: 0, attempt: 1, alone: false }])
    const { decoded } = harness.entry(0)
    assert.ok(decoded.kind === 'Call')
    assert.deepEqual([decoded.record.deadline, decoded.record.producedAgain], [NOW + 5000, true])
    harness.end(harness.entry(0))
    assert.equal(harness.watermark(), 1)
  })

  test('expires when that has passed too', async (t) => {
    const harness = new Harness(t, { healthy: false })
    await harness.own([fetched(0, { deadline: NOW + 100 })])
    harness.raisedDeadline = NOW + 500
    await harness.pass(150)
    harness.raisedDeadline = undefined
    await harness.pass(300)
    assert.deepEqual(harness.expired, [0])
    await harness.pass(100)
    assert.deepEqual([harness.expired, harness.watermark()], [[0, 0], 1])
  })

  test('waits for its reader that much longer where a newer version wrote it', async (t) => {
    const harness = new Harness(t)
    await harness.own([newer(0, 3, { deadline: NOW + 100 })])
    harness.raisedDeadline = NOW + 500
    await harness.pass(150)
    harness.raisedDeadline = undefined
    await harness.pass(300)
    assert.deepEqual([harness.expired, harness.watermark()], [[0], 0])
    await harness.pass(100)
    assert.deepEqual([harness.expired, harness.watermark()], [[0, 0], 1])
  })
})

describe('a retry', () => {
  test('waits, is counted, and starts with the next attempt', async (t) => {
    const harness = new Harness(t)
    await harness.own(range(0, 1))
    const entry = harness.entry(0)
    harness.free(entry)
    harness.dispatcher.retry(entry, 400)
    await harness.pass(350)
    assert.deepEqual(harness.starts, ['0/0'])
    await harness.pass(50)
    assert.deepEqual(harness.store.asked, [{ offset: 0, attempt: 2, alone: false }])
    assert.deepEqual(harness.starts, ['0/0', '0/0'])
    assert.equal(harness.entry(0).attempt, 2)
    assert.equal(harness.watermark(), 0)
  })

  test('lets the neighbours run', async (t) => {
    const harness = new Harness(t, { concurrency: 1 })
    await harness.own(range(0, 2))
    const entry = harness.entry(0)
    harness.free(entry)
    harness.dispatcher.retry(entry, 400)
    assert.deepEqual(harness.runningOffsets, [1])
  })

  test('of a partition that was lost in between does not start', async (t) => {
    const harness = new Harness(t)
    await harness.own(range(0, 1))
    const entry = harness.entry(0)
    harness.free(entry)
    harness.dispatcher.retry(entry, 400)
    harness.dispatcher.assign([], true)
    assert.deepEqual(harness.store.released, [0])
    await harness.pass(1000)
    assert.deepEqual(harness.starts, ['0/0'])
  })

  test('decided after the partition was lost is left to the next owner, who need not wait', async (t) => {
    const harness = new Harness(t)
    await harness.own(range(0, 1))
    const entry = harness.entry(0)
    harness.dispatcher.assign([], true)
    assert.deepEqual(harness.store.released, [])
    harness.free(entry)
    harness.dispatcher.retry(entry, 400)
    assert.deepEqual(harness.store.released, [0])
    await harness.pass(1000)
    assert.deepEqual(harness.starts, ['0/0'])
  })
})

describe('a call that did not reach the handler', () => {
  test('reports it, and starts again as the same attempt without being counted', async (t) => {
    const harness = new Harness(t)
    await harness.own(range(0, 1))
    const entry = harness.entry(0)
    harness.free(entry)
    harness.dispatcher.setHealthy(false)
    harness.dispatcher.notReached(entry, 'refused')
    await harness.pass(500)
    assert.deepEqual(harness.lost, ['refused'])
    assert.deepEqual(harness.starts, ['0/0'])
    harness.dispatcher.setHealthy(true)
    await harness.settle()
    assert.deepEqual(harness.starts, ['0/0', '0/0'])
    assert.deepEqual(harness.store.asked, [])
    assert.equal(harness.entry(0).attempt, 1)
  })

  test('whose partition is lost takes its counted start back and frees the word', async (t) => {
    const harness = new Harness(t)
    await harness.own([fetched(0, { producedAgain: true })])
    const entry = harness.entry(0)
    harness.dispatcher.assign([], true)
    harness.free(entry)
    harness.dispatcher.notReached(entry, 'refused')
    await harness.pass(500)
    assert.deepEqual(harness.store.takenBack, [0])
    assert.deepEqual(harness.store.released, [0])
    assert.deepEqual(harness.starts, ['0/0'])
  })
})

describe('a partition that is lost', () => {
  test('hands back what has not started and keeps the word until what runs is done', async (t) => {
    const harness = new Harness(t, { concurrency: 1 })
    await harness.own(range(0, 3))
    const entry = harness.entry(0)
    harness.dispatcher.assign([], true)
    await harness.settle()
    harness.store.held.length = 0
    await harness.pass(1500)
    assert.deepEqual(harness.store.held, [[0]], 'the word is renewed')
    assert.deepEqual(harness.store.released, [])
    harness.end(entry)
    assert.deepEqual(harness.store.released, [0])
    await harness.pass(1500)
    assert.deepEqual(harness.starts, ['0/0'])
    assert.deepEqual(harness.store.released, [0])
  })

  test('and in which nothing runs is given free at once', async (t) => {
    const harness = new Harness(t, { healthy: false })
    await harness.own(range(0, 3))
    harness.dispatcher.assign([], true)
    assert.deepEqual(harness.store.released, [0])
  })

  test('and comes back keeps what runs and starts it no second time', async (t) => {
    const harness = new Harness(t, { concurrency: 2 })
    await harness.own(range(0, 3))
    harness.dispatcher.assign([], true)
    harness.dispatcher.assign([at(0)], true)
    harness.dispatcher.open(at(0), { offset: 0, window: W }, true)
    harness.dispatcher.deliver(at(0), range(0, 3), 3)
    await harness.settle()
    assert.deepEqual(harness.runningOffsets, [0, 1])
    harness.end(harness.entry(0))
    assert.equal(harness.watermark(), 1)
    await harness.pass(200)
    harness.end(harness.entry(1))
    harness.end(harness.entry(2))
    assert.deepEqual(harness.starts, ['0/0', '0/1', '0/2'])
    assert.equal(harness.watermark(), 3)
    assert.deepEqual(harness.store.released, [], 'the word stands on')
  })

  test('with the whole membership does the same', async (t) => {
    const harness = new Harness(t)
    await harness.own(range(0, 2))
    harness.dispatcher.assign([at(0)], false)
    harness.dispatcher.open(at(0), { offset: 0, window: W }, true)
    harness.dispatcher.deliver(at(0), range(0, 2), 2)
    await harness.pass(500)
    assert.deepEqual(harness.starts, ['0/0', '0/1'])
    for (const offset of [0, 1]) harness.end(harness.entry(offset))
    assert.equal(harness.watermark(), 2)
  })

  test("with the whole membership may have been another's in between: what had not started is asked about", async (t) => {
    const harness = new Harness(t, { concurrency: 1 })
    await harness.own(range(0, 3))
    harness.store.others.set(0, 1)
    harness.dispatcher.assign([at(0)], false)
    harness.dispatcher.open(at(0), { offset: 0, window: W }, true)
    harness.dispatcher.deliver(at(0), range(0, 3), 3)
    harness.end(harness.entry(0))
    await harness.pass(500)
    assert.deepEqual(harness.starts, ['0/0'])
    harness.store.others.set(0, 0)
    await harness.pass(300)
    assert.deepEqual(harness.starts, ['0/0', '0/1'])
    assert.deepEqual(harness.store.asked, [{ offset: 1, attempt: 2, alone: false }])
  })

  test('comes back, and a call carried over that is tried again before it was read again runs once more only', async (t) => {
    const harness = new Harness(t)
    await harness.own(range(0, 1))
    harness.dispatcher.assign([], true)
    harness.dispatcher.assign([at(0)], true)
    harness.dispatcher.open(at(0), { offset: 0, window: W }, true)
    await harness.settle()
    const entry = harness.entry(0)
    harness.free(entry)
    harness.dispatcher.retry(entry, 100)
    await harness.pass(100)
    harness.dispatcher.deliver(at(0), range(0, 1), 1)
    await harness.pass(1000)
    assert.deepEqual(harness.starts, ['0/0', '0/0'])
    harness.end(harness.entry(0))
    assert.equal(harness.watermark(), 1)
  })

  test('while one of its records is asked about takes the counted start back', async (t) => {
    const harness = new Harness(t)
    const { promise, resolve } = Promise.withResolvers<void>()
    harness.store.gate = promise
    await harness.own([fetched(0, { producedAgain: true })])
    assert.equal(harness.store.asked.length, 1)
    harness.dispatcher.assign([], true)
    resolve()
    await harness.settle()
    assert.deepEqual(harness.starts, [])
    assert.deepEqual(harness.store.takenBack, [0])
    // Its place is free again.
    await harness.own(range(0, 64), { number: 1 })
    assert.equal(harness.starts.length, 64)
  })

  test('and that stays ours is not touched', async (t) => {
    const harness = new Harness(t, { concurrency: 1 })
    await harness.own(range(0, 3))
    harness.dispatcher.assign([at(0), at(1)], true)
    harness.end(harness.entry(0))
    assert.deepEqual(harness.starts, ['0/0', '0/1'])
  })
})

describe('our word', () => {
  test('is renewed each second for all partitions', async (t) => {
    const harness = new Harness(t)
    harness.dispatcher.assign([at(0), at(1)], true)
    await harness.settle()
    harness.store.held.length = 0
    await harness.pass(3000)
    assert.deepEqual(harness.store.held, [
      [0, 1],
      [0, 1],
      [0, 1],
    ])
  })

  test('that lapsed while another took the partition starts nothing any more', async (t) => {
    const harness = new Harness(t)
    await harness.own([])
    harness.store.reachable = false
    await harness.pass(4000)
    harness.store.reachable = true
    harness.store.others.set(0, 1)
    harness.dispatcher.deliver(at(0), range(0, 1), 1)
    await harness.pass(3000)
    assert.deepEqual(harness.starts, [])
    // It was the other one that went.
    harness.store.others.set(0, 0)
    await harness.pass(1500)
    assert.deepEqual(harness.starts, ['0/0'])
  })
})

describe('quiesce', () => {
  test('starts nothing new and ends when nothing runs and every outcome is stored', async (t) => {
    const harness = new Harness(t, { concurrency: 1 })
    await harness.own(range(0, 3))
    let done = false
    const quiesced = harness.dispatcher.quiesce(new AbortController().signal).then(() => (done = true))
    const entry = harness.entry(0)
    harness.free(entry)
    harness.dispatcher.deliver(at(0), range(3, 5), 5)
    await harness.pass(500)
    assert.equal(done, false)
    harness.dispatcher.finished(entry, 'answered')
    await quiesced
    assert.deepEqual(harness.starts, ['0/0'])
    assert.equal(harness.watermark(), 1)
  })

  test('ends at once when nothing runs, and takes parked records no further', async (t) => {
    const harness = new Harness(t)
    await harness.own(range(0, 1))
    const entry = harness.entry(0)
    harness.free(entry)
    harness.dispatcher.retry(entry, 100)
    await harness.dispatcher.quiesce(new AbortController().signal)
    await harness.pass(1000)
    assert.deepEqual(harness.starts, ['0/0'])
    assert.equal(harness.watermark(), 0)
  })

  test('ends when its time is up, whatever runs', async (t) => {
    const harness = new Harness(t)
    await harness.own(range(0, 1))
    const limit = new AbortController()
    const quiesced = harness.dispatcher.quiesce(limit.signal)
    limit.abort()
    await quiesced
    assert.deepEqual(harness.runningOffsets, [0])
  })

  test('and reset, then a new membership: what was handed back runs', async (t) => {
    const harness = new Harness(t, { healthy: false })
    await harness.own(range(0, 2))
    await harness.dispatcher.quiesce(new AbortController().signal)
    await harness.dispatcher.reset()
    assert.deepEqual([...harness.dispatcher.partitions.keys()], [])
    assert.ok(harness.store.released.includes(0))
    harness.dispatcher.setHealthy(true)
    await harness.own(range(0, 2))
    assert.deepEqual(harness.starts, ['0/0', '0/1'])
  })
})

describe('a record that is no call of this version', () => {
  test('goes to the failure topic when it cannot be read, and its neighbours run', async (t) => {
    const harness = new Harness(t)
    await harness.own([fetched(0), poison(1), fetched(2)])
    assert.deepEqual(harness.runningOffsets, [0, 2])
    assert.deepEqual(
      harness.buried.map(({ entry, code, reason }) => [entry.offset, code, reason]),
      [[1, 'UNREADABLE_RECORD', 'unreadable: no grpc-kafka header']],
    )
    harness.end(harness.entry(0))
    assert.equal(harness.watermark(), 1)
  })

  test('is passed over by an observer', async (t) => {
    const harness = new Harness(t, { observer: true })
    await harness.own([poison(0), newer(1, 3), newer(2, 4)])
    assert.deepEqual(harness.buried, [])
    assert.equal(harness.watermark(), 3)
  })

  test('waits until its deadline when the next version wrote it, and its neighbours run', async (t) => {
    const harness = new Harness(t)
    await harness.own([newer(0, 3, { deadline: NOW + 1000 }), fetched(1)])
    assert.deepEqual(harness.runningOffsets, [1])
    await harness.pass(950)
    assert.deepEqual(harness.expired, [])
    await harness.pass(50)
    assert.deepEqual(harness.expired, [0])
  })

  test('waits no longer than the longest call may take, whatever deadline it tells', async (t) => {
    const harness = new Harness(t, { longestWaitMilliseconds: 2000 })
    await harness.own([newer(0, 3, { deadline: NOW + 24 * 3_600_000 })])
    await harness.pass(1950)
    assert.deepEqual(harness.expired, [])
    await harness.pass(50)
    assert.deepEqual(harness.expired, [0])
    assert.equal(harness.watermark(), 1)
  })

  test('is skipped at once when the next version has answered it already', async (t) => {
    const harness = new Harness(t)
    harness.store.outcomes.add(idAt(0).toString('hex'))
    await harness.own([newer(0, 3), newer(1, 3)])
    assert.deepEqual(harness.skipped, [0])
    assert.equal(harness.watermark(), 1)
    await harness.pass(10_000)
    assert.deepEqual(harness.expired, [1])
  })

  test('takes no further way when its partition is lost while Redis is asked about it', async (t) => {
    const harness = new Harness(t)
    const gate = Promise.withResolvers<void>()
    harness.store.gate = gate.promise
    harness.store.outcomes.add(idAt(0).toString('hex'))
    await harness.own([newer(0, 3), newer(1, 3)])
    harness.dispatcher.assign([], true)
    gate.resolve()
    await harness.pass(10_000)
    assert.deepEqual([harness.skipped, harness.expired], [[], []])
  })

  test('goes to the failure topic when a version further ahead wrote it', async (t) => {
    const harness = new Harness(t)
    await harness.own([newer(0, 4)])
    assert.deepEqual(
      harness.buried.map(({ code, reason }) => [code, reason]),
      [['UNREADABLE_RECORD', 'written by version 4']],
    )
  })

  test('waits like any other outside the window, and stops reading when too many do', async (t) => {
    const harness = new Harness(t)
    await harness.own(Array.from({ length: 4 * W }, (_, offset) => poison(offset)))
    assert.equal(harness.buried.length, W)
    assert.deepEqual(harness.paused, [0])
    for (const { entry } of harness.buried.splice(0)) harness.dispatcher.finished(entry, 'dead_lettered')
    harness.dispatcher.committed(at(0), { offset: W, window: W })
    assert.equal(harness.buried.length, W)
  })
})

test('a finished record keeps nothing of what it carried, while one before it still runs', async (t) => {
  const harness = new Harness(t)
  await harness.own(range(0, 2))
  const entry = harness.entry(1)
  assert.notEqual(entry.raw.value, null)
  harness.end(entry)
  assert.equal(harness.watermark(), 0)
  assert.deepEqual(entry.raw, { offset: 1, key: null, value: null, headers: {} })
  assert.equal(entry.decoded.kind, 'Unreadable')
})

describe('reading', () => {
  test('pauses while too many records wait, and goes on when half are gone', async (t) => {
    const harness = new Harness(t, { concurrency: 1 })
    await harness.own(range(0, 4 * W - 1))
    assert.deepEqual(harness.paused, [])
    harness.dispatcher.deliver(at(0), range(4 * W - 1, 4 * W + 1), 4 * W + 1)
    assert.deepEqual(harness.paused, [0])
    // One runs; the others wait.
    for (let waiting = 4 * W; waiting > 2 * W; waiting--) {
      assert.deepEqual(harness.resumed, [])
      const offset = 4 * W - waiting
      harness.end(harness.entry(offset))
      harness.dispatcher.committed(at(0), { offset: offset + 1, window: W })
    }
    assert.deepEqual(harness.resumed, [0])
    assert.deepEqual(harness.paused, [0])
  })

  test('goes on in a partition that is given up', async (t) => {
    const harness = new Harness(t, { healthy: false })
    await harness.own(range(0, 4 * W))
    assert.deepEqual(harness.paused, [0])
    harness.dispatcher.assign([], true)
    assert.deepEqual(harness.resumed, [0])
  })
})

describe('a call whose deadline passed', () => {
  test('gets its outcome while the handler is away, as far as the window goes', async (t) => {
    const harness = new Harness(t, { healthy: false })
    await harness.own(range(0, W + 1))
    await harness.pass(9950)
    assert.deepEqual(harness.expired, [])
    await harness.pass(50)
    assert.deepEqual(harness.expired, offsetsTo(W))
  })

  test('gets it also where it waited for its turn to be asked about', async (t) => {
    const harness = new Harness(t, { healthy: false })
    await harness.own([fetched(0, { deadline: NOW + 100 })], { takenOver: true })
    await harness.pass(100)
    assert.deepEqual(harness.expired, [0])
    assert.deepEqual(harness.store.asked, [])
  })

  test('is not looked at by an observer', async (t) => {
    const harness = new Harness(t, { healthy: false, observer: true })
    await harness.own(range(0, 1))
    await harness.pass(11_000)
    assert.deepEqual(harness.expired, [])
  })
})

describe('a record that is not to start before a time', () => {
  const early = (offset: number, milliseconds: number) =>
    fetchedOfVersion2(offset, { attempt: 2, notBefore: NOW + milliseconds })

  test('starts then, and is asked about first; those behind it that are due earlier go before it', async (t) => {
    const harness = new Harness(t)
    await harness.own([early(0, 300), early(1, 100), fetched(2)])
    assert.deepEqual(harness.runningOffsets, [2])
    assert.deepEqual(harness.store.asked, [])
    await harness.pass(100)
    assert.deepEqual(harness.runningOffsets, [2, 1])
    await harness.pass(150)
    assert.deepEqual(harness.runningOffsets, [2, 1])
    await harness.pass(50)
    assert.deepEqual(harness.runningOffsets, [2, 1, 0])
    assert.deepEqual(
      harness.store.asked.map(({ offset, attempt }) => [offset, attempt]),
      [
        [1, 2],
        [0, 2],
      ],
    )
  })

  test('holds the watermark, and no place', async (t) => {
    const harness = new Harness(t, { concurrency: 1 })
    await harness.own([early(0, 60_000), fetched(1), fetched(2)])
    harness.end(harness.entry(1))
    harness.end(harness.entry(2))
    assert.equal(harness.watermark(), 0)
  })

  test('waits also where an earlier owner may have started it, and no start is counted before', async (t) => {
    const harness = new Harness(t)
    await harness.own([early(0, 200)], { takenOver: true })
    await harness.pass(150)
    assert.deepEqual(harness.store.asked, [])
    await harness.pass(50)
    assert.deepEqual(harness.runningOffsets, [0])
  })

  test('is let go with its partition', async (t) => {
    const harness = new Harness(t)
    await harness.own([early(0, 200)])
    harness.dispatcher.assign([], true)
    await harness.pass(500)
    assert.deepEqual(harness.starts, [])
  })

  test('does not start while the handler is away', async (t) => {
    const harness = new Harness(t)
    await harness.own([early(0, 100)])
    harness.dispatcher.setHealthy(false)
    await harness.pass(500)
    assert.deepEqual(harness.store.asked, [])
    harness.dispatcher.setHealthy(true)
    await harness.settle()
    assert.deepEqual(harness.runningOffsets, [0])
  })
})

test('partitions of the same number on several topics are apart', async (t) => {
  const harness = new Harness(t)
  const retries = { topic: 'calls.retry.1', partition: 0 }
  harness.dispatcher.assign([at(0), retries], true)
  for (const one of [at(0), retries]) harness.dispatcher.open(one, { offset: 0, window: W }, false)
  harness.dispatcher.deliver(at(0), range(0, 1), 1)
  harness.dispatcher.deliver(retries, range(0, 2), 2)
  await harness.settle()
  assert.deepEqual(harness.starts, ['0/0', '0/0', '0/1'])
  harness.dispatcher.assign([retries], true)
  assert.deepEqual([...harness.dispatcher.partitions.keys()], ['calls.retry.1/0'])
})

describe('a dead letter that an Observer reads', () => {
  test('starts at once, whatever its record says of attempts, copies, redrives and pauses', async (t) => {
    const harness = new Harness(t, { observer: true, maxAttempts: 1 })
    const letter = fetchedOfVersion2(0, {
      attempt: 3,
      producedAgain: true,
      redriveRevision: 1,
      notBefore: NOW + 60_000,
    })
    await harness.own([{ ...letter, headers: { ...letter.headers, 'dead-reason': 'used up' } }])
    assert.deepEqual([harness.starts, harness.store.asked], [['0/0'], []])
    assert.equal(harness.entry(0).attempt, 1)
  })
})

describe('a redriven record', () => {
  test('is asked about before it starts, as the redrive that it is', async (t) => {
    const harness = new Harness(t)
    await harness.own([fetchedOfVersion2(0, { redriveRevision: 2 }), fetched(1)])
    assert.deepEqual(harness.store.asked, [{ offset: 0, attempt: 1, alone: false }])
    assert.deepEqual(harness.store.redrives, [{ revision: 2, record: '0/0' }])
    assert.deepEqual(harness.starts.toSorted(), ['0/0', '0/1'])
  })

  test('has its starts remembered for as long as it may run, which may be longer than any method', async (t) => {
    const harness = new Harness(t)
    await harness.own([fetchedOfVersion2(0, { redriveRevision: 1, deadline: NOW + 3_600_000 })])
    assert.equal(harness.store.keepMilliseconds, 3_660_000)
  })

  test('is passed over where its redrive has nothing to do', async (t) => {
    const harness = new Harness(t)
    harness.store.answer = () => ({ kind: 'Done' })
    await harness.own([fetchedOfVersion2(0, { redriveRevision: 1 })])
    assert.deepEqual([harness.skipped, harness.starts], [[0], []])
  })

  test("of an earlier owner's window is not passed over for the outcome that it may replace", async (t) => {
    const harness = new Harness(t)
    harness.store.outcomes.add(idAt(0).toString('hex'))
    await harness.own([fetchedOfVersion2(0, { redriveRevision: 1 })], { takenOver: true })
    assert.deepEqual([harness.skipped, harness.starts], [[], ['0/0']])
  })
})

test('a call that ran when its partition was lost, and did not reach its handler before that is open again, starts once more', async (t) => {
  const harness = new Harness(t)
  await harness.own(range(0, 1))
  harness.dispatcher.assign([], true)
  harness.dispatcher.assign([at(0)], true)
  harness.dispatcher.deliver(at(0), range(0, 1), 1)
  const entry = harness.entry(0)
  harness.free(entry)
  harness.dispatcher.notReached(entry, 'gone')
  harness.dispatcher.open(at(0), { offset: 0, window: W }, true)
  await harness.pass(500)
  assert.deepEqual(harness.starts, ['0/0', '0/0'])
})

describe('calls of one key', () => {
  /** One letter for each record: its key. */
  const keys = (letters: string, from = 0): FetchedRecord[] =>
    letters.split('').map((letter, index) => fetchedWithKey(from + index, letter))

  test('start one after the other, and hold up no other key', async (t) => {
    const harness = new Harness(t, { ordering: 'Key' })
    await harness.own(keys('aabac'))
    assert.deepEqual(harness.runningOffsets, [0, 2, 4])
    harness.free(harness.entry(2))
    harness.end(harness.entry(0))
    assert.deepEqual(harness.runningOffsets, [4, 1])
    harness.end(harness.entry(1))
    assert.deepEqual(harness.runningOffsets, [4, 3])
  })

  test('wait until the outcome of the one before is stored, not only for its answer', async (t) => {
    const harness = new Harness(t, { ordering: 'Key' })
    await harness.own(keys('aa'))
    const first = harness.entry(0)
    harness.free(first)
    assert.deepEqual(harness.runningOffsets, [])
    harness.dispatcher.finished(first, 'answered')
    assert.deepEqual(harness.runningOffsets, [1])
  })

  test('are those of one partition where that is asked for, whatever their keys', async (t) => {
    const harness = new Harness(t, { ordering: 'Partition' })
    await harness.own(keys('abc'))
    await harness.own(keys('de'), { number: 1 })
    assert.deepEqual(harness.starts, ['0/0', '1/0'])
    harness.end(harness.running[0]!)
    assert.deepEqual(harness.starts, ['0/0', '1/0', '0/1'])
  })

  test('wait for one that is tried again, whose offset is held', async (t) => {
    const harness = new Harness(t, { ordering: 'Key' })
    await harness.own(keys('aba'))
    const first = harness.entry(0)
    harness.free(first)
    harness.dispatcher.retry(first, 500)
    harness.end(harness.entry(1))
    await harness.pass(450)
    assert.deepEqual(harness.starts, ['0/0', '0/1'])
    assert.equal(harness.watermark(), 0)
    assert.equal(await harness.gauge('grpc_kafka_records_in_line'), 1)
    await harness.pass(100)
    assert.deepEqual(harness.starts, ['0/0', '0/1', '0/0'])
    harness.end(harness.entry(0))
    assert.deepEqual(harness.starts, ['0/0', '0/1', '0/0', '0/2'])
  })

  test('go on when the one before is not there to be run: it has an outcome, is expired, or unreadable', async (t) => {
    const harness = new Harness(t, { ordering: 'Key', healthy: false })
    harness.store.outcomes.add(idAt(0).toString('hex'))
    const late = fetchedWithKey(1, 'a', { deadline: NOW + 100 })
    const unreadable = { ...poison(2), key: Buffer.from('a') }
    await harness.own([...keys('a'), late, unreadable, ...keys('a', 3)], { takenOver: true, window: 1 })
    harness.dispatcher.committed(at(0), { offset: 0, window: W })
    await harness.pass(200)
    harness.dispatcher.setHealthy(true)
    assert.deepEqual(harness.skipped, [0])
    assert.deepEqual(harness.expired, [1])
    assert.deepEqual(harness.runningOffsets, [3])
  })

  test('whose deadline passes while they wait get their outcome then, and are not started', async (t) => {
    const harness = new Harness(t, { ordering: 'Key' })
    const late = (offset: number) => fetchedWithKey(offset, 'a', { deadline: NOW + 200 })
    await harness.own([...keys('a'), late(1), ...keys('a', 2), late(3)])
    await harness.pass(300)
    assert.deepEqual(harness.expired, [1, 3])
    assert.equal(await harness.gauge('grpc_kafka_records_in_line'), 1)
    harness.end(harness.entry(0))
    assert.deepEqual(harness.starts, ['0/0', '0/2'])
    harness.end(harness.entry(2))
    assert.equal(harness.watermark(), 4)
  })

  test('that have had their turn are not taken for waiting when their deadline passes', async (t) => {
    const harness = new Harness(t, { ordering: 'Key' })
    await harness.own([...keys('a'), fetchedWithKey(1, 'a', { deadline: NOW + 200 }), ...keys('a', 2)])
    harness.end(harness.entry(0))
    await harness.pass(300)
    assert.deepEqual(harness.runningOffsets, [1])
    assert.deepEqual(harness.expired, [], 'its handler is cut by its own deadline')
  })

  test('beyond the window do not expire before it has moved: a new owner would not know of them', async (t) => {
    const harness = new Harness(t, { ordering: 'Key' })
    const late = (offset: number) => fetchedWithKey(offset, 'a', { deadline: NOW + 200 })
    await harness.own([...keys('a'), late(1), late(2)], { window: 2 })
    await harness.pass(300)
    assert.deepEqual(harness.expired, [1])
    harness.dispatcher.committed(at(0), { offset: 0, window: W })
    await harness.pass(50)
    assert.deepEqual(harness.expired, [1, 2])
  })

  test('keep their order when a claim raises the deadline of one that had passed', async (t) => {
    const harness = new Harness(t, { ordering: 'Key' })
    harness.raisedDeadline = NOW + 60_000
    await harness.own([...keys('a'), fetchedWithKey(1, 'a', { deadline: NOW + 100 }), ...keys('a', 2)])
    await harness.pass(200)
    assert.deepEqual(harness.expired, [1])
    assert.deepEqual(harness.starts, ['0/0'])
    harness.end(harness.entry(0))
    await harness.settle()
    assert.deepEqual(harness.starts, ['0/0', '0/1'])
    harness.end(harness.entry(1))
    assert.deepEqual(harness.starts, ['0/0', '0/1', '0/2'])
  })

  test('that come to their turn behind the window wait for it, and not those before it', async (t) => {
    const harness = new Harness(t, { ordering: 'Key' })
    await harness.own(keys('aabb'), { window: 2 })
    assert.deepEqual(harness.runningOffsets, [0])
    harness.end(harness.entry(0))
    assert.deepEqual(harness.runningOffsets, [1], 'the one of b stood first in the queue')
    harness.dispatcher.committed(at(0), { offset: 1, window: 2 })
    assert.deepEqual(harness.runningOffsets, [1, 2])
  })

  test('do not start while another worker may have one of them running', async (t) => {
    const harness = new Harness(t, { ordering: 'Key' })
    harness.store.others.set(0, 1)
    // Not beyond the window of its last commit either.
    await harness.own(keys('ab'), { takenOver: true, window: 0 })
    harness.dispatcher.committed(at(0), { offset: 0, window: W })
    await harness.pass(1050)
    assert.deepEqual(harness.starts, [])
    harness.store.others.set(0, 0)
    await harness.pass(200)
    assert.deepEqual(harness.starts, ['0/0', '0/1'])
  })

  test('of an earlier owner are asked about in their order, and run in it', async (t) => {
    const harness = new Harness(t, { ordering: 'Key' })
    await harness.own(keys('aab'), { takenOver: true, window: 3 })
    assert.deepEqual(
      harness.store.asked.map(({ offset }) => offset),
      [0, 2],
    )
    harness.end(harness.entry(0))
    await harness.settle()
    assert.deepEqual(harness.starts, ['0/0', '0/2', '0/1'])
  })

  test('wait for one that still runs here from an earlier time, also when its offset is not read again', async (t) => {
    const harness = new Harness(t, { ordering: 'Key' })
    await harness.own(keys('ab'))
    harness.dispatcher.assign([], true)
    await harness.own(keys('babc', 1))
    await harness.pass(100)
    assert.deepEqual(harness.starts, ['0/0', '0/1', '0/4'])
    harness.end(harness.entry(0))
    assert.deepEqual(harness.starts, ['0/0', '0/1', '0/4', '0/2'])
    harness.end(harness.entry(1))
    assert.deepEqual(harness.starts, ['0/0', '0/1', '0/4', '0/2', '0/3'])
  })

  test('count as waiting: reading stops while too many do', async (t) => {
    const harness = new Harness(t, { ordering: 'Key' })
    await harness.own(Array.from({ length: 4 * W + 1 }, (_, offset) => fetchedWithKey(offset, 'a')))
    assert.deepEqual(harness.paused, [0])
    assert.equal(harness.dispatcher.load().unfinished, 1, "they are in nobody else's way")
  })

  test('that fill the window while one of them is tried again hold the partition, which is told', async (t) => {
    const harness = new Harness(t, { ordering: 'Key' })
    const hot = Array.from({ length: W }, (_, offset) => fetchedWithKey(offset, 'a'))
    await harness.own([...hot, fetchedWithKey(W, 'b')])
    assert.equal(await harness.gauge('grpc_kafka_held_partitions'), 0, 'one of them runs')
    const first = harness.entry(0)
    harness.free(first)
    harness.dispatcher.retry(first, 500)
    assert.equal(await harness.gauge('grpc_kafka_held_partitions'), 1)
    assert.deepEqual(harness.runningOffsets, [])
    await harness.pass(500)
    assert.equal(await harness.gauge('grpc_kafka_held_partitions'), 0)
  })

  test('are handed back with the rest, and none starts behind one that still runs', async (t) => {
    const harness = new Harness(t, { ordering: 'Key' })
    await harness.own(keys('aab'))
    const quiesced = harness.dispatcher.quiesce(new AbortController().signal)
    while (harness.running.length > 0) harness.end(harness.running[0]!)
    await quiesced
    assert.deepEqual(harness.starts, ['0/0', '0/2'])
    assert.equal(await harness.gauge('grpc_kafka_buffered_records'), 0)
    await harness.dispatcher.reset()
    await harness.own(keys('ab', 1), { offset: 1 })
    assert.deepEqual(harness.starts, ['0/0', '0/2', '0/1', '0/2'])
  })

  test('of a partition that goes elsewhere are not started when the one before ends', async (t) => {
    const harness = new Harness(t, { ordering: 'Key' })
    await harness.own(keys('aa'))
    harness.dispatcher.assign([], true)
    harness.end(harness.entry(0))
    await harness.pass(200)
    assert.deepEqual(harness.starts, ['0/0'])
  })

  test('wait for one that a newer worker may still read', async (t) => {
    const harness = new Harness(t, { ordering: 'Key' })
    await harness.own([{ ...newer(0, 3, { deadline: NOW + 500 }), key: Buffer.from('a') }, ...keys('a', 1)])
    await harness.pass(450)
    assert.deepEqual(harness.starts, [])
    await harness.pass(100)
    assert.deepEqual(harness.expired, [0])
    assert.deepEqual(harness.starts, ['0/1'])
  })

  test('in no order start at once', async (t) => {
    const harness = new Harness(t)
    await harness.own(keys('aaa'))
    assert.deepEqual(harness.runningOffsets, [0, 1, 2])
  })
})
