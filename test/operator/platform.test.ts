/** What the tests of the operator stand on: if this does not hold, they prove nothing. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { isWrite } from '../../local/platform/audit-log.ts'
import { ownCluster, sharedCluster } from './support/cluster.ts'
import { ownConsul } from './support/consul.ts'
import { makePodsReady, makePodsUnready, playKubelet } from './support/kubelet.ts'
import { Namespace, type Stored } from './support/namespace.ts'
import { until, untilHolds } from './support/until.ts'

const LABELS = { app: 'web' }

const deployment = (replicas: number, image = 'web:1') => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web' },
  spec: {
    replicas,
    selector: { matchLabels: LABELS },
    template: { metadata: { labels: LABELS }, spec: { containers: [{ name: 'web', image }] } },
  },
})

const service = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'web' },
  spec: { selector: LABELS, ports: [{ name: 'http', port: 80 }] },
}

/** Ready addresses of the Service `web`. */
async function endpoints(namespace: Namespace): Promise<readonly string[]> {
  type Endpoint = { readonly addresses: readonly string[]; readonly conditions: { readonly ready: boolean } }
  const slices = await namespace.list('EndpointSlice', 'kubernetes.io/service-name=web')
  return slices
    .flatMap((slice) => (slice as unknown as { readonly endpoints?: readonly Endpoint[] }).endpoints ?? [])
    .flatMap(({ addresses, conditions }) => (conditions.ready ? addresses : []))
    .sort()
}

const addressesOf = (pods: readonly Stored[]): readonly string[] =>
  pods.map((pod) => String(pod.status?.['podIP'])).sort()

const imagesOf = (pods: readonly Stored[]): readonly string[] =>
  pods.flatMap(({ spec }) =>
    ((spec?.['containers'] ?? []) as readonly { readonly image: string }[]).map(({ image }) => image),
  )

test('Pods that are made ready make their Deployment available, and are the endpoints of their Service', async (t) => {
  const namespace = await Namespace.start(t)
  await namespace.apply(service)
  await namespace.apply(deployment(2))
  const pods = await makePodsReady(namespace, 'app=web', 2)
  assert.equal(pods.length, 2)
  await until(
    'two are available',
    async () => (await namespace.get('Deployment', 'web'))?.status?.['availableReplicas'] === 2,
  )
  await untilHolds('two endpoints', async () => assert.deepEqual(await endpoints(namespace), addressesOf(pods)))
})

test('a Pod that is not ready any more is no endpoint', async (t) => {
  const namespace = await Namespace.start(t)
  await namespace.apply(service)
  await namespace.apply(deployment(1))
  await makePodsReady(namespace, 'app=web')
  await until('one endpoint', async () => (await endpoints(namespace)).length === 1)
  await makePodsUnready(namespace, 'app=web')
  await until('no endpoint', async () => (await endpoints(namespace)).length === 0)
})

test('a Deployment rolls to its end where the kubelet is played', async (t) => {
  const namespace = await Namespace.start(t)
  playKubelet(t, namespace)
  await namespace.apply(deployment(2))
  await until(
    'it is available',
    async () => (await namespace.get('Deployment', 'web'))?.status?.['availableReplicas'] === 2,
  )
  await namespace.apply(deployment(2, 'web:2'))
  await untilHolds('all run the second image', async () =>
    assert.deepEqual(imagesOf(await namespace.list('Pod')), ['web:2', 'web:2']),
  )
})

test('what has an owner goes with it', async (t) => {
  const namespace = await Namespace.start(t)
  const { metadata } = await namespace.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'owner' } })
  const owner = { apiVersion: 'v1', kind: 'ConfigMap', name: metadata.name, uid: metadata.uid }
  await namespace.apply({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'owned', ownerReferences: [owner] } })
  await namespace.delete('ConfigMap', 'owner')
  await until('it is gone', async () => (await namespace.get('Secret', 'owned')) === undefined)
})

test('a ServiceAccount may do what its role says and nothing else', async (t) => {
  const namespace = await Namespace.start(t)
  const file = await namespace.serviceAccount('reader', [
    { apiGroups: [''], resources: ['configmaps'], verbs: ['list'] },
  ])
  const as = (...args: readonly string[]): Promise<string> => namespace.kubectl(`--kubeconfig=${file}`, ...args)
  assert.match(await as('get', 'configmaps', '--output=name'), /^configmap\/kube-root-ca\.crt$/m)
  await assert.rejects(
    as('get', 'secrets'),
    /User "system:serviceaccount:t-[^"]*:reader" cannot list resource "secrets"/,
  )
})

test('the audit log tells who wrote what since a moment', async (t) => {
  const namespace = await Namespace.start(t)
  const { audit } = sharedCluster()
  await namespace.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'before' } })
  const moment = await audit.mark()
  await namespace.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'after' } }, 'somebody')
  await namespace.get('ConfigMap', 'after')
  await untilHolds('both are in the log', async () => {
    const events = (await audit.events(moment)).filter(
      ({ objectRef, user }) => objectRef?.namespace === namespace.name && user.username === 'admin',
    )
    assert.deepEqual(
      events.map((event) => [event.verb, event.objectRef?.name, isWrite(event), event.responseStatus?.code]),
      [
        ['patch', 'after', true, 201],
        ['get', 'after', false, 200],
      ],
    )
    assert.match(events[0]?.requestURI ?? '', /fieldManager=somebody/)
  })
})

test('an API server that was killed comes back with what it knew', async (t) => {
  const { cluster, plane } = await ownCluster(t)
  const namespace = await Namespace.start(t, cluster)
  const before = await namespace.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'kept' } })
  await plane.apiServer.kill('SIGKILL')
  await assert.rejects(namespace.get('ConfigMap', 'kept'))
  await plane.apiServer.start()
  assert.deepEqual(await namespace.get('ConfigMap', 'kept'), before)
  await namespace.apply(deployment(1))
  await makePodsReady(namespace, 'app=web')
})

test('Consul that was killed has forgotten what it was told', async (t) => {
  const consul = await ownConsul(t)
  const services = async (): Promise<unknown> => (await fetch(`${consul.url}/v1/catalog/services`)).json()
  const body = { Node: 'n', Address: '10.0.0.1', Service: { ID: 'a', Service: 'a', Port: 1 } }
  const answer = await fetch(`${consul.url}/v1/catalog/register`, { method: 'PUT', body: JSON.stringify(body) })
  assert.equal(answer.status, 200, await answer.text())
  assert.deepEqual(await services(), { a: [], consul: [] })
  await consul.kill('SIGKILL')
  await consul.start()
  assert.deepEqual(await services(), { consul: [] })
})
