/** A namespace whose CalculateServices an operator of its own looks after. */
import { KafkaTopicAdmin } from '../../../operator/kafka/topic-admin.ts'
import { atEnd, type Lifetime } from '../../integration/support/clean-up.ts'
import type { Cluster } from '../../operator/support/cluster.ts'
import { Namespace } from '../../operator/support/namespace.ts'
import { OperatorProcess } from '../../operator/support/operator-process.ts'
import { Crowd } from './crowd.ts'

/** What all parts of the benchmark are told alike. */
export interface OperatorOptions {
  readonly cluster: Cluster
  readonly brokers: readonly string[]
  /** The operator's. */
  readonly program: string
  /** Given to it in all parts. */
  readonly operatorFlags: Readonly<Record<string, string | number>>
  readonly nodeFlags: readonly string[]
}

export interface UnderOperator {
  readonly namespace: Namespace
  readonly operator: OperatorProcess
  readonly crowd: Crowd
}

/** @param own flags of this part, which win over those of all parts. */
export async function startUnderOperator(
  life: Lifetime,
  { cluster, brokers, program, operatorFlags, nodeFlags }: OperatorOptions,
  replicas: number,
  own: Readonly<Record<string, string | number>> = {},
): Promise<UnderOperator> {
  const namespace = await Namespace.start(life, cluster)
  const operator = await OperatorProcess.start(life, {
    program,
    kubeconfig: cluster.access.adminKubeconfig,
    namespace: namespace.name,
    nodeFlags,
    flags: { 'log-level': 'info', ...operatorFlags, ...own },
  })
  return { namespace, operator, crowd: await Crowd.start(life, { namespace, brokers, replicas }) }
}

export function topicAdmin(life: Lifetime, brokers: readonly string[]): KafkaTopicAdmin {
  const kafka = new KafkaTopicAdmin({ servers: brokers })
  atEnd(life, () => kafka.close())
  return kafka
}
