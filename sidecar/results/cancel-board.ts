import type { Script } from './redis.ts'

/** More are not told to workers: their records run for nothing. */
const MOST_CANCELLED = 1000

/**
 * Tells the workers of a topic that a call was cancelled, which stands as its outcome.
 *
 * KEYS     1 hash of the topic's cancelled calls: until when each has to be known (milliseconds since 1970), by its id
 * ARGV     1 the call's id, 2 for how many milliseconds it has to be known
 * returns  1, or 0 where there are too many
 */
export const CANCEL: Script = {
  name: 'cancel',
  lua: `
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local all, count, latest = redis.call('HGETALL', KEYS[1]), 0, now + tonumber(ARGV[2])
for i = 1, #all, 2 do
  local known = tonumber(all[i + 1])
  if known < now then redis.call('HDEL', KEYS[1], all[i]) else count = count + 1 end
  latest = math.max(latest, known)
end
if count >= ${MOST_CANCELLED} then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], now + tonumber(ARGV[2]))
redis.call('PEXPIRE', KEYS[1], latest - now)
return 1
`,
}

/**
 * The cancelled calls that the workers of a topic have to know.
 *
 * KEYS     1 the same hash
 * returns  their ids
 */
export const CANCELLED: Script = {
  name: 'cancelled',
  lua: `
local clock, all, ids = redis.call('TIME'), redis.call('HGETALL', KEYS[1]), {}
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
for i = 1, #all, 2 do
  if tonumber(all[i + 1]) >= now then ids[#ids + 1] = all[i] end
end
return ids
`,
}
