import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { formatFor, writeExposition } from '../../../../sidecar/telemetry/exposition.ts'
import { METRICS, Metrics } from '../../../../sidecar/telemetry/metrics.ts'
import type { MetricName } from '../../../../sidecar/telemetry/metrics.ts'
import { parseOpenMetrics } from './openmetrics.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const SAMPLED = `00-${TRACE}-00f067aa0ba902b7-01`

/** One series at least of every metric of the table, and what Node tells. */
function everything(): Metrics {
  const metrics = new Metrics()
  for (const [name, entry] of Object.entries(METRICS)) {
    const labels = Object.fromEntries(entry.labels.map((label) => [label, `a "${label}"\n\\`]))
    const take = metrics as unknown as Record<string, (name: MetricName, labels: object) => { observe?: unknown }>
    const handle = take[entry.type]?.call(metrics, name as MetricName, labels)
    if (handle !== undefined && 'observe' in handle)
      (handle as { observe: (value: number, traceparent: string) => void }).observe(0.004, SAMPLED)
  }
  metrics.addProcessMetrics()
  return metrics
}

suite('writeExposition', () => {
  test('writes every metric of the table so that a strict reader of OpenMetrics takes it', async () => {
    const families = parseOpenMetrics(await everything().expose('OpenMetrics'))
    const names = new Set(families.map(({ name, type }) => (type === 'counter' ? `${name}_total` : name)))
    for (const name of Object.keys(METRICS)) assert.ok(names.has(name), name)
    assert.ok(names.has('process_cpu_seconds_total'))
    const labels = families.find(({ name }) => name === 'grpc_kafka_redis_errors')?.samples[0]?.labels
    assert.deepEqual(labels, { reason: 'a "reason"\n\\' })
  })

  test('gives a histogram the trace id of a sampled trace as the exemplar of its bucket', async () => {
    const before = Date.now() / 1000
    const families = parseOpenMetrics(await everything().expose('OpenMetrics'))
    const samples = families.find(({ name }) => name === 'grpc_server_handling_seconds')?.samples ?? []
    const exemplars = samples.flatMap(({ labels, exemplar }) => (exemplar ? [{ le: labels['le'], ...exemplar }] : []))
    assert.deepEqual(
      exemplars.map(({ le, labels, value }) => ({ le, labels, value })),
      [{ le: '0.005', labels: { trace_id: TRACE }, value: 0.004 }],
    )
    assert.ok(Math.abs((exemplars[0]?.at ?? 0) - before) < 60)
  })

  test('writes neither exemplars nor the end in the text of Prometheus, and counters under their whole name', async () => {
    const text = await everything().expose()
    assert.doesNotMatch(text, /trace_id|# EOF/)
    assert.match(text, /^# TYPE grpc_kafka_commits_total counter\ngrpc_kafka_commits_total 0$/m)
    assert.match(text, /^grpc_kafka_produce_batch_records_bucket\{le="1"\} /m)
  })

  test('writes numbers that are none as both formats name them', () => {
    const values = [Infinity, -Infinity, NaN].map((value, index) => ({ labels: { index }, value }))
    const text = writeExposition([{ name: 'a', help: 'Of b.', type: 'gauge', values }], 'OpenMetrics')
    assert.equal(
      text,
      '# HELP a Of b.\n# TYPE a gauge\na{index="0"} +Inf\na{index="1"} -Inf\na{index="2"} NaN\n# EOF\n',
    )
  })
})

suite('formatFor', () => {
  const cases: readonly [accept: string | undefined, format: string][] = [
    [undefined, 'Prometheus'],
    ['*/*', 'Prometheus'],
    ['text/plain;version=0.0.4', 'Prometheus'],
    ['application/openmetrics-text', 'OpenMetrics'],
    ['text/plain;q=0.5, Application/OpenMetrics-Text; version=1.0.0; q=0.9', 'OpenMetrics'],
    ['application/openmetrics-text;q=0, text/plain', 'Prometheus'],
    ['application/openmetrics-text-not', 'Prometheus'],
    [';;,,;q=,', 'Prometheus'],
  ]
  for (const [accept, format] of cases) {
    test(`answers ${String(accept)} in the format of ${format}`, () => assert.equal(formatFor(accept), format))
  }
})
