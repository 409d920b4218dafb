/**
 * Kafka's own memory of commits, `__consumer_offsets`: every commit of every group, in the order in which they were made.
 * (kafka: group-coordinator/src/main/resources/common/message/OffsetCommitKey.json and OffsetCommitValue.json)
 */
export const OFFSETS_TOPIC = '__consumer_offsets'

export interface OffsetCommit {
  readonly group: string
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

/** Versions of keys: below it commits, from it on members of groups. */
const FIRST_OTHER_KEY = 2

/** @returns undefined for what is no commit: a group's members, and an offset that is forgotten. */
export function readOffsetCommit(key: Buffer | null, value: Buffer | null): OffsetCommit | undefined {
  if (key === null || value === null || key.readInt16BE(0) >= FIRST_OTHER_KEY) return undefined
  let at = 2
  const text = (): string => {
    const start = at + 2
    at = start + key.readInt16BE(at)
    return key.toString('utf8', start, at)
  }
  const group = text()
  const topic = text()
  // Behind the value's version, in all of them.
  return { group, topic, partition: key.readInt32BE(at), offset: Number(value.readBigInt64BE(2)) }
}
