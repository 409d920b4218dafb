import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { usage } from '../../../operator/config.ts'
import { ControllerMetrics } from '../../../operator/controller/metrics.ts'
import { KafkaRequests } from '../../../operator/kafka/kafka-requests.ts'
import { ERRORS } from '../../../sidecar/errors.ts'
import { METRICS } from '../../../sidecar/telemetry/metrics.ts'

const page = readFileSync(new URL('../../../docs/operations.md', import.meta.url), 'utf8')

const byText = (a: unknown, b: unknown): number => String(a).localeCompare(String(b))

/** The rows of a section's table: the first cell without its quotes, then the others. */
function rows(section: string): string[][] {
  const text = page.split(`\n## ${section}\n`)[1]?.split('\n## ')[0] ?? ''
  return text
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll('`', '')),
    )
}

test('docs/operations.md names every metric of the table, and no other', () => {
  assert.deepEqual(
    rows('Metrics')
      .map(([name]) => name)
      .toSorted(byText),
    Object.keys(METRICS).toSorted(byText),
  )
})

test('docs/operations.md names every error of the table with its status, and no other', () => {
  const documented = rows('Statuses that the sidecar itself gives').map(([code, status]) => [code, status])
  const expected = Object.entries(ERRORS).map(([code, { status }]) => [code, status])
  assert.deepEqual(documented.toSorted(byText), expected.toSorted(byText))
})

test('docs/operations.md names every flag of the operator, and no other', () => {
  const flags = [...usage().matchAll(/^ {2}(--[a-z-]+)/gm)].map(([, flag]) => flag)
  assert.deepEqual(
    rows("The operator's process")
      .map(([flag]) => flag)
      .toSorted(byText),
    flags.toSorted(byText),
  )
})

test('docs/operations.md names every metric of the operator, and no other', async () => {
  const metrics = new ControllerMetrics()
  metrics.watchLeader('operator', () => false)
  new KafkaRequests().expose(metrics)
  const names = [...(await metrics.expose()).matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name)
  assert.deepEqual(
    rows("The operator's metrics")
      .map(([name]) => name)
      .toSorted(byText),
    names.toSorted(byText),
  )
})
