/** One load on one way of calling, and what every process on that way spent on it. */
import { METHOD_NAME } from './echo.ts'
import type { MethodName } from './echo.ts'
import type { Load, LoadResult } from './load.ts'
import { cpuMilliseconds } from './proc.ts'
import type { Program } from './program.ts'

/** A way from the client to the handler. */
export interface Way {
  /** `floor`, `relay`, `queued`, or a variant of it. */
  readonly name: string
  readonly port: number
  readonly method?: MethodName
  readonly keyed?: boolean
  /** Every request is the same, so that answers are given again: these calls reach neither Kafka nor the handler. */
  readonly same?: boolean
  /** Process ids by part, without the client. */
  readonly parts: Readonly<Record<string, number>>
}

export interface Cell {
  readonly concurrency: number
  readonly bytes: number
}

export const cellKey = ({ concurrency, bytes }: Cell): string => `${concurrency}x${bytes}`

/**
 * What is seen in the middle of all rounds: other programs of the machine come and go, and a mean would be of them. Only
 * the 99th percentile is that of all calls.
 */
export interface Measurement {
  readonly calls: number
  readonly callsPerSecond: number
  /** Milliseconds from client to client. */
  readonly p50Ms: number
  readonly p99Ms: number
  /** Milliseconds of CPU per call, by part. */
  readonly cpuMsPerCall: Readonly<Record<string, number>>
}

interface Round {
  readonly result: LoadResult
  /** Milliseconds, by part. */
  readonly cpu: Readonly<Record<string, number>>
}

export class Measurements {
  readonly #load: Program<Load, LoadResult>
  readonly #rounds = new Map<string, Round[]>()
  readonly #callsOf = new Map<number, number>()

  constructor(load: Program<Load, LoadResult>) {
    this.#load = load
  }

  /** Every call with a request of its own that was ever answered on a port, whether it was measured or a warm-up. */
  callsOf(port: number): number {
    return this.#callsOf.get(port) ?? 0
  }

  /** Ends after so many calls, or when the time is over. */
  async warmUp(way: Way, cell: Cell, calls: number, milliseconds: number): Promise<void> {
    await this.#run(way, { kind: 'Closed', key: `${way.name}/warm-up`, port: way.port, ...cell, calls, milliseconds })
  }

  /** One round of a closed loop. */
  async closedLoop(way: Way, cell: Cell, milliseconds: number): Promise<void> {
    const key = keyOf(way.name, cellKey(cell))
    await this.#measure(way, { kind: 'Closed', key, port: way.port, ...cell, milliseconds })
  }

  /** One round of an open loop. */
  async openLoop(way: Way, name: string, bytes: number, callsPerSecond: number, milliseconds: number): Promise<void> {
    const key = keyOf(way.name, name)
    await this.#measure(way, { kind: 'Open', key, port: way.port, bytes, callsPerSecond, milliseconds })
  }

  /** @param cell a `cellKey`, or the name of an open loop. */
  of(way: string, cell: string): Measurement | undefined {
    const rounds = this.#rounds.get(keyOf(way, cell))
    const last = rounds?.at(-1)
    if (rounds === undefined || last === undefined) return undefined
    const middle = (of: (round: Round) => number): number => median(rounds.map(of))
    return {
      calls: rounds.reduce((sum, { result }) => sum + result.calls, 0),
      callsPerSecond: middle(({ result }) => result.calls / result.seconds),
      p50Ms: middle(({ result }) => result.p50),
      p99Ms: last.result.p99OfAll,
      cpuMsPerCall: Object.fromEntries(
        Object.keys(last.cpu).map((part) => [part, middle(({ cpu, result }) => (cpu[part] ?? NaN) / result.calls)]),
      ),
    }
  }

  async #measure(way: Way, load: Load): Promise<void> {
    const pids = { client: this.#load.pid, ...way.parts }
    const before = Object.values(pids).map(cpuMilliseconds)
    const result = await this.#run(way, load)
    const after = Object.values(pids).map(cpuMilliseconds)
    const cpu = Object.keys(pids).map((part, index) => [part, (after[index] ?? NaN) - (before[index] ?? NaN)] as const)
    const rounds = this.#rounds.get(load.key) ?? []
    rounds.push({ result, cpu: Object.fromEntries(cpu) })
    this.#rounds.set(load.key, rounds)
  }

  async #run(way: Way, load: Load): Promise<LoadResult> {
    const { method = METHOD_NAME, keyed = false, same = false } = way
    const result = await this.#load.ask({ ...load, method, keyed, same })
    if (!same) this.#callsOf.set(way.port, this.callsOf(way.port) + result.calls)
    return result
  }
}

const keyOf = (way: string, cell: string): string => `${way}/${cell}`

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const half = sorted.length / 2
  return ((sorted[Math.ceil(half) - 1] ?? NaN) + (sorted[Math.floor(half)] ?? NaN)) / 2
}
