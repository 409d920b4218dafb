import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { pino } from 'pino'
import { formatCallId, parseCallId } from '../../sidecar/call-id.ts'
import { GRPC_STATUS_NAMES } from '../../sidecar/errors.ts'
import { decodeCallState, yieldsTo } from '../../sidecar/results/call-state.ts'
import { callKey } from '../../sidecar/results/keys.ts'
import type { RedisClient } from '../../sidecar/results/redis.ts'
import { SharedClock } from '../../sidecar/results/shared-clock.ts'
import { Metrics } from '../../sidecar/telemetry/metrics.ts'
import { placeOf } from '../dead-letters/dead-letter.ts'
import type { DeadLetter } from '../dead-letters/dead-letter.ts'
import { matches, statusName, timeOf } from '../dead-letters/filter.ts'
import type { LetterFilter } from '../dead-letters/filter.ts'
import { NotRedrivableError, redriven } from '../dead-letters/redriven.ts'
import { descriptorSet } from '../descriptor-set.ts'
import { DeadTopic } from '../kafka/dead-topic.ts'
import { MessageJson } from '../message-json.ts'
import { recordLine, viewRecord } from '../record-view.ts'
import { UsageError, wholeNumber } from '../usage.ts'
import { SERVER_OPTIONS, Servers } from './servers.ts'

const ACTIONS = ['list', 'show', 'redrive', 'discard'] as const
const DEFAULT_RATE = 10
const DEFAULT_DEADLINE_SECONDS = 60
const LONGEST_DEADLINE_SECONDS = 86_400

interface Place {
  readonly partition: number
  readonly offset: number
}

export interface DeadLettersOptions {
  readonly action: (typeof ACTIONS)[number]
  /** Of the service's calls. */
  readonly topic: string
  /** Empty: those that the filter chooses. */
  readonly places: readonly Place[]
  readonly filter: LetterFilter
  /** A second. */
  readonly rate: number
  /** Undefined: the method's own. */
  readonly deadlineSeconds: number | undefined
  readonly protoFiles: readonly string[]
  readonly descriptorSetFile: string | undefined
  readonly json: boolean
  readonly values: boolean
}

/** `grpc-kafka dead-letters`. Answers the exit code: 1 when something that was asked for was not done. */
export async function deadLetters(args: readonly string[], signal: AbortSignal): Promise<number> {
  const { options, servers } = parseDeadLettersArgs(args)
  const topic = new DeadTopic(servers.kafka(), options.topic)
  const work = new Work(options, servers, topic, signal)
  try {
    await topic.open(signal)
    switch (options.action) {
      case 'list':
      case 'show':
        return await work.print()
      case 'redrive':
        return await work.redrive()
      case 'discard':
        return await work.discard()
    }
  } finally {
    await topic.close()
  }
}

/** @throws UsageError, or parseArgs' own */
export function parseDeadLettersArgs(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = process.env,
  now = Date.now(),
): { readonly options: DeadLettersOptions; readonly servers: Servers } {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ...SERVER_OPTIONS,
      topic: { type: 'string' },
      method: { type: 'string' },
      status: { type: 'string' },
      call: { type: 'string' },
      reason: { type: 'string' },
      since: { type: 'string' },
      until: { type: 'string' },
      all: { type: 'boolean', default: false },
      rate: { type: 'string' },
      deadline: { type: 'string' },
      descriptors: { type: 'string' },
      proto: { type: 'string', multiple: true, default: [] },
      json: { type: 'boolean', default: false },
      values: { type: 'boolean', default: false },
    },
  })
  const [word, ...texts] = positionals
  const action = ACTIONS.find((one) => one === word)
  if (action === undefined) throw new UsageError(`dead-letters ${ACTIONS.join('|')}: what to do?`)
  const servers = new Servers(values, environment)
  const topic = values.topic ?? servers.topic
  if (topic === undefined || topic === '') throw new UsageError('which topic? Give --topic TOPIC, or --config FILE')
  const places = texts.map(parsePlace)
  const filter = parseFilter(values, now)
  const chosen = Object.keys(filter).length > 0
  if (places.length > 0 && (chosen || values.all)) throw new UsageError('places exclude a filter, and --all')
  if (chosen && values.all) throw new UsageError('--all and a filter exclude each other')
  if (action === 'show' && places.length === 0) throw new UsageError('show which? Give places, as list prints them')
  if ((action === 'redrive' || action === 'discard') && places.length === 0 && !chosen && !values.all)
    throw new UsageError(`${action} which? Give places, as list prints them, a filter, or --all`)
  return {
    servers,
    options: {
      action,
      topic,
      places,
      filter,
      rate: wholeNumber('--rate', values.rate ?? String(DEFAULT_RATE), 1, 10_000),
      deadlineSeconds:
        values.deadline === undefined
          ? undefined
          : wholeNumber('--deadline', values.deadline, 1, LONGEST_DEADLINE_SECONDS),
      protoFiles: values.proto,
      descriptorSetFile: values.descriptors ?? servers.descriptorSetFile,
      json: values.json,
      values: values.values,
    },
  }
}

