/** What a run did, in a few lines for people. */
import { answerKind } from './answer-kind.ts'
import { repeats } from './checker.ts'
import { exposureOf, exposures } from './exposure.ts'
import type { History } from './history.ts'
import type { Rest } from './rest.ts'

export function summary(history: History): readonly string[] {
  const { sent, answered, runs, records, stored, commits, faults } = history
  const classes = [...exposures(history)].map(
    ([kind, { inFlight, acknowledged }]) => `${kind} (${inFlight} in flight, ${acknowledged} acknowledged)`,
  )
  const fewest = Math.min(...faults.map((fault) => exposureOf(fault, history).inFlight))
  return [
    `requests ${sent.length}: ${counts(answered, (one) => answerKind(one))}`,
    `records ${records.length}, commits ${commits.length}; in Redis: ${counts(stored, ({ state }) => state)}`,
    `runs ${runs.length}; calls that ran more than once: ${repeats(history).size}`,
    `faults ${faults.length}, fewest in flight at one ${fewest}: ${classes.join(', ')}`,
  ]
}

export const restLine = ({ sockets, timers, heapMebibytes, residentMebibytes }: Rest): string =>
  `sockets ${sockets}, timers ${timers}, heap ${heapMebibytes.toFixed(0)} MiB, resident ${residentMebibytes.toFixed(0)} MiB`

const counts = <T>(all: readonly T[], of: (one: T) => string): string =>
  [...Map.groupBy(all, of)]
    .map(([name, own]) => `${name} ${own.length}`)
    .sort()
    .join(', ')
