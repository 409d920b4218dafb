import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { loadResources } from '../../../../local/resources/load.ts'
import { ResourcesError } from '../../../../local/resources/origin.ts'
import { resolveRoutes } from '../../../../local/resources/resolve.ts'
import { folder, group, service } from './files.ts'

const resolve = async (context: TestContext, ...documents: readonly string[]) =>
  resolveRoutes(await loadResources([await folder(context, { 'a.yaml': documents.join('---\n') })]))

const problemsOf = async (context: TestContext, ...documents: readonly string[]): Promise<readonly string[]> => {
  try {
    await resolve(context, ...documents)
  } catch (error) {
    assert.ok(error instanceof ResourcesError)
    return error.problems.map((line) => line.replace(/^.*?, document /, ''))
  }
  return assert.fail('the resources were accepted')
}

const policy =
  'apiVersion: grpckafka.dev/v1alpha1\nkind: RetryPolicy\nmetadata: { name: patient }\nspec: { maxAttempts: 7 }\n'

test('a service gets its groups, and a group its policy', async (context) => {
  const { routes, warnings } = await resolve(
    context,
    service('orders'),
    group('orders', 'orders', '  retryPolicyRef: { name: patient }\n'),
    group('audit', 'orders', '  role: Observer\n').replace('50051', '50052'),
    policy,
  )
  assert.deepEqual(warnings, [])
  assert.deepEqual(
    routes.map(({ service: { metadata }, groups }) => [
      metadata.name,
      groups.map((one) => [one.group.metadata.name, one.policy?.spec.maxAttempts]),
    ]),
    [
      [
        'orders',
        [
          ['orders', 7],
          ['audit', undefined],
        ],
      ],
    ],
  )
})

test('two services that register themselves in one Consul have two names', async (context) => {
  const registered = (name: string, consul: string) =>
    `${service(name).trimEnd()}\n  registration: { consul: { check: TTL, address: 'http://consul:8500'${consul} } }\n`
  assert.deepEqual(await problemsOf(context, registered('orders', ''), registered('returns', ', name: orders')), [
    '2 (CalculateService returns): spec.registration.consul.name: "orders in http://consul:8500, namespace default" already belongs to CalculateService orders',
  ])
})

test('says what is not done on one machine', async (context) => {
  const { warnings } = await resolve(
    context,
    `${service('orders').trimEnd()}\n  registration: { consul: { address: 'http://consul:8500' } }\n`,
    group('orders', 'orders', '  scaling: { maxReplicas: 5 }\n'),
  )
  assert.deepEqual(
    warnings.map((line) => line.replace(/^.*?, document /, '')),
    [
      '1 (CalculateService orders): spec.registration.consul: on one machine only proxies with check TTL are registered',
      '2 (ConsumerGroup orders): spec.scaling: on one machine there are spec.replicas, 1',
    ],
  )
})

test('says that calls have no order where no method has a partition key', async (context) => {
  const { warnings } = await resolve(context, service('orders'), group('orders', 'orders', '  ordering: Key\n'))
  assert.deepEqual(
    warnings.map((line) => line.replace(/^.*?, document /, '')),
    [
      '2 (ConsumerGroup orders): spec.ordering: no method of CalculateService orders has a partitionKey: no call waits for another',
    ],
  )
})

test('refuses long pauses where calls wait for each other', async (context) => {
  const slow = policy.replace('7', '7, backoff: { initialMilliseconds: 20000, maxMilliseconds: 20000 }')
  const ordered = group('orders', 'orders', '  retryPolicyRef: { name: patient }\n  ordering: Partition\n')
  assert.deepEqual(await problemsOf(context, service('orders'), ordered, slow), [
    '2 (ConsumerGroup orders): spec.ordering: RetryPolicy patient: the pauses add up to 120000 ms; with ordering Partition, where others wait for a call that waits, to 60000 ms at the most',
  ])
})

test('attempts that would come after what is kept of a call are possible and odd', async (context) => {
  const patient = policy.replace(
    '7',
    '7, onExpired: Continue, backoff: { initialMilliseconds: 9000000, maxMilliseconds: 9000000 }',
  )
  const using = group('orders', 'orders', '  retryPolicyRef: { name: patient }\n')
  const { warnings } = await resolve(context, service('orders'), using, patient)
  assert.equal(warnings.length, 1)
  assert.match(warnings[0] ?? '', /RetryPolicy patient: all attempts and pauses of a call may take \d+ ms/)
})

test('a reference that leads nowhere names its field and what there is', async (context) => {
  assert.deepEqual(
    await problemsOf(context, service('orders'), group('g', 'order', '  retryPolicyRef: { name: patient }\n')),
    [
      '2 (ConsumerGroup g): spec.calculateServiceRef.name: no CalculateService "order" in its namespace (there is default/orders)',
      '2 (ConsumerGroup g): spec.retryPolicyRef.name: no RetryPolicy "patient" in its namespace and none elsewhere',
    ],
  )
})

test('a reference does not leave its namespace', async (context) => {
  const elsewhere = group('g', 'orders').replace('name: g }', 'name: g, namespace: two }')
  assert.deepEqual(await problemsOf(context, service('orders'), elsewhere), [
    '2 (ConsumerGroup g): spec.calculateServiceRef.name: no CalculateService "orders" in its namespace (there is default/orders)',
  ])
})

test('a service has one Responder', async (context) => {
  assert.deepEqual(await problemsOf(context, service('orders'), group('one', 'orders'), group('two', 'orders')), [
    '3 (ConsumerGroup two): spec.role: one already answers for CalculateService orders; a service has one Responder',
  ])
})

test('a service without a Responder is possible and odd', async (context) => {
  const { warnings } = await resolve(context, service('orders'), group('audit', 'orders', '  role: Observer\n'))
  assert.equal(warnings.length, 1)
  assert.match(warnings[0] ?? '', /no ConsumerGroup with role Responder refers to it/)
})

test('a topic and a group id belong to one resource', async (context) => {
  const again = service('returns').replace('topic: { name: returns }', 'topic: { name: orders }')
  const sameGroup = group('returns', 'returns').replace('groupId: returns', 'groupId: orders')
  assert.deepEqual(await problemsOf(context, service('orders'), group('orders', 'orders'), again, sameGroup), [
    '3 (CalculateService returns): spec.topic.name: "orders" already belongs to CalculateService orders',
    '4 (ConsumerGroup returns): spec.groupId: "orders" already belongs to ConsumerGroup orders',
  ])
})

test('topic settings that would lose calls are refused', async (context) => {
  const lossy = service('orders').replace(
    '{ name: orders }\n  methods',
    '{ name: orders, config: { cleanup.policy: compact } }\n  methods',
  )
  const [problem = ''] = await problemsOf(context, lossy, group('orders', 'orders'))
  assert.match(problem, /^1 \(CalculateService orders\): spec\.topic\.config\["cleanup\.policy"\]: must be delete/)
})
