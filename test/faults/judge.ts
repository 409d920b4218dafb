import { GrpcStatus } from '../../sidecar/errors.ts'
import { check } from './checker.ts'
import type { Rules } from './checker.ts'
import { idsOf, readClients, readDelays, readHandlers, readRedis } from './collect.ts'
import type { OnKafka } from './collect.ts'
import { exposures } from './exposure.ts'
import type { Fault, History } from './history.ts'
import { MAX_ATTEMPTS } from './scene.ts'
import type { Scene } from './scene.ts'
import type { FaultClass } from './schedule.ts'

/** What nobody planned. */
export const STOOD_STILL = 'the machine stood still'
/** Of each class of faults, all of a run together; and each single fault waits for so many in flight. */
export const LEAST_IN_FLIGHT = 5
const LEAST_ACKNOWLEDGED = 5

const RULES: Rules = {
  maxAttempts: MAX_ATTEMPTS,
  retryableCodes: [GrpcStatus.UNAVAILABLE],
  mildFaults: ['cut-subscriptions', 'slow-handler', 'failing-handler'] satisfies FaultClass[],
  lateMilliseconds: 250,
  clockMilliseconds: 5,
}

export interface Judgement {
  readonly history: History
  /** One line for each thing; empty: the promises held. */
  readonly wrong: readonly string[]
}

/** Puts together what a run left behind, when all is at rest, and judges it. */
export async function judge(
  scene: Scene,
  { records, buried, commits, ids }: OnKafka,
  faults: readonly Fault[],
  exempt: ReadonlySet<string>,
): Promise<Judgement> {
  const { sent, answered } = readClients(scene)
  const runs = readHandlers(scene)
  const stored = await readRedis(scene, idsOf(sent, answered, runs, ids))
  const delays = readDelays(scene)
  const history: History = { sent, answered, delays, runs, records, buried, stored, commits, faults, exempt }
  return {
    history,
    wrong: [...check(history, RULES).map(({ kind, text }) => `${kind}: ${text}`), ...idle(history)],
  }
}

const idle = (history: History): readonly string[] =>
  [...exposures(history)].flatMap(([kind, { inFlight, acknowledged }]) =>
    kind !== STOOD_STILL && (inFlight < LEAST_IN_FLIGHT || acknowledged < LEAST_ACKNOWLEDGED)
      ? [`${kind} had too little to break: ${inFlight} in flight, ${acknowledged} acknowledged`]
      : [],
  )
