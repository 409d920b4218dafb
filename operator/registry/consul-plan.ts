/**
 * What to write into a Consul catalog so that it has the instances that should be there: pure. The catalog alone tells
 * what was written before, so that a Consul that lost it is written again like one that never had it.
 */

export type InstanceHealth = 'passing' | 'critical'

/** One proxy as it stands in the catalog. */
export interface ConsulInstance {
  /** The pod's uid. */
  readonly id: string
  readonly service: string
  readonly address: string
  readonly port: number
  readonly tags: readonly string[]
  readonly meta: Readonly<Record<string, string>>
  /** What its check says. */
  readonly health: InstanceHealth
}

/** An instance as it was found; its check may say something else, or be gone. */
export interface ObservedInstance extends Omit<ConsulInstance, 'health'> {
  readonly health?: string
}

export type ConsulAction =
  /** Makes it, or makes it as it should be: one request writes instance and check. */
  | { readonly type: 'RegisterInstance'; readonly instance: ConsulInstance }
  | { readonly type: 'DeregisterInstance'; readonly id: string; readonly service: string }

/**
 * Those that should not be there go first: clients should sooner miss one that is there than find one that is not.
 * @param observed only instances that are ours: whatever is not wanted of them goes.
 */
export function planInstances(
  wanted: readonly ConsulInstance[],
  observed: readonly ObservedInstance[],
): readonly ConsulAction[] {
  const ids = new Set(wanted.map(({ id }) => id))
  const found = new Map(observed.map((instance) => [instance.id, instance]))
  const orphans = observed.filter(({ id }) => !ids.has(id))
  const stale = wanted.filter((instance) => !isAs(instance, found.get(instance.id)))
  return [
    ...orphans.map(({ id, service }): ConsulAction => ({ type: 'DeregisterInstance', id, service })),
    ...[...stale].sort(byHealth).map((instance): ConsulAction => ({ type: 'RegisterInstance', instance })),
  ]
}

/** Those that take no calls first. */
const byHealth = (a: ConsulInstance, b: ConsulInstance): number =>
  Number(b.health !== 'passing') - Number(a.health !== 'passing')

function isAs(wanted: ConsulInstance, found: ObservedInstance | undefined): boolean {
  if (found === undefined) return false
  return (
    (['service', 'address', 'port', 'health'] as const).every((field) => wanted[field] === found[field]) &&
    isSame(wanted.tags.toSorted(), found.tags.toSorted()) &&
    isSame(pairs(wanted.meta), pairs(found.meta))
  )
}

const pairs = (meta: Readonly<Record<string, string>>): readonly string[] =>
  Object.entries(meta)
    .map((pair) => JSON.stringify(pair))
    .toSorted()

const isSame = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((one, index) => one === b[index])
