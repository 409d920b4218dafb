/** The client against a server that takes nothing but what Consul's documentation says. */
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import { HttpConsulCatalog } from '../../../../operator/registry/consul-client.ts'
import type { ConsulInstance } from '../../../../operator/registry/consul-plan.ts'
import { ConsulProblem } from '../../../../operator/registry/consul-problem.ts'

const SIGNAL = new AbortController().signal
const SCOPE = { node: 'grpc-kafka-default', marks: [{ uid: 'u"1' }, { cluster: 'c', name: 'n' }] }
const INSTANCE: ConsulInstance = {
  id: 'pod-uid',
  service: 'calc',
  address: '10.0.0.1',
  port: 50051,
  tags: ['a'],
  meta: { uid: 'u' },
  health: 'critical',
}

interface Seen {
  readonly method: string
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  readonly token: string | undefined
  readonly body: unknown
}

type Answer = (request: Seen, response: ServerResponse) => void

async function consul(t: TestContext, answer: Answer): Promise<{ readonly address: string; readonly seen: Seen[] }> {
  const seen: Seen[] = []
  const take = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks = await request.toArray()
    const url = new URL(request.url ?? '', 'http://consul')
    const text = Buffer.concat(chunks as Buffer[]).toString('utf8')
    const one = {
      method: request.method ?? '',
      path: url.pathname,
      query: Object.fromEntries(url.searchParams),
      token: request.headers['x-consul-token'] as string | undefined,
      body: text === '' ? undefined : (JSON.parse(text) as unknown),
    }
    seen.push(one)
    answer(one, response)
  }
  const server = createServer((request, response) => void take(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  )
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen }
}

const answering =
  (status: number, body: string): Answer =>
  (_request, response) => {
    response.writeHead(status).end(body)
  }

test('instances are read with their checks, and only those of a mark are asked for', async (t) => {
  const { address, seen } = await consul(t, ({ path }, response) => {
    const service = { ID: 'pod-uid', Service: 'calc', Address: '10.0.0.1', Port: 1, Tags: null, Meta: { uid: 'u' } }
    const body = path.startsWith('/v1/catalog/')
      ? { Node: { Node: 'n' }, Services: [service, { ...service, ID: 'unchecked' }] }
      : [{ CheckID: 'pod-uid/kubernetes-readiness', ServiceID: 'pod-uid', Status: 'passing' }]
    response.setHeader('X-Consul-Results-Filtered-By-Acls', 'true')
    response.end(JSON.stringify(body))
  })
  const found = await new HttpConsulCatalog('operator-0').observe(
    { address, datacenter: 'dc1', token: 't' },
    SCOPE,
    SIGNAL,
  )
  const common = { service: 'calc', address: '10.0.0.1', port: 1, tags: [], meta: { uid: 'u' } }
  assert.deepEqual(found, {
    isPartial: true,
    instances: [
      { id: 'pod-uid', ...common, health: 'passing' },
      { id: 'unchecked', ...common },
    ],
  })
  assert.deepEqual(seen.map(({ method, path, token }) => `${method} ${path} ${token}`).toSorted(), [
    'GET /v1/catalog/node-services/grpc-kafka-default t',
    'GET /v1/health/node/grpc-kafka-default t',
  ])
  assert.deepEqual(
    seen.map(({ query }) => query['dc']),
    ['dc1', 'dc1'],
  )
  const filter = seen.find(({ path }) => path.includes('/catalog/'))?.query['filter']
  assert.equal(filter, '(Meta["uid"] == "u\\"1") or (Meta["cluster"] == "c" and Meta["name"] == "n")')
})

test('instances that agents have are found with all of their checks, and only those with the meta are asked for', async (t) => {
  const { address, seen } = await consul(t, (_request, response) => {
    const entry = (id: string, ...statuses: readonly string[]) => ({
      Node: { Node: 'n' },
      Service: { ID: id, Service: 'a b', Address: '10.0.0.1', Port: 1 },
      Checks: statuses.map((Status) => ({ CheckID: 'c', Status })),
    })
    const body = [entry('good', 'passing', 'passing'), entry('node-away', 'critical', 'passing')]
    response.setHeader('X-Consul-Results-Filtered-By-Acls', 'true')
    response.end(JSON.stringify(body))
  })
  const found = await new HttpConsulCatalog('operator-0').find(
    { address, token: 't' },
    'a b',
    { 'k8s-namespace': 'n"1' },
    SIGNAL,
  )
  assert.deepEqual(found, {
    isPartial: true,
    instances: [
      { id: 'good', address: '10.0.0.1', isPassing: true },
      { id: 'node-away', address: '10.0.0.1', isPassing: false },
    ],
  })
  const [{ method, path, query, token } = {}] = seen
  assert.equal(`${method} ${path} ${token}`, 'GET /v1/health/service/a%20b t')
  assert.deepEqual(query, { filter: 'Service.Meta["k8s-namespace"] == "n\\"1"' })
})

