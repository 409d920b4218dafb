/** A namespace of a test's own, and what a person does in it. */
import { randomUUID } from 'node:crypto'
import { isWrite, type AuditMark } from '../../../local/platform/audit-log.ts'
import { KubeRefusedError } from '../../../local/platform/kube-api.ts'
import { atEnd, type Lifetime } from '../../integration/support/clean-up.ts'
import { sharedCluster, type Cluster } from './cluster.ts'
import { apiVersionOf, OUR_KINDS, pathOf, type Kind, type OurKind } from './kinds.ts'
import { until } from './until.ts'

/** An object as the API server gives it; tests know what they asked for. */
export type Stored = {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly uid: string
    readonly resourceVersion: string
    readonly generation?: number
    readonly labels?: Readonly<Record<string, string>>
    readonly annotations?: Readonly<Record<string, string>>
    readonly deletionTimestamp?: string
    readonly finalizers?: readonly string[]
    readonly ownerReferences?: readonly { readonly kind: string; readonly name: string; readonly uid: string }[]
  }
  readonly spec?: Readonly<Record<string, unknown>>
  readonly status?: Readonly<Record<string, unknown>>
  readonly data?: Readonly<Record<string, string>>
}

/** Of a resource of ours. */
export type Condition = {
  readonly type: string
  readonly status: string
  readonly reason: string
  readonly message: string
  readonly observedGeneration: number
}

export type EventSeen = {
  readonly type: string
  readonly reason: string
  readonly action?: string
  readonly note?: string
  readonly regarding: { readonly kind: string; readonly name: string }
}

/** What a role allows, as in RBAC. */
export type Rule = {
  readonly apiGroups: readonly string[]
  readonly resources: readonly string[]
  readonly verbs: readonly string[]
  readonly resourceNames?: readonly string[]
}

export class Namespace {
  readonly cluster: Cluster
  readonly name: string

  private constructor(cluster: Cluster, name: string) {
    this.cluster = cluster
    this.name = name
  }

