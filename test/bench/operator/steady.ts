/** Many services that nobody touches: what the operator costs then. */
import { setTimeout as pause } from 'node:timers/promises'
import type { AuditLog } from '../../../local/platform/audit-log.ts'
import { isWrite } from '../../../local/platform/audit-log.ts'
import type { Report } from '../../../local/report.ts'
import { KafkaTopicAdmin } from '../../../operator/kafka/topic-admin.ts'
import { atEnd, type Lifetime } from '../../integration/support/clean-up.ts'
import type { Cluster } from '../../operator/support/cluster.ts'
import { Namespace } from '../../operator/support/namespace.ts'
import { OperatorProcess } from '../../operator/support/operator-process.ts'
import { cpuMilliseconds, residentMebibytes } from '../proc.ts'
import { assertGone } from './checks.ts'
import { Crowd } from './crowd.ts'

export interface SteadyOptions {
  readonly cluster: Cluster
  readonly brokers: readonly string[]
  /** The operator's. */
  readonly program: string
  readonly services: number
  readonly seconds: number
  readonly resyncSeconds: number
  readonly operatorFlags: Readonly<Record<string, string | number>>
  readonly nodeFlags: readonly string[]
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
  const { cluster, brokers, program, services, seconds, resyncSeconds, operatorFlags, nodeFlags, report } = options
  const namespace = await Namespace.start(life, cluster)
  const operator = await OperatorProcess.start(life, {
    program,
    kubeconfig: cluster.access.adminKubeconfig,
    namespace: namespace.name,
    nodeFlags,
    flags: { 'log-level': 'info', ...operatorFlags, 'resync-seconds': resyncSeconds },
  })
  const crowd = await Crowd.start(life, { namespace, brokers, replicas: 0 })
  const kafka = new KafkaTopicAdmin({ servers: brokers })
  atEnd(life, () => kafka.close())
  const all = Array.from({ length: services }, (_, index) => index)
  const createdMilliseconds = await crowd.apply(all, 'First', 'TopicReady')
  report(`${services} services are made after ${(createdMilliseconds / 1000).toFixed(1)} s`)
  while ((await writesIn(cluster.audit, namespace.name, () => pause(QUIET_MILLISECONDS))).length > 0);

  const read = async () => ({
    at: performance.now(),
    cpu: cpuMilliseconds(operator.pid),
    reconciles: await operator.metricSum('controller_runtime_reconcile_total'),
    kafka: await operator.metricSum('grpc_kafka_operator_kafka_requests_total'),
  })
  const before = await read()
  const writes = await writesIn(cluster.audit, namespace.name, () => pause(seconds * 1000))
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

async function writesIn(
  audit: AuditLog,
  namespace: string,
  during: () => Promise<unknown>,
): Promise<readonly string[]> {
  const mark = await audit.mark()
  await during()
  return (await audit.events(mark))
    .filter((event) => isWrite(event) && event.objectRef?.namespace === namespace)
    .filter(({ userAgent, objectRef }) => userAgent === 'grpc-kafka-operator' && objectRef?.resource !== 'leases')
    .map(({ verb, objectRef }) => `${verb} ${objectRef?.resource} ${objectRef?.name}`)
}
