/** Many services that nobody touches: what the operator costs then. */
import { setTimeout as pause } from 'node:timers/promises'
import type { Report } from '../../../local/report.ts'
import type { Lifetime } from '../../integration/support/clean-up.ts'
import type { Namespace } from '../../operator/support/namespace.ts'
import { cpuMilliseconds, residentMebibytes } from '../proc.ts'
import { assertGone } from './checks.ts'
import { startUnderOperator, topicAdmin, type OperatorOptions } from './under-operator.ts'

export interface SteadyOptions extends OperatorOptions {
  readonly services: number
  readonly seconds: number
  readonly resyncSeconds: number
  readonly report: Report
}

export interface Steady {
  readonly services: number
  readonly seconds: number
  readonly resyncSeconds: number
  /** From the first user's request until all topics were ready. */
  readonly createdMilliseconds: number
  /** Per second. */
  readonly cpuMilliseconds: number
  readonly residentMebibytes: number
  readonly heapMebibytes: number
  /** Of all kinds, while it was measured. */
  readonly reconciles: number
  /** Each `patch calculateservices service-1`, Leases aside. */
  readonly writes: readonly string[]
  readonly kafkaRequests: number
}

/** Without a write for so long it has come to rest. */
const QUIET_MILLISECONDS = 3000

/** Services without proxies, as in churn.ts. They are gone at its end. */
export async function steady(life: Lifetime, options: SteadyOptions): Promise<Steady> {
  const { brokers, services, seconds, resyncSeconds, report } = options
  const { namespace, operator, crowd } = await startUnderOperator(life, options, 0, { 'resync-seconds': resyncSeconds })
  const kafka = topicAdmin(life, brokers)
  const all = Array.from({ length: services }, (_, index) => index)
  const createdMilliseconds = await crowd.apply(all, 'First', 'TopicReady')
  report(`${services} services are made after ${(createdMilliseconds / 1000).toFixed(1)} s`)
  while ((await writesIn(namespace, QUIET_MILLISECONDS)).length > 0);

  const read = async () => ({
    at: performance.now(),
    cpu: cpuMilliseconds(operator.pid),
    reconciles: await operator.metricSum('controller_runtime_reconcile_total'),
    kafka: await operator.metricSum('grpc_kafka_operator_kafka_requests_total'),
  })
  const before = await read()
  const writes = await writesIn(namespace, seconds * 1000)
  const after = await read()
  const elapsed = (after.at - before.at) / 1000
  const result = {
    services,
    seconds: elapsed,
    resyncSeconds,
    createdMilliseconds,
    cpuMilliseconds: (after.cpu - before.cpu) / elapsed,
    residentMebibytes: residentMebibytes(operator.pid).now,
    heapMebibytes: (await operator.metricSum('nodejs_heap_size_used_bytes')) / 2 ** 20,
    reconciles: after.reconciles - before.reconciles,
    writes,
    kafkaRequests: after.kafka - before.kafka,
  }
  await crowd.delete(all)
  await assertGone(namespace, kafka, services)
  return result
}

async function writesIn(namespace: Namespace, milliseconds: number): Promise<readonly string[]> {
  const mark = await namespace.cluster.audit.mark()
  await pause(milliseconds)
  return namespace.operatorWrites(mark, ['leases'])
}
