/** The controller runtime on a real API server, with the controller of operator/controller/README.md. */
import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { ownCluster, sharedCluster } from './support/cluster.ts'
import { Namespace } from './support/namespace.ts'
import { OperatorProcess, type OperatorOptions } from './support/operator-process.ts'
import { until, untilHolds } from './support/until.ts'

/** So that a test sees a lease run out soon; a busy machine has as long to renew it as with the defaults. */
const SHORT_LEASE = {
  'leader-elect-lease-seconds': 12,
  'leader-elect-renew-deadline-seconds': 10,
  'leader-elect-retry-seconds': 1,
}

/** It is not the lease that the test is about, however long the API server is away. */
const LONG_LEASE = { 'leader-elect-lease-seconds': 300, 'leader-elect-renew-deadline-seconds': 200 }

/** Reconciles wait for SIGUSR2 before they write. */
const WAITING = { COPY_WAITS: 'SIGUSR2' }

const untilReconciles = (operator: OperatorProcess): Promise<unknown> =>
  until(`${operator.name} reconciles`, async () => (await operator.metric(ACTIVE)) === 1)

const ACTIVE = 'controller_runtime_active_workers{controller="copy"}'

const startOperator = (
  t: TestContext,
  namespace: Namespace,
  options: Pick<OperatorOptions, 'flags' | 'environment' | 'name'> & { readonly kubeconfig?: string } = {},
): Promise<OperatorProcess> =>
  OperatorProcess.start(t, {
    program: 'test/operator/support/copy-operator.ts',
    kubeconfig: namespace.cluster.access.adminKubeconfig,
    namespace: namespace.name,
    ...options,
  })

const configMap = (name: string, v: string) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, labels: { copy: 'yes' } },
  data: { v },
})

/** What the copy says, or undefined when there is none. */
async function copied(namespace: Namespace, name: string): Promise<string | undefined> {
  const secret = await namespace.get('Secret', name)
  return secret?.data?.['v'] === undefined ? undefined : Buffer.from(secret.data['v'], 'base64').toString()
}

const untilCopied = (namespace: Namespace, name: string, v: string): Promise<unknown> =>
  until(`${name} is copied as ${v}`, async () => (await copied(namespace, name)) === v)

const holderOf = async (namespace: Namespace): Promise<string> => {
  const lease = await namespace.get('Lease', 'grpc-kafka-operator')
  return ((lease?.spec?.['holderIdentity'] ?? '') as string).replace(/_.*/, '')
}

test('what is wanted is made, followed, and mended when somebody changes or deletes it', async (t) => {
  const namespace = await Namespace.start(t)
  await namespace.apply(configMap('before', '1'))
  await startOperator(t, namespace)
  await untilCopied(namespace, 'before', '1')
  await namespace.apply(configMap('after', '1'))
  await untilCopied(namespace, 'after', '1')
  await namespace.apply(configMap('after', '2'))
  await untilCopied(namespace, 'after', '2')
  await namespace.change('Secret', 'after', { data: { v: 'AAAA' } })
  await untilCopied(namespace, 'after', '2')
  await namespace.delete('Secret', 'after')
  await untilCopied(namespace, 'after', '2')
  await namespace.delete('ConfigMap', 'after')
  await until('the copy went with its owner', async () => (await namespace.get('Secret', 'after')) === undefined)
})

test('resyncs reconcile everything and write nothing, and still mend what somebody breaks', async (t) => {
  const namespace = await Namespace.start(t)
  const names = ['a', 'b', 'c']
  for (const name of names) await namespace.apply(configMap(name, '1'))
  const operator = await startOperator(t, namespace, { flags: { 'resync-seconds': 1 } })
  for (const name of names) await untilCopied(namespace, name, '1')
  const { audit } = sharedCluster()
  // Events of the first copies are written a little after them.
  await until('the events are there', async () => {
    const events = await Promise.all(names.map((name) => namespace.events(name)))
    return events.every(({ length }) => length === 1)
  })
  const mark = await audit.mark()
  const before = names.map((name) => operator.reconciles(`${namespace.name}/${name}`))
  await until('each was reconciled three times more', () =>
    names.every((name, index) => operator.reconciles(`${namespace.name}/${name}`) >= before[index]! + 3),
  )
  assert.deepEqual(await namespace.operatorWrites(mark, ['leases']), [])
  await namespace.change('Secret', 'b', { data: { v: 'AAAA' } })
  await untilCopied(namespace, 'b', '1')
  assert.ok((await namespace.operatorWrites(mark, ['leases'])).includes('patch secrets b'))
})

