import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { ResultCache } from '../../../../sidecar/proxy/result-cache.ts'
import { decodeOutcome, encodeOutcome } from '../../../../sidecar/results/outcome.ts'
import type { Outcome } from '../../../../sidecar/results/outcome.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'

const MAX_BYTES = 1_048_576
const MAX_MESSAGE_BYTES = 100_000

const ok = (message: Buffer): Outcome => ({
  state: 'Answered',
  status: 0,
  details: '',
  initialMetadata: [['a', Buffer.from('1')]],
  trailingMetadata: [],
  message,
})

function setUp() {
  const metrics = new Metrics()
  const time = { now: 1000 }
  const cache = new ResultCache({
    maxBytes: MAX_BYTES,
    maxMessageBytes: MAX_MESSAGE_BYTES,
    monotonicNow: () => time.now,
    metrics,
  })
  const metric = async (name: string) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(await metrics.expose())?.[1])
  return { cache, time, metric }
}

suite('the result cache', () => {
  test('gives back what was kept, until it runs out', () => {
    const { cache, time } = setUp()
    cache.keep('k', ok(Buffer.from('m')), 2)
    time.now += 2000
    assert.deepEqual(cache.get('k'), ok(Buffer.from('m')))
    time.now += 1
    assert.equal(cache.get('k'), undefined)
  })

  test('keeps OK only, and nothing that could not be answered', () => {
    const { cache } = setUp()
    const good = ok(Buffer.from('m')) as Extract<Outcome, { state: 'Answered' }>
    const others: Outcome[] = [
      { ...good, status: 5, message: null },
      { ...good, message: null },
      { ...good, state: 'DeadLettered', revision: 0 },
      { ...good, message: Buffer.alloc(MAX_MESSAGE_BYTES + 1) },
      { state: 'Expired', started: 'No' },
      { state: 'Cancelled' },
    ]
    others.forEach((outcome, index) => {
      cache.keep(String(index), outcome, 10)
      assert.equal(cache.get(String(index)), undefined, JSON.stringify(outcome))
    })
    cache.keep('never', good, 0)
    assert.equal(cache.get('never'), undefined)
  })

  test('stays inside its bytes: what was used least recently goes, and is counted', async () => {
    const { cache, metric } = setUp()
    for (let index = 0; index < 100; index++) {
      cache.keep(String(index), ok(Buffer.alloc(50_000)), 10)
      cache.get('0')
      assert.ok(cache.bytes <= MAX_BYTES)
    }
    assert.notEqual(cache.get('0'), undefined)
    assert.notEqual(cache.get('99'), undefined)
    assert.equal(cache.get('1'), undefined)
    const entries = await metric('grpc_kafka_cache_entries')
    assert.equal(entries, Math.floor(MAX_BYTES / 50_976))
    assert.equal(await metric('grpc_kafka_cache_evictions_total'), 100 - entries)
    assert.equal(await metric('grpc_kafka_cache_bytes'), cache.bytes)
  })

  test('holds no part of the buffer in which an outcome came', () => {
    const { cache } = setUp()
    const batch = Buffer.concat([encodeOutcome(ok(Buffer.from('m'))), Buffer.alloc(100_000)])
    const outcome = decodeOutcome(batch.subarray(0, batch.length - 100_000)) as Extract<Outcome, { state: 'Answered' }>
    cache.keep('k', outcome, 10)
    const kept = cache.get('k') as Extract<Outcome, { state: 'Answered' }>
    assert.deepEqual(kept, outcome)
    for (const part of [kept.message, kept.initialMetadata[0]?.[1]]) {
      assert.ok(part instanceof Buffer && part.buffer.byteLength < 1000, `${part?.buffer.byteLength} bytes`)
    }
  })

  test('forgets everything when its settings change', () => {
    const { cache } = setUp()
    cache.keep('k', ok(Buffer.from('m')), 10)
    cache.reset(2 * MAX_BYTES)
    assert.equal(cache.get('k'), undefined)
    cache.keep('large', ok(Buffer.alloc(MAX_MESSAGE_BYTES)), 10)
    assert.notEqual(cache.get('large'), undefined)
  })
})
