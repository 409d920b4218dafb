/** Which faults come in which order, against whom and for how long: all of it follows from the seed. */
import type { Random } from './random.ts'

export const FAULT_CLASSES = [
  'kill',
  'freeze',
  'restart-broker',
  'restart-redis',
  'cut-subscriptions',
  'cut-connections',
  'slow-connections',
  'slow-handler',
  'failing-handler',
  'delete-topic',
] as const
export type FaultClass = (typeof FAULT_CLASSES)[number]

export type Plan =
  | { readonly kind: 'kill'; readonly victim: Victim; readonly number: number; readonly awayMilliseconds: number }
  /** Longer than the session of a group's member (6 s). */
  | { readonly kind: 'freeze'; readonly number: number; readonly milliseconds: number }
  | { readonly kind: 'restart-broker'; readonly number: number; readonly signal: 'SIGKILL' | 'SIGTERM' }
  | { readonly kind: 'restart-redis'; readonly signal: 'SIGKILL' | 'SIGTERM' }
  | { readonly kind: 'cut-subscriptions' }
  | { readonly kind: 'cut-connections'; readonly to: 'Kafka' | 'Redis'; readonly milliseconds: number }
  | {
      readonly kind: 'slow-connections'
      readonly to: 'Kafka' | 'Redis'
      readonly delayMilliseconds: number
      readonly milliseconds: number
    }
  | { readonly kind: 'slow-handler'; readonly sleepMilliseconds: number; readonly milliseconds: number }
  | { readonly kind: 'failing-handler'; readonly percent: number; readonly milliseconds: number }

/** One fault, and how long all goes well before it. */
export interface Step {
  readonly quietMilliseconds: number
  readonly plan: Plan
}

export interface Sizes {
  readonly proxies: number
  readonly workers: number
  readonly brokers: number
}

/** What the scheduler draws: every class once, of the kills one for each kind of victim. */
type Draw = Exclude<FaultClass, 'kill' | 'delete-topic'> | Victim
type Victim = (typeof VICTIMS)[number]
const VICTIMS = ['worker', 'handler', 'proxy'] as const

/**
 * Without end: rounds in which each class comes once, in an order of its own.
 * @param classes without `delete-topic`, which takes all records away and so comes last, by itself
 */
export function* scheduleOf(
  classes: readonly Exclude<FaultClass, 'delete-topic'>[],
  sizes: Sizes,
  random: Random,
): Generator<Step, never> {
  const draws = classes.flatMap((one): readonly Draw[] => (one === 'kill' ? VICTIMS : [one]))
  for (;;) {
    for (const draw of random.shuffled(draws))
      yield { quietMilliseconds: random.integer(1000, 3000), plan: planOf(draw, sizes, random) }
  }
}

/** How many steps it takes until every class was there. */
export const roundOf = (classes: readonly FaultClass[]): number =>
  classes.reduce((sum, one) => sum + (one === 'kill' ? VICTIMS.length : one === 'delete-topic' ? 0 : 1), 0)

function planOf(draw: Draw, { proxies, workers, brokers }: Sizes, random: Random): Plan {
  const signal = (): 'SIGKILL' | 'SIGTERM' => (random.percent(70) ? 'SIGKILL' : 'SIGTERM')
  const to = (): 'Kafka' | 'Redis' => random.pick(['Kafka', 'Redis'])
  switch (draw) {
    case 'worker':
    case 'handler':
    case 'proxy':
      return {
        kind: 'kill',
        victim: draw,
        number: random.integer(0, (draw === 'proxy' ? proxies : workers) - 1),
        awayMilliseconds: random.integer(0, 3000),
      }
    case 'freeze':
      return { kind: draw, number: random.integer(0, workers - 1), milliseconds: random.integer(7500, 10_000) }
    case 'restart-broker':
      return { kind: draw, number: random.integer(0, brokers - 1), signal: signal() }
    case 'restart-redis':
      return { kind: draw, signal: signal() }
    case 'cut-subscriptions':
      return { kind: draw }
    case 'cut-connections':
      return { kind: draw, to: to(), milliseconds: random.integer(0, 3000) }
    case 'slow-connections':
      return {
        kind: draw,
        to: to(),
        delayMilliseconds: random.integer(50, 400),
        milliseconds: random.integer(3000, 6000),
      }
    case 'slow-handler':
      return { kind: draw, sleepMilliseconds: random.integer(1000, 6000), milliseconds: random.integer(2000, 5000) }
    case 'failing-handler':
      return { kind: draw, percent: random.integer(30, 100), milliseconds: random.integer(2000, 5000) }
  }
}
