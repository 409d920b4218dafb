import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { pino } from 'pino'
import { Informer } from '../../../../operator/controller/informer.ts'
import type { InformerOptions } from '../../../../operator/controller/informer.ts'
import { KubeError } from '../../../../operator/controller/kube-error.ts'
import type { KubeObject, Resource } from '../../../../operator/controller/object.ts'
import { RestClient } from '../../../../operator/controller/rest-client.ts'
import { FakeApiServer } from './fake-api-server.ts'
import { FakeClock, passUntil, settle } from './fake-clock.ts'

interface Thing extends KubeObject {
  readonly spec?: number
}

const THINGS: Resource<Thing> = { apiVersion: 'test.dev/v1', kind: 'Thing', plural: 'things', namespaced: true }
const path = (name: string, namespace = 'ns') => `/apis/test.dev/v1/namespaces/${namespace}/things/${name}`

async function startInformer(
  t: TestContext,
  before: (server: FakeApiServer) => void = () => undefined,
  options: Partial<InformerOptions<Thing>> = {},
) {
  const server = await FakeApiServer.start()
  before(server)
  const clock = new FakeClock()
  clock.busy = () => server.busy
  const transport = server.transport()
  const client = new RestClient({ transport, clock })
  const informer = new Informer<Thing>({
    resource: THINGS,
    client,
    clock,
    random: () => 0.5,
    logger: pino({ level: 'silent' }),
    resyncMilliseconds: 0,
    ...options,
  })
  const told: string[] = []
  informer.onChange(({ type, object }) => told.push(`${type} ${object.metadata.name}`))
  const stop = new AbortController()
  const running = informer.run(stop.signal)
  t.after(async () => {
    stop.abort(new Error('the test ends'))
    await running
    transport.close()
    await server.close()
    assert.equal(clock.pending, 0, 'a timer is left')
  })
  const specs = () => informer.cache.list().map(({ metadata, spec }) => `${metadata.name}=${spec}`)
  return { server, clock, informer, told, specs }
}

