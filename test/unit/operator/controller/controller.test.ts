import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { pino } from 'pino'
import {
  Controller,
  forItself,
  forOthers,
  forOwner,
  isSpecChanged,
} from '../../../../operator/controller/controller.ts'
import type { Source } from '../../../../operator/controller/controller.ts'
import type { Informer, InformerChange } from '../../../../operator/controller/informer.ts'
import { ControllerMetrics } from '../../../../operator/controller/metrics.ts'
import type { KubeObject, ObjectKey, OwnerReference, Resource } from '../../../../operator/controller/object.ts'
import { TerminalError } from '../../../../operator/controller/reconciler.ts'
import type { ReconcileResult } from '../../../../operator/controller/reconciler.ts'
import { FakeClock, passUntil, settle } from './fake-clock.ts'

const THINGS: Resource = { apiVersion: 'test.dev/v1', kind: 'Thing', plural: 'things', namespaced: true }

const object = (name: string, owner?: Partial<OwnerReference>): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Any',
  metadata: {
    name,
    namespace: 'ns',
    ...(owner !== undefined && {
      ownerReferences: [
        { apiVersion: 'test.dev/v1', kind: 'Thing', name: 'owner', uid: 'u', controller: true, ...owner },
      ],
    }),
  },
})

/** What of an informer a controller sees, told by hand. */
function fakeInformer() {
  const listeners: ((change: InformerChange<KubeObject>) => void)[] = []
  const informer = { onChange: (listener: (typeof listeners)[number]) => listeners.push(listener) }
  const tell = (change: InformerChange<KubeObject>): void => listeners.forEach((listener) => listener(change))
  return { informer: informer as unknown as Informer<KubeObject>, tell }
}

function startController(
  t: TestContext,
  reconcile: (key: ObjectKey, signal: AbortSignal) => Promise<ReconcileResult>,
  { workers = 1, sources = [] as readonly Source[] } = {},
) {
  const clock = new FakeClock()
  const metrics = new ControllerMetrics()
  const controller = new Controller({
    name: 'thing',
    reconciler: { reconcile },
    sources,
    workers,
    clock,
    logger: pino({ level: 'silent' }),
    metrics,
    reconcileTimeoutMilliseconds: 10_000,
  })
  const cut = new AbortController()
  const running = controller.run(cut.signal)
  t.after(async () => {
    const stopped = controller.stop()
    cut.abort(new Error('the test ends'))
    await stopped
    await running
    assert.equal(clock.pending, 0, 'a timer is left')
  })
  const metric = async (line: string) => {
    const found = (await metrics.expose()).split('\n').find((one) => one.startsWith(line))
    return found === undefined ? undefined : Number(found.slice(found.lastIndexOf(' ') + 1))
  }
  return { clock, controller, metric, cut }
}

