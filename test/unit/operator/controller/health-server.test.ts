import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { pino } from 'pino'
import { probe, servePages } from '../../../../operator/controller/health-server.ts'
import type { Page } from '../../../../operator/controller/health-server.ts'

async function start(t: TestContext, pages: Readonly<Record<string, () => Page | Promise<Page>>>) {
  const server = await servePages('127.0.0.1', 0, pages, pino({ level: 'silent' }))
  t.after(() => server.close())
  return async (path: string, method = 'GET') => {
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`, { method })
    return { status: response.status, text: await response.text(), type: response.headers.get('content-type') }
  }
}

test('a probe is 200, or 503 with the reason, as it is at the time of the question', async (t) => {
  const problems: string[] = []
  const get = await start(t, { '/readyz': probe(() => problems[0]) })
  assert.deepEqual(await get('/readyz?verbose'), { status: 200, text: 'ok\n', type: 'text/plain; charset=utf-8' })
  problems.push('not listed yet: Thing.v1')
  assert.deepEqual(await get('/readyz'), {
    status: 503,
    text: 'not listed yet: Thing.v1\n',
    type: 'text/plain; charset=utf-8',
  })
})

test('a page has the type that it says', async (t) => {
  const get = await start(t, { '/metrics': () => ({ status: 200, text: 'a 1\n', type: 'text/plain; version=0.0.4' }) })
  assert.deepEqual(await get('/metrics'), { status: 200, text: 'a 1\n', type: 'text/plain; version=0.0.4' })
})

test('a page that fails is a 500 without its reason, and the next one is answered', async (t) => {
  const get = await start(t, {
    '/bad': () => Promise.reject(new Error('a secret')),
    '/worse': () => {
      throw new Error('a secret')
    },
    '/good': probe(() => undefined),
  })
  for (const path of ['/bad', '/worse']) {
    const { status, text } = await get(path)
    assert.equal(status, 500)
    assert.doesNotMatch(text, /secret/)
  }
  assert.equal((await get('/good')).status, 200)
})

test('other paths and methods are not found', async (t) => {
  const get = await start(t, { '/healthz': probe(() => undefined) })
  assert.equal((await get('/')).status, 404)
  assert.equal((await get('/toString')).status, 404)
  assert.equal((await get('/healthz', 'POST')).status, 404)
})

test('an address that is taken is an error', async (t) => {
  const logger = pino({ level: 'silent' })
  const first = await servePages('127.0.0.1', 0, {}, logger)
  t.after(() => first.close())
  await assert.rejects(servePages('127.0.0.1', first.port, {}, logger), { code: 'EADDRINUSE' })
})
