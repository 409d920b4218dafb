/** The benchmark of the operator, small: it ends, counts what it should, and leaves nothing behind. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { startChild } from '../../local/child.ts'
import { atEnd } from '../integration/support/clean-up.ts'
import type { Round } from '../bench/operator/churn.ts'
import type { Steady } from '../bench/operator/steady.ts'
import { sharedCluster } from './support/cluster.ts'
import { until } from './support/until.ts'

const root = join(import.meta.dirname, '..', '..')
const SERVICES = 6

async function namespaces(): Promise<readonly string[]> {
  const { body } = await sharedCluster().api.request<{ readonly items: readonly { metadata: { name: string } }[] }>(
    'GET',
    '/api/v1/namespaces',
  )
  return body.items.map(({ metadata }) => metadata.name)
}

test('six services go through the benchmark, and nothing of them is left', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'grpc-kafka-bench-test-'))
  atEnd(t, () => rmSync(directory, { recursive: true, force: true }))
  const json = join(directory, 'result.json')
  const output: string[] = []
  const flags = {
    services: SERVICES,
    rounds: 1,
    ready: 2,
    steady: SERVICES,
    'steady-seconds': 4,
    'resync-seconds': 1,
    json,
  }
  const bench = await startChild({
    name: 'benchmark',
    command: process.execPath,
    args: [
      '--disable-warning=TimeoutNegativeWarning',
      'test/bench/operator/main.ts',
      ...Object.entries(flags).map(([name, value]) => `--${name}=${value}`),
    ],
    directory: root,
    environment: { ...process.env, TEST_NAMESPACE_PREFIX: 'bench' },
    output: { line: (text) => output.push(text) },
  })
  atEnd(t, () => bench.stop(30_000))
  assert.equal((await bench.exited).code, 0, output.join('\n'))

  const { churn, ready, steady } = JSON.parse(readFileSync(json, 'utf8')) as {
    readonly churn: readonly Round[]
    readonly ready: readonly number[]
    readonly steady: Steady
  }
  const [operator, script] = churn
  assert.deepEqual([operator?.way, script?.way], ['operator', 'script'])
  // Who writes more has it harder, who writes less does not do the same.
  assert.equal(operator?.writes, script?.writes)
  assert.ok((operator?.writes ?? 0) >= 10 * SERVICES, String(operator?.writes))
  assert.equal(ready.length, 2)
  assert.deepEqual(steady.writes, [])
  assert.ok(steady.reconciles >= 2 * SERVICES, String(steady.reconciles))
  assert.ok(steady.kafkaRequests > 0)

  await until('its namespaces are gone', async () => !(await namespaces()).some((name) => name.startsWith('bench-')))
})
