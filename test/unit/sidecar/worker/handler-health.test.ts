import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import { pino } from 'pino'
import type { AttemptResult, HandlerClient, HandlerRequest } from '../../../../sidecar/worker/handler-client.ts'
import { HandlerHealth } from '../../../../sidecar/worker/handler-health.ts'

const answer = (status: number, message: Buffer | null = null): AttemptResult => ({
  kind: 'Answered',
  answer: { status, details: '', initialMetadata: [], trailingMetadata: [], message },
})
const SERVING = answer(0, Buffer.from([0x08, 1]))
const NOT_SERVING = answer(0, Buffer.from([0x08, 2]))
const GONE: AttemptResult = { kind: 'NotReached', reason: 'refused' }

class Harness {
  readonly requests: HandlerRequest[] = []
  readonly changes: boolean[] = []
  readonly health: HandlerHealth
  gauge = -1
  readonly #pending: ((result: AttemptResult) => void)[] = []
  readonly #t: TestContext

  constructor(t: TestContext) {
    this.#t = t
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const client = {
      call: (request: HandlerRequest, onResult: (result: AttemptResult) => void) => {
        this.requests.push(request)
        this.#pending.push(onResult)
      },
    }
    const gauge = { set: (value: number) => (this.gauge = value) }
    this.health = new HandlerHealth(client as unknown as HandlerClient, pino({ enabled: false }), gauge, (healthy) =>
      this.changes.push(healthy),
    )
    t.after(() => this.health.close())
  }

  /** Checks that wait for their answer. */
  get asked(): number {
    return this.#pending.length
  }

  /** The oldest check gets its answer. */
  reply(result: AttemptResult): void {
    const onResult = this.#pending.shift()
    assert.ok(onResult !== undefined, 'nothing was asked')
    onResult(result)
  }

  pass(milliseconds: number): void {
    this.#t.mock.timers.tick(milliseconds)
  }
}

test('the first check is made at once, and until it is answered the handler is not healthy', (t) => {
  const harness = new Harness(t)
  harness.health.start()
  assert.equal(harness.health.healthy, false)
  assert.deepEqual(harness.requests, [
    {
      path: '/grpc.health.v1.Health/Check',
      message: Buffer.alloc(0),
      metadata: [],
      extra: {},
      timeoutMilliseconds: 1000,
    },
  ])
  harness.reply(SERVING)
  assert.equal(harness.health.healthy, true)
  assert.deepEqual(harness.changes, [true])
  assert.equal(harness.gauge, 1)
})

describe('a handler', () => {
  const cases: readonly (readonly [what: string, result: AttemptResult, healthy: boolean])[] = [
    ['that serves', SERVING, true],
    ['that does not serve', NOT_SERVING, false],
    ['whose state is unknown', answer(0, Buffer.from([0x08, 0])), false],
    ['whose state is left out, which means unknown', answer(0, Buffer.alloc(0)), false],
    ['that answers something else', answer(0, Buffer.from('xx')), false],
    ['without the health service', answer(12), true],
    ['that is not known to its own health service', answer(5), false],
    ['that cannot answer', answer(14), false],
    ['that nobody reaches', GONE, false],
    ['that breaks', { kind: 'Broken', reason: 'reset' }, false],
    ['that does not answer', { kind: 'TimedOut' }, false],
    ['that does not speak gRPC', { kind: 'NotGrpc', reason: 'html' }, false],
  ]
  for (const [what, result, healthy] of cases) {
    test(`${what} is ${healthy ? '' : 'not '}healthy`, (t) => {
      const harness = new Harness(t)
      harness.health.start()
      harness.reply(healthy ? NOT_SERVING : SERVING)
      harness.health.checkNow()
      harness.reply(result)
      assert.equal(harness.health.healthy, healthy)
      assert.equal(harness.gauge, healthy ? 1 : 0)
      assert.equal(harness.changes.at(-1), healthy)
    })
  }
})

test('checks follow each other: each second, or ten times a second while the handler is away', (t) => {
  const harness = new Harness(t)
  harness.health.start()
  harness.reply(GONE)
  harness.pass(99)
  assert.equal(harness.asked, 0)
  harness.pass(1)
  assert.equal(harness.asked, 1)
  harness.pass(10_000)
  assert.equal(harness.asked, 1, 'not before the last one is answered')
  harness.reply(SERVING)
  harness.pass(999)
  assert.equal(harness.asked, 0)
  harness.pass(1)
  assert.equal(harness.asked, 1)
  assert.deepEqual(harness.changes, [true])
})

test('only a change is told', (t) => {
  const harness = new Harness(t)
  harness.health.start()
  for (const result of [GONE, GONE, SERVING, SERVING, NOT_SERVING, GONE, SERVING]) {
    harness.reply(result)
    harness.pass(1000)
  }
  assert.deepEqual(harness.changes, [true, false, true])
})

describe('a call that saw the connection fail', () => {
  test('is believed at once, and the handler is asked at once', (t) => {
    const harness = new Harness(t)
    harness.health.start()
    harness.reply(SERVING)
    harness.health.suspect('refused')
    assert.deepEqual(harness.changes, [true, false])
    assert.equal(harness.gauge, 0)
    assert.equal(harness.asked, 1)
    harness.reply(SERVING)
    assert.deepEqual(harness.changes, [true, false, true])
    harness.pass(1000)
    assert.equal(harness.asked, 1, 'one chain of checks')
  })

  test('asks once, however many calls saw it', (t) => {
    const harness = new Harness(t)
    harness.health.start()
    harness.reply(SERVING)
    for (let count = 0; count < 64; count++) harness.health.suspect('refused')
    assert.equal(harness.asked, 1)
  })

  test('outdates the check that was on its way', (t) => {
    const harness = new Harness(t)
    harness.health.start()
    harness.reply(SERVING)
    harness.pass(1000)
    harness.health.suspect('refused')
    // The older one was asked before the connection failed.
    harness.reply(SERVING)
    assert.equal(harness.health.healthy, false)
    harness.reply(GONE)
    harness.pass(100)
    assert.equal(harness.asked, 1)
  })
})

test('after close nothing is asked and nothing told', (t) => {
  const harness = new Harness(t)
  harness.health.start()
  harness.health.close()
  harness.reply(SERVING)
  harness.health.checkNow()
  harness.pass(10_000)
  assert.deepEqual(harness.changes, [])
  assert.equal(harness.requests.length, 1)
})
