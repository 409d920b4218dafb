import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import type { Resource } from '../../../../operator/controller/object.ts'
import { TokenBucket } from '../../../../operator/controller/rate-limiter.ts'
import { RestClient } from '../../../../operator/controller/rest-client.ts'
import type { RestClientOptions } from '../../../../operator/controller/rest-client.ts'
import { FakeApiServer } from './fake-api-server.ts'
import { FakeClock, passUntil, settle } from './fake-clock.ts'

const THINGS: Resource = { apiVersion: 'test.dev/v1', kind: 'Thing', plural: 'things', namespaced: true }
const PATH = '/apis/test.dev/v1/namespaces/ns/things/a'

async function startClient(t: TestContext, options: Partial<RestClientOptions> = {}) {
  const server = await FakeApiServer.start()
  const clock = new FakeClock()
  clock.busy = () => server.busy
  const transport = server.transport()
  const counted: string[] = []
  const onRequest = (code: string, method: string): unknown => counted.push(`${method} ${code}`)
  const client = new RestClient({ transport, clock, onRequest, ...options })
  t.after(async () => {
    transport.close()
    await server.close()
    assert.equal(clock.pending, 0, 'a timer is left')
  })
  return { server, clock, client, counted }
}

/** What became of a promise while time passes. */
async function outcomeOf<T>(clock: FakeClock, promise: Promise<T>): Promise<PromiseSettledResult<T>> {
  let settled: PromiseSettledResult<T> | undefined
  void Promise.allSettled([promise]).then(([one]) => (settled = one))
  await passUntil(clock, () => settled !== undefined)
  return settled!
}

