import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ControllerMetrics } from '../../../../operator/controller/metrics.ts'
import { ItemBackoff } from '../../../../operator/controller/rate-limiter.ts'
import { WorkQueue } from '../../../../operator/controller/work-queue.ts'
import { FakeClock } from './fake-clock.ts'

/** controller-runtime's and client-go's names, and their labels. */
const NAMES: Readonly<Record<string, readonly string[]>> = {
  controller_runtime_reconcile_total: ['controller', 'result'],
  controller_runtime_reconcile_errors_total: ['controller'],
  controller_runtime_terminal_reconcile_errors_total: ['controller'],
  controller_runtime_reconcile_timeouts_total: ['controller'],
  controller_runtime_reconcile_time_seconds: ['controller'],
  controller_runtime_max_concurrent_reconciles: ['controller'],
  controller_runtime_active_workers: ['controller'],
  workqueue_depth: ['name', 'controller'],
  workqueue_adds_total: ['name', 'controller'],
  workqueue_queue_duration_seconds: ['name', 'controller'],
  workqueue_work_duration_seconds: ['name', 'controller'],
  workqueue_unfinished_work_seconds: ['name', 'controller'],
  workqueue_longest_running_processor_seconds: ['name', 'controller'],
  workqueue_retries_total: ['name', 'controller'],
  rest_client_requests_total: ['code', 'method'],
  leader_election_master_status: ['name'],
}

test('every metric has the name and the labels that dashboards for Go operators ask for, and no other label', async () => {
  const clock = new FakeClock()
  const metrics = new ControllerMetrics()
  const queue = new WorkQueue(clock, new ItemBackoff(5, 1000), metrics.queue('thing'))
  metrics.watchQueue('thing', queue)
  metrics.addController('thing', 4)
  metrics.watchLeader('operator', () => true)
  metrics.request('200', 'GET')
  queue.add('ns/secret-name')
  await queue.take()
  queue.done('ns/secret-name')
  metrics.reconcileBegan('thing')
  metrics.reconcileEnded('thing', 'success', 12)
  const seen: Record<string, Set<string>> = {}
  for (const line of (await metrics.expose()).split('\n')) {
    const [, name, labels] = /^([a-z_]+)\{(.*)\} \S+$/.exec(line) ?? []
    if (name === undefined) continue
    const family = name.replace(/_(bucket|sum|count)$/, '')
    for (const [, label] of labels!.matchAll(/([a-z]+)="/g))
      if (label !== 'le') (seen[family] ??= new Set()).add(label!)
    assert.doesNotMatch(line, /secret-name/)
  }
  const found = Object.fromEntries(Object.entries(seen).map(([name, labels]) => [name, [...labels].sort()]))
  assert.deepEqual(found, Object.fromEntries(Object.entries(NAMES).map(([name, labels]) => [name, [...labels].sort()])))
})

test('what runs is told in seconds as it is at the time of the question', async () => {
  const clock = new FakeClock()
  const metrics = new ControllerMetrics()
  const queue = new WorkQueue(clock, new ItemBackoff(5, 1000), metrics.queue('thing'))
  metrics.watchQueue('thing', queue)
  for (const key of ['a', 'b', 'c']) queue.add(key)
  await queue.take()
  clock.advance(2000)
  await queue.take()
  clock.advance(1000)
  const text = await metrics.expose()
  for (const line of [
    'workqueue_depth{name="thing",controller="thing"} 1',
    'workqueue_unfinished_work_seconds{name="thing",controller="thing"} 4',
    'workqueue_longest_running_processor_seconds{name="thing",controller="thing"} 3',
  ]) {
    assert.ok(text.includes(`${line}\n`), line)
  }
})
