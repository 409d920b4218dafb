/** Gathers what a run has left behind: ledgers, topics, commits, and what Redis holds. */
import { Kafka, logLevel } from 'kafkajs'
import { TopicReader } from '../../local/kafka/topic-reader.ts'
import type { TopicRecord } from '../../local/kafka/topic-reader.ts'
import { decodeRecord } from '../../sidecar/kafka/record.ts'
import type { CallRecord } from '../../sidecar/kafka/record.ts'
import { deadTopic } from '../../sidecar/kafka/topic-names.ts'
import { isOutcome } from '../../sidecar/results/call-state.ts'
import { callKey } from '../../sidecar/results/keys.ts'
import { STATES, decodeOutcome } from '../../sidecar/results/outcome.ts'
import { idOfKey } from '../integration/support/keyed.ts'
import type { ClientLine } from './client.ts'
import type { HandlerLine, Request } from './handler.ts'
import type { Answered, Commit, HeldRecord, ProxyDelay, Run, Sent, Stored } from './history.ts'
import { readLedger } from './ledger.ts'
import { OFFSETS_TOPIC, readOffsetCommit } from './offsets-topic.ts'
import { RETENTION_SECONDS } from './scene.ts'
import type { Scene } from './scene.ts'

export interface OnKafka {
  readonly records: readonly HeldRecord[]
  readonly buried: ReadonlySet<string>
  readonly commits: readonly Commit[]
  /** Hexadecimal ids of the calls. */
  readonly ids: ReadonlyMap<string, string>
}

export function readClients({ clientLedgers }: Scene): {
  readonly sent: readonly Sent[]
  readonly answered: readonly Answered[]
} {
  const lines = clientLedgers.flatMap((ledger) => readLedger<ClientLine>(ledger))
  return {
    sent: lines.flatMap((line) => (line.event === 'sent' ? [line] : [])),
    answered: lines.flatMap((line) => (line.event === 'answered' ? [line] : [])),
  }
}

export const readDelays = ({ delayLedger }: Scene): readonly ProxyDelay[] => readLedger<ProxyDelay>(delayLedger)

export function readHandlers({ route }: Scene): readonly Run[] {
  const lines = readLedger<HandlerLine>(route.ledgerFile)
  const ends = new Map(lines.flatMap((line) => (line.event === 'ended' ? [[line.run, line] as const] : [])))
  return lines.flatMap((line) => {
    if (line.event !== 'began') return []
    const { run, call, callId, attempt, at } = line
    const end = ends.get(run)
    return [{ call, callId, attempt, beganAt: at, ...(end !== undefined && { end }) }]
  })
}

export async function readKafka({ route, topics }: Scene, signal: AbortSignal): Promise<OnKafka> {
  const kafka = new Kafka({ brokers: [...route.brokers], logLevel: logLevel.NOTHING })
  const all = (topic: string): Promise<readonly TopicRecord[]> => readAll(kafka, topic, signal)
  const records: HeldRecord[] = []
  const ids = new Map<string, string>()
  for (const topic of topics) {
    for (const raw of await all(topic)) {
      const { id, attempt, deadline, message } = callOf(raw, topic)
      const { call } = JSON.parse(message.toString()) as Request
      ids.set(call, id.toString('hex'))
      const { partition, offset, timestamp } = raw
      records.push({ topic, partition, offset, at: timestamp, call, attempt, deadline })
    }
  }
  const dead = deadTopic(route.topic)
  const buried = (await all(dead)).map((raw) => (JSON.parse(callOf(raw, dead).message.toString()) as Request).call)
  const commits = (await all(OFFSETS_TOPIC)).flatMap(({ key, value, timestamp }) => {
    const commit = readOffsetCommit(key, value)
    return commit?.group === route.groupId ? [{ ...commit, at: timestamp }] : []
  })
  return { records, buried: new Set(buried), commits, ids }
}

async function readAll(kafka: Kafka, topic: string, signal: AbortSignal): Promise<readonly TopicRecord[]> {
  const reader = new TopicReader(kafka, topic)
  try {
    const records: TopicRecord[] = []
    for (const { partition, low, high } of await reader.open()) {
      for await (const record of reader.read(partition, low, high, signal)) records.push(record)
    }
    return records
  } finally {
    await reader.close()
  }
}

function callOf(raw: TopicRecord, topic: string): CallRecord {
  const decoded = decodeRecord(raw)
  if (decoded.kind !== 'Call') throw new Error(`${topic}/${raw.partition}/${raw.offset} is no call: ${decoded.kind}`)
  return decoded.record
}

const CALLS_AT_ONCE = 500

/** @param ids of calls that may have something there, hexadecimal, by call */
export async function readRedis({ platform }: Scene, ids: ReadonlyMap<string, string>): Promise<readonly Stored[]> {
  const all = [...ids]
  const stored: Stored[] = []
  for (let at = 0; at < all.length; at += CALLS_AT_ONCE) {
    const some = all.slice(at, at + CALLS_AT_ONCE)
    const pipeline = platform.admin.pipeline()
    for (const [, id] of some) {
      const key = callKey(Buffer.from(id, 'hex'))
      pipeline.getBuffer(key).pexpiretime(key)
    }
    const replies = (await pipeline.exec()) ?? []
    for (const [index, [call]] of some.entries()) {
      const bytes = replies[2 * index]?.[1] as Buffer | null | undefined
      const expires = Number(replies[2 * index + 1]?.[1])
      if (bytes == null) continue
      // An outcome is stored with a time to live, so its end tells its beginning.
      stored.push(storedOf(call, bytes, expires - RETENTION_SECONDS * 1000))
    }
  }
  return stored
}

function storedOf(call: string, bytes: Buffer, at: number): Stored {
  if (!isOutcome(bytes)) return { call, state: bytes[1] === STATES.Claimed ? 'Claimed' : 'Enqueued' }
  const outcome = decodeOutcome(bytes)
  switch (outcome.state) {
    case 'Answered':
    case 'DeadLettered': {
      const { state, status, details, message } = outcome
      return { call, state, at, code: status, details, reply: message?.toString() }
    }
    case 'Expired':
      return { call, state: 'Expired', at, started: outcome.started }
    case 'Cancelled':
      return { call, state: 'Cancelled', at }
  }
}

/** Every id that a call of these is known by. */
export function idsOf(
  sent: readonly Sent[],
  answered: readonly Answered[],
  runs: readonly Run[],
  onTopics: ReadonlyMap<string, string>,
): ReadonlyMap<string, string> {
  const callOfRequest = new Map(sent.map(({ request, call }) => [request, call]))
  return new Map([
    ...answered.flatMap(({ request, callId }): [string, string][] =>
      callId === undefined ? [] : [[callOfRequest.get(request) ?? request, callId]],
    ),
    ...runs.map(({ call, callId }): [string, string] => [call, callId]),
    ...onTopics,
    ...sent.flatMap(({ call, keyed }): [string, string][] => (keyed ? [[call, idOfKey(call).toString('hex')]] : [])),
  ])
}