test('what was written can be read at once, though the watch tells of it later, and one write is enough', async (t) => {
  const namespace = await Namespace.start(t)
  const operator = await startOperator(t, namespace)
  const mark = await sharedCluster().audit.mark()
  const names = Array.from({ length: 20 }, (_, index) => `map-${index}`)
  for (const name of names) await namespace.apply(configMap(name, '1'))
  for (const name of names) await untilCopied(namespace, name, '1')
  const writes = await namespace.operatorWrites(mark, ['leases'])
  assert.deepEqual(
    writes.filter((write) => write.includes('secrets')).sort(),
    names.map((name) => `patch secrets ${name}`).sort(),
  )
  const failed = operator.log.filter(({ msg }) => msg === 'a reconcile failed').map(({ err }) => err)
  assert.deepEqual(failed, [])
})

test('kubectl shows what happened', async (t) => {
  const namespace = await Namespace.start(t)
  await startOperator(t, namespace)
  await namespace.apply(configMap('told', '1'))
  await until('there is an event', async () => (await namespace.events('told')).length === 1)
  const shown = await namespace.kubectl('describe', 'configmap', 'told')
  assert.match(shown, /Normal +Copied .*copied into secret/)
})

test('an API server that is killed and started again, after changes were missed, is followed on', async (t) => {
  const { cluster, plane } = await ownCluster(t)
  const namespace = await Namespace.start(t, cluster)
  await namespace.apply(configMap('kept', '1'))
  await namespace.apply(configMap('gone', '1'))
  const operator = await startOperator(t, namespace, { flags: LONG_LEASE })
  await untilCopied(namespace, 'kept', '1')
  await untilCopied(namespace, 'gone', '1')
  operator.kill('SIGSTOP')
  await namespace.change('Secret', 'kept', { data: { v: 'AAAA' } })
  await namespace.delete('ConfigMap', 'gone')
  await plane.apiServer.kill('SIGKILL')
  operator.kill('SIGCONT')
  await plane.apiServer.start()
  await untilCopied(namespace, 'kept', '1')
  await namespace.apply(configMap('new', '1'))
  await untilCopied(namespace, 'new', '1')
  assert.equal(operator.exit, undefined)
  const { status } = await operator.probe('/healthz')
  assert.equal(status, 200)
})

test('an operator that may not list something is not ready and says what, until it may', async (t) => {
  const namespace = await Namespace.start(t)
  const anything = { verbs: ['*'], apiGroups: ['', 'coordination.k8s.io', 'events.k8s.io'] }
  const kubeconfig = await namespace.serviceAccount('operator', [
    { ...anything, resources: ['configmaps', 'leases', 'events'] },
  ])
  const operator = await startOperator(t, namespace, { kubeconfig })
  await namespace.apply(configMap('a', '1'))
  await until('it was refused', () => operator.said('listing again', { resource: 'Secret.v1' }) > 0)
  await untilHolds('only that is missing', async () =>
    assert.deepEqual(await operator.probe('/readyz'), { status: 503, text: 'not listed yet: Secret.v1' }),
  )
  assert.equal(operator.said('reconciled'), 0)
  const rule = { ...anything, resources: ['configmaps', 'leases', 'events', 'secrets'] }
  await namespace.change('Role', 'operator', { rules: [rule] })
  await untilCopied(namespace, 'a', '1')
  assert.deepEqual(await operator.probe('/readyz'), { status: 200, text: 'ok' })
})

