/**
 * Where Kafka's own clients put a record with a key (org.apache.kafka.common.utils.Utils.murmur2 and
 * BuiltInPartitioner.partitionForKey), so that whoever else produces with the same key meets the same partition.
 */
export const partitionOfKey = (key: Buffer, partitions: number): number => (murmur2(key) & 0x7fffffff) % partitions

const SEED = 0x9747b28c
const M = 0x5bd1e995

/** MurmurHash2 of Austin Appleby with Kafka's seed. @returns 32 bits, signed. */
export function murmur2(bytes: Buffer): number {
  const { length } = bytes
  let hash = SEED ^ length
  let at = 0
  for (; at + 4 <= length; at += 4) {
    let word = Math.imul(bytes.readInt32LE(at), M)
    word ^= word >>> 24
    hash = Math.imul(hash, M) ^ Math.imul(word, M)
  }
  if (at < length) {
    for (let index = length - 1; index >= at; index--) hash ^= bytes[index]! << (8 * (index - at))
    hash = Math.imul(hash, M)
  }
  hash ^= hash >>> 13
  hash = Math.imul(hash, M)
  return hash ^ (hash >>> 15)
}
