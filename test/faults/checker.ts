/** Holds the promises (SEMANTICS 13) against what a run left behind. A pure function: it is tested by planted faults. */
import { ERRORS } from '../../sidecar/errors.ts'
import { answerKind } from './answer-kind.ts'
import type { Answered, Commit, Fault, HeldRecord, History, Run, Sent, Stored } from './history.ts'

export interface Rules {
  readonly maxAttempts: number
  /** gRPC status codes after which a call is tried again. */
  readonly retryableCodes: readonly number[]
  /** Faults that take no work from anybody: nothing may run again for them. */
  readonly mildFaults: readonly string[]
  /** How much later than its deadline a client may have its status, beside its own delay. */
  readonly lateMilliseconds: number
  /** How far two processes that look at one clock may differ in the order of what they saw. */
  readonly clockMilliseconds: number
}

export type FindingKind =
  /** A call is on Kafka and has no outcome. */
  | 'Lost'
  /** A client has an outcome of a call that Kafka does not hold. */
  | 'NotOnKafka'
  /** Two outcomes of one call. */
  | 'Different'
  /** An OK answer that no run of the call gave. */
  | 'Invented'
  /** A call whose callers were told that it did not run did run. */
  | 'RanAfterAll'
  /** A call ran again, and neither a fault nor its policy is why. */
  | 'Repeated'
  | 'TooManyStarts'
  /** Given up, and not on the failure topic. */
  | 'NotBuried'
  /** A commit passed a record that was not finished. */
  | 'OffsetSkipped'
  | 'OffsetWentBack'
  | 'Late'
  | 'Unanswered'

export interface Finding {
  readonly kind: FindingKind
  readonly text: string
}

/** All that is known of one call. */
interface Story {
  readonly call: string
  readonly keyed: boolean
  readonly exempt: boolean
  readonly sent: readonly Sent[]
  readonly answered: readonly Answered[]
  readonly runs: readonly Run[]
  readonly records: readonly HeldRecord[]
  readonly stored: Stored | undefined
}

export function check(history: History, rules: Rules): readonly Finding[] {
  const stories = storiesOf(history)
  return [
    ...[...stories.values()].flatMap((story) => [
      ...lost(story),
      ...different(story),
      ...invented(story),
      ...ranAfterAll(story),
      ...repeated(story, history.faults, rules),
      ...notBuried(story, history.buried),
    ]),
    ...late(history, rules),
    ...offsets(history, stories, rules),
  ]
}

/** Calls that ran more than once: how often each did. */
export function repeats({ runs }: History): ReadonlyMap<string, number> {
  const counts = [...Map.groupBy(runs, ({ call }) => call)].map(([call, own]): [string, number] => [call, own.length])
  return new Map(counts.filter(([, count]) => count > 1))
}

function storiesOf(history: History): ReadonlyMap<string, Story> {
  const { sent, answered, runs, records, stored, exempt } = history
  const answers = new Map(answered.map((one) => [one.request, one]))
  const runsOf = Map.groupBy(runs, ({ call }) => call)
  const recordsOf = Map.groupBy(records, ({ call }) => call)
  const storedOf = new Map(stored.map((one) => [one.call, one]))
  const sentOf = Map.groupBy(sent, ({ call }) => call)
  const calls = new Set([...sentOf.keys(), ...runsOf.keys(), ...recordsOf.keys(), ...storedOf.keys()])
  const stories = [...calls].map((call): [string, Story] => {
    const own = sentOf.get(call) ?? []
    return [
      call,
      {
        call,
        keyed: own.some(({ keyed }) => keyed),
        exempt: exempt.has(call),
        sent: own,
        answered: own.flatMap(({ request }) => answers.get(request) ?? []),
        runs: runsOf.get(call) ?? [],
        records: recordsOf.get(call) ?? [],
        stored: storedOf.get(call),
      },
    ]
  })
  return new Map(stories)
}

