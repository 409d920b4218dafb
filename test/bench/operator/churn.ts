/**
 * Services that are made, changed and deleted, by the operator and by a bare script in turns. There are no proxies
 * (`replicas: 0`): what becomes of Pods is the work of others, and there is no kubelet. The Deployments are there, and the
 * controller-manager does with them what it does.
 */
import type { CalculateService } from '../../../crds/types.ts'
import type { AuditMark } from '../../../local/platform/audit-log.ts'
import { isWrite } from '../../../local/platform/audit-log.ts'
import type { Report } from '../../../local/report.ts'
import type { KafkaTopicAdmin } from '../../../operator/kafka/topic-admin.ts'
import { atEnd, type Lifetime } from '../../integration/support/clean-up.ts'
import type { Cluster } from '../../operator/support/cluster.ts'
import { Namespace } from '../../operator/support/namespace.ts'
import { cpuMilliseconds } from '../proc.ts'
import { startProgram } from '../program.ts'
import { assertGone, assertMade } from './checks.ts'
import { Crowd } from './crowd.ts'
import { startUnderOperator, topicAdmin, type OperatorOptions } from './under-operator.ts'
import type { ScriptRequest } from './script.ts'

export const PHASES = ['created', 'changed', 'deleted'] as const
export type Phase = (typeof PHASES)[number]
export type Way = 'operator' | 'script'

/** One round of one way; times in milliseconds. */
export interface Round {
  readonly way: Way
  readonly elapsed: Readonly<Record<Phase, number>>
  /** Of the operator's process, or of the script's. */
  readonly cpu: number
  /** Requests that changed something at the API server, Leases and Events aside. */
  readonly writes: number
  /** Events of events.k8s.io. */
  readonly events: number
}

export interface ChurnOptions extends OperatorOptions {
  readonly services: number
  readonly rounds: number
  readonly concurrency: number
  readonly report: Report
}

const SIDECAR_IMAGE = 'sidecar:test'

/** One way of having the work done, in a namespace of its own. */
interface Contestant {
  readonly way: Way
  readonly pid: number
  readonly namespace: Namespace
  readonly crowd: Crowd
  /** Told of what users asked for; the operator watches, and is told nothing. */
  readonly tell: (type: 'Create' | 'Change' | 'Delete', stored: CalculateService) => void
  /** All that it does besides is done. */
  readonly rest: () => Promise<void>
}

/** A smaller round of both is not counted: code that runs for the first time is slow in both. */
export async function churn(life: Lifetime, options: ChurnOptions): Promise<readonly Round[]> {
  const { services, rounds, report } = options
  const contestants = [await operatorWay(life, options), await scriptWay(life, options)]
  const kafka = topicAdmin(life, options.brokers)
  for (const contestant of contestants) {
    report(`${contestant.way}: warming up`)
    await play(contestant, Math.ceil(services / 4), kafka, options)
  }
  const results: Round[] = []
  for (let round = 1; round <= rounds; round++) {
    // Who is first has the disadvantage of the broker's older topics: in turns.
    for (const contestant of round % 2 === 1 ? contestants : contestants.toReversed()) {
      const result = await play(contestant, services, kafka, options)
      results.push(result)
      const times = PHASES.map((phase) => `${phase} in ${(result.elapsed[phase] / 1000).toFixed(1)} s`).join(', ')
      report(`round ${round} of ${rounds}, ${contestant.way}: ${services} services ${times}`)
    }
  }
  return results
}

async function operatorWay(life: Lifetime, options: ChurnOptions): Promise<Contestant> {
  const { concurrency, operatorFlags } = options
  const own = { concurrency, ...operatorFlags, 'sidecar-image': SIDECAR_IMAGE }
  const { namespace, operator, crowd } = await startUnderOperator(life, options, 0, own)
  return { way: 'operator', pid: operator.pid, namespace, crowd, tell: () => undefined, rest: () => Promise.resolve() }
}

async function scriptWay(life: Lifetime, { cluster, brokers, concurrency }: ChurnOptions): Promise<Contestant> {
  const namespace = await Namespace.start(life, cluster)
  const script = startProgram<ScriptRequest, null>('script', 'operator/script.ts', [
    '--disable-warning=TimeoutNegativeWarning',
  ])
  atEnd(life, () => script.stop())
  const kubeconfig = cluster.access.adminKubeconfig
  await script.ask({ type: 'Begin', kubeconfig, brokers, concurrency, sidecarImage: SIDECAR_IMAGE })
  const crowd = await Crowd.start(life, { namespace, brokers, replicas: 0 })
  let told: Promise<unknown> = Promise.resolve()
  return {
    way: 'script',
    pid: script.pid,
    namespace,
    crowd,
    tell: (type, stored) => {
      const asked = script.ask({ type, stored })
      told = told.then(() => asked)
    },
    rest: async () => {
      await told
      await script.ask({ type: 'Rest' })
    },
  }
}

async function play(
  { way, pid, namespace, crowd, tell, rest }: Contestant,
  services: number,
  kafka: KafkaTopicAdmin,
  { cluster }: ChurnOptions,
): Promise<Round> {
  const mark = await cluster.audit.mark()
  const began = cpuMilliseconds(pid)
  const all = Array.from({ length: services }, (_, index) => index)
  const created = await crowd.apply(all, 'First', 'TopicReady', (stored) => tell('Create', stored))
  await rest()
  await assertMade(namespace, kafka, services, 'First')
  const changed = await crowd.apply(all, 'Changed', 'TopicReady', (stored) => tell('Change', stored))
  await rest()
  await assertMade(namespace, kafka, services, 'Changed')
  const deleted = await crowd.delete(all, (stored) => tell('Delete', stored))
  await rest()
  const cpu = cpuMilliseconds(pid) - began
  const { writes, events } = await writesSince(cluster, namespace, mark)
  await assertGone(namespace, kafka, services)
  return { way, elapsed: { created, changed, deleted }, cpu, writes, events }
}

async function writesSince(
  { audit }: Cluster,
  { name }: Namespace,
  mark: AuditMark,
): Promise<{ readonly writes: number; readonly events: number }> {
  const all = (await audit.events(mark)).filter(
    (event) => isWrite(event) && event.objectRef?.namespace === name && event.userAgent === 'grpc-kafka-operator',
  )
  const of = (resource: string): number => all.filter(({ objectRef }) => objectRef?.resource === resource).length
  return { writes: all.length - of('leases') - of('events'), events: of('events') }
}
