import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { pino } from 'pino'
import { forItself } from '../../../../operator/controller/controller.ts'
import { LeadershipLostError } from '../../../../operator/controller/leader.ts'
import { Manager } from '../../../../operator/controller/manager.ts'
import { ControllerMetrics } from '../../../../operator/controller/metrics.ts'
import type { Resource } from '../../../../operator/controller/object.ts'
import type { ReconcileResult } from '../../../../operator/controller/reconciler.ts'
import { RestClient } from '../../../../operator/controller/rest-client.ts'
import { FakeApiServer } from './fake-api-server.ts'
import { FakeClock, passUntil, settle } from './fake-clock.ts'

const THINGS: Resource = { apiVersion: 'test.dev/v1', kind: 'Thing', plural: 'things', namespaced: true }
const OTHERS: Resource = { apiVersion: 'test.dev/v1', kind: 'Other', plural: 'others', namespaced: true }
const PATH = '/apis/test.dev/v1/namespaces/ns/things/a'

/** A leader election that is won and lost by hand, and writes down what is asked of it. */
class FakeElection {
  readonly asked: string[] = []
  win: () => void = () => undefined
  lose: (error: Error) => void = () => undefined
  acquire(signal: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      this.win = () => resolve(true)
      signal.addEventListener('abort', () => resolve(false))
    })
  }
  hold(signal: AbortSignal): Promise<void> {
    this.asked.push('hold')
    return new Promise((resolve, reject) => {
      this.lose = reject
      signal.addEventListener('abort', () => {
        this.asked.push('hold no more')
        resolve()
      })
    })
  }
  release(): Promise<void> {
    this.asked.push('release')
    return Promise.resolve()
  }
  problem(): undefined {
    return undefined
  }
}

async function startManager(
  t: TestContext,
  reconcile: (key: string, signal: AbortSignal) => Promise<ReconcileResult>,
  prepare: (server: FakeApiServer) => void = () => undefined,
) {
  const server = await FakeApiServer.start()
  server.put(PATH, { spec: 1 })
  prepare(server)
  const clock = new FakeClock()
  clock.busy = () => server.busy
  const transport = server.transport()
  const election = new FakeElection()
  const manager = new Manager({
    client: new RestClient({ transport, clock }),
    clock,
    random: () => 0.5,
    logger: pino({ level: 'silent' }),
    metrics: new ControllerMetrics(),
    elector: election,
    events: { flush: () => Promise.resolve() },
    namespaces: [],
    resyncMilliseconds: 0,
    drainMilliseconds: 20_000,
    reconcileTimeoutMilliseconds: 120_000,
  })
  const things = manager.informer(THINGS)
  manager.informer(OTHERS)
  manager.addController({ name: 'thing', reconciler: { reconcile }, sources: [forItself(things)], workers: 2 })
  const stop = new AbortController()
  let ended: 'Well' | Error | undefined
  const running = manager.run(stop.signal).then(
    () => (ended = 'Well'),
    (error: unknown) => (ended = error as Error),
  )
  t.after(async () => {
    stop.abort(new Error('the test ends'))
    await passUntil(clock, () => ended !== undefined)
    await running
    transport.close()
    await server.close()
  })
  return { server, clock, manager, election, things, stop, ended: () => ended }
}

