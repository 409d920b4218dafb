/** There is no kubelet here: a test says what becomes of the Pods that the controller-manager makes. */
import { randomInt } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { KubeRefusedError } from '../../../local/platform/kube-api.ts'
import { atEnd, type Lifetime } from '../../integration/support/clean-up.ts'
import type { Cluster } from './cluster.ts'
import { pathOf } from './kinds.ts'
import type { Namespace, Stored } from './namespace.ts'
import { until } from './until.ts'

/** Endpoints are made of Pods that have a node that is there. */
const NODE = 'test-node'
const HOST_IP = '10.0.0.1'
const LOOK_MILLISECONDS = 100

/**
 * Waits until at least that many Pods are there that do not end, and makes all of them run, each with an address of its
 * own, and be ready.
 */
export async function makePodsReady(namespace: Namespace, selector: string, count = 1): Promise<readonly Stored[]> {
  return setReadiness(namespace, selector, count, 'True')
}

/** The same Pods go on running and are not ready any more. */
export async function makePodsUnready(namespace: Namespace, selector: string, count = 1): Promise<readonly Stored[]> {
  return setReadiness(namespace, selector, count, 'False')
}

/**
 * From now on until the test ends: Pods of the selector become ready as they appear, and those that are being deleted
 * end at once.
 */
export function playKubelet(
  t: Lifetime,
  namespace: Namespace,
  selector = '',
  lookMilliseconds = LOOK_MILLISECONDS,
): void {
  const over = new AbortController()
  const work = async (): Promise<void> => {
    while (!over.signal.aborted) {
      await step(namespace, selector).catch(() => {
        // The API server may be the very thing that the test breaks.
      })
      await pause(lookMilliseconds, undefined, { signal: over.signal }).catch(() => undefined)
    }
  }
  const working = work()
  atEnd(t, async () => {
    over.abort()
    await working
  })
}

async function step(namespace: Namespace, selector: string): Promise<void> {
  for (const pod of await namespace.list('Pod', selector)) {
    if (isEnding(pod)) await namespace.delete('Pod', pod.metadata.name, 0)
    else if (readinessOf(pod) !== 'True') await run(namespace, pod, 'True')
  }
}

async function setReadiness(
  namespace: Namespace,
  selector: string,
  count: number,
  ready: 'True' | 'False',
): Promise<readonly Stored[]> {
  const pods = await until(`${count} Pods of ${selector}`, async () => {
    const found = (await namespace.list('Pod', selector)).filter((pod) => !isEnding(pod))
    return found.length >= count && found
  })
  return Promise.all(pods.map((pod) => run(namespace, pod, ready)))
}

async function run(namespace: Namespace, pod: Stored, ready: 'True' | 'False'): Promise<Stored> {
  const { api } = namespace.cluster
  const path = pathOf('Pod', namespace.name, pod.metadata.name)
  if (pod.spec?.['nodeName'] === undefined) {
    await ensureNode(namespace.cluster)
    const target = { apiVersion: 'v1', kind: 'Node', name: NODE }
    const body = { apiVersion: 'v1', kind: 'Binding', metadata: { name: pod.metadata.name }, target }
    await api.request('POST', `${path}/binding`, { body }).catch(unlessThere)
  }
  const podIP = pod.status?.['podIP'] ?? newAddress()
  const status = {
    phase: 'Running',
    hostIP: HOST_IP,
    podIP,
    podIPs: [{ ip: podIP }],
    conditions: ['PodScheduled', 'Initialized', 'ContainersReady', 'Ready'].map((type) => ({
      type,
      status: type === 'ContainersReady' || type === 'Ready' ? ready : 'True',
      lastTransitionTime: new Date().toISOString(),
    })),
  }
  const contentType = 'application/merge-patch+json'
  return (await api.request<Stored>('PATCH', `${path}/status`, { body: { status }, contentType })).body
}

let addresses = randomInt(0xffff)

function newAddress(): string {
  addresses = (addresses + 1) % 0xffff
  return `10.244.${addresses >> 8}.${addresses & 0xff}`
}

async function ensureNode(cluster: Cluster): Promise<void> {
  const body = { apiVersion: 'v1', kind: 'Node', metadata: { name: NODE } }
  await cluster.api.request('POST', '/api/v1/nodes', { body }).catch(unlessThere)
}

function unlessThere(error: unknown): void {
  if (!(error instanceof KubeRefusedError && error.status === 409)) throw error
}

const isEnding = (pod: Stored): boolean => pod.metadata.deletionTimestamp !== undefined

function readinessOf(pod: Stored): string | undefined {
  const conditions = (pod.status?.['conditions'] ?? []) as readonly { readonly type: string; readonly status: string }[]
  return conditions.find(({ type }) => type === 'Ready')?.status
}
