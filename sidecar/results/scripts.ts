/**
 * How starts are counted in Redis, and who holds a partition. Every script may run twice with the same arguments, and takes any
 * number of items whose keys may lie in any slots: a Cluster runs it for each item alone (`parts` of RedisClient), so the keys of ONE
 * item must share their slot. The commands used here are listed in docs/redis.md, for an ACL.
 */
import type { Script } from './redis.ts'

/**
 * Asks whether records that may have run before may start, and counts their starts (SEMANTICS 1, "begin").
 *
 * KEYS     the starts keys of calls that have no outcome. Their own keys are asked for before and not here: while a slot moves a
 *          Cluster refuses two keys of it (TRYAGAIN). Nothing hangs on the two being one step: an outcome may come right after, too.
 * ARGV     1 milliseconds to keep the count, 2 starts that are allowed, 3 whether the records will run alone, then for each record a
 *          token of this asking, the number that its start would have by what the asker knows, and the number of the attempt that
 *          the record itself asks for
 * returns  for each record: above 0 the number of this start, which is counted;
 *          0 that attempt was made, and the next one is another record's (HAND_ON);
 *          -1 it was started elsewhere and nobody came back: it may start alone only, and nothing is counted;
 *          -1 - n its n starts are used up
 *
 * Of records that ran together when their worker died each may be the one that killed it. So they run alone from then on, and
 * none is given up that never ran alone: one such start is allowed above the limit.
 * The token makes a repeated asking (its answer was lost) count once. It is the record's own: copies of a call may be asked about
 * together, and each is a start. The field `alone` holds that of the first start alone.
 */
export const BEGIN: Script = {
  name: 'begin',
  lua: `
local allowed, alone = tonumber(ARGV[2]), ARGV[3] == '1'
local result = {}
for i, key in ipairs(KEYS) do
  local token, expected, own = ARGV[3 * i + 1], tonumber(ARGV[3 * i + 2]), tonumber(ARGV[3 * i + 3])
  local stored = redis.call('HMGET', key, 'starts', 'token', 'alone', 'handed')
  local starts = tonumber(stored[1] or '0')
  local start = math.max(starts + 1, expected)
  if tonumber(stored[4] or '0') >= own then
    result[i] = 0
  elseif stored[2] == token then
    result[i] = starts
  elseif start > allowed and (stored[3] or start > allowed + 1) then
    result[i] = -start
  elseif start > expected and not alone then
    result[i] = -1
  else
    redis.call('HSET', key, 'starts', start, 'token', token)
    if alone then redis.call('HSETNX', key, 'alone', token) end
    redis.call('PEXPIRE', key, ARGV[1])
    result[i] = start
  end
end
return result
`,
}

/**
 * Takes starts back that BEGIN counted and that were never made: their partition went to another worker first.
 *
 * KEYS     the starts keys
 * ARGV     for each key the token of the asking that counted
 * returns  how many were taken back
 *
 * The token goes with it, so a repeated taking back takes back once, and a later asking's count stays. That it ran alone once
 * stays too, unless the start taken back is the one that said so.
 */
export const TAKE_BACK: Script = {
  name: 'takeBack',
  lua: `
local taken = 0
for i, key in ipairs(KEYS) do
  if redis.call('HGET', key, 'token') == ARGV[i] then
    redis.call('HINCRBY', key, 'starts', -1)
    redis.call('HDEL', key, 'token')
    if redis.call('HGET', key, 'alone') == ARGV[i] then redis.call('HDEL', key, 'alone') end
    taken = taken + 1
  end
end
return taken
`,
}

/**
 * Says that attempts were made and that what follows is another record's, which Kafka has: the record that asked for the attempt
 * is done, though its call has no outcome.
 *
 * KEYS     the starts keys
 * ARGV     1 milliseconds to keep, then for each key the number of the attempt
 * returns  nothing that matters
 */
export const HAND_ON: Script = {
  name: 'handOn',
  lua: `
for i, key in ipairs(KEYS) do
  if tonumber(redis.call('HGET', key, 'handed') or '0') < tonumber(ARGV[i + 1]) then
    redis.call('HSET', key, 'handed', ARGV[i + 1])
  end
  redis.call('PEXPIRE', key, ARGV[1])
end
return 0
`,
}

/**
 * Asks whether a redriven record is the one that does what its redrive asks for: the first that asked. A redrive that was repeated
 * may stand on Kafka several times, and each of them is read to its end, so the others have nothing to do.
 *
 * KEYS     the starts keys of the redrives' revisions
 * ARGV     1 milliseconds to keep, then for each key where the record stands
 * returns  for each key 1: it is this one; 0: another one
 */
export const OWN_REDRIVE: Script = {
  name: 'ownRedrive',
  lua: `
local result = {}
for i, key in ipairs(KEYS) do
  redis.call('HSETNX', key, 'record', ARGV[i + 1])
  redis.call('PEXPIRE', key, ARGV[1])
  result[i] = redis.call('HGET', key, 'record') == ARGV[i + 1] and 1 or 0
end
return result
`,
}

/**
 * Says that an instance may have work running in partitions, and who else may (SEMANTICS 5).
 *
 * KEYS     one sorted set for each partition
 * ARGV     1 the instance, 2 milliseconds until the word lapses
 * returns  for each partition the number of other instances whose word stands
 */
export const HOLD_PARTITIONS: Script = {
  name: 'holdPartitions',
  lua: `
local time, result = redis.call('TIME'), {}
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  redis.call('ZADD', key, now + tonumber(ARGV[2]), ARGV[1])
  redis.call('PEXPIRE', key, 2 * tonumber(ARGV[2]))
  result[i] = redis.call('ZCARD', key) - 1
end
return result
`,
}

/**
 * Tells the time of the master that owns a key.
 *
 * KEYS     1 a key that never has a value
 * returns  seconds since 1970, microseconds of the second
 *
 * PERSIST is a write that changes nothing here: a replica refuses it (READONLY), so nobody stays with one after a failover.
 */
export const CLOCK: Script = {
  name: 'clock',
  lua: `
redis.call('PERSIST', KEYS[1])
return redis.call('TIME')
`,
}
