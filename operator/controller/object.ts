/** What every Kubernetes object has, how the runtime names objects, and the paths at which the API server keeps them. */

export interface OwnerReference {
  readonly apiVersion: string
  readonly kind: string
  readonly name: string
  readonly uid: string
  /** At most one owner is the controller: the one that is told when this object changes. */
  readonly controller?: boolean
  readonly blockOwnerDeletion?: boolean
}

export interface ObjectMeta {
  readonly name: string
  readonly namespace?: string
  readonly uid?: string
  /** Opaque but for its order: an object with the larger one is the later. */
  readonly resourceVersion?: string
  /** Counts changes of the spec. */
  readonly generation?: number
  /** RFC 3339. */
  readonly creationTimestamp?: string
  /** RFC 3339; with finalizers left, the object lives on until they are taken away. */
  readonly deletionTimestamp?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly finalizers?: readonly string[]
  readonly ownerReferences?: readonly OwnerReference[]
}

export interface KubeObject {
  /** `v1`, or `group/version`. */
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: ObjectMeta
}

/** `namespace/name`, or `name` for what is in no namespace. */
export type ObjectKey = string

/** One kind of object, and where the API server keeps it. `T` is what its objects look like. */
export interface Resource<T extends KubeObject = KubeObject> {
  readonly apiVersion: string
  readonly kind: string
  /** Lower case, as in the path: `deployments`. */
  readonly plural: string
  readonly namespaced: boolean
  /** Never there: it only carries the type from a resource to the cache of its objects. */
  readonly objects?: readonly T[]
}

export const objectKey = ({ metadata }: KubeObject): ObjectKey => keyOf(metadata.namespace, metadata.name)

/** Of an apply that is about this very object: one of the same name that was made anew meanwhile refuses it by its uid. */
export const identityOf = ({ metadata: { name, namespace, uid } }: KubeObject): ObjectMeta => ({
  name,
  ...(namespace === undefined ? {} : { namespace }),
  ...(uid === undefined ? {} : { uid }),
})

export const keyOf = (namespace: string | undefined, name: string): ObjectKey =>
  namespace === undefined || namespace === '' ? name : `${namespace}/${name}`

export function splitKey(key: ObjectKey): { readonly namespace?: string; readonly name: string } {
  const slash = key.indexOf('/')
  return slash < 0 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) }
}

/** `Kind.version.group`, for logs, errors and as the key of maps. */
export const resourceName = ({ apiVersion, kind }: Pick<Resource, 'apiVersion' | 'kind'>): string =>
  `${kind}.${apiVersion.split('/').toReversed().join('.')}`

/** The path of all objects of a resource: of one namespace, or of all where none is given. */
export function collectionPath(resource: Resource, namespace?: string): string {
  const root = resource.apiVersion.includes('/') ? `/apis/${resource.apiVersion}` : `/api/${resource.apiVersion}`
  const inside = resource.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : ''
  return `${root}${inside}/${resource.plural}`
}

/** The path of one object, or of a subresource of it (`status`). */
export function objectPath(resource: Resource, key: ObjectKey, subresource?: string): string {
  const { namespace, name } = splitKey(key)
  const path = `${collectionPath(resource, namespace)}/${encodeURIComponent(name)}`
  return subresource === undefined ? path : `${path}/${subresource}`
}

/** The owner that is told when this object changes. */
export const controllerOf = ({ metadata }: KubeObject): OwnerReference | undefined =>
  metadata.ownerReferences?.find(({ controller }) => controller === true)

/**
 * Which of two resource versions of one API server is the later: negative, zero or positive. Versions are decimal numbers
 * without leading zeros that may not fit into a double (KEP-5504, "comparable resource version").
 */
export function compareVersions(a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length
  return a < b ? -1 : a > b ? 1 : 0
}

/** As it comes back from the API server: fields that are undefined are not there. */
export const asStored = (value: object): unknown => JSON.parse(JSON.stringify(value))
