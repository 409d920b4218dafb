import type { CalculateService, ConsumerGroup, RetryPolicy } from '../../crds/types.ts'
import type { KubeObject } from '../controller/object.ts'
import type { Autoscaler, Deployment } from '../kinds.ts'
import type { Advice } from './lag-scaling.ts'
import type { SidecarImage } from '../sidecar-pod.ts'

/** What Kafka said last of a consumer group. */
export type GroupReading =
  | {
      readonly known: true
      /** Calls of the topic that the group has not finished. */
      readonly lag: number
      /** Workers that are in the group. */
      readonly members: number
      /** Dead letters that are not done with, where they are counted. */
      readonly deadLetters?: number
    }
  | {
      readonly known: false
      /** For people. */
      readonly message: string
    }

/** Another group that may have what this one wants. */
export interface Rival {
  readonly group: ConsumerGroup
  readonly service?: CalculateService | undefined
}

/** All that a decision about one ConsumerGroup is made of. */
export interface Observed {
  readonly group: ConsumerGroup
  readonly service?: CalculateService | undefined
  readonly policy?: RetryPolicy | undefined
  /** A line for each Secret, or key of one, that is not there: its field and its name. */
  readonly missingSecrets: readonly string[]
  /** Other groups of the same service, and of the same group id anywhere. May hold the group itself. */
  readonly rivals: readonly Rival[]
  /** Whatever stands under the name of the group's objects, whoever owns it. */
  readonly live: {
    readonly serviceAccount?: KubeObject | undefined
    readonly configMap?: KubeObject | undefined
    readonly deployment?: Deployment | undefined
  }
  /** Those of the namespace that name the group, or its Deployment, as what they scale. */
  readonly autoscalers: readonly Autoscaler[]
  /** Pods of the service's proxies, also those that are ending. */
  readonly proxyPods: readonly KubeObject[]
  /** Absent: nobody asked yet. */
  readonly reading?: GroupReading | undefined
  /** What the lag asked for lately, as this process saw it. */
  readonly advice: readonly Advice[]
  /** Milliseconds since 1970. */
  readonly now: number
  readonly image: SidecarImage
}