describe('Informer', () => {
  test('asks for what its selectors select, in lists and in watches', async (t) => {
    const labelSelector = 'app=a'
    const fieldSelector = 'type!=b'
    const { server, clock, informer } = await startInformer(t, undefined, { labelSelector, fieldSelector })
    await passUntil(clock, () => informer.synced && server.openWatches === 1)
    for (const { query } of [...server.seen('GET'), ...server.seen('WATCH')]) {
      assert.deepEqual([query.get('labelSelector'), query.get('fieldSelector')], [labelSelector, fieldSelector])
    }
    assert.equal(server.seen('WATCH').length, 1)
  })

  test('knows what was there, and what comes, changes and goes', async (t) => {
    const { server, clock, informer, told, specs } = await startInformer(t, (fake) => fake.put(path('a'), { spec: 1 }))
    await passUntil(clock, () => informer.synced && server.openWatches === 1)
    assert.deepEqual(specs(), ['a=1'])
    server.put(path('b'), { spec: 1 })
    server.put(path('a'), { spec: 2 })
    server.delete(path('b'))
    await passUntil(clock, () => told.length === 4)
    assert.deepEqual(told, ['Added a', 'Added b', 'Updated a', 'Deleted b'])
    assert.deepEqual(specs(), ['a=2'])
  })

  test('says of what kind each object is, though a list does not', async (t) => {
    const { clock, informer } = await startInformer(t, (fake) => fake.put(path('a'), { spec: 1 }))
    await passUntil(clock, () => informer.synced)
    const { apiVersion, kind } = informer.cache.get('ns/a')!
    assert.deepEqual({ apiVersion, kind }, { apiVersion: 'test.dev/v1', kind: 'Thing' })
  })

  test('lists in pages', async (t) => {
    const { server, clock, informer } = await startInformer(t, (fake) => {
      for (let index = 0; index < 1200; index++) fake.put(path(`a${index}`), { spec: index })
    })
    await passUntil(clock, () => informer.synced)
    assert.equal(informer.cache.list().length, 1200)
    assert.deepEqual(
      server.seen('GET').map(({ query }) => query.get('limit')),
      ['500', '500', '500'],
    )
  })

  test('lists all at once when a list took so long that its next page is forgotten', async (t) => {
    const { clock, informer } = await startInformer(t, (fake) => {
      for (let index = 0; index < 600; index++) fake.put(path(`a${index}`), { spec: index })
      const expired = JSON.stringify({ kind: 'Status', code: 410, reason: 'Expired', message: 'too old' })
      fake.fail({ kind: 'Status', status: 410, body: expired }, 1, ({ query }) => query.get('continue') !== null)
    })
    await passUntil(clock, () => informer.synced)
    assert.equal(informer.cache.list().length, 600)
  })

  for (const how of ['Orderly', 'MidLine', 'Reset'] as const) {
    test(`goes on from where a watch ended without listing again: ${how}`, async (t) => {
      const { server, clock, specs } = await startInformer(t, (fake) => fake.put(path('a'), { spec: 1 }))
      await passUntil(clock, () => server.openWatches === 1)
      server.put(path('a'), { spec: 2 })
      await passUntil(clock, () => specs()[0] === 'a=2')
      server.endWatches(how)
      server.put(path('a'), { spec: 3 })
      await passUntil(clock, () => specs()[0] === 'a=3')
      assert.equal(server.seen('GET').length, 1)
    })
  }

  test('goes on from the last bookmark', async (t) => {
    const { server, clock } = await startInformer(t, (fake) => fake.put(path('a'), { spec: 1 }))
    await passUntil(clock, () => server.openWatches === 1)
    server.put('/apis/test.dev/v1/namespaces/ns/others/x', {})
    await server.sendBookmark()
    await settle()
    server.endWatches('Orderly')
    await passUntil(clock, () => server.openWatches === 1)
    assert.deepEqual(
      server.seen('WATCH').map(({ query }) => query.get('resourceVersion')),
      ['101', '102'],
    )
  })

  test('reads an event that comes in pieces, cut in the middle of a character, and two that come at once', async (t) => {
    const { server, clock, informer, told } = await startInformer(t)
    await passUntil(clock, () => server.openWatches === 1)
    const line = (name: string): string => {
      const metadata = { name, namespace: 'ns', resourceVersion: '200', labels: { a: 'ä' } }
      return `${JSON.stringify({ type: 'ADDED', object: { apiVersion: 'test.dev/v1', kind: 'Thing', metadata } })}\n`
    }
    const bytes = Buffer.from(line('a'))
    const middle = bytes.indexOf(Buffer.from('ä')) + 1
    for (const piece of [bytes.subarray(0, 5), bytes.subarray(5, middle), bytes.subarray(middle)]) {
      await server.sendBytes(piece)
      await settle()
    }
    await server.sendBytes(Buffer.from(line('b') + line('c')))
    await passUntil(clock, () => told.length === 3)
    assert.deepEqual(told, ['Added a', 'Added b', 'Added c'])
    assert.deepEqual(informer.cache.get('ns/a')?.metadata.labels, { a: 'ä' })
  })

  test('lists again when its place is forgotten, and finds what was deleted meanwhile', async (t) => {
    const { server, clock, told, specs } = await startInformer(t, (fake) => {
      fake.put(path('goes'), { spec: 1 })
      fake.put(path('stays'), { spec: 1 })
    })
    await passUntil(clock, () => server.openWatches === 1)
    server.endWatches('Orderly')
    server.delete(path('goes'))
    server.put(path('comes'), { spec: 1 })
    server.compact()
    await passUntil(clock, () => told.includes('Added comes'))
    assert.deepEqual(specs(), ['comes=1', 'stays=1'])
    assert.ok(told.includes('Deleted goes'))
  })

  test('lists again when the watch itself says that its place is forgotten', async (t) => {
    const { server, clock, specs } = await startInformer(t)
    await passUntil(clock, () => server.openWatches === 1)
    await server.sendToWatches({
      type: 'ERROR',
      object: { kind: 'Status', code: 410, reason: 'Expired', message: 'too old' },
    })
    await passUntil(clock, () => server.seen('GET').length === 2 && server.openWatches === 1)
    server.put(path('a'), { spec: 1 })
    await passUntil(clock, () => specs().length === 1)
  })

  test('lists again after an event that it does not understand', async (t) => {
    const { server, clock } = await startInformer(t)
    await passUntil(clock, () => server.openWatches === 1)
    await server.sendToWatches({ type: 'SURPRISE', object: {} })
    await passUntil(clock, () => server.seen('GET').length === 2 && server.openWatches === 1)
  })

  const faults = [
    { kind: 'Status', status: 500 },
    { kind: 'Status', status: 403 },
    { kind: 'Status', status: 404 },
    { kind: 'Status', status: 429, retryAfter: '1' },
    { kind: 'Status', status: 200, body: 'no list at all' },
    { kind: 'Status', status: 410 },
    { kind: 'Reset' },
    { kind: 'Hang' },
  ] as const
  for (const fault of faults) {
    test(`survives lists and watches that fail: ${JSON.stringify(fault)}`, async (t) => {
      const { server, clock, specs } = await startInformer(t, (fake) => fake.fail(fault, 3))
      await passUntil(clock, () => server.openWatches === 1, { step: 1000 })
      server.fail(fault, 3)
      server.endWatches('Orderly')
      server.put(path('a'), { spec: 1 })
      await passUntil(clock, () => specs().length === 1, { step: 1000 })
    })
  }

  test('waits longer each time when nothing helps, up to a minute, and never gives up', async () => {
    const clock = new FakeClock()
    const at: number[] = []
    const list = () => {
      at.push(clock.monotonic())
      return Promise.reject(new KubeError('ServerError', 'down'))
    }
    const client = { list, watch: () => assert.fail('nothing was listed') }
    const logger = pino({ level: 'silent' })
    const informer = new Informer({ resource: THINGS, client, clock, random: () => 0.5, logger, resyncMilliseconds: 0 })
    const stop = new AbortController()
    const running = informer.run(stop.signal)
    await passUntil(clock, () => at.length === 9, { step: 600 })
    stop.abort()
    await running
    const waits = at.slice(1).map((time, index) => time - at[index]!)
    assert.deepEqual(waits, [1200, 2400, 4800, 9600, 19_200, 38_400, 45_000, 45_000])
  })

  test('lists again when a watch is silent for too long: its version may be one that is yet to come', async (t) => {
    const { server, clock, specs } = await startInformer(t)
    await passUntil(clock, () => server.openWatches === 1)
    clock.advance(149_000)
    await settle()
    assert.equal(server.seen('WATCH').length, 1)
    clock.advance(2000)
    await passUntil(clock, () => server.seen('WATCH').length === 2 && server.openWatches === 1)
    server.put(path('a'), { spec: 1 })
    await passUntil(clock, () => specs().length === 1)
    assert.equal(server.seen('GET').length, 2)
  })

  test('a list from the past is not believed, for a minute', async () => {
    const clock = new FakeClock()
    let [version, spec, lists] = ['20', 2, 0]
    const list = () => {
      lists += 1
      const metadata = { name: 'a', namespace: 'ns', uid: '1', resourceVersion: version }
      const { apiVersion, kind } = THINGS
      return Promise.resolve({ items: [{ apiVersion, kind, metadata, spec }], resourceVersion: version })
    }
    let breakWatch: () => void = () => undefined
    const next = async (): Promise<never> => {
      await new Promise<void>((resolve) => (breakWatch = resolve))
      throw new KubeError('Expired', 'too old')
    }
    const watch = () => ({ [Symbol.asyncIterator]: () => ({ next }) })
    const client = { list, watch } as unknown as InformerOptions<Thing>['client']
    const logger = pino({ level: 'silent' })
    const informer = new Informer({ resource: THINGS, client, clock, random: () => 0, logger, resyncMilliseconds: 0 })
    const stop = new AbortController()
    const running = informer.run(stop.signal)
    const known = () => informer.cache.list().map((one) => one.spec)
    await passUntil(clock, () => known().length === 1)
    ;[version, spec] = ['9', 1]
    breakWatch()
    await passUntil(clock, () => lists > 3, { step: 800 })
    assert.deepEqual(known(), [2])
    // Restored from a backup: older for good.
    await passUntil(clock, () => known()[0] === 1, { step: 10_000 })
    assert.ok(clock.monotonic() >= 60_000, `${clock.monotonic()} ms`)
    stop.abort()
    breakWatch()
    await running
  })

  test('a bookmark is a sign of life', async (t) => {
    const { server, clock } = await startInformer(t)
    await passUntil(clock, () => server.openWatches === 1)
    for (let minutes = 0; minutes < 5; minutes++) {
      clock.advance(60_000)
      await server.sendBookmark()
      await settle()
    }
    assert.equal(server.seen('WATCH').length, 1)
  })

  test('tells everything again at each resync, though nothing changed', async (t) => {
    const { clock, told } = await startInformer(t, (fake) => fake.put(path('a'), { spec: 1 }), {
      resyncMilliseconds: 60_000,
    })
    await passUntil(clock, () => told.length === 1)
    clock.advance(62_999)
    await settle()
    assert.equal(told.length, 1)
    await passUntil(clock, () => told.length === 3, { step: 1000 })
    assert.deepEqual(told, ['Added a', 'Resynced a', 'Resynced a'])
  })

  test('follows the namespaces that it was told, and no other', async (t) => {
    const { server, clock, informer } = await startInformer(
      t,
      (fake) => {
        for (const namespace of ['one', 'two', 'three']) fake.put(path('a', namespace), { spec: 1 })
      },
      { namespaces: ['one', 'two'] },
    )
    await passUntil(clock, () => informer.synced && server.openWatches === 2)
    const namespaces = () => informer.cache.list().map(({ metadata }) => metadata.namespace)
    assert.deepEqual(namespaces(), ['one', 'two'])
    server.delete(path('a', 'one'))
    await passUntil(clock, () => namespaces().length === 1)
    assert.deepEqual(namespaces(), ['two'])
  })

  test('a listener that throws keeps neither the other listeners nor the next objects from being told', async (t) => {
    const { server, clock, informer, told } = await startInformer(t)
    const also: string[] = []
    informer.onChange(({ object }) => {
      if (object.metadata.name === 'odd') throw new Error('odd')
    })
    informer.onChange(({ object }) => also.push(object.metadata.name))
    await passUntil(clock, () => server.openWatches === 1)
    server.put(path('odd'), { spec: 1 })
    server.put(path('a'), { spec: 1 })
    await passUntil(clock, () => told.length === 2)
    assert.deepEqual(also, ['odd', 'a'])
  })

  test('tells the log which object a listener failed at, and nothing of its annotations', async (t) => {
    const lines: string[] = []
    const logger = pino({ base: null }, { write: (line) => lines.push(line) })
    const { server, clock, informer, told } = await startInformer(t, () => undefined, { logger })
    informer.onChange(() => {
      throw new Error('odd')
    })
    await passUntil(clock, () => server.openWatches === 1)
    const annotations = { 'kubectl.kubernetes.io/last-applied-configuration': '{"data":{"password":"c2VjcmV0"}}' }
    server.put(path('a'), { spec: 1, metadata: { annotations } })
    await passUntil(clock, () => told.length === 1)
    const { resourceVersion } = informer.cache.get('ns/a')!.metadata
    assert.deepEqual(
      lines.map((line) => (JSON.parse(line) as { object?: unknown }).object),
      [{ name: 'a', namespace: 'ns', resourceVersion }],
    )
    assert.doesNotMatch(lines.join(''), /c2VjcmV0|last-applied/)
  })

  test('keeps no managedFields', async (t) => {
    const { clock, informer } = await startInformer(t, (fake) =>
      fake.put(path('a'), { spec: 1, metadata: { managedFields: [{ manager: 'x' }], labels: { a: 'b' } } }),
    )
    await passUntil(clock, () => informer.synced)
    assert.deepEqual(Object.keys(informer.cache.get('ns/a')!.metadata).sort(), [
      'labels',
      'name',
      'namespace',
      'resourceVersion',
      'uid',
    ])
  })
})
