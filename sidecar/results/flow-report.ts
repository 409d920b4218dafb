/**
 * What a worker says each second of how fast its work goes: one line in Redis, written and read here only.
 *
 *   1 <time> <unfinished> <places> <partitions> <rate in thousandths, or -> [<package.Service/Method>=<milliseconds> ...]
 */
export interface FlowReport {
  /** Milliseconds since 1970 on the shared clock. */
  readonly time: number
  /** Records of its partitions that wait or run; not those that wait for their next attempt. */
  readonly unfinished: number
  /** Records that it runs at the same time; 0 while its handler is away. */
  readonly places: number
  /** Partitions that it owns. */
  readonly partitions: number
  /** Answers per second while every place was taken. Undefined: that has not been so of late. */
  readonly rate: number | undefined
  /** How long a call takes in the handler, in milliseconds, by `package.Service/Method`. */
  readonly serviceMilliseconds: ReadonlyMap<string, number>
}

const FORMAT = '1'
const LONGEST_REPORT = 131_072
const COUNT = /^\d{1,15}$/
const METHOD = /^([a-zA-Z0-9_.]{1,300}\/[a-zA-Z0-9_]{1,128})=(\d{1,12})$/

export function encodeFlowReport(report: FlowReport): string {
  const { time, unfinished, places, partitions, rate, serviceMilliseconds } = report
  return [
    FORMAT,
    ...[time, unfinished, places, partitions].map((count) => String(Math.round(count))),
    rate === undefined ? '-' : String(Math.round(rate * 1000)),
    ...[...serviceMilliseconds].map(([method, milliseconds]) => `${method}=${Math.round(milliseconds)}`),
  ].join(' ')
}

/** @returns undefined for what is no report of a format known here: nothing is known of such a worker. */
export function decodeFlowReport(text: string): FlowReport | undefined {
  if (text.length > LONGEST_REPORT) return undefined
  const [format, time, unfinished, places, partitions, rate, ...methods] = text.split(' ')
  if (format !== FORMAT) return undefined
  const counts = [time, unfinished, places, partitions, rate === '-' ? '0' : rate]
  if (!counts.every((count) => count !== undefined && COUNT.test(count))) return undefined
  const serviceMilliseconds = new Map<string, number>()
  for (const method of methods) {
    const [, name, milliseconds] = METHOD.exec(method) ?? []
    if (name === undefined) return undefined
    serviceMilliseconds.set(name, Number(milliseconds))
  }
  return {
    time: Number(time),
    unfinished: Number(unfinished),
    places: Number(places),
    partitions: Number(partitions),
    rate: rate === '-' ? undefined : Number(rate) / 1000,
    serviceMilliseconds,
  }
}
