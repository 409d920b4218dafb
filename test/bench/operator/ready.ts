/** How long one service takes from its apply to Ready, while the operator has nothing else to do. */
import { KafkaTopicAdmin } from '../../../operator/kafka/topic-admin.ts'
import { atEnd, type Lifetime } from '../../integration/support/clean-up.ts'
import type { Cluster } from '../../operator/support/cluster.ts'
import { playKubelet } from '../../operator/support/kubelet.ts'
import { Namespace } from '../../operator/support/namespace.ts'
import { OperatorProcess } from '../../operator/support/operator-process.ts'
import { assertGone } from './checks.ts'
import { Crowd } from './crowd.ts'

export interface ReadyOptions {
  readonly cluster: Cluster
  readonly brokers: readonly string[]
  /** The operator's. */
  readonly program: string
  readonly services: number
  readonly operatorFlags: Readonly<Record<string, string | number>>
}

/** A kubelet would take longer to start a container than this one takes to say so. */
const KUBELET_LOOK_MILLISECONDS = 10

/** Each with one proxy, one after the other; milliseconds. The first is not counted: code that runs for the first time is slow. */
export async function untilReady(life: Lifetime, options: ReadyOptions): Promise<readonly number[]> {
  const { cluster, brokers, program, services, operatorFlags } = options
  const namespace = await Namespace.start(life, cluster)
  await OperatorProcess.start(life, {
    program,
    kubeconfig: cluster.access.adminKubeconfig,
    namespace: namespace.name,
    flags: { 'log-level': 'info', ...operatorFlags },
  })
  playKubelet(life, namespace, '', KUBELET_LOOK_MILLISECONDS)
  const crowd = await Crowd.start(life, { namespace, brokers, replicas: 1 })
  const kafka = new KafkaTopicAdmin({ servers: brokers })
  atEnd(life, () => kafka.close())
  const times: number[] = []
  for (let index = 0; index <= services; index++) times.push(await crowd.apply([index], 'First', 'Ready'))
  await crowd.delete(times.map((_, index) => index))
  await assertGone(namespace, kafka, times.length)
  return times.slice(1)
}
