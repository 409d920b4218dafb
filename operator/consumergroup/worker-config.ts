import type { CalculateService, ConsumerGroup, RetryPolicy } from '../../crds/types.ts'
import type { SidecarConfigInput } from '../../sidecar/config.ts'
import { callbackReceivers } from '../callbacks-config.ts'
import type { Placement } from '../placement.ts'
import { commonConfig, methodConfig } from '../sidecar-config.ts'

type WorkerConfigInput = Extract<SidecarConfigInput, { readonly role: 'worker' }>

/** What the environment decides about one worker. */
export interface WorkerPlacement extends Placement {
  /** Where its handler listens. `host` defaults to the loopback address. */
  readonly handler: { readonly host?: string; readonly port: number }
  /** A file that outlives the process and tells an unclean end; in a place of its own for each worker. */
  readonly uncleanEndMarker?: string
}

/** What a worker needs beyond its handler's longest attempt to store, commit and leave its group. */
const GRACE_BEYOND_TIMEOUT_SECONDS = 15

/** The configuration of one worker of a group. Without a policy each call is tried once. */
export function workerConfig(
  group: ConsumerGroup,
  service: CalculateService,
  policy: RetryPolicy | undefined,
  placement: WorkerPlacement,
): WorkerConfigInput {
  const { spec } = group
  const receivers = spec.role === 'Observer' ? [] : callbackReceivers(service.spec, placement)
  return {
    role: 'worker',
    ...commonConfig(service, placement),
    admin: { ...placement.admin, profiling: spec.profiling },
    worker: {
      groupId: spec.groupId,
      role: spec.role,
      ...(spec.topics !== undefined && spec.topics.length > 0 && { topics: [...spec.topics] }),
      startFrom: spec.startFrom,
      ...(spec.offsets === 'Kafka' ? {} : { offsets: spec.offsets }),
      ...(spec.ordering === 'None' ? {} : { ordering: spec.ordering }),
      handler: { ...placement.handler },
      concurrency: spec.concurrency,
      timeoutMilliseconds: spec.timeoutMilliseconds,
      methods: service.spec.methods.map(methodConfig),
      ...(policy === undefined ? {} : { retry: retryConfig(policy) }),
      ...(receivers.length === 0
        ? {}
        : { callbacks: { receivers: [...receivers], giveUpAfterSeconds: service.spec.callbacks?.giveUpAfterSeconds } }),
      graceSeconds: graceSeconds(group),
      ...(placement.uncleanEndMarker === undefined ? {} : { uncleanEndMarker: placement.uncleanEndMarker }),
    },
  }
}

/** How long a worker's pod may take to end, in seconds: what its template says, or longer where that is too short. */
export const graceSeconds = ({ spec }: ConsumerGroup): number =>
  Math.max(
    spec.template.spec.terminationGracePeriodSeconds ?? 0,
    Math.ceil(spec.timeoutMilliseconds / 1000) + GRACE_BEYOND_TIMEOUT_SECONDS,
  )

const retryConfig = ({ spec }: RetryPolicy) => ({
  maxAttempts: spec.maxAttempts,
  backoff: { ...spec.backoff },
  retryableCodes: [...spec.retryableCodes],
  ...(spec.onExpired === 'Drop' ? {} : { onExpired: spec.onExpired }),
})
