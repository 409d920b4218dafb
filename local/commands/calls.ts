import { parseArgs } from 'node:util'
import { formatCallId, parseCallId } from '../../sidecar/call-id.ts'
import type { CallId } from '../../sidecar/call-id.ts'
import { GRPC_STATUS_NAMES } from '../../sidecar/errors.ts'
import { HEADER } from '../../sidecar/kafka/record.ts'
import { deadTopic } from '../../sidecar/kafka/topic-names.ts'
import { decodeCallState } from '../../sidecar/results/call-state.ts'
import { callKey } from '../../sidecar/results/keys.ts'
import { OutcomeFormatError } from '../../sidecar/results/outcome.ts'
import type { RedisClient } from '../../sidecar/results/redis.ts'
import { TopicReader } from '../kafka/topic-reader.ts'
import type { TopicRecord } from '../kafka/topic-reader.ts'
import { recordLine, viewRecord } from '../record-view.ts'
import type { RecordView } from '../record-view.ts'
import { UsageError, wholeNumber } from '../usage.ts'
import { SERVER_OPTIONS, Servers } from './servers.ts'

/** Records of a partition that are looked through at the most. */
const DEFAULT_DEPTH = 10_000
/** Looked through at once, from the end backwards. */
const CHUNK_RECORDS = 1000
/** By how much the clocks of a proxy and of a broker that sets timestamps may differ. */
const CLOCK_TOLERANCE_MILLISECONDS = 60_000

export interface CallsOptions {
  readonly id: CallId
  readonly topic: string | undefined
  readonly depth: number
  readonly json: boolean
  readonly values: boolean
}

/** `grpc-kafka calls show ID`: prints where a call is. Answers the exit code: 1 when nothing is known of it. */
export async function calls(args: readonly string[], signal: AbortSignal): Promise<number> {
  const { options, servers } = parseCallsArgs(args)
  const state = await servers.withRedis(signal, (redis) => readState(redis, options.id))
  const topics = options.topic === undefined ? [] : [options.topic, deadTopic(options.topic)]
  const found: (RecordView & { readonly topic: string })[] = []
  for (const topic of topics) {
    for (const record of await search(servers, topic, options, signal))
      found.push({ topic, ...viewRecord(record, options.values) })
  }
  const known = state !== undefined || found.length > 0
  if (options.json) {
    console.log(JSON.stringify({ id: formatCallId(options.id), found: known, redis: state ?? null, records: found }))
  } else {
    for (const line of describe(options, state, found)) console.log(line)
  }
  return known ? 0 : 1
}

/** @throws UsageError, or parseArgs' own */
export function parseCallsArgs(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = process.env,
): { readonly options: CallsOptions; readonly servers: Servers } {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ...SERVER_OPTIONS,
      topic: { type: 'string' },
      depth: { type: 'string' },
      json: { type: 'boolean', default: false },
      values: { type: 'boolean', default: false },
    },
  })
  const [what, text, ...more] = positionals
  if (what !== 'show' || text === undefined || more.length > 0) throw new UsageError('calls show ID: which call?')
  const id = parseCallId(text)
  if (id === undefined) throw new UsageError(`a call's id is a UUID, as in grpc-kafka-call-id, not "${text}"`)
  const servers = new Servers(values, environment)
  return {
    servers,
    options: {
      id,
      topic: values.topic ?? servers.topic,
      depth: wholeNumber('--depth', values.depth ?? String(DEFAULT_DEPTH), 1, 100_000_000),
      json: values.json,
      values: values.values,
    },
  }
}

/** What Redis knows of a call, as people read it. */
interface StateView {
  readonly state: string
  readonly status?: string
  readonly details?: string
  readonly messageBytes?: number
  /** The record that it came of, and how often that was started. */
  readonly partition?: number
  readonly offset?: number
  readonly attempts?: number
  readonly started?: string
  /** ISO 8601. */
  readonly deadline?: string
  /** Until when its proxy has it, ISO 8601; `given back`: nobody has it. */
  readonly lease?: string
  /** Seconds until Redis forgets it; -1: never. */
  readonly keptForSeconds: number
}

