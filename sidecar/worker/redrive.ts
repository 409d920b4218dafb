import type { Redrive } from '../results/store.ts'
import type { Entry } from './partition.ts'

/** Undefined: the record is no redrive of a dead letter, nor an attempt of one. */
export function redriveOf({ decoded, partition: { partition }, offset }: Entry): Redrive | undefined {
  if (decoded.kind !== 'Call') return undefined
  const { redriveRevision: revision = 0, origin = { partition, offset } } = decoded.record
  return revision === 0 ? undefined : { revision, record: `${origin.partition}/${origin.offset}` }
}