describe('Controller', () => {
  test('runs as many reconciles at once as it has workers, and each key once', async (t) => {
    const running: string[] = []
    const ends: (() => void)[] = []
    const { controller, metric } = startController(
      t,
      (key) => {
        running.push(key)
        return new Promise((resolve) => ends.push(() => resolve({})))
      },
      { workers: 3 },
    )
    for (const key of ['a', 'a', 'b', 'c', 'd']) controller.enqueue(key)
    await settle()
    assert.deepEqual(running, ['a', 'b', 'c'])
    assert.equal(await metric('controller_runtime_active_workers{controller="thing"}'), 3)
    assert.equal(await metric('workqueue_depth{name="thing",controller="thing"}'), 1)
    controller.enqueue('a')
    ends.shift()!()
    await settle()
    assert.deepEqual(running, ['a', 'b', 'c', 'd'])
    while (ends.length > 0) {
      ends.shift()!()
      await settle()
    }
    assert.deepEqual(running, ['a', 'b', 'c', 'd', 'a'])
  })

  const throwers: readonly (readonly [string, () => Promise<ReconcileResult>])[] = [
    ['rejects', () => Promise.reject(new Error('no'))],
    [
      'throws before it waits for anything',
      () => {
        throw new TypeError('undefined is not a function')
      },
    ],
    // eslint-disable-next-line typescript/prefer-promise-reject-errors
    ['rejects with nothing', () => Promise.reject(undefined)],
    ['answers nothing', () => Promise.resolve(undefined as unknown as ReconcileResult)],
  ]
  for (const [what, fail] of throwers) {
    test(`a reconciler that ${what} has failed once, and is tried again; its neighbours go on`, async (t) => {
      const seen: string[] = []
      let failures = 1
      const { clock, controller, metric } = startController(t, (key) => {
        seen.push(key)
        return key === 'odd' && failures-- > 0 ? fail() : Promise.resolve({})
      })
      controller.enqueue('odd')
      controller.enqueue('good')
      await passUntil(clock, () => seen.length === 3, { step: 1 })
      assert.deepEqual(seen, ['odd', 'good', 'odd'])
      assert.equal(await metric('controller_runtime_reconcile_errors_total{controller="thing"}'), 1)
      assert.equal(await metric('controller_runtime_reconcile_total{controller="thing",result="error"}'), 1)
      assert.equal(await metric('controller_runtime_reconcile_total{controller="thing",result="success"}'), 2)
      assert.equal(await metric('workqueue_retries_total{name="thing",controller="thing"}'), 1)
    })
  }

  test('waits longer after each failure, and begins anew after a success', async (t) => {
    const at: number[] = []
    const { clock, controller } = startController(t, () => {
      at.push(clock.monotonic())
      return at.length === 4 ? Promise.resolve({ requeueAfterMilliseconds: 100 }) : Promise.reject(new Error('no'))
    })
    controller.enqueue('a')
    await passUntil(clock, () => at.length === 6, { step: 1 })
    assert.deepEqual(
      at.slice(1).map((time, index) => time - at[index]!),
      [5, 10, 20, 100, 5],
    )
  })

  test('does not try a terminal error again until something wakes it', async (t) => {
    const seen: number[] = []
    const { clock, controller, metric } = startController(t, () => {
      seen.push(clock.monotonic())
      return Promise.reject(new TerminalError('never'))
    })
    controller.enqueue('a')
    await settle()
    clock.advance(3_600_000)
    await settle()
    assert.equal(seen.length, 1)
    assert.equal(await metric('controller_runtime_terminal_reconcile_errors_total{controller="thing"}'), 1)
    controller.enqueue('a')
    await settle()
    assert.equal(seen.length, 2)
  })

  test('looks again when the reconciler asks for it, and counts it as that', async (t) => {
    const seen: number[] = []
    const { clock, controller, metric } = startController(t, () => {
      seen.push(clock.monotonic())
      return Promise.resolve(seen.length === 1 ? { requeueAfterMilliseconds: 5000 } : {})
    })
    controller.enqueue('a')
    await passUntil(clock, () => seen.length === 2)
    assert.deepEqual(seen, [0, 5000])
    assert.equal(await metric('controller_runtime_reconcile_total{controller="thing",result="requeue_after"}'), 1)
  })

  test('aborts the signal of a reconcile that takes too long, and tries it again', async (t) => {
    const reasons: string[] = []
    const { clock, controller, metric } = startController(t, (_key, signal) => {
      if (reasons.length === 1) return Promise.resolve({})
      return new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          reasons.push((signal.reason as { code: string }).code)
          reject(signal.reason as Error)
        })
      })
    })
    controller.enqueue('a')
    await settle()
    clock.advance(9999)
    await settle()
    assert.deepEqual(reasons, [])
    clock.advance(1)
    await settle()
    assert.deepEqual(reasons, ['RECONCILE_TIMEOUT'])
    assert.equal(await metric('controller_runtime_reconcile_timeouts_total{controller="thing"}'), 1)
    clock.advance(5)
    await settle()
    assert.equal(await metric('controller_runtime_reconcile_total{controller="thing",result="success"}'), 1)
  })

  test('is a problem only when a reconcile goes on for a minute after its signal was aborted', async (t) => {
    let end: (() => void) | undefined
    const { clock, controller } = startController(t, () => new Promise((resolve) => (end = () => resolve({}))))
    controller.enqueue('a')
    await settle()
    clock.advance(69_000)
    assert.equal(controller.problem(), undefined)
    clock.advance(2000)
    assert.match(controller.problem() ?? '', /thing has run for 71000 ms/)
    end!()
    await settle()
    assert.equal(controller.problem(), undefined)
  })

  test('stopped, it begins nothing more and waits for what runs', async (t) => {
    const seen: string[] = []
    let end: (() => void) | undefined
    const { controller } = startController(t, (key) => {
      seen.push(key)
      return new Promise((resolve) => (end = () => resolve({ requeueAfterMilliseconds: 1 })))
    })
    controller.enqueue('a')
    controller.enqueue('b')
    await settle()
    let stopped = false
    const stopping = controller.stop().then(() => (stopped = true))
    await settle()
    assert.equal(stopped, false)
    end!()
    await stopping
    assert.deepEqual(seen, ['a'])
  })

  test('gives the end of the process to what runs', async (t) => {
    let reason: unknown
    const { controller, cut } = startController(
      t,
      (_key, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            reason = signal.reason
            reject(signal.reason as Error)
          })
        }),
    )
    controller.enqueue('a')
    await settle()
    const stopping = controller.stop()
    cut.abort(new Error('the process ends'))
    await stopping
    assert.equal((reason as Error).message, 'the process ends')
  })
})