test('of two operators one works; the other is ready, and takes over at once when the first ends in order', async (t) => {
  const namespace = await Namespace.start(t)
  const first = await startOperator(t, namespace, { name: 'first' })
  await until('the first leads', async () => (await holderOf(namespace)) === 'first')
  const second = await startOperator(t, namespace, { name: 'second' })
  await until('the second is ready', async () => (await second.probe('/readyz')).status === 200)
  await namespace.apply(configMap('a', '1'))
  await untilCopied(namespace, 'a', '1')
  assert.equal(second.reconciles(`${namespace.name}/a`), 0)
  assert.equal(await first.metric('leader_election_master_status{name="grpc-kafka-operator"}'), 1)
  assert.equal(await second.metric('leader_election_master_status{name="grpc-kafka-operator"}'), 0)
  const began = performance.now()
  first.kill('SIGTERM')
  assert.deepEqual(await first.exited, { code: 0, signal: null })
  assert.equal(first.said('gave the lease back'), 1)
  await until('the second leads', async () => (await holderOf(namespace)) === 'second')
  // It would have had to wait for fifteen seconds more for a lease that was not given back.
  t.diagnostic(`taken over after ${Math.round(performance.now() - began)} ms`)
  await namespace.apply(configMap('a', '2'))
  await untilCopied(namespace, 'a', '2')
})

test('SIGTERM lets the reconcile that runs end before the lease is given back', async (t) => {
  const namespace = await Namespace.start(t)
  const operator = await startOperator(t, namespace, { environment: WAITING })
  await namespace.apply(configMap('slow', '1'))
  await untilReconciles(operator)
  operator.kill('SIGTERM')
  await until('it drains', () => operator.said('draining') === 1)
  assert.equal(await holderOf(namespace), 'operator')
  operator.kill('SIGUSR2')
  assert.deepEqual(await operator.exited, { code: 0, signal: null })
  assert.equal(await copied(namespace, 'slow'), '1')
  assert.equal(operator.said('gave the lease back'), 1)
  assert.equal(await holderOf(namespace), '')
})

test('the lease of an operator that was killed runs out, and another takes over', async (t) => {
  const namespace = await Namespace.start(t)
  const first = await startOperator(t, namespace, { name: 'first', flags: SHORT_LEASE })
  await until('the first leads', async () => (await holderOf(namespace)) === 'first')
  await startOperator(t, namespace, { name: 'second', flags: SHORT_LEASE })
  first.kill('SIGKILL')
  await first.exited
  await namespace.apply(configMap('a', '1'))
  await untilCopied(namespace, 'a', '1')
  assert.equal(await holderOf(namespace), 'second')
})

test('a leader that was frozen past its lease writes nothing more and ends', async (t) => {
  const namespace = await Namespace.start(t)
  const first = await startOperator(t, namespace, { name: 'first', flags: SHORT_LEASE, environment: WAITING })
  await until('the first leads', async () => (await holderOf(namespace)) === 'first')
  const second = await startOperator(t, namespace, { name: 'second', flags: SHORT_LEASE })
  await namespace.apply(configMap('a', '1'))
  await untilReconciles(first)
  first.kill('SIGSTOP')
  await until('the second leads', async () => (await holderOf(namespace)) === 'second')
  await untilCopied(namespace, 'a', '1')
  await namespace.apply(configMap('a', '2'))
  await untilCopied(namespace, 'a', '2')
  // It gets both at once: before it can ask who leads, its reconcile goes on.
  first.kill('SIGUSR2')
  first.kill('SIGCONT')
  assert.deepEqual(await first.exited, { code: 1, signal: null })
  assert.equal(first.said('gave the lease back'), 0)
  assert.equal(await copied(namespace, 'a'), '2')
  assert.equal(second.exit, undefined)
  // Its reconcile had the old text in hand, and was told that it may not write before it knew that another leads.
  assert.ok(
    first.log.some(({ err }) => (err as { readonly code?: string } | undefined)?.code === 'NotLeading'),
    JSON.stringify(first.log.slice(-10)),
  )
})
