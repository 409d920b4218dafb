import type { CalculateService, ConsumerGroup } from '../../crds/types.ts'
import type { Pod } from '../kinds.ts'

/**
 * Why partitions may not be added now, for a condition; undefined: they may. Where calls have an order a key's later calls would go to
 * another partition while its earlier ones wait (SEMANTICS 6): so no proxy may run, and nothing may wait.
 *
 * @param responders of the service.
 * @param proxies its pods, also those that are ending.
 */
export function growthWaitsFor(
  { spec }: CalculateService,
  responders: readonly ConsumerGroup[],
  proxies: readonly Pod[],
): string | undefined {
  const ordered = responders.filter((group) => group.spec.ordering !== 'None')
  const [first] = ordered
  if (first === undefined) return undefined
  const why = `calls have an order by ConsumerGroup ${first.metadata.name}`
  if (spec.proxy.replicas > 0 || proxies.length > 0) return `${why}: first set spec.proxy.replicas to 0`
  const busy = ordered.find(({ status }) => status?.lag !== 0)
  return busy === undefined ? undefined : `${why}: waiting until the lag of ConsumerGroup ${busy.metadata.name} is 0`
}