function parsePlace(text: string): Place {
  const [, partition, offset] = /^(?:(\d{1,9})\/)?(\d{1,15})$/.exec(text) ?? []
  if (offset === undefined) throw new UsageError(`a place is PARTITION/OFFSET, as list prints it, not "${text}"`)
  return { partition: Number(partition ?? 0), offset: Number(offset) }
}

type FilterFlags = Partial<
  Readonly<Record<'method' | 'status' | 'call' | 'reason' | 'since' | 'until', string | undefined>>
>

function parseFilter({ method, status, call, reason, since, until }: FilterFlags, now: number): LetterFilter {
  const time = (option: string, text: string): number => {
    const found = timeOf(text, now)
    if (found === undefined) throw new UsageError(`${option} is a time or so long ago (2h, 3d), not "${text}"`)
    return found
  }
  const name = status === undefined ? undefined : statusName(status)
  if (status !== undefined && name === undefined)
    throw new UsageError(`--status is one of ${GRPC_STATUS_NAMES.join(', ')}, not "${status}"`)
  const callId = call === undefined ? undefined : parseCallId(call)
  if (call !== undefined && callId === undefined)
    throw new UsageError(`a call's id is a UUID, as in grpc-kafka-call-id, not "${call}"`)
  return {
    ...(method !== undefined && { method }),
    ...(name !== undefined && { status: name }),
    ...(callId !== undefined && { callId }),
    ...(reason !== undefined && { reason }),
    ...(since !== undefined && { since: time('--since', since) }),
    ...(until !== undefined && { until: time('--until', until) }),
  }
}

class Work {
  readonly #options: DeadLettersOptions
  readonly #servers: Servers
  readonly #topic: DeadTopic
  readonly #signal: AbortSignal
  /** Something that was asked for was not done. */
  #refused = false

  constructor(options: DeadLettersOptions, servers: Servers, topic: DeadTopic, signal: AbortSignal) {
    this.#options = options
    this.#servers = servers
    this.#topic = topic
    this.#signal = signal
  }

  async print(): Promise<number> {
    const { json, values, action } = this.#options
    const messages = this.#messages()
    let count = 0
    for await (const letter of this.#chosen()) {
      const view = viewRecord(letter.record, values)
      const isOpen = this.#topic.isOpen(letter)
      const message = values && action === 'show' ? requestOf(letter, messages) : undefined
      count += 1
      if (json) console.log(JSON.stringify({ ...view, open: isOpen, ...(message !== undefined && { message }) }))
      else {
        console.log(`${recordLine(view)}${isOpen ? '' : '  done with'}`)
        if (action === 'list') continue
        for (const { attempt, at, status, worker } of view.failures ?? [])
          console.log(`    attempt ${attempt}  ${at}  ${status}  ${worker}`)
        if (message !== undefined) console.log(`    request ${JSON.stringify(message)}`)
      }
    }
    if (action === 'list') {
      if (!json) console.log(`${count} open`)
      await this.#topic.tellCount(this.#signal)
    }
    return this.#refused ? 1 : 0
  }

