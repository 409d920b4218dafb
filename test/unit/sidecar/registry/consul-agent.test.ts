/** What is said to a Consul agent, and what its answers mean. */
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import { AgentProblem, HttpConsulAgent } from '../../../../sidecar/registry/consul-agent.ts'
import type { AgentAccess } from '../../../../sidecar/registry/consul-agent.ts'

interface Asked {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

interface Served {
  readonly access: AgentAccess
  readonly asked: Asked[]
}

const agent = new HttpConsulAgent()
const never = new AbortController().signal
const SERVICE = { id: 'calc 1', name: 'calc', tags: ['a'], meta: { b: 'c' }, host: '10.0.0.1', port: 7, ttlSeconds: 40 }
const PASSING = { status: 'passing', output: 'ready' } as const

/** @param status 0: it never answers. */
async function serve(t: TestContext, status: number, text: string): Promise<Served> {
  const asked: Asked[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      asked.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, body })
      if (status !== 0) response.writeHead(status).end(text)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return { access: { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, token: 'secret' }, asked }
}

const problemOf = async (work: Promise<unknown>): Promise<AgentProblem> => {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof AgentProblem, String(error))
  return error
}

test('a registration has the check with it, and how long one that is silent stays', async (t) => {
  const { access, asked } = await serve(t, 200, '')
  await agent.register(access, SERVICE, PASSING, never)
  const [one] = asked
  assert.equal(`${one?.method} ${one?.url}`, 'PUT /v1/agent/service/register?replace-existing-checks=true')
  assert.equal(one?.headers['x-consul-token'], 'secret')
  const { Check, ...service } = JSON.parse(one?.body ?? '') as { Check: Record<string, string> }
  assert.deepEqual(service, {
    ID: 'calc 1',
    Name: 'calc',
    Tags: ['a'],
    Meta: { b: 'c' },
    Address: '10.0.0.1',
    Port: 7,
  })
  const { CheckID, Status, TTL, DeregisterCriticalServiceAfter } = Check
  assert.deepEqual([CheckID, Status, TTL, DeregisterCriticalServiceAfter], ['service:calc 1', 'passing', '40s', '80s'])
})

test('the result is told once more after the registration: a check that is there keeps the one that it has', async (t) => {
  const { access, asked } = await serve(t, 200, '')
  await agent.register(access, SERVICE, { status: 'critical', output: 'no' }, never)
  assert.deepEqual(
    asked.map(({ method, url }) => `${method} ${url}`),
    ['PUT /v1/agent/service/register?replace-existing-checks=true', 'PUT /v1/agent/check/update/service%3Acalc%201'],
  )
  assert.equal(asked[1]?.body, '{"Status":"critical","Output":"no"}')
})

test('one that is silent stays for a minute at least, as Consul wants it', async (t) => {
  const { access, asked } = await serve(t, 200, '')
  await agent.register(access, { ...SERVICE, ttlSeconds: 2 }, PASSING, never)
  assert.match(asked[0]?.body ?? '', /"DeregisterCriticalServiceAfter":"60s"/)
})

test('names are escaped in paths', async (t) => {
  const { access, asked } = await serve(t, 200, '')
  await agent.update(access, 'a/b c', { status: 'critical', output: 'why' }, never)
  await agent.deregister(access, 'a/b c', never)
  assert.deepEqual(
    asked.map(({ url }) => url),
    ['/v1/agent/check/update/service%3Aa%2Fb%20c', '/v1/agent/service/deregister/a%2Fb%20c'],
  )
  assert.deepEqual(JSON.parse(asked[0]?.body ?? ''), { Status: 'critical', Output: 'why' })
})

for (const [status, text, reason] of [
  [404, 'Unknown check ID "service:calc"', 'Unknown'],
  [500, 'CheckID "service:calc" does not have associated TTL', 'Unknown'],
  [404, 'page not found', 'Refused'],
  [403, 'Permission denied', 'NotAuthorized'],
  [403, 'ACL not found', 'NotAuthorized'],
  [500, 'Permission denied: token lacks service:write', 'NotAuthorized'],
  [500, 'No cluster leader', 'Unavailable'],
  [429, '', 'Unavailable'],
  [400, 'Invalid check', 'Refused'],
] as const) {
  test(`${status} "${text}" is ${reason}`, async (t) => {
    const { access } = await serve(t, status, text)
    const problem = await problemOf(agent.update(access, 'calc', PASSING, never))
    assert.equal(problem.reason, reason)
    assert.match(problem.message, /^http:\/\/127\.0\.0\.1:\d+: ./)
  })
}

test('to deregister one that the agent does not have is no trouble', async (t) => {
  const { access } = await serve(t, 404, 'Unknown service ID "calc". Ensure that the service ID is passed')
  await agent.deregister(access, 'calc', never)
})

test('an agent that is not there is away', async () => {
  const problem = await problemOf(agent.deregister({ address: 'http://127.0.0.1:1' }, 'calc', never))
  assert.equal(problem.reason, 'Unavailable')
  assert.equal(problem.message, 'http://127.0.0.1:1: ECONNREFUSED')
})

test('an answer that does not end is not read to its end', async (t) => {
  const { access } = await serve(t, 200, 'x'.repeat(1_000_000))
  const problem = await problemOf(agent.update(access, 'calc', PASSING, never))
  assert.equal(problem.message, `${access.address}: its answer is too large`)
})

test('a request is over when its signal is aborted', async (t) => {
  const { access } = await serve(t, 0, '')
  const limit = new AbortController()
  const asked = agent.update(access, 'calc', PASSING, limit.signal)
  limit.abort(new Error('late'))
  await assert.rejects(asked, /late/)
})

test('a token that cannot stand in a header is none', async (t) => {
  const { access, asked } = await serve(t, 200, '')
  const problem = await problemOf(agent.update({ ...access, token: 'a\nb' }, 'calc', PASSING, never))
  assert.equal(problem.reason, 'NotAuthorized')
  assert.deepEqual(asked, [])
})