test('a node that is not there has no instances', async (t) => {
  const { address } = await consul(t, ({ path }, response) => {
    response.end(path.startsWith('/v1/catalog/') ? '{"Node":null,"Services":[]}' : '[]')
  })
  const found = await new HttpConsulCatalog('operator-0').observe({ address }, SCOPE, SIGNAL)
  assert.deepEqual(found, { isPartial: false, instances: [] })
})

test('an instance is written with its check in one request', async (t) => {
  const { address, seen } = await consul(t, answering(200, 'true'))
  const catalog = new HttpConsulCatalog('operator-0')
  await catalog.execute({ address, datacenter: 'd' }, 'n', { type: 'RegisterInstance', instance: INSTANCE }, SIGNAL)
  assert.deepEqual(seen, [
    {
      method: 'PUT',
      path: '/v1/catalog/register',
      query: {},
      token: undefined,
      body: {
        Node: 'n',
        Datacenter: 'd',
        Address: '127.0.0.1',
        NodeMeta: { 'external-node': 'true', 'external-probe': 'false' },
        Service: { ID: 'pod-uid', Service: 'calc', Address: '10.0.0.1', Port: 50051, Tags: ['a'], Meta: { uid: 'u' } },
        Check: {
          CheckID: 'pod-uid/kubernetes-readiness',
          Name: 'Kubernetes readiness',
          Type: 'kubernetes-readiness',
          ServiceID: 'pod-uid',
          Status: 'critical',
          Output: 'the pod is not ready',
        },
      },
    },
  ])
})

test('an instance is taken away by its id, never the node', async (t) => {
  const { address, seen } = await consul(t, answering(200, 'true'))
  const action = { type: 'DeregisterInstance', id: 'pod-uid', service: 'calc' } as const
  await new HttpConsulCatalog('operator-0').execute({ address }, 'n', action, SIGNAL)
  assert.deepEqual(
    seen.map(({ path, body }) => [path, body]),
    [['/v1/catalog/deregister', { Node: 'n', ServiceID: 'pod-uid' }]],
  )
})

const REFUSALS: readonly (readonly [status: number, body: string, reason: string, words: string])[] = [
  [
    403,
    'Permission denied: token lacks permission',
    'ConsulNotAuthorized',
    'Permission denied: token lacks permission',
  ],
  [401, '', 'ConsulNotAuthorized', 'status 401'],
  [500, 'rpc error making call: ACL not found', 'ConsulNotAuthorized', 'ACL not found'],
  [500, 'No cluster leader', 'ConsulUnavailable', 'No cluster leader'],
  [429, 'slow down', 'ConsulUnavailable', 'slow down'],
  [500, 'No path to datacenter', 'ConsulRefused', 'No path to datacenter'],
  [400, 'Must provide node', 'ConsulRefused', 'Must provide node'],
  [302, '', 'ConsulRefused', 'status 302'],
  [200, '<html>', 'ConsulRefused', "its answer is not Consul's"],
]

for (const [status, body, reason, words] of REFUSALS) {
  test(`${status} "${body}" is ${reason}`, async (t) => {
    const { address } = await consul(t, answering(status, body))
    await assert.rejects(new HttpConsulCatalog('operator-0').observe({ address }, SCOPE, SIGNAL), (error) => {
      assert.ok(error instanceof ConsulProblem)
      assert.deepEqual([error.reason, error.message], [reason, `${address}: ${words}`])
      return true
    })
  })
}

test('nobody who listens is ConsulUnavailable, in words that stay the same', async (t) => {
  const { address } = await consul(t, (_request, response) => {
    response.destroy()
  })
  await assert.rejects(new HttpConsulCatalog('operator-0').observe({ address }, SCOPE, SIGNAL), {
    reason: 'ConsulUnavailable',
    message: `${address}: ECONNRESET`,
  })
})

test('who gives up hears his own reason', async (t) => {
  const over = new AbortController()
  const { address } = await consul(t, () => over.abort(new Error('the process ends')))
  await assert.rejects(new HttpConsulCatalog('operator-0').observe({ address }, SCOPE, over.signal), /the process ends/)
})

test('a token that no request can hold is told of as what it is, and not sent', async (t) => {
  const { address, seen } = await consul(t, (_, response) => response.end('[]'))
  for (const token of ['a\nb', 'ü', 'a b']) {
    await assert.rejects(new HttpConsulCatalog('operator-0').observe({ address, token }, SCOPE, SIGNAL), {
      reason: 'ConsulNotAuthorized',
      message: `${address}: the token has characters that no token has`,
    })
  }
  assert.deepEqual(seen, [])
})
