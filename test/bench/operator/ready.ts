/** How long one service takes from its apply to Ready, while the operator has nothing else to do. */
import type { Lifetime } from '../../integration/support/clean-up.ts'
import { playKubelet } from '../../operator/support/kubelet.ts'
import { assertGone } from './checks.ts'
import { startUnderOperator, topicAdmin, type OperatorOptions } from './under-operator.ts'

export interface ReadyOptions extends OperatorOptions {
  readonly services: number
}

/** A kubelet would take longer to start a container than this one takes to say so. */
const KUBELET_LOOK_MILLISECONDS = 10

/** Each with one proxy, one after the other; milliseconds. The first is not counted: code that runs for the first time is slow. */
export async function untilReady(life: Lifetime, options: ReadyOptions): Promise<readonly number[]> {
  const { brokers, services } = options
  const { namespace, crowd } = await startUnderOperator(life, options, 1)
  playKubelet(life, namespace, '', KUBELET_LOOK_MILLISECONDS)
  const kafka = topicAdmin(life, brokers)
  const times: number[] = []
  for (let index = 0; index <= services; index++) times.push(await crowd.apply([index], 'First', 'Ready'))
  await crowd.delete(times.map((_, index) => index))
  await assertGone(namespace, kafka, times.length)
  return times.slice(1)
}