  async discard(): Promise<number> {
    let count = 0
    for await (const letter of this.#chosen()) {
      if (!this.#mayChange(letter)) continue
      await this.#topic.mark(letter, 'discarded', Date.now())
      count += 1
      this.#tell(letter, 'discarded')
    }
    if (!this.#options.json)
      console.log(`${count} marked as done with; the records stay until the retention of the failure topic is over`)
    await this.#topic.tellCount(this.#signal)
    return this.#refused ? 1 : 0
  }

  redrive(): Promise<number> {
    return this.#servers.withRedis(this.#signal, async (redis) => {
      const logger = pino({ level: 'silent' })
      const clock = new SharedClock({ redis, localNow: Date.now, metrics: new Metrics(), logger })
      try {
        await clock.start()
        let count = 0
        let next = performance.now()
        for await (const letter of this.#chosen()) {
          if (!this.#mayChange(letter)) continue
          await pause(Math.max(0, next - performance.now()), undefined, { signal: this.#signal })
          next = Math.max(next, performance.now()) + 1000 / this.#options.rate
          if (await this.#redriveOne(letter, redis, clock)) count += 1
        }
        if (!this.#options.json) console.log(`${count} redriven`)
      } finally {
        clock.close()
      }
      await this.#topic.tellCount(this.#signal)
      return this.#refused ? 1 : 0
    })
  }

  /**
   * The mark comes last: whoever is interrupted before it redrives the letter once more, under the same revision, and the copy does no
   * work.
   */
  async #redriveOne(letter: DeadLetter, redis: RedisClient, clock: SharedClock): Promise<boolean> {
    const revision = this.#topic.redriveOf(letter)
    if (revision === undefined) return false
    let call
    try {
      call = redriven(letter, revision)
    } catch (error) {
      if (!(error instanceof NotRedrivableError)) throw error
      this.#refuse(error.message)
      return false
    }
    const [state = null] = await redis.getAll([callKey(call.id)])
    if (state !== null && !yieldsTo(state, revision)) {
      const { state: name } = decodeCallState(state)
      if (name === 'Claimed' || name === 'Enqueued') {
        this.#refuse(`${letter.place} is not redriven: a later call with its idempotency key is on its way`)
        return false
      }
      await this.#topic.mark(letter, 'redriven', Date.now())
      this.#tell(letter, `done already, its call is ${name}`)
      return false
    }
    const now = clock.now()
    const method = call.method.slice(call.method.lastIndexOf('/') + 1)
    const { deadlineSeconds } = this.#options
    const milliseconds =
      deadlineSeconds === undefined
        ? (this.#servers.timeoutOf(method) ?? DEFAULT_DEADLINE_SECONDS * 1000)
        : deadlineSeconds * 1000
    await this.#topic.redrive(call.record(now + milliseconds, now))
    await this.#topic.mark(letter, 'redriven', Date.now())
    this.#tell(letter, `redrive ${revision}`)
    return true
  }

  async *#chosen(): AsyncGenerator<DeadLetter> {
    const { places, filter } = this.#options
    if (places.length === 0) {
      for await (const letter of this.#topic.letters(this.#signal)) if (matches(letter, filter)) yield letter
      return
    }
    for (const place of places) {
      const letter = await this.#topic.letter(place.partition, place.offset, this.#signal)
      if (letter === undefined) this.#refuse(`there is no dead letter at ${placeOf(place)}`)
      else yield letter
    }
  }

  #mayChange(letter: DeadLetter): boolean {
    this.#signal.throwIfAborted()
    const isOpen = this.#topic.isOpen(letter)
    if (!isOpen) this.#refuse(`${letter.place} is done with already`)
    return isOpen
  }

  #refuse(why: string): void {
    this.#refused = true
    console.error(why)
  }

  #tell({ place, decoded }: DeadLetter, result: string): void {
    const prefix = decoded.kind === 'Call' ? decoded.record : decoded.prefix
    const id = prefix === undefined ? undefined : formatCallId(prefix.id)
    if (this.#options.json) console.log(JSON.stringify({ place, ...(id !== undefined && { id }), result }))
    else console.log([place, id, result].filter((part) => part !== undefined).join('  '))
  }

  #messages(): MessageJson | undefined {
    const { protoFiles, descriptorSetFile, values } = this.#options
    if (!values) return undefined
    if (protoFiles.length > 0) return new MessageJson(descriptorSet(protoFiles))
    return descriptorSetFile === undefined ? undefined : new MessageJson(readDescriptors(descriptorSetFile))
  }
}

function readDescriptors(file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (cause) {
    throw new UsageError(`${file} cannot be read (${(cause as NodeJS.ErrnoException).code ?? ''})`, { cause })
  }
}

/** As JSON where its method is known, else base64. */
function requestOf({ decoded, record }: DeadLetter, messages: MessageJson | undefined): unknown {
  const known = decoded.kind === 'Call' ? messages?.request(decoded.record.method, decoded.record.message) : undefined
  return known ?? record.value?.toString('base64') ?? null
}
