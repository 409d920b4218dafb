import type { CalculateService, ConsumerGroup, RetryPolicy } from '../../crds/types.ts'
import { retentionProblem } from '../../operator/consumergroup/retention.ts'
import { desiredTopics, TopicSettingsError } from '../../operator/kafka/topics.ts'
import { pausesProblem } from '../../sidecar/config.ts'
import { planHandler, type HandlerPlan } from './handler.ts'
import { namespaceOf, type Loaded } from './load.ts'
import { problemAt, ResourcesError, type Located } from './origin.ts'

/** A group with what it refers to. */
export type GroupRoute = {
  readonly group: ConsumerGroup
  readonly policy: RetryPolicy | undefined
  readonly handler: HandlerPlan
  /** Where the handler's command is run: the folder of its file. */
  readonly directory: string
}

/** A service with those who work for it. */
export type Route = { readonly service: CalculateService; readonly groups: readonly GroupRoute[] }

/**
 * Puts together what refers to each other.
 *
 * @returns a route for each service, and lines about what is odd but possible
 * @throws ResourcesError with every reference that leads nowhere and every two resources that exclude each other
 */
export function resolveRoutes({ services, groups, policies }: Omit<Loaded, 'ignored' | 'protoFiles'>): {
  readonly routes: readonly Route[]
  readonly warnings: readonly string[]
} {
  const problems: string[] = []
  const warnings: string[] = []
  const resolved = groups.flatMap((located) => {
    const { resource: group, origin } = located
    const { calculateServiceRef, retryPolicyRef } = group.spec
    const service = find(services, group, calculateServiceRef.name)
    if (!service) {
      problems.push(
        problemAt(
          origin,
          missing('spec.calculateServiceRef.name', 'CalculateService', calculateServiceRef.name, services),
        ),
      )
    }
    const policy = retryPolicyRef && find(policies, group, retryPolicyRef.name)
    if (retryPolicyRef && !policy) {
      problems.push(
        problemAt(origin, missing('spec.retryPolicyRef.name', 'RetryPolicy', retryPolicyRef.name, policies)),
      )
    }
    const pauses = policy && pausesProblem(group.spec.ordering, policy.resource.spec)
    if (pauses !== undefined)
      problems.push(problemAt(origin, `spec.ordering: RetryPolicy ${policy!.resource.metadata.name}: ${pauses}`))
    const retention = service && retentionProblem(service.resource, group, policy?.resource)
    if (retention !== undefined)
      warnings.push(problemAt(origin, `RetryPolicy ${policy!.resource.metadata.name}: ${retention}`))
    const handler = planHandler(group)
    if (!handler.ok) problems.push(...handler.problems.map((line) => problemAt(origin, line)))
    if (!service || !handler.ok) return []
    return [
      {
        located,
        service,
        route: { group, policy: policy?.resource, handler: handler.plan, directory: origin.directory },
      },
    ]
  })

  const routes = services.map((located): Route => {
    const mine = resolved.filter(({ service }) => service === located)
    const responders = mine.filter(({ route }) => route.group.spec.role === 'Responder')
    for (const extra of responders.slice(1)) {
      const first = responders[0]?.route.group.metadata.name ?? ''
      problems.push(
        problemAt(
          extra.located.origin,
          `spec.role: ${first} already answers for CalculateService ${located.resource.metadata.name}; a service has one Responder`,
        ),
      )
    }
    if (responders.length === 0) {
      warnings.push(
        problemAt(
          located.origin,
          'no ConsumerGroup with role Responder refers to it: its calls wait for one until their deadline',
        ),
      )
    }
    if (located.resource.spec.registration.consul?.check === 'Readiness') {
      const line = 'spec.registration.consul: on one machine only proxies with check TTL are registered'
      warnings.push(problemAt(located.origin, line))
    }
    const isKeyless = located.resource.spec.methods.every(({ partitionKey }) => partitionKey === undefined)
    for (const { route, located: group } of mine) {
      if (route.group.spec.ordering === 'Key' && isKeyless) {
        const none = `no method of CalculateService ${located.resource.metadata.name} has a partitionKey: no call waits for another`
        warnings.push(problemAt(group.origin, `spec.ordering: ${none}`))
      }
      if (route.group.spec.scaling === undefined) continue
      const { replicas } = route.group.spec
      warnings.push(problemAt(group.origin, `spec.scaling: on one machine there are spec.replicas, ${replicas}`))
    }
    try {
      desiredTopics(located.resource)
    } catch (error) {
      if (!(error instanceof TopicSettingsError)) throw error
      problems.push(...error.problems.map((line) => problemAt(located.origin, line)))
    }
    return { service: located.resource, groups: mine.map(({ route }) => route) }
  })
  problems.push(...takenTwice(services, 'spec.topic.name', (service) => service.spec.topic.name))
  const inConsul = services.filter(({ resource }) => resource.spec.registration.consul?.check === 'TTL')
  problems.push(...takenTwice(inConsul, 'spec.registration.consul.name', nameInConsul))
  problems.push(...takenTwice(groups, 'spec.groupId', (group) => group.spec.groupId))
  if (problems.length > 0) throw new ResourcesError(problems)
  return { routes, warnings }
}

/** Two that have the same would be one service for who asks Consul; in another namespace that is on purpose. */
const nameInConsul = (resource: CalculateService): string => {
  const { name = resource.metadata.name, address = '' } = resource.spec.registration.consul ?? {}
  return `${name} in ${address}, namespace ${namespaceOf(resource)}`
}

type Named = CalculateService | ConsumerGroup | RetryPolicy

const find = <T extends Named>(all: readonly Located<T>[], from: ConsumerGroup, name: string): Located<T> | undefined =>
  all.find(({ resource }) => resource.metadata.name === name && namespaceOf(resource) === namespaceOf(from))

const missing = (path: string, kind: string, name: string, present: readonly Located<Named>[]): string => {
  const names = present.map(({ resource }) => `${namespaceOf(resource)}/${resource.metadata.name}`)
  return `${path}: no ${kind} "${name}" in its namespace${names.length > 0 ? ` (there is ${names.join(', ')})` : ' and none elsewhere'}`
}

function takenTwice<T extends Named>(
  all: readonly Located<T>[],
  path: string,
  value: (resource: T) => string,
): string[] {
  const owners = new Map<string, string>()
  return all.flatMap(({ resource, origin }) => {
    const owner = owners.get(value(resource))
    if (owner !== undefined) return [problemAt(origin, `${path}: "${value(resource)}" already belongs to ${owner}`)]
    owners.set(value(resource), origin.title)
    return []
  })
}