describe('RestClient', () => {
  test("sends the kubeconfig's credentials", async (t) => {
    const { server, client } = await startClient(t)
    server.put(PATH, { spec: 1 })
    await client.get(THINGS, 'ns/a')
    assert.equal(server.requests[0]?.authorization, 'Bearer the-token')
  })

  const refusals = [
    [400, 'BadRequest', 'Invalid'],
    [401, 'Unauthorized', 'Unauthorized'],
    [403, 'Forbidden', 'Forbidden'],
    [404, 'NotFound', 'NotFound'],
    [409, 'AlreadyExists', 'AlreadyExists'],
    [409, 'Conflict', 'Conflict'],
    [410, 'Expired', 'Expired'],
    [422, 'Invalid', 'Invalid'],
    [429, 'TooManyRequests', 'TooManyRequests'],
    [500, 'InternalError', 'ServerError'],
  ] as const
  for (const [status, reason, code] of refusals) {
    test(`${status} ${reason} is the error ${code}, with the words of the API server`, async (t) => {
      const { server, client, counted } = await startClient(t)
      const body = { kind: 'Status', reason, message: 'its words', details: { causes: [{ reason: 'ACause' }] } }
      server.fail({ kind: 'Status', status, body: JSON.stringify(body) })
      await assert.rejects(client.get(THINGS, 'ns/a'), {
        name: 'KubeError',
        code,
        status,
        message: `GET ${PATH}: its words`,
        reasons: [reason, 'ACause'],
      })
      assert.deepEqual(counted, [`GET ${status}`])
    })
  }

  test('an answer that comes from no API server is told by its beginning', async (t) => {
    const { server, client } = await startClient(t)
    server.fail({ kind: 'Status', status: 502, body: '<html>bad gateway</html>' })
    await assert.rejects(client.get(THINGS, 'ns/a'), { code: 'ServerError', message: /<html>bad gateway/ })
  })

  test('what is not JSON is Malformed', async (t) => {
    const { server, client } = await startClient(t)
    server.fail({ kind: 'Status', status: 200, body: '{' })
    await assert.rejects(client.get(THINGS, 'ns/a'), { code: 'Malformed' })
  })

  test('a connection that breaks is Unreachable', async (t) => {
    const { server, client, counted } = await startClient(t)
    server.fail({ kind: 'Reset' })
    await assert.rejects(client.get(THINGS, 'ns/a'), { code: 'Unreachable' })
    assert.deepEqual(counted, ['GET <error>'])
  })

  test('uses a connection again, and another when the server closed it meanwhile', async (t) => {
    const { server, client } = await startClient(t)
    server.put(PATH, { spec: 1 })
    await client.get(THINGS, 'ns/a')
    server.fail({ kind: 'Reset' })
    assert.equal((await client.get(THINGS, 'ns/a')).metadata.name, 'a')
    assert.equal(server.requests.length, 3)
  })

  test('a creation is not sent twice by itself: it may have been done', async (t) => {
    const { server, client } = await startClient(t)
    server.put(PATH, { spec: 1 })
    await client.get(THINGS, 'ns/a')
    server.fail({ kind: 'Reset' })
    const post = client.request({ method: 'POST', path: '/apis/test.dev/v1/namespaces/ns/things', body: {} })
    await assert.rejects(post, { code: 'Unreachable' })
  })

  test('gives up a request without an answer after its timeout', async (t) => {
    const { server, clock, client } = await startClient(t, { requestTimeoutMilliseconds: 5000 })
    server.fail({ kind: 'Hang' })
    const outcome = await outcomeOf(clock, client.get(THINGS, 'ns/a'))
    assert.equal(outcome.status === 'rejected' && (outcome.reason as { code?: string }).code, 'Timeout')
    assert.equal(clock.monotonic(), 5000)
  })

  test("ends with the caller's signal", async (t) => {
    const { server, clock, client } = await startClient(t)
    server.fail({ kind: 'Hang' })
    const cancel = new AbortController()
    const got = client.get(THINGS, 'ns/a', cancel.signal)
    await passUntil(clock, () => server.requests.length === 1)
    cancel.abort(new Error('enough'))
    await assert.rejects(got, { code: 'Aborted', message: /enough/ })
  })

  for (const status of [429, 503]) {
    test(`waits as long as a ${status} asks by Retry-After, and sends it again`, async (t) => {
      const { server, clock, client } = await startClient(t)
      server.put(PATH, { spec: 1 })
      server.fail({ kind: 'Status', status, retryAfter: '7' }, 2)
      const outcome = await outcomeOf(clock, client.get(THINGS, 'ns/a'))
      assert.equal(outcome.status, 'fulfilled')
      assert.equal(clock.monotonic(), 14_000)
    })
  }

  test('sends it again ten times and no more', async (t) => {
    const { server, clock, client } = await startClient(t)
    server.fail({ kind: 'Status', status: 429, retryAfter: '1' }, 100)
    const outcome = await outcomeOf(clock, client.get(THINGS, 'ns/a'))
    assert.equal(outcome.status === 'rejected' && (outcome.reason as { code?: string }).code, 'TooManyRequests')
    assert.equal(server.requests.length, 11)
  })

  test('a refusal without Retry-After is told at once', async (t) => {
    const { server, client } = await startClient(t)
    server.fail({ kind: 'Status', status: 503 })
    await assert.rejects(client.get(THINGS, 'ns/a'), { code: 'ServerError' })
    assert.equal(server.requests.length, 1)
  })

  test('the wait for Retry-After ends with the signal', async (t) => {
    const { server, clock, client } = await startClient(t)
    server.fail({ kind: 'Status', status: 429, retryAfter: '30' })
    const cancel = new AbortController()
    const got = client.get(THINGS, 'ns/a', cancel.signal)
    await settle()
    await passUntil(clock, () => !server.busy, { step: 1 })
    cancel.abort(new Error('enough'))
    await assert.rejects(got, { code: 'Aborted' })
  })

  test('begins no more requests than its bucket has tokens for', async (t) => {
    const clock = new FakeClock()
    const { server } = await startClient(t)
    server.put(PATH, { spec: 1 })
    clock.busy = () => server.busy
    const transport = server.transport()
    const client = new RestClient({ transport, clock, bucket: new TokenBucket(20, 2, clock.monotonic) })
    const all = Promise.all(Array.from({ length: 12 }, () => client.get(THINGS, 'ns/a')))
    await outcomeOf(clock, all)
    transport.close()
    assert.equal(clock.monotonic(), 500)
  })
})
