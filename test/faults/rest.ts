/** What the sidecars hold while nothing is asked of them: it must be the same after the faults as before. */
import { readdirSync, readlinkSync } from 'node:fs'
import { until } from '../integration/support/route.ts'
import type { Route, Sidecar } from '../integration/support/route.ts'

export interface Rest {
  readonly sockets: number
  /** Timers that keep a process alive or would. */
  readonly timers: number
  readonly heapMebibytes: number
  readonly residentMebibytes: number
}

/** What waits or runs; nothing does at rest. */
const BUSY = [
  'grpc_kafka_calls_in_flight',
  'grpc_kafka_bytes_in_flight',
  'grpc_kafka_calls_waiting',
  'grpc_kafka_produce_pending_calls',
  'grpc_kafka_calls_awaiting_outcome',
  'grpc_kafka_running_calls',
  'grpc_kafka_buffered_records',
  'grpc_kafka_parked_records',
  'grpc_kafka_outcomes_pending',
  'grpc_kafka_consumer_lag',
] as const

/**
 * What may differ: leaders move, and with them which brokers a part is connected to; memory is collected when it pleases
 * the engine. What is lost with each call or each fault would be more after some thousand of them.
 */
const TOLERANCE: Rest = { sockets: 12, timers: 12, heapMebibytes: 48, residentMebibytes: 128 }
const REST_MILLISECONDS = 60_000

/** Resolves with the most that one of the replicas holds of each. */
export async function restOf(route: Route, kind: 'proxies' | 'workers'): Promise<Rest> {
  const all = await Promise.all(route[kind].map((sidecar) => measure(route, sidecar)))
  const most = (of: (one: Rest) => number): number => Math.max(...all.map(of))
  return {
    sockets: most((one) => one.sockets),
    timers: most((one) => one.timers),
    heapMebibytes: most((one) => one.heapMebibytes),
    residentMebibytes: most((one) => one.residentMebibytes),
  }
}

/** Resolves when nothing waits or runs any more. @throws with what does. */
export async function untilIdle(route: Route): Promise<void> {
  let busy: readonly string[] = []
  const look = async (): Promise<boolean> => {
    const all = await Promise.all(
      [...route.proxies, ...route.workers].map(async (sidecar) => {
        const values = await Promise.all(BUSY.map((name) => route.metric(sidecar, name)))
        return values.flatMap((value, index) =>
          value === 0 ? [] : [`${sidecar.config.instance}: ${BUSY[index]} ${value}`],
        )
      }),
    )
    busy = all.flat()
    return busy.length === 0
  }
  await until('nothing waits or runs', look, REST_MILLISECONDS).catch((cause: unknown) => {
    throw new Error(`it does not come to rest: ${busy.join(', ')}`, { cause })
  })
}

/** Resolves with what is held when that is no more than before, else with what still is too much after a minute. */
export async function backAtRest(
  route: Route,
  kind: 'proxies' | 'workers',
  before: Rest,
): Promise<{ readonly rest: Rest; readonly more: readonly string[] }> {
  let rest = before
  const excess = (): readonly string[] =>
    (Object.keys(TOLERANCE) as (keyof Rest)[])
      .filter((what) => rest[what] > before[what] + TOLERANCE[what])
      .map((what) => `${what} of ${kind}: ${before[what].toFixed(0)} before, ${rest[what].toFixed(0)} at the end`)
  await until(
    'as much as before',
    async () => {
      rest = await restOf(route, kind)
      return excess().length === 0
    },
    REST_MILLISECONDS,
  ).catch(() => undefined)
  return { rest, more: excess() }
}

async function measure(route: Route, sidecar: Sidecar): Promise<Rest> {
  const [timers, heap, resident] = await Promise.all([
    route.metric(sidecar, 'nodejs_active_resources', 'type="Timeout"'),
    route.metric(sidecar, 'nodejs_heap_size_used_bytes'),
    route.metric(sidecar, 'process_resident_memory_bytes'),
  ])
  return {
    sockets: socketsOf(sidecar.process.child.pid!),
    timers,
    heapMebibytes: heap / 1_048_576,
    residentMebibytes: resident / 1_048_576,
  }
}

function socketsOf(pid: number): number {
  const directory = `/proc/${pid}/fd`
  return readdirSync(directory).filter((fd) => isSocket(`${directory}/${fd}`)).length
}

function isSocket(link: string): boolean {
  try {
    return readlinkSync(link).startsWith('socket:')
  } catch {
    // Closed meanwhile.
    return false
  }
}
