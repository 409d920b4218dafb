/** What the benchmark of the operator prints. */
import { PHASES, type Round, type Way } from './churn.ts'
import type { Steady } from './steady.ts'

/** What the operator may take of the script's time. */
const MOST = 1.5

export function churnTable(rounds: readonly Round[], services: number): string {
  const of = (way: Way): readonly Round[] => rounds.filter((round) => round.way === way)
  const total = ({ elapsed }: Round): number => PHASES.reduce((sum, phase) => sum + elapsed[phase], 0)
  const rows: readonly (readonly [string, (round: Round) => number, number])[] = [
    ...PHASES.map((phase) => [`${phase}, s`, ({ elapsed }: Round) => elapsed[phase] / 1000, 2] as const),
    [`all ${3 * services} events, s`, (round) => total(round) / 1000, 2],
    ['CPU of its process, s', ({ cpu }) => cpu / 1000, 2],
    ['writes at the API server', ({ writes }) => writes, 0],
    ['events recorded', ({ events }) => events, 0],
  ]
  const lines = rows.map(([name, value, digits]) => {
    const [operator, script] = (['operator', 'script'] as const).map((way) => of(way).map(value))
    return [
      name.padEnd(26),
      spread(operator ?? [], digits).padEnd(26),
      spread(script ?? [], digits).padEnd(26),
      (median(operator ?? []) / median(script ?? [])).toFixed(2),
    ].join(' ')
  })
  // Of neighbours in time, so that whatever else the machine did met both.
  const ratios = of('operator').map((round, index) => total(round) / total(of('script')[index] ?? round))
  const reached = median(ratios) <= MOST ? 'reached' : 'NOT reached'
  return [
    `${services} services created, changed, deleted: median (least to most) of ${of('operator').length} rounds`,
    `${''.padEnd(26)} ${'operator'.padEnd(26)} ${'bare script'.padEnd(26)} ratio`,
    ...lines,
    `operator's time / script's, round by round: ${spread(ratios, 2)}; aim <= ${MOST}: ${reached}`,
  ].join('\n')
}

export function readyLine(times: readonly number[]): string {
  return `one service from apply to Ready, ${times.length} of them: p50 ${median(times).toFixed(0)} ms, worst ${Math.max(...times).toFixed(0)} ms`
}

export function steadyTable(steady: Steady): string {
  const { services, seconds, resyncSeconds, reconciles, writes, kafkaRequests } = steady
  return [
    `${services} services that nobody touches, ${seconds.toFixed(0)} s, a resync each ${resyncSeconds} s or little more:`,
    `  created in            ${(steady.createdMilliseconds / 1000).toFixed(1)} s`,
    `  CPU                   ${steady.cpuMilliseconds.toFixed(1)} ms per s`,
    `  resident memory       ${steady.residentMebibytes.toFixed(0)} MiB, of it heap in use ${steady.heapMebibytes.toFixed(0)} MiB`,
    `  reconciles            ${reconciles} (${(reconciles / services).toFixed(1)} of each)`,
    `  requests to Kafka     ${(kafkaRequests / seconds).toFixed(2)} per s`,
    `  writes                ${writes.length}${writes.length === 0 ? '' : ` (${[...new Set(writes)].slice(0, 5).join(', ')}, ...)`}`,
  ].join('\n')
}

const sorted = (values: readonly number[]): readonly number[] => values.toSorted((a, b) => a - b)

function median(values: readonly number[]): number {
  const middle = (values.length - 1) / 2
  const ordered = sorted(values)
  return ((ordered[Math.floor(middle)] ?? NaN) + (ordered[Math.ceil(middle)] ?? NaN)) / 2
}

function spread(values: readonly number[], digits: number): string {
  const ordered = sorted(values)
  const text = (value: number | undefined): string => (value ?? NaN).toFixed(digits)
  return `${text(median(values))} (${text(ordered[0])} to ${text(ordered.at(-1))})`
}
