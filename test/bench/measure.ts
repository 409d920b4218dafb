/** One load on one way of calling, and what every process on that way spent on it. */
import type { Load, LoadResult } from './load.ts'
import { cpuMilliseconds } from './proc.ts'
import type { Program } from './program.ts'

/** A way from the client to the handler. */
export interface Way {
  /** `floor`, `relay`, `queued`, or `queued-other`. */
  readonly name: string
  readonly port: number
  /** Process ids by part, without the client. */
  readonly parts: Readonly<Record<string, number>>
}

export interface Cell {
  readonly concurrency: number
  readonly bytes: number
}

export const cellKey = ({ concurrency, bytes }: Cell): string => `${concurrency}x${bytes}`

export interface Measurement {
  readonly calls: number
  readonly callsPerSecond: number
  /** Milliseconds from client to client. */
  readonly p50Ms: number
  readonly p99Ms: number
  /** Milliseconds of CPU per call, by part. */
  readonly cpuMsPerCall: Readonly<Record<string, number>>
}

interface Total {
  calls: number
  seconds: number
  p50: number
  p99: number
  readonly cpu: Record<string, number>
}

export class Measurements {
  readonly #load: Program<Load, LoadResult>
  readonly #totals = new Map<string, Total>()
  readonly #callsOf = new Map<string, number>()

  constructor(load: Program<Load, LoadResult>) {
    this.#load = load
  }

  /** Every call that was ever answered on a way, whether it was measured or a warm-up. */
  callsOf(way: Way): number {
    return this.#callsOf.get(way.name) ?? 0
  }

  /** Ends after so many calls, or when the time is over. */
  async warmUp(way: Way, cell: Cell, calls: number, milliseconds: number): Promise<void> {
    await this.#run(way, { kind: 'Closed', key: `${way.name}/warm-up`, port: way.port, ...cell, calls, milliseconds })
  }

  /** Adds a closed loop to what was measured of this way and cell. @returns calls a second, of this time alone. */
  async closedLoop(way: Way, cell: Cell, milliseconds: number): Promise<number> {
    const key = keyOf(way.name, cellKey(cell))
    const { calls, seconds } = await this.#measure(way, {
      kind: 'Closed',
      key,
      port: way.port,
      ...cell,
      milliseconds,
    })
    return calls / seconds
  }

  async openLoop(way: Way, name: string, bytes: number, callsPerSecond: number, milliseconds: number): Promise<void> {
    const key = keyOf(way.name, name)
    await this.#measure(way, { kind: 'Open', key, port: way.port, bytes, callsPerSecond, milliseconds })
  }

  /** @param cell a `cellKey`, or the name of an open loop. */
  of(way: string, cell: string): Measurement | undefined {
    const total = this.#totals.get(keyOf(way, cell))
    if (total === undefined) return undefined
    const { calls, seconds, p50, p99, cpu } = total
    return {
      calls,
      callsPerSecond: calls / seconds,
      p50Ms: p50,
      p99Ms: p99,
      cpuMsPerCall: Object.fromEntries(Object.entries(cpu).map(([part, milliseconds]) => [part, milliseconds / calls])),
    }
  }

  async #measure(way: Way, load: Load): Promise<LoadResult> {
    const pids = { client: this.#load.pid, ...way.parts }
    const before = Object.values(pids).map(cpuMilliseconds)
    const result = await this.#run(way, load)
    const total = this.#totals.get(load.key) ?? { calls: 0, seconds: 0, p50: 0, p99: 0, cpu: {} }
    Object.entries(pids).forEach(([part, pid], index) => {
      total.cpu[part] = (total.cpu[part] ?? 0) + cpuMilliseconds(pid) - (before[index] ?? 0)
    })
    total.calls += result.calls
    total.seconds += result.seconds
    total.p50 = result.p50
    total.p99 = result.p99
    this.#totals.set(load.key, total)
    return result
  }

  async #run(way: Way, load: Load): Promise<LoadResult> {
    const result = await this.#load.ask(load)
    this.#callsOf.set(way.name, this.callsOf(way) + result.calls)
    return result
  }
}

const keyOf = (way: string, cell: string): string => `${way}/${cell}`
