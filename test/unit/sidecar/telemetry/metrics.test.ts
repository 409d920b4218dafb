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
    assert.deepEqual(histogram.snapshot(), { cumulative: [2, 4, 5], count: 6, sum: 13.5 })
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
    metrics.gaugeFrom('grpc_kafka_consumer_lag', { partition: '0' }, () => lag)
    assert.deepEqual(await lines(metrics, 'grpc_kafka_consumer_lag'), ['grpc_kafka_consumer_lag{partition="0"} 4'])
    lag = undefined
    assert.deepEqual(await lines(metrics, 'grpc_kafka_consumer_lag'), [])
    metrics.gaugeFrom('grpc_kafka_consumer_lag', { partition: '0' }, () => 9)
    assert.deepEqual(await lines(metrics, 'grpc_kafka_consumer_lag'), ['grpc_kafka_consumer_lag{partition="0"} 9'])
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
    assert.equal(metrics.contentType, 'text/plain; version=0.0.4; charset=utf-8')
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