async function readState(redis: RedisClient, id: CallId): Promise<StateView | undefined> {
  const [bytes] = await redis.getAll([callKey(id)])
  if (bytes == null) return undefined
  const [milliseconds] = await redis.each('PTTL', [[callKey(id)]])
  const keptForSeconds = Math.round(Number(milliseconds) / 1000)
  try {
    const call = decodeCallState(bytes)
    switch (call.state) {
      case 'Claimed':
      case 'Enqueued':
        return {
          state: call.state,
          deadline: new Date(call.deadline).toISOString(),
          ...(call.state === 'Claimed' && {
            lease: call.leaseUntil === 0 ? 'given back' : new Date(call.leaseUntil).toISOString(),
          }),
          keptForSeconds,
        }
      case 'Answered':
      case 'DeadLettered':
        return {
          state: call.state,
          status: GRPC_STATUS_NAMES[call.status] ?? String(call.status),
          details: call.details,
          messageBytes: call.message?.length ?? 0,
          ...call.place,
          keptForSeconds,
        }
      case 'Expired':
        return { state: 'Expired', started: call.started, keptForSeconds }
      case 'Cancelled':
        return { state: 'Cancelled', keptForSeconds }
    }
  } catch (error) {
    if (!(error instanceof OutcomeFormatError)) throw error
    return { state: 'Unreadable', details: error.message, keptForSeconds }
  }
}

/** The records of a call. One that is produced again or dead-lettered has several. */
async function search(
  servers: Servers,
  topic: string,
  { id, depth }: CallsOptions,
  signal: AbortSignal,
): Promise<readonly TopicRecord[]> {
  const reader = new TopicReader(servers.kafka(), topic)
  try {
    const bounds = await reader.open()
    const createdAt = timeOf(id)
    const earliest =
      createdAt === undefined
        ? undefined
        : await reader.offsetsAt(Math.max(0, createdAt - CLOCK_TOLERANCE_MILLISECONDS))
    const found: TopicRecord[] = []
    for (const { partition, low, high } of bounds) {
      const first = Math.max(low, high - depth, earliest?.get(partition) ?? 0)
      for (let to = high; to > first; to -= CHUNK_RECORDS) {
        for await (const record of reader.read(partition, Math.max(first, to - CHUNK_RECORDS), to, signal)) {
          if (isOf(record, id)) found.push(record)
        }
      }
    }
    return found.toSorted((a, b) => a.partition - b.partition || a.offset - b.offset)
  } finally {
    await reader.close()
  }
}

/** A record under a partition key has the id in its header only; one that lost its header may have it as its key. */
function isOf({ key, headers }: TopicRecord, id: CallId): boolean {
  if (key !== null && id.equals(key)) return true
  const packed = headers[HEADER]
  return Buffer.isBuffer(packed) && packed.length >= 17 && packed.subarray(1, 17).equals(id)
}

/** Milliseconds since 1970 in a UUIDv7 (RFC 9562, section 5.7); undefined: another kind of id. */
const timeOf = (id: CallId): number | undefined => ((id[6] ?? 0) >> 4 === 7 ? id.readUIntBE(0, 6) : undefined)

function describe(
  { id, topic, depth }: CallsOptions,
  state: StateView | undefined,
  found: readonly (RecordView & { readonly topic: string })[],
): readonly string[] {
  const lines = [`call ${formatCallId(id)}`]
  if (state === undefined) lines.push('Redis   nothing: no outcome yet, or its retention is over')
  else {
    const { state: name, status, details, messageBytes, started, deadline, lease, keptForSeconds } = state
    const { partition, offset, attempts } = state
    const parts = [
      name,
      status,
      details === undefined || details === '' ? undefined : JSON.stringify(details),
      messageBytes === undefined ? undefined : `message ${messageBytes} B`,
      attempts === undefined ? undefined : `partition ${partition} offset ${offset} attempts ${attempts}`,
      started === undefined ? undefined : `started: ${started}`,
      deadline === undefined ? undefined : `deadline ${deadline}`,
      lease === undefined ? undefined : `lease ${lease}`,
      keptForSeconds < 0 ? 'kept for ever' : `kept for ${keptForSeconds} s more`,
    ]
    lines.push(`Redis   ${parts.filter((part) => part !== undefined).join('  ')}`)
  }
  if (topic === undefined) lines.push('Kafka   not searched: give --topic TOPIC or --config FILE')
  else if (found.length === 0) {
    lines.push(`Kafka   no record on ${topic} or ${topic}.dead among the last ${depth} of each partition`)
  } else for (const view of found) lines.push(`Kafka   ${view.topic}  ${recordLine(view)}`)
  if (state === undefined && found.length === 0) lines.push('not found')
  return lines
}
