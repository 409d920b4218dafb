/**
 * A route that is deleted as a whole works off its queue: while the CalculateService goes, too, its Responder stays for as
 * long as calls wait, within a bound. One that is deleted alone goes at once: what waits is in Kafka, for the next one.
 */
import type { Observed } from './observed.ts'

/** Keeps a Responder until the calls of its service are worked off. */
export const DRAIN_FINALIZER = 'grpckafka.dev/drain'

/** Whatever the methods allow, nobody who deletes waits longer. */
const LONGEST_DRAIN_MILLISECONDS = 60_000
const LOOK_AGAIN_MILLISECONDS = 1000

export interface Drain {
  /** What is waited for, and until when. */
  readonly message: string
  readonly requeueAfterMilliseconds: number
}

/** Why a group that is being deleted has to stay, or undefined. */
export function drainOf({ group, service, reading, live, now }: Observed): Drain | undefined {
  if (service?.metadata.deletionTimestamp === undefined || group.metadata.deletionTimestamp === undefined)
    return undefined
  // Nobody would work anything off.
  if ((live.deployment?.status?.readyReplicas ?? 0) === 0) return undefined
  const deletedAt = Date.parse(group.metadata.deletionTimestamp)
  if (reading?.known === true && reading.lag === 0 && reading.at >= deletedAt) return undefined
  const longest = Math.max(...service.spec.methods.map(({ timeoutMilliseconds }) => timeoutMilliseconds))
  const until = deletedAt + Math.min(longest, LONGEST_DRAIN_MILLISECONDS)
  if (now >= until) return undefined
  const what = reading?.known === true ? `${reading.lag} calls wait` : 'what waits is not known'
  return {
    message: `its workers go on until ${new Date(until).toISOString()} at the latest: ${what}`,
    requeueAfterMilliseconds: Math.min(LOOK_AGAIN_MILLISECONDS, until - now),
  }
}