  /**
   * Gone with all that is in it when the test is; finalizers that nobody takes off any more do not hold it. Its name begins
   * with TEST_NAMESPACE_PREFIX.
   */
  static async start(t: Lifetime, cluster: Cluster = sharedCluster()): Promise<Namespace> {
    const prefix = process.env['TEST_NAMESPACE_PREFIX'] ?? 't'
    const namespace = new Namespace(cluster, `${prefix}-${randomUUID().slice(0, 13)}`)
    const body = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace.name } }
    await cluster.api.request('POST', '/api/v1/namespaces', { body })
    if (!cluster.isOwn) atEnd(t, () => namespace.#remove())
    // Without it no Pod is taken in.
    await until('the namespace has its ServiceAccount', () => namespace.get('ServiceAccount', 'default'))
    return namespace
  }

  /** Server-side apply, as a person with `kubectl apply --server-side`. */
  async apply(object: object, fieldManager = 'person'): Promise<Stored> {
    const { kind, metadata } = object as { readonly kind: Kind; readonly metadata: { readonly name: string } }
    const path = `${pathOf(kind, this.name, metadata.name)}?fieldManager=${fieldManager}&force=true`
    const body = { ...object, metadata: { ...metadata, namespace: this.name } }
    const contentType = 'application/apply-patch+yaml'
    return (await this.cluster.api.request<Stored>('PATCH', path, { body, contentType })).body
  }

  /** Merges this into the object: `{ spec: { replicas: 2 } }`; null removes a field. */
  async change(kind: Kind, name: string, change: object): Promise<Stored> {
    const contentType = 'application/merge-patch+json'
    const path = pathOf(kind, this.name, name)
    return (await this.cluster.api.request<Stored>('PATCH', path, { body: change, contentType })).body
  }

  /** Merges this into the status of one of our resources, as an administrator may who writes it by hand. */
  async changeStatus(kind: OurKind, name: string, status: object): Promise<Stored> {
    const contentType = 'application/merge-patch+json'
    const path = `${pathOf(kind, this.name, name)}/status`
    return (await this.cluster.api.request<Stored>('PATCH', path, { body: { status }, contentType })).body
  }

  /** Undefined when it is not there. */
  async get(kind: Kind, name: string): Promise<Stored | undefined> {
    try {
      return (await this.cluster.api.request<Stored>('GET', pathOf(kind, this.name, name))).body
    } catch (error) {
      if (error instanceof KubeRefusedError && error.status === 404) return undefined
      throw error
    }
  }

  /** @param selector  of labels: `app=a,tier!=b` */
  async list(kind: Kind, selector = ''): Promise<readonly Stored[]> {
    const path = `${pathOf(kind, this.name)}?labelSelector=${encodeURIComponent(selector)}`
    const { items } = (await this.cluster.api.request<{ readonly items: readonly Stored[] }>('GET', path)).body
    // A list does not repeat of its entries what they all are.
    return items.map((item) => ({ ...item, apiVersion: apiVersionOf(kind), kind }))
  }

  /** Asks for the deletion, which finalizers may hold up; nothing happens when it is not there. */
  async delete(kind: Kind, name: string, graceSeconds?: number): Promise<void> {
    const body = {
      apiVersion: 'v1',
      kind: 'DeleteOptions',
      propagationPolicy: 'Background',
      ...(graceSeconds === undefined ? {} : { gracePeriodSeconds: graceSeconds }),
    }
    try {
      await this.cluster.api.request('DELETE', pathOf(kind, this.name, name), { body })
    } catch (error) {
      if (!(error instanceof KubeRefusedError && error.status === 404)) throw error
    }
  }

  /** Events about objects of this name, in no order. */
  async events(about: string): Promise<readonly EventSeen[]> {
    const { items } = (
      await this.cluster.api.request<{ readonly items: readonly EventSeen[] }>('GET', pathOf('Event', this.name))
    ).body
    return items.filter(({ regarding }) => regarding.name === about)
  }

  /**
   * What an operator wrote here, each `patch secrets b`.
   * @param leftOut  resources that are not told of
   */
  async operatorWrites(since: AuditMark, leftOut: readonly string[]): Promise<readonly string[]> {
    const events = await this.cluster.audit.events(since)
    return events
      .filter((event) => isWrite(event) && event.objectRef?.namespace === this.name)
      .filter(({ userAgent }) => userAgent === 'grpc-kafka-operator')
      .filter(({ objectRef }) => !leftOut.includes(objectRef?.resource ?? ''))
      .map(({ verb, objectRef }) => `${verb} ${objectRef?.resource} ${objectRef?.name}`)
  }

  /** What is said of the objects of this name, without what Kubernetes counts. */
  async said(kinds: readonly Kind[], name: string): Promise<readonly object[]> {
    const found = await Promise.all(kinds.map((kind) => this.get(kind, name)))
    return found.map((object) => ({
      kind: object?.kind,
      labels: object?.metadata.labels,
      annotations: { ...object?.metadata.annotations, 'deployment.kubernetes.io/revision': '' },
      spec: object?.spec,
      data: object?.data,
    }))
  }

  kubectl(...args: readonly string[]): Promise<string> {
    return this.cluster.kubectl(`--namespace=${this.name}`, ...args)
  }

  /** A new ServiceAccount that may do this in this namespace. Answers a kubeconfig of it. */
  async serviceAccount(name: string, rules: readonly Rule[]): Promise<string> {
    await this.apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name } })
    const rbac = apiVersionOf('Role')
    await this.apply({ apiVersion: rbac, kind: 'Role', metadata: { name }, rules })
    await this.apply({
      apiVersion: rbac,
      kind: 'RoleBinding',
      metadata: { name },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name },
      subjects: [{ kind: 'ServiceAccount', name, namespace: this.name }],
    })
    return this.cluster.kubeconfigOf(this.name, name)
  }

  /** Asks for its deletion, with all that is in it; nothing happens when it is not there. */
  async deleteItself(): Promise<void> {
    await this.cluster.api.request('DELETE', `/api/v1/namespaces/${this.name}`).catch(unlessGone)
  }

  async isGone(): Promise<boolean> {
    try {
      await this.cluster.api.request('GET', `/api/v1/namespaces/${this.name}`)
      return false
    } catch (error) {
      unlessGone(error)
      return true
    }
  }

  async #remove(): Promise<void> {
    // First: in a namespace that ends nothing new is made.
    await this.deleteItself()
    for (const kind of OUR_KINDS) {
      for (const { metadata } of await this.list(kind)) {
        if (metadata.finalizers === undefined) continue
        await this.change(kind, metadata.name, { metadata: { finalizers: null } }).catch(unlessGone)
      }
    }
    // Nobody else ends a Pod that has a node.
    for (const { metadata } of await this.list('Pod')) await this.delete('Pod', metadata.name, 0)
  }
}

function unlessGone(error: unknown): void {
  if (!(error instanceof KubeRefusedError && error.status === 404)) throw error
}