function* lost({ call, exempt, answered, records, stored }: Story): Generator<Finding> {
  if (exempt) return
  const [record] = records
  const isOpen = stored === undefined || stored.state === 'Claimed' || stored.state === 'Enqueued'
  if (isOpen && record !== undefined)
    yield {
      kind: 'Lost',
      text: `${call} stands on ${placeOf(record)} and has ${stored?.state ?? 'nothing'} in Redis`,
    }
  else if (stored?.state === 'Enqueued') yield { kind: 'Lost', text: `${call} is Enqueued in Redis, and on no topic` }
  if (record !== undefined) return
  const outcome = answered.find((one) => answerKind(one) === 'Outcome')
  if (outcome !== undefined) yield { kind: 'NotOnKafka', text: `${call} was answered (${textOf(outcome)})` }
}

function* different({ call, keyed, answered, stored }: Story): Generator<Finding> {
  const told = answered.filter((one) => answerKind(one) === 'Outcome').map(textOf)
  const stands = stored === undefined ? undefined : storedText(stored)
  const all = new Set(stands === undefined ? told : [...told, stands])
  // Such a key may be claimed again, and end differently: nothing had run.
  if (keyed && all.size > 1) all.delete(NOT_STARTED)
  if (all.size > 1)
    yield { kind: 'Different', text: `${call} was told ${[...new Set(told)].join(' | ')}; Redis has ${stands}` }
}

function* invented({ call, answered, runs }: Story): Generator<Finding> {
  for (const { reply, request } of answered) {
    if (reply !== undefined && !runs.some(({ end }) => end?.reply === reply))
      yield { kind: 'Invented', text: `${request}, of call ${call}, got "${reply}", which no run of it gave` }
  }
}

function* ranAfterAll({ call, sent, answered, runs, stored }: Story): Generator<Finding> {
  const [run] = runs
  if (run === undefined) return
  const refused = answered.length === sent.length && answered.every((one) => answerKind(one) === 'Refused')
  const expired = stored?.state === 'Expired' && stored.started === 'No'
  if (refused || expired)
    yield {
      kind: 'RanAfterAll',
      text: `${call} ran at ${run.beganAt}, and was ${refused ? `refused (${textOf(answered[0]!)})` : 'Expired(No)'}`,
    }
}

function* repeated(story: Story, faults: readonly Fault[], rules: Rules): Generator<Finding> {
  const { call, runs } = story
  if (runs.length > rules.maxAttempts + 1)
    // One start alone may be above (docs/adr/0005).
    yield { kind: 'TooManyStarts', text: `${call} was started ${runs.length} times` }
  const before = runs.toSorted((one, other) => one.beganAt - other.beganAt).slice(0, -1)
  const byPolicy = before.filter(({ end }) => end !== undefined && rules.retryableCodes.includes(end.code)).length
  const madeAt = Math.min(...story.sent.map(({ at }) => at))
  const struck = faults
    .filter(({ kind }) => !rules.mildFaults.includes(kind))
    .filter((fault) => isInFlight(fault, madeAt, finishedAt(story)))
  if (runs.length > 1 + byPolicy + struck.length)
    yield {
      kind: 'Repeated',
      text:
        `${call} ran ${runs.length} times (${runs.map(({ beganAt, attempt }) => `${attempt} at ${beganAt}`).join(', ')}), ` +
        `made at ${madeAt}, finished at ${finishedAt(story)}; ${byPolicy} by its policy, ${struck.length} faults`,
    }
}

/** Whether the call was on its way at the fault: made before it was over, and not finished before it began. */
function isInFlight({ at, until }: Fault, madeAt: number, finishedAt: number): boolean {
  return madeAt <= until && finishedAt >= at
}

/** When its outcome stood; without one, its last sign of life. */
function finishedAt({ stored, runs, answered }: Story): number {
  if (stored !== undefined && 'at' in stored) return stored.at
  return Math.max(0, ...runs.map(({ beganAt, end }) => end?.at ?? beganAt), ...answered.map(({ at }) => at))
}

function* notBuried({ call, exempt, stored }: Story, buried: ReadonlySet<string>): Generator<Finding> {
  if (stored?.state === 'DeadLettered' && !exempt && !buried.has(call))
    yield { kind: 'NotBuried', text: `${call} is DeadLettered in Redis, and not on the failure topic` }
}

