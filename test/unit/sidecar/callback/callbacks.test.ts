import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Callbacks } from '../../../../sidecar/callback/callbacks.ts'
import type { FinishedCall, Told } from '../../../../sidecar/callback/callbacks.ts'
import { PostError } from '../../../../sidecar/callback/post.ts'
import type { Post } from '../../../../sidecar/callback/post.ts'
import { OutcomeFormatError } from '../../../../sidecar/results/outcome.ts'
import type { Outcome } from '../../../../sidecar/results/outcome.ts'
import { Secret } from '../../../../sidecar/secret.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'

const KEY = `whsec_${Buffer.alloc(32, 'k').toString('base64')}`
const OTHER_KEY = `whsec_${Buffer.alloc(32, 'o').toString('base64')}`
const ANSWER = { status: 0, details: '', initialMetadata: [], trailingMetadata: [], message: Buffer.from('done') }
const ANSWERED: Outcome = { state: 'Answered', ...ANSWER }
const NOW = 1_700_000_000_000

/** What a receiver does with a message: a status, or what is thrown. */
type Reaction = number | Error

class Harness {
  readonly metrics = new Metrics()
  readonly posts: Post[] = []
  readonly pauses: number[] = []
  secret = KEY
  clock = NOW
  outcome: Outcome | undefined | Error = ANSWERED
  /** Of each attempt, the last one for those that follow; a promise holds it up. */
  reactions: (Reaction | Promise<Reaction>)[] = [200]
  /** A promise makes the pause as long. */
  onPause: () => unknown = () => undefined
  /** After so many pauses the time is over. */
  mostPauses = 3
  readonly callbacks = new Callbacks({
    receivers: ['hooks.example.com', 'others.example.com'].map((host) => ({
      host,
      scheme: 'HTTPS' as const,
      network: 'Public' as const,
      secret: new Secret({ file: 'key' }, {}, () => this.secret),
      ...(host === 'hooks.example.com' && { caFile: 'ca' }),
    })),
    giveUpAfterSeconds: () => 3600,
    store: {
      outcomeOf: () => (this.outcome instanceof Error ? Promise.reject(this.outcome) : Promise.resolve(this.outcome)),
    },
    post: async (message) => {
      const reaction = this.reactions[Math.min(this.posts.length, this.reactions.length - 1)]
      this.posts.push(message)
      const is = await reaction
      if (is instanceof Error) throw is
      return is ?? 0
    },
    readFile: (path) => `content of ${path}`,
    pause: async (milliseconds) => {
      const isLate = this.pauses.push(milliseconds) > this.mostPauses
      await this.onPause()
      if (isLate) throw new Error('late')
    },
    now: () => this.clock,
    random: () => 0,
    metrics: this.metrics,
  })

  tell(call: Partial<FinishedCall> = {}): Promise<Told> {
    const id = Buffer.alloc(16, 7)
    const url = 'https://hooks.example.com/a?token=b'
    const asked = { isOurs: () => true, holdsOthersUp: () => false }
    return this.callbacks.tell({ id, revision: 0, method: 'test.Work/Do', url, ...asked, ...call })
  }

  async counted(): Promise<string[]> {
    const text = await this.metrics.expose()
    return [...text.matchAll(/^grpc_kafka_callbacks_total\{result="(\w+)"\} ([1-9]\d*)/gm)].map(
      ([, result, count]) => `${count} ${result}`,
    )
  }
}

const DELIVERED = { kind: 'Delivered' }
const NOTHING = { kind: 'Nothing' }
const notDelivered = (reason: string) => ({ kind: 'NotDelivered', reason })

