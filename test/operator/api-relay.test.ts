/** The faults that tests make between a client and the API server are the ones that they say. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { createInterface } from 'node:readline'
import test, { type TestContext } from 'node:test'
import { connectToKube, KubeRefusedError, type KubeAccess, type KubeApi } from '../../local/platform/kube-api.ts'
import { atEnd } from '../integration/support/clean-up.ts'
import { ApiRelay, EXPIRED_WATCH, GONE, throttled, UNAVAILABLE } from './support/api-relay.ts'
import { sharedCluster } from './support/cluster.ts'
import type { RelayedRequest } from './support/http-relay.ts'
import { pathOf } from './support/kinds.ts'
import { Namespace, type Stored } from './support/namespace.ts'
import { until } from './support/until.ts'

type Relayed = { readonly namespace: Namespace; readonly relay: ApiRelay; readonly api: KubeApi; readonly path: string }

async function relayed(t: TestContext): Promise<Relayed> {
  const namespace = await Namespace.start(t)
  const relay = await ApiRelay.start(t, sharedCluster())
  const api = connectToKube(relay.access)
  atEnd(t, () => api.close())
  return { namespace, relay, api, path: pathOf('ConfigMap', namespace.name) }
}

const configMap = (name: string) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name } })
const isList = ({ method, isWatch }: RelayedRequest): boolean => method === 'GET' && !isWatch
const isWatch = (one: RelayedRequest): boolean => one.isWatch
const isCreate = ({ method }: RelayedRequest): boolean => method === 'POST'
const refused = (code: number) => (error: unknown) => error instanceof KubeRefusedError && error.status === code

type Watch = { readonly events: string[]; readonly isOpen: () => boolean }

/** Resolves when the watch is open. `events`: "ADDED name". */
async function watch(t: TestContext, access: KubeAccess, path: string): Promise<Watch> {
  const events: string[] = []
  let open = true
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const call = request(
      `${access.url}${path}?watch=true`,
      { ca: readFileSync(access.authorityFile), headers: { authorization: `Bearer ${access.token}` }, agent: false },
      resolve,
    )
    call.on('error', reject)
    call.end()
    atEnd(t, () => call.destroy())
  })
  answer.on('close', () => {
    open = false
  })
  const lines = createInterface(answer)
  // A cut is an error of what is read, and of who reads it.
  for (const end of [answer, lines]) end.on('error', () => undefined)
  lines.on('line', (line) => {
    const { type, object } = JSON.parse(line) as {
      readonly type: string
      readonly object: Partial<Stored> & { readonly code?: number }
    }
    events.push(`${type} ${object.metadata?.name ?? object.code}`)
  })
  return { events, isOpen: () => open }
}

test('a watch that is cut ends, and a new one works', async (t) => {
  const { namespace, relay, path } = await relayed(t)
  const first = await watch(t, relay.access, path)
  await namespace.apply(configMap('a'))
  await until('the event', () => first.events.includes('ADDED a'))
  assert.equal(relay.cutWatches(), 1)
  await until('its end', () => !first.isOpen())
  const second = await watch(t, relay.access, path)
  await until('the event again', () => second.events.includes('ADDED a'))
})

test('a watch that is silent does not end and tells nothing more', async (t) => {
  const { namespace, relay, path } = await relayed(t)
  const first = await watch(t, relay.access, path)
  await until('what is there', () => first.events.length > 0)
  assert.equal(relay.silenceWatches(), 1)
  await namespace.apply(configMap('a'))
  const second = await watch(t, relay.access, path)
  await until('a new one tells', () => second.events.includes('ADDED a'))
  assert.equal(first.events.includes('ADDED a'), false)
  assert.equal(first.isOpen(), true)
})

test('an expired watch says so and ends', async (t) => {
  const { relay, path } = await relayed(t)
  const rule = relay.reply(isWatch, EXPIRED_WATCH, 1)
  const expired = await watch(t, relay.access, path)
  await until('its end', () => !expired.isOpen())
  assert.deepEqual(expired.events, ['ERROR 410'])
  assert.equal(rule.used, 1)
})

test('a reply is given so many times, or until it is taken back', async (t) => {
  const { relay, api, path } = await relayed(t)
  relay.reply(isList, GONE, 1)
  await assert.rejects(api.request('GET', path), refused(410))
  await api.request('GET', path)
  const rule = relay.reply(isList, UNAVAILABLE)
  await assert.rejects(api.request('GET', path), refused(503))
  await assert.rejects(api.request('GET', path), refused(503))
  rule.takeBack()
  await api.request('GET', path)
})

test('a client that is throttled asks again', async (t) => {
  const { relay, api, path } = await relayed(t)
  const rule = relay.reply(isList, throttled(1), 1)
  await api.request('GET', path)
  assert.equal(rule.used, 1)
  assert.equal(relay.requests.filter(isList).length, 2)
})

test('a request that is cut is not done; one whose answer is lost is', async (t) => {
  const { namespace, relay, api, path } = await relayed(t)
  relay.reply(isCreate, 'cut', 1)
  await assert.rejects(api.request('POST', path, { body: configMap('a') }))
  assert.equal(await namespace.get('ConfigMap', 'a'), undefined)
  relay.reply(isCreate, 'lose the answer', 1)
  await assert.rejects(api.request('POST', path, { body: configMap('a') }))
  assert.equal((await namespace.get('ConfigMap', 'a'))?.metadata.name, 'a')
})

test('a request that hangs is not done; one whose answer is held is', async (t) => {
  const { namespace, relay, api, path } = await relayed(t)
  for (const [reply, name] of [
    ['hang', 'a'],
    ['hold the answer', 'b'],
  ] as const) {
    const over = new AbortController()
    const rule = relay.reply(isCreate, reply, 1)
    const answer = api.request('POST', path, { body: configMap(name), signal: over.signal })
    const rejected = assert.rejects(answer, { name: 'AbortError' })
    await rule.met
    assert.equal((await namespace.get('ConfigMap', name))?.metadata.name, reply === 'hang' ? undefined : name)
    over.abort()
    await rejected
  }
})

test('a stale read is what was read before', async (t) => {
  const { namespace, relay, api, path } = await relayed(t)
  const before = await api.request('GET', path)
  await namespace.apply(configMap('a'))
  relay.reply(isList, 'stale', 1)
  assert.deepEqual(await api.request('GET', path), before)
  assert.notDeepEqual(await api.request('GET', path), before)
})
