/** What to do in Consul for a CalculateService: pure. */
import type { CalculateService } from '../../crds/types.ts'
import { compareAge } from '../age.ts'
import { planInstances } from '../registry/consul-plan.ts'
import type { ConsulAction, ConsulInstance } from '../registry/consul-plan.ts'
import type { Deployment } from '../kinds.ts'
import { POD_IP } from '../sidecar-pod.ts'
import { formerPlaces, instancesOf, isFound, isSamePlace, placeOf, registersItself, scopeOf } from './instances.ts'
import type { Observed } from './observe.ts'
import type { ConsulView } from './observe-consul.ts'
import type { Action, Problem } from './plan.ts'
import { CONSUL_FINALIZER } from './reconciliation.ts'

/** A Consul that the spec names no more is tried so long; then what is there is left. */
const FORMER_PATIENCE_MILLISECONDS = 600_000

export interface ConsulPlan {
  readonly actions: readonly Action[]
  readonly problems: readonly Problem<'Registered'>[]
}

type Seen = Extract<ConsulView['registry'], { readonly state: 'Seen' }>

/**
 * @param isRefused the topic is not for this service: those that are there may change and go, none may come. Nothing is said of
 * those that would have to come by themselves.
 */
export function planConsul(observed: Observed, isRefused: boolean): ConsulPlan {
  const plans = observed.consul.map((view) =>
    view.registry.state === 'Failed'
      ? { actions: [], problems: [view.registry] }
      : view.isCurrent
        ? keep(observed, view.registry, isRefused)
        : leave(observed, view.registry, replacedLater(observed, view)),
  )
  return {
    actions: plans.flatMap(({ actions }) => actions),
    problems: [...plans.flatMap(({ problems }) => problems), ...(isRefused ? [] : judgeRegistered(observed))],
  }
}

/** What is wrong with proxies that register themselves; the operator tells them only whether they may. */
function judgeRegistered(observed: Observed): readonly Problem<'Registered'>[] {
  const { registered, service, pods, cluster } = observed
  const { consul } = service.spec.registration
  if (registered === undefined || consul === undefined) return []
  const older = olderNamesake(observed)
  if (older !== undefined) return [nameTaken(older, consul.address)]
  if (registered.state === 'Failed') return [registered]
  const ready = instancesOf(service, pods, cluster).filter(({ health }) => health === 'passing')
  const missing = ready.filter((instance) => !isFound(instance, registered.instances))
  if (missing.length === 0) return []
  if (registered.isPartial) {
    const message = `${consul.address}: the token may not read all instances, so what is there is not known`
    return [{ reason: 'ConsulNotAuthorized', message }]
  }
  const message = `${consul.address}: ${ready.length - missing.length} of ${ready.length} ready proxies have registered themselves and are passing`
  return [{ reason: 'Registering', message }]
}

const nameTaken = ({ metadata }: CalculateService, address: string): Problem<'Registered'> => ({
  reason: 'ConsulNameTaken',
  message: `spec.registration.consul.name: CalculateService ${metadata.name} is older and has this name in ${address}`,
})

/** As its proxies are to be told of it: those that may not have its name in Consul are not told to take it. */
export function asToldToProxies(observed: Observed): CalculateService {
  const { service } = observed
  if (!registersItself(service) || olderNamesake(observed) === undefined) return service
  const { kubernetes } = service.spec.registration
  return { ...service, spec: { ...service.spec, registration: { kubernetes } } }
}

/** Everything of ours goes; for a service that is being deleted. */
export const planConsulLeft = (observed: Observed): readonly Action[] =>
  observed.consul.flatMap(({ registry }) => (registry.state === 'Seen' ? leave(observed, registry, []).actions : []))

/** Whether there may be something in a Consul that has to be taken away one day. */
export const needsConsulFinalizer = ({ service }: Pick<Observed, 'service'>): boolean =>
  placeOf(service) !== undefined || formerPlaces(service).length > 0

/** Whether it was tried for long enough to leave a Consul that the spec names no more. */
export const isGivenUp = ({ place, isCurrent, registry }: ConsulView, now: number): boolean =>
  !isCurrent &&
  registry.state === 'Failed' &&
  place.leftAt !== undefined &&
  now - Date.parse(place.leftAt) > FORMER_PATIENCE_MILLISECONDS

function keep(observed: Observed, { access, catalog }: Seen, isRefused: boolean): ConsulPlan {
  const { service, pods, cluster } = observed
  const { node } = scopeOf(service, cluster)
  const older = olderNamesake(observed)
  const known = new Set(catalog.instances.map(({ id }) => id))
  const wanted = instancesOf(service, pods, cluster).filter(
    ({ id }) => known.has(id) || !(isRefused || older !== undefined),
  )
  if (!isRemembered(observed)) {
    return {
      actions: [],
      problems: [{ reason: 'Registering', message: `${access.address}: proxies are about to come` }],
    }
  }
  const actions = planInstances(wanted, catalog.instances)
  const isBlind = catalog.isPartial && wanted.some(({ id }) => !known.has(id))
  return {
    actions: actions.map((action) => toAction(access, node, action)),
    problems: [
      ...(older === undefined ? [] : [nameTaken(older, access.address)]),
      ...(isBlind
        ? [
            {
              reason: 'ConsulNotAuthorized' as const,
              message: `${access.address}: the token may not read all of node ${node}`,
            },
          ]
        : []),
    ],
  }
}

/** @param staying of what is there: all else goes. */
function leave(
  { service, cluster }: Observed,
  { access, catalog }: Seen,
  staying: readonly ConsulInstance[],
): ConsulPlan {
  const { node } = scopeOf(service, cluster)
  const known = new Set(catalog.instances.map(({ id }) => id))
  const wanted = staying.filter(({ id }) => known.has(id))
  return {
    actions: planInstances(wanted, catalog.instances).map((action) => toAction(access, node, action)),
    problems: [],
  }
}

/**
 * Where proxies are to register themselves in the Consul in which they were kept so far, those of before cannot: they stay until
 * all are replaced, so that clients miss none of them.
 */
function replacedLater({ service, pods, cluster, live }: Observed, { place }: ConsulView): readonly ConsulInstance[] {
  const { consul } = service.spec.registration
  if (consul === undefined || !registersItself(service) || place.address !== consul.address) return []
  const { deployment } = live
  return deployment === undefined || isReplaced(deployment) ? [] : instancesOf(service, pods, cluster)
}

/** Whether all pods know what they need to register themselves. */
const isReplaced = ({ metadata, spec, status }: Deployment): boolean =>
  (spec?.template?.spec?.containers ?? []).some(({ env }) => env?.some(({ name }) => name === POD_IP) === true) &&
  status?.observedGeneration === metadata.generation &&
  (status?.updatedReplicas ?? 0) === (status?.replicas ?? 0)

const olderNamesake = ({ service, consulNamesakes }: Observed): CalculateService | undefined =>
  consulNamesakes
    .filter(({ metadata }) => metadata.uid !== service.metadata.uid && compareAge(metadata, service.metadata) < 0)
    .toSorted((a, b) => compareAge(a.metadata, b.metadata))[0]

/** Where nothing would tell, after a crash, that instances may be there, none are made. */
const isRemembered = ({ service }: Observed): boolean =>
  (service.metadata.finalizers ?? []).includes(CONSUL_FINALIZER) &&
  (service.status?.consul ?? []).some((place) => isSamePlace(place, placeOf(service)))

const toAction = (access: Seen['access'], node: string, action: ConsulAction): Action => ({
  part: 'Registered',
  type: 'Consul',
  access,
  node,
  action,
})
