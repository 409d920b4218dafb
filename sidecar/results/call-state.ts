/**
 * The states of a call in Redis, and every step from one to another (SEMANTICS 1 and 2). docs/call-states.md draws them.
 *
 * One key holds a call's state. Byte 0 is the format, byte 1 the state, in every format; so a script tells a claim from an
 * outcome by that byte alone. An odd format is that of an outcome without an idempotency key (outcome.ts describes it); the
 * even one after it is the same with 16 bytes of request hash after the state.
 *
 * A claim and what became enqueued, integers big-endian, times in milliseconds since 1970 on the shared clock:
 *
 *   0  u8    format (2)
 *   1  u8    state (5 Claimed, 6 Enqueued)
 *   2  16 B  hash of the request: SHA-256 of the request message, truncated
 *  18  u8    flags (1: an earlier claimant may have put the call on Kafka; 2: claimed again after Expired(No))
 *  19  u48   deadline, the latest of those who claimed
 *  25  16 B  the claimant's token
 *  41  u48   the lease's end (0: it was given back, and its claimant put nothing on Kafka)
 */
import { HEAD_BYTES, OutcomeFormatError, PLACE_BYTES, STATES, decodeOutcome } from './outcome.ts'
import type { Outcome } from './outcome.ts'
import type { Script } from './redis.ts'

export const REQUEST_HASH_BYTES = 16
export const CLAIM_TOKEN_BYTES = 16

const CLAIM_BYTES = 47
/** The revision of a dead letter's outcome ends here at the latest: after head, hash, place and status. */
const REVISION_END = HEAD_BYTES + REQUEST_HASH_BYTES + PLACE_BYTES + 5
const CLAIM_FORMAT = 2
const FLAG_PRODUCED_BEFORE = 1
const FLAG_CLAIMED_AGAIN = 2

/** A call with an idempotency key that has no outcome yet. */
export interface ClaimedCall {
  /** `Enqueued`: Kafka has it. `Claimed`: it may have. */
  readonly state: 'Claimed' | 'Enqueued'
  readonly requestHash: Buffer
  /** An earlier claimant may have put it on Kafka: what is produced now may be a copy. */
  readonly producedBefore: boolean
  /** An earlier claim of it expired without a start. */
  readonly claimedAgain: boolean
  /** Milliseconds since 1970 on the shared clock. */
  readonly deadline: number
  readonly token: Buffer
  /** Milliseconds since 1970 on the shared clock; 0: given back. */
  readonly leaseUntil: number
}

export type CallState = ClaimedCall | Outcome

/** @throws OutcomeFormatError for bytes that are no state of a format known here. */
export function decodeCallState(bytes: Buffer): CallState {
  if (isOutcome(bytes)) return decodeOutcome(bytes)
  if (bytes[0] !== CLAIM_FORMAT) throw new OutcomeFormatError(`call state format ${bytes[0]} is not known here`)
  if (bytes[1] !== STATES.Claimed && bytes[1] !== STATES.Enqueued)
    throw new OutcomeFormatError(`call state ${bytes[1]} is not known here`)
  if (bytes.length !== CLAIM_BYTES) throw new OutcomeFormatError(`a claim has ${CLAIM_BYTES} bytes`)
  const flags = bytes[18] ?? 0
  return {
    state: bytes[1] === STATES.Claimed ? 'Claimed' : 'Enqueued',
    requestHash: bytes.subarray(2, 18),
    producedBefore: (flags & FLAG_PRODUCED_BEFORE) !== 0,
    claimedAgain: (flags & FLAG_CLAIMED_AGAIN) !== 0,
    deadline: bytes.readUIntBE(19, 6),
    token: bytes.subarray(25, 41),
    leaseUntil: bytes.readUIntBE(41, 6),
  }
}

/**
 * Whether a redrive of this revision has work to do: no outcome stands, or that of a dead letter of a lower revision. A claim is
 * that of a later call with the same key, which has its own record.
 * @param bytes of the call's key; null: it has none.
 */
export function yieldsTo(bytes: Buffer | null, revision: number): boolean {
  if (bytes === null) return true
  const state = isOutcome(bytes) ? decodeOutcome(bytes) : undefined
  return state?.state === 'DeadLettered' && state.revision < revision
}

/** Whether the bytes of a call's key are an outcome and no claim. */
export const isOutcome = (bytes: Buffer): boolean => (bytes[1] ?? 0) < STATES.Claimed

/** Whether an outcome's bytes can not be replaced any more: `Expired(No)` may be claimed again. */
export const isFinal = (bytes: Buffer): boolean => bytes[1] !== STATES.Expired || bytes.at(-1) !== 0

// Every script may run twice with the same arguments, and takes any number of calls, whose keys may lie in any slots (scripts.ts).

