import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { ApplyWriter } from '../../../../operator/controller/apply.ts'
import type { KubeObject, Resource } from '../../../../operator/controller/object.ts'
import { RestClient } from '../../../../operator/controller/rest-client.ts'
import { FakeApiServer } from './fake-api-server.ts'
import { FakeClock } from './fake-clock.ts'

interface Thing extends KubeObject {
  readonly spec?: number
  readonly status?: { readonly seen: number }
}

const THINGS: Resource<Thing> = { apiVersion: 'test.dev/v1', kind: 'Thing', plural: 'things', namespaced: true }
const PATH = '/apis/test.dev/v1/namespaces/ns/things/a'
const thing: Thing = { apiVersion: 'test.dev/v1', kind: 'Thing', metadata: { namespace: 'ns', name: 'a' }, spec: 1 }

async function startWriter(t: TestContext, mayWrite = () => true) {
  const server = await FakeApiServer.start()
  const transport = server.transport()
  const told: string[] = []
  const writer = new ApplyWriter({
    client: new RestClient({ transport, clock: new FakeClock() }),
    resources: [THINGS],
    fieldManager: 'the-manager',
    mayWrite,
    written: ({ plural }, { metadata }) => told.push(`${plural} ${metadata.name} ${metadata.resourceVersion}`),
  })
  t.after(async () => {
    transport.close()
    await server.close()
  })
  return { server, writer, told }
}

describe('ApplyWriter', () => {
  test('applies by its field manager, forced and strictly, and answers what is stored', async (t) => {
    const { server, writer, told } = await startWriter(t)
    const stored = await writer.apply(thing)
    const { method, path, query, contentType, body } = server.requests[0]!
    assert.deepEqual([method, path, contentType], ['PATCH', PATH, 'application/apply-patch+yaml'])
    assert.deepEqual(Object.fromEntries(query), {
      fieldManager: 'the-manager',
      force: 'true',
      fieldValidation: 'Strict',
    })
    assert.deepEqual(body, thing)
    assert.equal(stored.metadata.uid, 'uid-1')
    assert.deepEqual(told, ['things a 101'])
  })

  test('applies the status where the status is', async (t) => {
    const { server, writer, told } = await startWriter(t)
    server.put(PATH, { apiVersion: 'test.dev/v1', kind: 'Thing', spec: 1 })
    await writer.applyStatus({ ...thing, status: { seen: 1 } })
    assert.equal(server.requests[0]?.path, `${PATH}/status`)
    assert.equal(server.requests[0]?.contentType, 'application/apply-patch+yaml')
    assert.deepEqual(told, ['things a 102'])
  })

  test('replaces a status in which something of somebody else stayed', async () => {
    const requests: { readonly contentType?: string | undefined; readonly body?: unknown }[] = []
    const writer = new ApplyWriter({
      client: {
        request: (request) => {
          requests.push(request)
          const theirs = request.contentType === 'application/apply-patch+yaml' ? { theirs: 2 } : {}
          return Promise.resolve({ ...thing, status: { seen: 1, ...theirs } })
        },
      },
      resources: [THINGS],
      fieldManager: 'the-manager',
      mayWrite: () => true,
    })
    const stored = await writer.applyStatus({ ...thing, status: { seen: 1 } })
    assert.deepEqual(stored.status, { seen: 1 })
    assert.equal(requests.length, 2)
    assert.equal(requests[1]?.contentType, 'application/json-patch+json')
    assert.deepEqual(requests[1].body, [{ op: 'replace', path: '/status', value: { seen: 1 } }])
  })

  test('says NotFound for the status of what is gone', async (t) => {
    const { writer } = await startWriter(t)
    await assert.rejects(writer.applyStatus(thing), { code: 'NotFound' })
  })

  test('deletes the object that was meant, and leaves another of the same name', async (t) => {
    const { server, writer } = await startWriter(t)
    const { uid } = server.put(PATH, { spec: 1 }).metadata
    await assert.rejects(writer.delete(THINGS, 'ns/a', { uid: 'another' }), { code: 'Conflict' })
    assert.notEqual(server.get(PATH), undefined)
    await writer.delete(THINGS, 'ns/a', { uid })
    assert.equal(server.get(PATH), undefined)
  })

  test('deleting what is gone is done already', async (t) => {
    const { writer } = await startWriter(t)
    await writer.delete(THINGS, 'ns/a', { uid: 'any' })
  })

  test('sets finalizers of the very version that was read', async (t) => {
    const { server, writer, told } = await startWriter(t)
    const first = server.put(PATH, { spec: 1 }).metadata.resourceVersion
    await writer.setFinalizers(THINGS, 'ns/a', first, ['test.dev/mine'])
    assert.deepEqual(server.get(PATH)?.metadata['finalizers'], ['test.dev/mine'])
    assert.equal(server.get(PATH)?.['spec'], 1)
    assert.equal(server.requests[0]?.contentType, 'application/merge-patch+json')
    assert.deepEqual(told, ['things a 102'])
    await assert.rejects(writer.setFinalizers(THINGS, 'ns/a', first, []), { code: 'Conflict' })
  })

  test('does not tell of an object that its last finalizer kept', async (t) => {
    const { server, writer, told } = await startWriter(t)
    const metadata = { deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: ['test.dev/mine'] }
    const { resourceVersion } = server.put(PATH, { metadata }).metadata
    await writer.setFinalizers(THINGS, 'ns/a', resourceVersion, [])
    assert.deepEqual(told, [])
  })

  test('sends nothing while another may lead', async (t) => {
    const { server, writer } = await startWriter(t, () => false)
    const refused = { code: 'NotLeading' }
    await assert.rejects(writer.apply(thing), refused)
    await assert.rejects(writer.applyStatus(thing), refused)
    await assert.rejects(writer.delete(THINGS, 'ns/a', { uid: 'x' }), refused)
    await assert.rejects(writer.setFinalizers(THINGS, 'ns/a', '1', []), refused)
    assert.deepEqual(server.requests, [])
  })

  test('refuses an object of a kind that nobody named', async (t) => {
    const { writer } = await startWriter(t)
    await assert.rejects(writer.apply({ ...thing, kind: 'Other' }), RangeError)
  })
})
