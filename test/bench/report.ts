/** What was measured, as a table for people and as one JSON object for programs. */
import { cellKey } from './measure.ts'
import type { Cell, Measurement, Measurements } from './measure.ts'

export const HALF_LOAD = 'half load'
/** The cell whose CPU is compared. */
export const MAIN_CELL: Cell = { concurrency: 64, bytes: 128 }
export const SINGLE_CELL: Cell = { concurrency: 1, bytes: 128 }

/** What issue 3 aims at. */
const AIMS = {
  proxyCpuToFloorServer: 2,
  workerCpuToFloorServer: 3.5,
  systemCpuToFloorServer: 8,
  proxyCpuToRelay: 1,
  singleCallP50ToFloor: 3.5,
  halfLoadP50Ms: 3,
  halfLoadP99Ms: 20,
} as const

type ByCell = Readonly<Record<string, Measurement>>
export interface Summary {
  readonly floor: ByCell
  readonly relay: ByCell
  readonly queued: ByCell
  readonly ratios: {
    readonly proxyCpuToFloorServer: number
    readonly workerCpuToFloorServer: number
    readonly systemCpuToFloorServer: number
    readonly proxyCpuToRelay: number
    readonly singleCallP50ToFloor: number
  }
  readonly latency: { readonly halfLoadP50Ms: number; readonly halfLoadP99Ms: number }
}

/** @param queued the way that is summed up as `queued`. */
export function summarise(measurements: Measurements, cells: readonly Cell[], queued = 'queued'): Summary {
  const byCell = (way: string): ByCell =>
    Object.fromEntries(
      [...cells.map(cellKey), HALF_LOAD].flatMap((cell) => {
        const found = measurements.of(way, cell)
        return found === undefined ? [] : [[cell, roundedMeasurement(found)]]
      }),
    )
  const of = (way: string, cell: string): Measurement => {
    const found = measurements.of(way, cell)
    if (found === undefined) throw new Error(`${way} was not measured at ${cell}`)
    return found
  }
  const cpu = (way: string, ...parts: readonly string[]): number =>
    parts.reduce((sum, part) => sum + (of(way, cellKey(MAIN_CELL)).cpuMsPerCall[part] ?? NaN), 0)
  const floorServer = cpu('floor', 'server')
  const single = cellKey(SINGLE_CELL)
  return {
    floor: byCell('floor'),
    relay: byCell('relay'),
    queued: byCell(queued),
    ratios: {
      proxyCpuToFloorServer: rounded(cpu(queued, 'proxy') / floorServer),
      workerCpuToFloorServer: rounded(cpu(queued, 'worker') / floorServer),
      systemCpuToFloorServer: rounded(cpu(queued, 'proxy', 'worker', 'kafka', 'redis') / floorServer),
      proxyCpuToRelay: rounded(cpu(queued, 'proxy') / cpu('relay', 'relay')),
      singleCallP50ToFloor: rounded(of(queued, single).p50Ms / of('floor', single).p50Ms),
    },
    latency: {
      halfLoadP50Ms: rounded(of(queued, HALF_LOAD).p50Ms),
      halfLoadP99Ms: rounded(of(queued, HALF_LOAD).p99Ms),
    },
  }
}

/** One line for each way and cell. */
export function tableOf(measurements: Measurements, ways: readonly string[], cells: readonly Cell[]): string {
  const rows = [...cells.map(cellKey), HALF_LOAD].flatMap((cell) =>
    ways.flatMap((way) => {
      const found = measurements.of(way, cell)
      if (found === undefined) return []
      const cpu = Object.entries(found.cpuMsPerCall).map(([part, spent]) => `${part} ${spent.toFixed(3)}`)
      return [
        [cell, way, found.callsPerSecond.toFixed(0), found.p50Ms.toFixed(2), found.p99Ms.toFixed(2), cpu.join('  ')],
      ]
    }),
  )
  const head = ['in flight x bytes', 'way', 'calls/s', 'p50 ms', 'p99 ms', 'CPU, ms per call']
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)))
  return [head, ...rows]
    .map((row) =>
      row
        .map((text, column) =>
          column >= 2 && column <= 4 ? text.padStart(widths[column] ?? 0) : text.padEnd(widths[column] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** One line for each aim: what was seen and whether it is reached. */
export function aimsOf({ ratios, latency }: Summary): string {
  const seen: Readonly<Record<string, number>> = { ...ratios, ...latency }
  return Object.entries(AIMS)
    .map(([name, aim]) => {
      const value = seen[name] ?? NaN
      return `${name.padEnd(24)} ${value.toFixed(2).padStart(7)}   aim <= ${aim}${value <= aim ? '' : '   MISSED'}`
    })
    .join('\n')
}

const rounded = (value: number): number => Number(value.toPrecision(4))
const roundedMeasurement = (found: Measurement): Measurement => ({
  calls: found.calls,
  callsPerSecond: rounded(found.callsPerSecond),
  p50Ms: rounded(found.p50Ms),
  p99Ms: rounded(found.p99Ms),
  cpuMsPerCall: Object.fromEntries(Object.entries(found.cpuMsPerCall).map(([part, spent]) => [part, rounded(spent)])),
})