function* late({ sent, answered, delays }: History, { lateMilliseconds }: Rules): Generator<Finding> {
  const answers = new Map(answered.map((one) => [one.request, one]))
  for (const { request, deadlineMilliseconds, at, endedBy, proxy } of sent) {
    const answer = answers.get(request)
    if (answer === undefined) {
      yield { kind: 'Unanswered', text: `${request}, made at ${at}` }
      continue
    }
    const over = answer.milliseconds - deadlineMilliseconds
    if (over <= lateMilliseconds + answer.loopDelayMilliseconds) continue
    const ofProxy = endedBy === 'Client' ? [] : delays.filter((one) => one.proxy === proxy && one.at >= at)
    const inTime = ofProxy.filter((one) => one.at - one.milliseconds <= answer.at)
    const delay = inTime.reduce((sum, { milliseconds }) => sum + milliseconds, answer.loopDelayMilliseconds)
    if (over > lateMilliseconds + delay)
      yield {
        kind: 'Late',
        text:
          `${request} had its status ${Math.round(over)} ms after its deadline of ${deadlineMilliseconds} ms ` +
          `(its ender's own delay: ${Math.round(delay)} ms): ${textOf(answer)}`,
      }
  }
}

function* offsets(history: History, stories: ReadonlyMap<string, Story>, rules: Rules): Generator<Finding> {
  const recordsOf = Map.groupBy(history.records, partitionOf)
  for (const [partition, commits] of Map.groupBy(history.commits, partitionOf)) {
    const records = (recordsOf.get(partition) ?? []).toSorted((one, other) => one.offset - other.offset)
    let committed = 0
    let next = 0
    for (const { offset, at } of commits) {
      if (offset < committed)
        yield { kind: 'OffsetWentBack', text: `${partition}: from ${committed} to ${offset}, at ${at}` }
      committed = Math.max(committed, offset)
      for (; (records[next]?.offset ?? Infinity) < offset; next++) {
        const record = records[next]!
        const finished = recordFinishedAt(record, stories.get(record.call)!)
        if (finished > at + rules.clockMilliseconds)
          yield {
            kind: 'OffsetSkipped',
            text:
              `${record.call} on ${placeOf(record)} was ` +
              `${finished === Infinity ? 'never finished' : `finished at ${finished}`}, and ${offset} committed at ${at}`,
          }
      }
    }
  }
}

/** When its call's outcome stood, or Kafka had the record of the next attempt. */
function recordFinishedAt(record: HeldRecord, { exempt, keyed, records, stored }: Story): number {
  if (exempt) return 0
  const outcome = stored !== undefined && 'at' in stored ? stored.at : Infinity
  const handedOn = records.filter(({ attempt }) => attempt > record.attempt).map(({ at }) => at)
  // It may have expired, and its key have been claimed again, which leaves nothing of that in Redis.
  return Math.min(outcome, ...handedOn, keyed ? record.deadline : Infinity)
}

const NOT_STARTED = `4 ${ERRORS.EXPIRED_NOT_STARTED.message}`

/** What a client is told, in words that are the same for the same outcome. */
const textOf = ({
  code,
  details,
  reply,
}: Pick<Answered, 'code' | 'details'> & { readonly reply?: string | undefined }) =>
  code === 0 ? `0 ${reply}` : `${code} ${details}`

/** The same words for what Redis has; undefined: no outcome. */
function storedText(stored: Stored): string | undefined {
  switch (stored.state) {
    case 'Answered':
    case 'DeadLettered':
      return textOf(stored)
    case 'Expired':
      return stored.started === 'No' ? NOT_STARTED : `4 ${ERRORS.EXPIRED.message}`
    case 'Cancelled':
      return `1 ${ERRORS.CALL_CANCELLED.message}`
    case 'Claimed':
    case 'Enqueued':
      return undefined
  }
}

const partitionOf = ({ topic, partition }: HeldRecord | Commit): string => `${topic}/${partition}`
const placeOf = ({ topic, partition, offset }: HeldRecord): string => `${topic}/${partition}/${offset}`