const LUA_STATES = `local EXPIRED, CLAIMED, ENQUEUED = ${STATES.Expired}, ${STATES.Claimed}, ${STATES.Enqueued}
local DEAD_LETTERED = ${STATES.DeadLettered}
`

/** What `CLAIM` answers for a call, where it is a number. */
export const CLAIM_ANSWERS = { Claimed: 1, Waits: 2, KeyReused: 3, Later: 4 } as const

/**
 * Nothing, Claimed whose lease ended, or Expired(No) -> Claimed.
 *
 * KEYS     the calls' keys
 * ARGV     1 milliseconds of the lease, 2 milliseconds to keep after the deadline, 3 bytes of outcomes to answer with,
 *          then for each call: the claimant's token, the request's hash, the deadline
 * returns  for each call: Claimed; {deadline}: taken over, an earlier claimant may have put it on Kafka; Waits: another one's claim
 *          stands or Kafka has it; KeyReused: the key belongs to another request; the bytes of its outcome; Later: it has one, and
 *          the room for outcomes is used up
 *
 * A claimant that asks again with its token gets its claim again, with a new lease.
 * The time is taken here, so that a claimant that was frozen gets no lease of the past.
 */
export const CLAIM: Script = {
  name: 'claim',
  replies: 'Buffers',
  lua: `${LUA_STATES}
local clock, result = redis.call('TIME'), {}
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local lease, keep, room = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local answered = false
for i = 1, #KEYS do
  local key, token, hash, deadline = KEYS[i], ARGV[3 * i + 1], ARGV[3 * i + 2], tonumber(ARGV[3 * i + 3])
  local head = redis.call('GETRANGE', key, 0, ${CLAIM_BYTES - 1})
  local state, flags = string.byte(head, 2), nil
  local keyed = state and string.byte(head, 1) % 2 == 0
  if not state then
    flags = 0
  elseif keyed and string.sub(head, 3, 18) ~= hash then
    result[i] = ${CLAIM_ANSWERS.KeyReused}
  elseif state == ENQUEUED then
    result[i] = ${CLAIM_ANSWERS.Waits}
  elseif state == CLAIMED then
    local ends = struct.unpack('>I6', head, 42)
    if ends > now and string.sub(head, 26, 41) ~= token then
      result[i] = ${CLAIM_ANSWERS.Waits}
    else
      flags = string.byte(head, 19)
      if ends > 0 and string.sub(head, 26, 41) ~= token and flags % 2 == 0 then flags = flags + ${FLAG_PRODUCED_BEFORE} end
      if flags % 2 == 1 then deadline = math.max(deadline, struct.unpack('>I6', head, 20)) end
    end
  elseif state == EXPIRED and string.byte(head, keyed and 19 or 3) == 0 then
    flags = ${FLAG_CLAIMED_AGAIN}
  else
    local size = redis.call('STRLEN', key)
    if size > room and answered then
      result[i] = ${CLAIM_ANSWERS.Later}
    else
      answered = true
      room = room - size
      result[i] = redis.call('GET', key)
    end
  end
  if flags then
    local claim = string.char(${CLAIM_FORMAT}, CLAIMED) .. hash .. string.char(flags) .. struct.pack('>I6', deadline)
    redis.call('SET', key, claim .. token .. struct.pack('>I6', now + lease), 'PX', math.max(deadline - now, 0) + keep)
    result[i] = flags % 2 == 1 and { deadline } or ${CLAIM_ANSWERS.Claimed}
  end
end
return result
`,
}

export const CLAIM_UPDATES = { Enqueued: 'e', GivenBack: 'g', Renewed: 'r' } as const
export type ClaimUpdate = keyof typeof CLAIM_UPDATES

/**
 * Claimed -> Enqueued: Kafka has it. Claimed -> Claimed: its lease ends now, or later.
 *
 * KEYS     the calls' keys
 * ARGV     1 milliseconds of the lease, then for each call: the claimant's token, what happened (\`CLAIM_UPDATES\`)
 * returns  for each call 1: done; 0: the claim is not (or no longer) this claimant's
 */
export const UPDATE_CLAIMS: Script = {
  name: 'updateClaims',
  lua: `${LUA_STATES}
local clock, result = redis.call('TIME'), {}
local ends = clock[1] * 1000 + math.floor(clock[2] / 1000) + tonumber(ARGV[1])
for i = 1, #KEYS do
  local key, token, what = KEYS[i], ARGV[2 * i], ARGV[2 * i + 1]
  local head = redis.call('GETRANGE', key, 0, 40)
  if string.byte(head, 2) == CLAIMED and string.sub(head, 26, 41) == token then
    if what == '${CLAIM_UPDATES.Enqueued}' then
      redis.call('SETRANGE', key, 1, string.char(ENQUEUED))
    else
      redis.call('SETRANGE', key, 41, struct.pack('>I6', what == '${CLAIM_UPDATES.Renewed}' and ends or 0))
    end
    result[i] = 1
  else
    result[i] = 0
  end
end
return result
`,
}