describe('a callback', () => {
  test('is the outcome that stands, signed, to the URL', async () => {
    const harness = new Harness()
    assert.deepEqual(await harness.tell(), DELIVERED)
    const [message] = harness.posts
    assert.ok(message)
    assert.deepEqual(
      [message.url.href, message.network, message.ca],
      ['https://hooks.example.com/a?token=b', 'Public', 'content of ca'],
    )
    assert.equal(message.headers['webhook-id'], '07070707-0707-0707-0707-070707070707')
    assert.equal(message.headers['webhook-timestamp'], String(NOW / 1000))
    assert.match(message.headers['webhook-signature'] ?? '', /^v1,\S+$/)
    assert.equal((JSON.parse(message.body.toString()) as { data: { state: string } }).data.state, 'ANSWERED')
    assert.deepEqual(await harness.counted(), ['1 delivered'])
  })

  test('is tried again with growing pauses, under one id, each at its own time and with the keys of then', async () => {
    const harness = new Harness()
    harness.reactions = [500, new PostError('NO_ANSWER', 'ECONNREFUSED'), 429, 204]
    harness.onPause = () => {
      harness.secret = `${OTHER_KEY} ${KEY}`
      harness.clock += 1000
    }
    assert.deepEqual(await harness.tell(), DELIVERED)
    assert.deepEqual(
      harness.posts.map(({ headers }) => Number(headers['webhook-timestamp']) - NOW / 1000),
      [0, 1, 2, 3],
    )
    assert.deepEqual(harness.pauses, [500, 1000, 2000])
    assert.equal(new Set(harness.posts.map(({ headers }) => headers['webhook-id'])).size, 1)
    assert.equal(harness.posts.at(-1)?.headers['webhook-signature']?.split(' ').length, 2)
  })

  test('is given up when its time is over, and its receiver is told of by its host alone', async () => {
    const harness = new Harness()
    harness.reactions = [503]
    assert.deepEqual(await harness.tell(), notDelivered('hooks.example.com: status 503'))
    assert.equal(harness.posts.length, 4)
    assert.deepEqual(await harness.counted(), ['1 given_up'])
  })

  for (const status of [301, 302, 307, 400, 401, 404, 410])
    test(`is not tried again after status ${status}`, async () => {
      const harness = new Harness()
      harness.reactions = [status]
      assert.deepEqual(await harness.tell(), notDelivered(`hooks.example.com: status ${status}`))
      assert.equal(harness.posts.length, 1)
      assert.deepEqual(await harness.counted(), ['1 refused'])
    })

  test('is not tried again where an address of the host is not allowed', async () => {
    const harness = new Harness()
    harness.reactions = [new PostError('ADDRESS_NOT_ALLOWED', 'an address of the host is not public')]
    assert.deepEqual(await harness.tell(), notDelivered('hooks.example.com: an address of the host is not public'))
    assert.equal(harness.posts.length, 1)
  })

  test('is not sent to whom the resource does not allow, whatever the record says', async () => {
    const harness = new Harness()
    const { kind } = await harness.tell({ url: 'http://169.254.169.254/' })
    assert.deepEqual([kind, harness.posts, await harness.counted()], ['NotDelivered', [], ['1 refused']])
  })

  test('is not sent unsigned: a key that cannot be used is waited for', async () => {
    const harness = new Harness()
    harness.secret = 'whsec_short'
    harness.onPause = () => {
      assert.deepEqual(harness.posts, [])
      harness.secret = KEY
    }
    assert.deepEqual([await harness.tell(), harness.pauses.length], [DELIVERED, 1])
  })

  test('tells nothing where no outcome stands: the record of the next attempt does', async () => {
    const harness = new Harness()
    harness.outcome = undefined
    assert.deepEqual(await harness.tell(), NOTHING)
    assert.deepEqual([harness.posts, await harness.counted()], [[], []])
  })

  test('of a redrive tells nothing while the dead letter stands, and its outcome under an id of its own', async () => {
    const harness = new Harness()
    harness.outcome = { state: 'DeadLettered', revision: 0, ...ANSWER }
    assert.deepEqual(await harness.tell({ revision: 1 }), NOTHING)
    harness.outcome = ANSWERED
    assert.deepEqual(await harness.tell({ revision: 1 }), DELIVERED)
    assert.deepEqual(
      harness.posts.map(({ headers }) => headers['webhook-id']),
      ['07070707-0707-0707-0707-070707070707-1'],
    )
  })

  test('of an outcome that cannot be read is given up', async () => {
    const harness = new Harness()
    harness.outcome = new OutcomeFormatError('outcome format 9 is not known here')
    assert.deepEqual(await harness.tell(), notDelivered('outcome format 9 is not known here'))
  })

  test('is left to the next owner of its partition', async () => {
    const harness = new Harness()
    harness.reactions = [503]
    let asked = 0
    assert.deepEqual(await harness.tell({ isOurs: () => ++asked < 3 }), NOTHING)
    assert.equal(harness.posts.length, 2)
  })

  test('is tried once where it holds others up, which does not make its receiver one that is away', async () => {
    const harness = new Harness()
    harness.reactions = [503, 503, 200]
    assert.deepEqual(await harness.tell({ holdsOthersUp: () => true }), notDelivered('hooks.example.com: status 503'))
    assert.deepEqual([harness.posts.length, harness.pauses], [1, []])
    assert.deepEqual(await harness.tell(), DELIVERED)
    assert.equal(harness.posts.length, 3)
  })

  test('is not tried again where it came to hold others up while it paused', async () => {
    const harness = new Harness()
    harness.reactions = [503]
    let holdsOthersUp = false
    harness.onPause = () => (holdsOthersUp = true)
    assert.equal((await harness.tell({ holdsOthersUp: () => holdsOthersUp })).kind, 'NotDelivered')
    assert.deepEqual([harness.posts.length, harness.pauses.length], [1, 1])
  })

  test('that waits for a place at the end comes to none', async () => {
    const harness = new Harness()
    const { promise, resolve } = Promise.withResolvers<Reaction>()
    harness.reactions = [promise]
    const told = Array.from({ length: MOST_AT_ONCE + 1 }, () => harness.tell())
    await turn()
    harness.callbacks.close()
    resolve(new Error('cut'))
    for (const one of await Promise.allSettled(told)) assert.equal(one.status, 'rejected')
    assert.deepEqual(await harness.counted(), [])
  })

  test('that is under way at the end comes to none', async () => {
    const harness = new Harness()
    const { promise, resolve } = Promise.withResolvers<Reaction>()
    harness.reactions = [promise]
    const told = harness.tell()
    await turn()
    harness.callbacks.close()
    resolve(new Error('cut'))
    await assert.rejects(told, /the callbacks are closed/)
    await assert.rejects(harness.tell(), /the callbacks are closed/)
  })
})

