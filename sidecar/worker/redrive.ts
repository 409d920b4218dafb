import type { Redrive } from '../results/store.ts'
import type { Entry } from './partition.ts'

/** Undefined: the record is no redrive of a dead letter, nor an attempt of one. */
export function redriveOf({ decoded, partition: { partition }, offset }: Entry): Redrive | undefined {
  if (decoded.kind !== 'Call') return undefined
  const { redriveRevision: revision = 0, origin = { partition, offset } } = decoded.record
  return revision === 0 ? undefined : { revision, record: `${origin.partition}/${origin.offset}` }
}

/** Milliseconds that it still has, which may be more than any method of the service has; 0: it is no redrive. */
export function redriveMilliseconds(entry: Entry, now: number): number {
  const { decoded } = entry
  return decoded.kind === 'Call' && redriveOf(entry) !== undefined ? Math.max(0, decoded.record.deadline - now) : 0
}
