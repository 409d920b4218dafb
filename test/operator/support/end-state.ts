/** What a route has become, written so that two routes of different names can be compared. */
import type { Kind } from './kinds.ts'
import { OUR_KINDS } from './kinds.ts'
import type { Stored } from './namespace.ts'
import { NAME, PROXY, WORKER, type Scene } from './scene.ts'

const OBJECTS: readonly (readonly [Kind, string])[] = [
  ...(['Deployment', 'Service', 'ServiceAccount', 'ConfigMap', 'PodDisruptionBudget'] as const).map(
    (kind) => [kind, PROXY] as const,
  ),
  ...(['Deployment', 'ServiceAccount', 'ConfigMap'] as const).map((kind) => [kind, WORKER] as const),
]

/** Given by who stores it, or told of a moment. */
const OF_ONE_ONLY: ReadonlySet<string> = new Set([
  'lastTransitionTime',
  'topicId',
  'clusterId',
  'clusterIP',
  'clusterIPs',
  'lag',
  'members',
  'grpckafka.dev/applied-hash',
  'grpckafka.dev/restart-hash',
  'deployment.kubernetes.io/revision',
])

/**
 * Objects, resources and topics, without names and ids that are theirs alone. The generation of an object stays: what was
 * changed and changed back is not the same as what was left alone.
 *
 * @param places  addresses that are this route's own
 */
export async function endState(scene: Scene, places: readonly string[] = []): Promise<object> {
  const { namespace } = scene
  const objects = await Promise.all(OBJECTS.map(([kind, name]) => namespace.get(kind, name)))
  const resources = await Promise.all(OUR_KINDS.map((kind) => namespace.get(kind, NAME)))
  const { topics } = await scene.topics.observe([scene.topic, `${scene.topic}.dead`])
  const all = {
    objects: objects.map((object, index) => object && { ...told(object), name: OBJECTS[index], data: object.data }),
    resources: resources.map((resource) => resource && { ...told(resource), status: resource.status }),
    topics: [...topics.values()].map(({ name, partitions, config }) => ({
      name,
      partitions,
      config: Object.fromEntries(Object.entries(config).filter(([, { isSet }]) => isSet)),
    })),
  }
  const text = JSON.stringify(all, (key, value: unknown) => (OF_ONE_ONLY.has(key) ? undefined : value))
  const common = places.reduce((rest, place, index) => rest.replaceAll(place, `PLACE-${index}`), text)
  return JSON.parse(common.replaceAll(namespace.name, 'NAMESPACE')) as object
}

const told = ({ metadata, spec }: Stored) => ({
  labels: metadata.labels,
  annotations: metadata.annotations,
  finalizers: metadata.finalizers,
  owners: metadata.ownerReferences?.map(({ kind, name }) => ({ kind, name })),
  generation: metadata.generation,
  spec,
})
