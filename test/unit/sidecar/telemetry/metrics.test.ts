import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { BucketHistogram } from '../../../../sidecar/telemetry/histogram.ts'
import { METRICS, Metrics } from '../../../../sidecar/telemetry/metrics.ts'

const lines = async (metrics: Metrics, prefix: string): Promise<string[]> =>
  (await metrics.expose()).split('\n').filter((line) => line.startsWith(prefix))

suite('BucketHistogram', () => {
  test('counts a value that equals a bound in that bound, and what is above the last only in the total', () => {
    const histogram = new BucketHistogram([1, 2, 4])
    for (const value of [0, 1, 1.5, 2, 4, 5]) histogram.observe(value)
    const { cumulative, count, sum } = histogram.snapshot()
    assert.deepEqual({ cumulative, count, sum }, { cumulative: [2, 4, 5], count: 6, sum: 13.5 })
  })

  test('keeps of each bucket the latest value that was measured in a sampled trace', () => {
    let now = 1000
    const histogram = new BucketHistogram([1, 2], () => now)
    const trace = (digit: string, flags: string) => `00-${digit.repeat(32)}-${'5'.repeat(16)}-${flags}`
    histogram.observe(0.5, trace('a', '01'))
    histogram.observe(1.5, trace('b', '00'))
    now = 2000
    histogram.observe(0.25, trace('c', '03'))
    histogram.observe(7, trace('d', 'ff'))
    histogram.observe(0.75)
    histogram.observe(0.5, trace('e', 'fe'))
    assert.deepEqual(histogram.snapshot().exemplars, [
      { traceId: 'c'.repeat(32), value: 0.25, at: 2000 },
      undefined,
      { traceId: 'd'.repeat(32), value: 7, at: 2000 },
    ])
  })

  test('reads the sampled flag of every hexadecimal digit', () => {
    for (let flags = 0; flags < 16; flags++) {
      const histogram = new BucketHistogram([])
      histogram.observe(1, `00-${'1'.repeat(32)}-${'2'.repeat(16)}-0${flags.toString(16)}`)
      assert.equal(histogram.snapshot().exemplars[0] !== undefined, flags % 2 === 1, flags.toString(16))
    }
  })

  test('shows no exemplar of something that is no trace id', () => {
    const histogram = new BucketHistogram([])
    histogram.observe(1, `00-${'"'.repeat(32)}-${'2'.repeat(16)}-01`)
    assert.deepEqual(histogram.snapshot().exemplars, [undefined])
  })
})

suite('Metrics', () => {
  test('gives the same series for the same name and labels, whatever their order', async () => {
    const metrics = new Metrics()
    metrics.counter('grpc_server_started_total', { grpc_type: 'unary', grpc_service: 's', grpc_method: 'm' }).inc()
    metrics.counter('grpc_server_started_total', { grpc_method: 'm', grpc_service: 's', grpc_type: 'unary' }).inc(2)
    assert.deepEqual(await lines(metrics, 'grpc_server_started_total'), [
      'grpc_server_started_total{grpc_type="unary",grpc_service="s",grpc_method="m"} 3',
    ])
  })

  test('exposes a histogram as Prometheus wants it', async () => {
    const metrics = new Metrics()
    const histogram = metrics.histogram('grpc_kafka_produce_batch_records')
    histogram.observe(3)
    histogram.observe(5000)
    const text = await lines(metrics, 'grpc_kafka_produce_batch_records')
    assert.ok(text.includes('grpc_kafka_produce_batch_records_bucket{le="2"} 0'))
    assert.ok(text.includes('grpc_kafka_produce_batch_records_bucket{le="4"} 1'))
    assert.ok(text.includes('grpc_kafka_produce_batch_records_bucket{le="+Inf"} 2'))
    assert.ok(text.includes('grpc_kafka_produce_batch_records_sum 5003'))
    assert.ok(text.includes('grpc_kafka_produce_batch_records_count 2'))
  })

  test('reads a gauge when it is asked, and hides it while there is nothing to read', async () => {
    const metrics = new Metrics()
    let lag: number | undefined = 4
    metrics.gaugeFrom('grpc_kafka_consumer_lag', { topic: 'calls', partition: '0' }, () => lag)
    assert.deepEqual(await lines(metrics, 'grpc_kafka_consumer_lag'), [
      'grpc_kafka_consumer_lag{topic="calls",partition="0"} 4',
    ])
    lag = undefined
    assert.deepEqual(await lines(metrics, 'grpc_kafka_consumer_lag'), [])
    metrics.gaugeFrom('grpc_kafka_consumer_lag', { topic: 'calls', partition: '0' }, () => 9)
    assert.deepEqual(await lines(metrics, 'grpc_kafka_consumer_lag'), [
      'grpc_kafka_consumer_lag{topic="calls",partition="0"} 9',
    ])
  })

  test('escapes label values', async () => {
    const metrics = new Metrics()
    metrics.counter('grpc_kafka_refusals_total', { limit: 'a"b\\c\nd' }).inc()
    assert.deepEqual(await lines(metrics, 'grpc_kafka_refusals_total'), [
      'grpc_kafka_refusals_total{limit="a\\"b\\\\c\\nd"} 1',
    ])
  })

  test('adds what every Node process tells', async () => {
    const metrics = new Metrics()
    metrics.addProcessMetrics()
    assert.equal((await lines(metrics, 'process_cpu_seconds_total')).length, 1)
  })

  test('the table follows the naming of Prometheus', () => {
    for (const [name, entry] of Object.entries(METRICS)) {
      assert.match(name, /^[a-z_]+$/)
      assert.equal(entry.type === 'counter', name.endsWith('_total'), `${name}: counters and only they end in _total`)
      assert.equal(entry.type === 'histogram', 'buckets' in entry, `${name}: histograms and only they have buckets`)
      if ('buckets' in entry)
        assert.deepEqual(
          [...entry.buckets],
          [...entry.buckets].sort((a, b) => a - b),
        )
      assert.match(entry.help, /\.$/)
    }
  })
})
