/** How many workers there should be, and who decides that. Pure. */
import { FIELD_MANAGER } from '../field-manager.ts'
import type { Autoscaler } from '../kinds.ts'
import { scaleByLag } from './lag-scaling.ts'
import type { Advice } from './lag-scaling.ts'
import { workerName } from './objects.ts'
import type { Observed } from './observed.ts'
import { topicIn } from './topic-in-status.ts'
import { othersOwnReplicas } from '../replicas-owner.ts'

export type Replicas =
  /** spec.replicas, which people set, or an autoscaler through the `scale` subresource. */
  | { readonly by: 'Spec'; readonly replicas: number }
  | { readonly by: 'Lag'; readonly replicas: number; readonly advice: readonly Advice[] }
  /** An autoscaler at the Deployment. */
  | {
      readonly by: 'Autoscaler'
      /** What is applied all the same, until the field is the autoscaler's. */
      readonly replicas?: number | undefined
      /** Its kind and name. */
      readonly name: string
    }

/** An autoscaler's word counts before spec.scaling: two who scale the same would undo each other's work. */
export function decideReplicas(observed: Observed): Replicas {
  const { group, service, live, reading, autoscalers, advice, now } = observed
  const { scaling, replicas } = group.spec
  const atDeployment = autoscalers.find((one) => scales(one, 'Deployment', workerName(group)))
  if (atDeployment !== undefined) {
    const { deployment } = live
    const theirs = deployment === undefined || othersOwnReplicas(deployment, FIELD_MANAGER)
    return {
      by: 'Autoscaler',
      name: `${atDeployment.kind} ${atDeployment.metadata.name}`,
      replicas: theirs ? undefined : deployment.spec?.replicas,
    }
  }
  if (scaling === undefined || autoscalers.some((one) => scales(one, 'ConsumerGroup', group.metadata.name))) {
    return { by: 'Spec', replicas }
  }
  const partitions = service === undefined ? undefined : topicIn(service)?.partitions
  const current = group.status?.desiredReplicas ?? live.deployment?.spec?.replicas ?? replicas
  const lag = reading?.known === true ? reading.lag : undefined
  return { by: 'Lag', ...scaleByLag({ scaling, partitions, lag, current, earlier: advice, now }) }
}

const scales = ({ spec }: Autoscaler, kind: 'Deployment' | 'ConsumerGroup', name: string): boolean =>
  spec?.scaleTargetRef?.name === name && spec.scaleTargetRef.kind === kind
