/**
 * A route that is deleted as a whole answers the calls that it took: a Responder stays until the proxies of its service have
 * ended, which they do when nobody waits for an answer any more (each within its pod's grace). One that is deleted alone goes
 * at once: what waits is in Kafka, for the next one.
 */
import type { Observed } from './observed.ts'

/** Keeps a Responder until the proxies of its service have ended. */
export const DRAIN_FINALIZER = 'grpckafka.dev/drain'

/** Who deletes several resources deletes one after the other; so long the service may be the next. */
const SERVICE_FOLLOWS_MILLISECONDS = 2000
/** When the service is gone, its pods are told to end within so long; those that are not belong to nobody's deletion. */
const PODS_FOLLOW_MILLISECONDS = 30_000
const LOOK_AGAIN_MILLISECONDS = 1000

export interface Drain {
  /** What is waited for, and until when. */
  readonly message: string
  readonly requeueAfterMilliseconds: number
}

type Given = Pick<Observed, 'group' | 'service' | 'live' | 'proxyPods' | 'now'>

/** Why a group that is being deleted has to stay, or undefined. */
export function drainOf({ group, service, live, proxyPods, now }: Given): Drain | undefined {
  const deletedAt = Date.parse(group.metadata.deletionTimestamp ?? '')
  // Nobody would answer anything.
  if ((live.deployment?.status?.readyReplicas ?? 0) === 0 || proxyPods.length === 0) return undefined
  const serviceStays = service !== undefined && service.metadata.deletionTimestamp === undefined
  const until = serviceStays
    ? deletedAt + SERVICE_FOLLOWS_MILLISECONDS
    : // A pod's deletionTimestamp is the end of its grace.
      Math.max(
        ...proxyPods.map(({ metadata }) =>
          metadata.deletionTimestamp === undefined
            ? deletedAt + PODS_FOLLOW_MILLISECONDS
            : Date.parse(metadata.deletionTimestamp),
        ),
      )
  if (!(now < until)) return undefined
  const what = serviceStays ? 'whether its CalculateService goes, too' : `${proxyPods.length} proxies have calls`
  return {
    message: `its workers go on until ${new Date(until).toISOString()} at the latest: ${what}`,
    requeueAfterMilliseconds: Math.min(LOOK_AGAIN_MILLISECONDS, until - now),
  }
}