/**
 * Nothing, Claimed or Enqueued -> an outcome: the first wins. DeadLettered -> the outcome of a redrive of a higher revision. Each
 * waiting replica is told which outcome stands (SEMANTICS 3).
 *
 * KEYS     the calls' keys
 * ARGV     1 seconds to keep, 2 largest outcome that rides along in bytes,
 *          then for each call: its id (16 bytes), the reply channel ('' when nobody waits), the outcome in an odd format
 *          ('' only tells again), the deadline that passed ('' unless it is Expired), the revision of its redrive (0: none)
 * returns  how many were written; then, for each call that is not expired because a later claimant raised its deadline, its number
 *          in the batch, from 1, and that deadline
 *
 * A message on a reply channel is a sequence of: id (16 bytes), u32 length, that many bytes of the outcome;
 * the length 0xffffffff means "read it".
 *
 * The notification is sent inside the script and not after it: so that it can never tell an outcome that was refused
 * (memory full, read-only replica) or that lost to an earlier one.
 *
 * A record that expires under a claim of a later deadline is either older than that claim (it was claimed again after Expired(No):
 * nothing is left to be said of it) or a copy of the call that now has more time. Expired(No) would be untrue where a copy may run.
 *
 * A claim under a redrive is that of a later call with the same key, when the dead letter's outcome was kept no longer: that call,
 * perhaps of another request, gets its own outcome, and never the redrive's.
 */
export const STORE_OUTCOMES: Script = {
  name: 'storeOutcomes',
  lua: `${LUA_STATES}
local function revision(head)
  local format = string.byte(head, 1)
  return (struct.unpack('>I4', head, ${HEAD_BYTES + 2} + (format % 2 == 0 and ${REQUEST_HASH_BYTES} or 0) + (format > 2 and ${PLACE_BYTES} or 0)))
end
local result, messages, channels = { 0 }, {}, {}
local ttl, ride = ARGV[1], tonumber(ARGV[2])
for i = 1, #KEYS do
  local key, id, channel = KEYS[i], ARGV[5 * i - 2], ARGV[5 * i - 1]
  local outcome, deadline, redrive = ARGV[5 * i], ARGV[5 * i + 1], tonumber(ARGV[5 * i + 2])
  local stands
  if outcome ~= '' and redis.call('SET', key, outcome, 'EX', ttl, 'NX') then
    result[1] = result[1] + 1
    stands = outcome
  else
    local head = redis.call('GETRANGE', key, 0, ${REVISION_END - 1})
    local state = string.byte(head, 2)
    if outcome ~= '' and redrive > 0 and state == DEAD_LETTERED and revision(head) < redrive then
      stands = outcome
      if string.byte(head, 1) % 2 == 0 then
        stands = string.char(string.byte(outcome, 1) + 1) .. string.sub(outcome, 2, 2) .. string.sub(head, 3, 18) .. string.sub(outcome, 3)
      end
      redis.call('SET', key, stands, 'EX', ttl)
      result[1] = result[1] + 1
    elseif state ~= CLAIMED and state ~= ENQUEUED then
      stands = redis.call('GET', key)
    elseif outcome ~= '' and redrive == 0 then
      local flags, latest, body = string.byte(head, 19), struct.unpack('>I6', head, 20), string.sub(outcome, 3)
      if deadline ~= '' and flags % 2 == 1 then body = string.char(1) end
      if deadline ~= '' and latest > tonumber(deadline) then
        if flags ~= ${FLAG_CLAIMED_AGAIN} then
          result[#result + 1] = i
          result[#result + 1] = latest
        end
      else
        stands = string.char(string.byte(outcome, 1) + 1) .. string.sub(outcome, 2, 2) .. string.sub(head, 3, 18) .. body
        redis.call('SET', key, stands, 'EX', ttl)
        result[1] = result[1] + 1
      end
    end
  end
  if stands and channel ~= '' then
    local pieces = messages[channel]
    if not pieces then
      pieces = {}
      messages[channel] = pieces
      channels[#channels + 1] = channel
    end
    pieces[#pieces + 1] = id
    if #stands > ride then
      pieces[#pieces + 1] = '\\255\\255\\255\\255'
    else
      pieces[#pieces + 1] = struct.pack('>I4', #stands)
      pieces[#pieces + 1] = stands
    end
  end
end
for _, channel in ipairs(channels) do redis.call('PUBLISH', channel, table.concat(messages[channel])) end
return result
`,
}