describe('Sources of a controller', () => {
  async function wokenBy(
    t: TestContext,
    sourceOf: (informer: Informer<KubeObject>) => Source,
    ...changes: readonly InformerChange<KubeObject>[]
  ) {
    const { informer, tell } = fakeInformer()
    const seen: string[] = []
    startController(
      t,
      (key) => {
        seen.push(key)
        return Promise.resolve({})
      },
      { sources: [sourceOf(informer)] },
    )
    for (const change of changes) tell(change)
    await settle()
    return seen.sort()
  }

  test('forItself wakes the object for every change, and for a resync', async (t) => {
    const woken = await wokenBy(
      t,
      forItself,
      { type: 'Added', object: object('added') },
      { type: 'Updated', object: object('updated'), old: object('updated') },
      { type: 'Deleted', object: object('deleted') },
      { type: 'Resynced', object: object('resynced') },
    )
    assert.deepEqual(woken, ['ns/added', 'ns/deleted', 'ns/resynced', 'ns/updated'])
  })

  test('forOwner wakes the controlling owner of its kind, in whatever version', async (t) => {
    const woken = await wokenBy(
      t,
      (informer) => forOwner(informer, THINGS),
      { type: 'Added', object: object('child', {}) },
      { type: 'Added', object: object('older', { name: 'other', apiVersion: 'test.dev/v1beta1' }) },
      { type: 'Added', object: object('orphan') },
      { type: 'Added', object: object('not controlled', { name: 'x', controller: false }) },
      { type: 'Added', object: object('of another kind', { name: 'y', kind: 'Other' }) },
      { type: 'Added', object: object('of another group', { name: 'z', apiVersion: 'other.dev/v1' }) },
    )
    assert.deepEqual(woken, ['ns/other', 'ns/owner'])
  })

  test('forOwner wakes the owner that an object had before, too', async (t) => {
    const woken = await wokenBy(t, (informer) => forOwner(informer, THINGS), {
      type: 'Updated',
      object: object('child', { name: 'new' }),
      old: object('child', { name: 'former' }),
    })
    assert.deepEqual(woken, ['ns/former', 'ns/new'])
  })

  test('forOthers wakes whom the function names', async (t) => {
    const woken = await wokenBy(
      t,
      (informer) => forOthers(informer, ({ metadata }) => [`ns/user-of-${metadata.name}`]),
      {
        type: 'Deleted',
        object: object('secret'),
      },
    )
    assert.deepEqual(woken, ['ns/user-of-secret'])
  })

  test('forOthers wakes nobody for a change that does not matter to them, nor for a resync', async (t) => {
    const of = (name: string, generation: number, more: Partial<KubeObject['metadata']> = {}): KubeObject => ({
      ...object(name),
      metadata: { name, namespace: 'ns', generation, ...more },
    })
    const deletionTimestamp = '2026-01-01T00:00:00Z'
    const woken = await wokenBy(
      t,
      (informer) => forOthers(informer, ({ metadata }) => [`ns/user-of-${metadata.name}`], isSpecChanged),
      { type: 'Added', object: of('added', 1) },
      { type: 'Updated', object: of('status', 1, { resourceVersion: '2' }), old: of('status', 1) },
      { type: 'Updated', object: of('spec', 2), old: of('spec', 1) },
      { type: 'Updated', object: of('ending', 1, { deletionTimestamp }), old: of('ending', 1) },
      { type: 'Updated', object: of('another', 1, { uid: 'b' }), old: of('another', 1, { uid: 'a' }) },
      { type: 'Deleted', object: of('deleted', 1) },
      { type: 'Resynced', object: of('resynced', 1) },
    )
    assert.deepEqual(
      woken,
      ['added', 'another', 'deleted', 'ending', 'spec'].map((name) => `ns/user-of-${name}`),
    )
  })
})