describe('Manager', () => {
  test('lists before it leads, and reconciles only after', async (t) => {
    const seen: string[] = []
    const { server, clock, manager, election } = await startManager(t, (key) => {
      seen.push(key)
      return Promise.resolve({})
    })
    assert.match(manager.notReady() ?? '', /Thing\.v1\.test\.dev/)
    await passUntil(clock, () => server.openWatches === 2)
    assert.equal(manager.notReady(), undefined)
    assert.deepEqual(seen, [])
    election.win()
    await passUntil(clock, () => seen.length === 1)
    assert.deepEqual(seen, ['ns/a'])
  })

  test('leading, it reconciles nothing before everything was listed', async (t) => {
    const seen: string[] = []
    const { server, clock, manager, election, things } = await startManager(
      t,
      (key) => {
        seen.push(key)
        return Promise.resolve({})
      },
      (fake) => fake.fail({ kind: 'Status', status: 500 }, 3, ({ path }) => path.endsWith('/others')),
    )
    election.win()
    const listsOfOthers = () => server.seen('GET').filter(({ path }) => path.endsWith('/others')).length
    await passUntil(clock, () => things.synced && listsOfOthers() === 3)
    assert.deepEqual(seen, [])
    assert.match(manager.notReady() ?? '', /: Other\.v1\.test\.dev$/)
    await passUntil(clock, () => seen.length === 1)
  })

  test('gives one informer to all who ask for a resource', async (t) => {
    const { manager, things } = await startManager(t, () => Promise.resolve({}))
    assert.equal(manager.informer(THINGS), things)
  })

  test('lets a reconciler read what was just written', async (t) => {
    const { server, clock, manager, things } = await startManager(t, () => Promise.resolve({}))
    await passUntil(clock, () => server.openWatches === 2)
    manager.written(THINGS, {
      ...things.cache.get('ns/a')!,
      metadata: { name: 'a', namespace: 'ns', resourceVersion: '999' },
    })
    assert.equal(things.cache.get('ns/a')?.metadata.resourceVersion, '999')
  })

  test('told to end, it lets what runs end, and then gives the lease back', async (t) => {
    let end: (() => void) | undefined
    const { clock, election, stop, ended } = await startManager(
      t,
      () => new Promise((resolve) => (end = () => resolve({}))),
    )
    election.win()
    await passUntil(clock, () => end !== undefined)
    stop.abort(new Error('SIGTERM'))
    await settle()
    clock.advance(19_000)
    await settle()
    assert.deepEqual(election.asked, ['hold'])
    end!()
    await passUntil(clock, () => ended() !== undefined, { step: 1 })
    assert.equal(ended(), 'Well')
    assert.deepEqual(election.asked, ['hold', 'hold no more', 'release'])
  })

  test('breaks off what still runs when the time to drain is over', async (t) => {
    let reason: unknown
    let began = false
    const { clock, election, stop, ended } = await startManager(
      t,
      (_key, signal) =>
        new Promise((_resolve, reject) => {
          began = true
          signal.addEventListener('abort', () => {
            reason = signal.reason
            reject(signal.reason as Error)
          })
        }),
    )
    election.win()
    await passUntil(clock, () => began)
    stop.abort(new Error('SIGTERM'))
    await passUntil(clock, () => ended() !== undefined)
    assert.equal((reason as Error).message, 'the process ends')
    assert.deepEqual(election.asked, ['hold', 'hold no more', 'release'])
  })

  test('ends in bounded time beside a reconcile that never does, and then leaves the lease to run out', async (t) => {
    let began = false
    const { clock, election, stop, ended } = await startManager(t, () => {
      began = true
      return new Promise(() => undefined)
    })
    election.win()
    await passUntil(clock, () => began)
    const at = clock.monotonic()
    stop.abort(new Error('SIGTERM'))
    await passUntil(clock, () => ended() !== undefined)
    assert.ok(clock.monotonic() - at <= 25_000)
    assert.deepEqual(election.asked, ['hold', 'hold no more'])
  })

  test('without the lease it breaks everything off at once and fails', async (t) => {
    let reason: unknown
    let began = false
    const { clock, election, ended } = await startManager(
      t,
      (_key, signal) =>
        new Promise((_resolve, reject) => {
          began = true
          signal.addEventListener('abort', () => {
            reason = signal.reason
            reject(signal.reason as Error)
          })
        }),
    )
    election.win()
    await passUntil(clock, () => began)
    const lost = new LeadershipLostError('another leads')
    election.lose(lost)
    await passUntil(clock, () => ended() !== undefined, { step: 1 })
    assert.equal(ended(), lost)
    assert.equal(reason, lost)
    assert.ok(!election.asked.includes('release'))
  })

  test('ends before it leads when it is told to', async (t) => {
    const { clock, election, stop, ended } = await startManager(t, () => Promise.resolve({}))
    stop.abort(new Error('SIGTERM'))
    await passUntil(clock, () => ended() !== undefined)
    assert.equal(ended(), 'Well')
    assert.deepEqual(election.asked, [])
  })
})
