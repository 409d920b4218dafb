/** How much a fault had to break: nothing is learned from one that hits an idle route. */
import { answerKind } from './answer-kind.ts'
import type { Fault, History } from './history.ts'

export interface Exposure {
  /** Requests that had no status yet when it struck. */
  readonly inFlight: number
  /** Calls that were on their way while it lasted and ended with an outcome: Kafka had them. */
  readonly acknowledged: number
}

export function exposureOf({ at, until }: Fault, { sent, answered }: History): Exposure {
  const answers = new Map(answered.map((one) => [one.request, one]))
  let inFlight = 0
  const acknowledged = new Set<string>()
  for (const one of sent) {
    const answer = answers.get(one.request)
    const endedAt = answer?.at ?? Infinity
    if (one.at <= at && endedAt > at) inFlight += 1
    if (answer !== undefined && one.at <= until && endedAt >= at && answerKind(answer) === 'Outcome')
      acknowledged.add(one.call)
  }
  return { inFlight, acknowledged: acknowledged.size }
}

/** By the class of the faults, all of a class together. */
export function exposures(history: History): ReadonlyMap<string, Exposure> {
  const byKind = Map.groupBy(history.faults, ({ kind }) => kind)
  return new Map(
    [...byKind].map(([kind, faults]) => {
      const all = faults.map((fault) => exposureOf(fault, history))
      const sum = (of: (one: Exposure) => number): number => all.reduce((total, one) => total + of(one), 0)
      return [kind, { inFlight: sum((one) => one.inFlight), acknowledged: sum((one) => one.acknowledged) }]
    }),
  )
}
