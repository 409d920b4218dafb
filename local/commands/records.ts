import { parseArgs } from 'node:util'
import { TopicReader } from '../kafka/topic-reader.ts'
import { recordLine, viewRecord } from '../record-view.ts'
import { UsageError, wholeNumber } from '../usage.ts'
import { SERVER_OPTIONS, Servers } from './servers.ts'

const DEFAULT_LAST = 10
const MOST = 2 ** 31 - 1

export interface RecordsOptions {
  readonly topic: string
  readonly partition: number | undefined
  readonly range: { readonly from: number } | { readonly last: number }
  readonly json: boolean
  readonly values: boolean
}

/** `grpc-kafka records TOPIC`: prints records decoded, the oldest first in each partition. Answers the exit code. */
export async function records(args: readonly string[], signal: AbortSignal): Promise<number> {
  const { options, servers } = parseRecordsArgs(args)
  const reader = new TopicReader(servers.kafka(), options.topic)
  try {
    const bounds = await reader.open()
    const chosen = bounds.filter(({ partition }) => options.partition === undefined || partition === options.partition)
    if (chosen.length === 0) throw new UsageError(`${options.topic} has ${bounds.length} partitions, from 0`)
    for (const { partition, low, high } of chosen) {
      const from = 'from' in options.range ? options.range.from : high - options.range.last
      for await (const record of reader.read(partition, Math.max(low, from), high, signal)) {
        const view = viewRecord(record, options.values)
        console.log(options.json ? JSON.stringify(view) : recordLine(view))
      }
    }
    return 0
  } finally {
    await reader.close()
  }
}

/** @throws UsageError, or parseArgs' own */
export function parseRecordsArgs(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = process.env,
): { readonly options: RecordsOptions; readonly servers: Servers } {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ...SERVER_OPTIONS,
      partition: { type: 'string' },
      from: { type: 'string' },
      last: { type: 'string' },
      json: { type: 'boolean', default: false },
      values: { type: 'boolean', default: false },
    },
  })
  const servers = new Servers(values, environment)
  const [topic = servers.topic, ...more] = positionals
  if (topic === undefined || topic === '') throw new UsageError('which topic? Give its name, or --config FILE')
  if (more.length > 0) throw new UsageError(`one topic at a time, not also "${more.join(' ')}"`)
  if (values.from !== undefined && values.last !== undefined)
    throw new UsageError('--from and --last exclude each other')
  return {
    servers,
    options: {
      topic,
      partition: values.partition === undefined ? undefined : wholeNumber('--partition', values.partition, 0, MOST),
      range:
        values.from === undefined
          ? { last: wholeNumber('--last', values.last ?? String(DEFAULT_LAST), 1, 1_000_000) }
          : { from: wholeNumber('--from', values.from, 0, Number.MAX_SAFE_INTEGER) },
      json: values.json,
      values: values.values,
    },
  }
}