const MOST_AT_ONCE = 16

describe('a receiver', () => {
  test('gets 16 messages at once and no more; others do not wait for it', async () => {
    const harness = new Harness()
    const held = Array.from({ length: MOST_AT_ONCE }, () => Promise.withResolvers<Reaction>())
    harness.reactions = [...held.map(({ promise }) => promise), 200]
    const told = Array.from({ length: MOST_AT_ONCE + 2 }, () => harness.tell())
    await turn()
    assert.equal(harness.posts.length, MOST_AT_ONCE)
    assert.deepEqual(await harness.tell({ url: 'https://others.example.com/' }), DELIVERED)
    held[0]?.resolve(200)
    assert.deepEqual(await told[0], DELIVERED)
    await Promise.all(told.slice(MOST_AT_ONCE))
    assert.equal(harness.posts.length, MOST_AT_ONCE + 3)
    for (const { resolve } of held) resolve(200)
    await Promise.all(told)
  })

  test('that is away is tried once for each message, until it takes one', async () => {
    const harness = new Harness()
    harness.reactions = [503, 503, 503, 503, 503, 200, 503, 200]
    assert.equal((await harness.tell()).kind, 'NotDelivered')
    assert.equal(harness.posts.length, 4)
    harness.mostPauses = Infinity
    assert.equal((await harness.tell()).kind, 'NotDelivered')
    assert.equal(harness.posts.length, 5)
    assert.deepEqual(await harness.tell(), DELIVERED)
    assert.deepEqual(await harness.tell(), DELIVERED)
    assert.equal(harness.posts.length, 8)
  })

  test('that is away is waited for by nobody', async () => {
    const harness = new Harness()
    harness.mostPauses = 0
    const held = Array.from({ length: MOST_AT_ONCE }, () => Promise.withResolvers<Reaction>())
    harness.reactions = [...held.map(({ promise }) => promise), 503]
    const told = Array.from({ length: MOST_AT_ONCE + 5 }, () => harness.tell())
    await turn()
    held[0]?.resolve(503)
    const waited = await Promise.all(told.slice(MOST_AT_ONCE))
    // One came to the place that was left, or none did: all of them ended while the others hold their places.
    assert.ok(waited.every(({ kind }) => kind === 'NotDelivered'))
    for (const { resolve } of held) resolve(503)
    await Promise.all(told)
    assert.deepEqual(await harness.counted(), [`${MOST_AT_ONCE + 5} given_up`])
  })

  test('that answered others meanwhile is not away because of one message', async () => {
    const harness = new Harness()
    const pause = Promise.withResolvers<void>()
    harness.reactions = [503, 200, 503, 200]
    harness.onPause = () => pause.promise
    harness.mostPauses = 0
    const failing = harness.tell()
    await turn()
    assert.deepEqual(await harness.tell(), DELIVERED)
    pause.resolve()
    assert.deepEqual(await failing, notDelivered('hooks.example.com: status 503'))
    harness.mostPauses = Infinity
    assert.deepEqual(await harness.tell(), DELIVERED, 'tried a second time')
    assert.equal(harness.posts.length, 4)
  })

  test('has the places of messages that pause for others', async () => {
    const harness = new Harness()
    const pause = Promise.withResolvers<void>()
    harness.reactions = [...Array.from({ length: MOST_AT_ONCE }, () => 503), 200]
    harness.onPause = () => pause.promise
    harness.mostPauses = Infinity
    const told = Array.from({ length: MOST_AT_ONCE }, () => harness.tell())
    await turn()
    assert.equal(harness.pauses.length, MOST_AT_ONCE)
    assert.deepEqual(await harness.tell(), DELIVERED)
    pause.resolve()
    for (const one of await Promise.all(told)) assert.deepEqual(one, DELIVERED)
  })
})
