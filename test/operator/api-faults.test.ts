/** What networks and busy servers do between the operator and the API server: it gets over it, and ends where it would have. */
import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import { ApiRelay, EXPIRED_WATCH, GONE, throttled } from './support/api-relay.ts'
import { ownCluster, sharedCluster } from './support/cluster.ts'
import { endState } from './support/end-state.ts'
import type { RelayedRequest } from './support/http-relay.ts'
import { Namespace } from './support/namespace.ts'
import { NAME, PROXY, Scene, WORKER, type Fields } from './support/scene.ts'
import { until } from './support/until.ts'

const isWatch = (one: RelayedRequest): boolean => one.isWatch
const isList = (one: RelayedRequest): boolean => !one.isWatch && /[?&]limit=/.test(one.path)
const isWrite = ({ method, path }: RelayedRequest): boolean => method !== 'GET' && !/\/(leases|events)\b/.test(path)

/** The first two requests of each resource that match. */
function twiceEach(matches: (request: RelayedRequest) => boolean): (request: RelayedRequest) => boolean {
  const times = new Map<string, number>()
  return (request) => {
    if (!matches(request)) return false
    const place = request.path.split('?', 1)[0]!
    times.set(place, (times.get(place) ?? 0) + 1)
    return times.get(place)! <= 2
  }
}

/** Fields that make other objects, and another topic. */
const BEFORE: Fields = { topic: { deletionPolicy: 'Delete', partitions: 3 }, proxy: { port: 7000 } }
const AFTER: Fields = { topic: { deletionPolicy: 'Delete', partitions: 5 }, proxy: { port: 7001, replicas: 2 } }

/** Nobody renews a lease while the API server is away. */
const LONG_LEASE = { 'leader-elect-lease-seconds': 300, 'leader-elect-renew-deadline-seconds': 200 }

class Route {
  readonly scene: Scene
  readonly relay: ApiRelay

  private constructor(scene: Scene, relay: ApiRelay) {
    this.scene = scene
    this.relay = relay
  }

  /** The resources as BEFORE says, and nobody who looks at them. Operators call the API server through the relay. */
  static async applied(t: TestContext, flags: Readonly<Record<string, number>> = {}, spec = BEFORE): Promise<Route> {
    const relay = await ApiRelay.start(t, sharedCluster())
    const scene = await Scene.withoutOperator(t, {
      kubeconfig: relay.kubeconfig,
      flags: { 'resync-seconds': 1, ...flags },
    })
    await scene.applyService(spec)
    await scene.applyGroup()
    return new Route(scene, relay)
  }

  static async ready(t: TestContext, flags: Readonly<Record<string, number>> = {}, spec = BEFORE): Promise<Route> {
    const route = await Route.applied(t, flags, spec)
    await route.scene.startOperator()
    await route.untilSettled()
    return route
  }

  async change(): Promise<void> {
    await this.scene.applyService(AFTER)
    await this.scene.applyGroup({ handler: { port: 9095 } })
  }

  async untilSettled(): Promise<void> {
    for (const kind of ['CalculateService', 'ConsumerGroup'] as const) await this.scene.untilReady(kind)
    await until('it is known that nothing waits', async () => (await this.scene.statusOf('ConsumerGroup'))['lag'] === 0)
    await until('no old proxies and workers are left', async () => {
      const [service, group] = [
        await this.scene.statusOf('CalculateService'),
        await this.scene.statusOf('ConsumerGroup'),
      ]
      const proxy = service['proxy'] as { readonly replicas: number; readonly updatedReplicas: number }
      const workers = await this.scene.namespace.get('Deployment', WORKER)
      return (
        proxy.replicas === proxy.updatedReplicas &&
        group['replicas'] === 1 &&
        workers?.status?.['updatedReplicas'] === 1
      )
    })
    await until('nothing is announced any more', async () => {
      const { metadata } = (await this.scene.namespace.get('CalculateService', NAME))!
      return metadata.annotations?.['grpckafka.dev/announced-topics'] === undefined
    })
  }

  /** The change was acted on, all is as it is without a fault, and then nothing is left to write. */
  async assertSame(expected: object): Promise<void> {
    await this.untilSettled()
    assert.deepEqual(await endState(this.scene), expected)
    const mark = await sharedCluster().audit.mark()
    for (const kind of ['CalculateService', 'ConsumerGroup'] as const) await this.scene.untilLookedAt(kind, 2)
    assert.deepEqual(await this.scene.writesSince(mark), [])
    assert.equal(this.scene.operator.exit, undefined)
  }
}

let undisturbed: Promise<object> | undefined

/** What the change comes to when nothing fails. */
function withoutFault(t: TestContext): Promise<object> {
  undisturbed ??= (async () => {
    const route = await Route.ready(t)
    await route.change()
    await route.untilSettled()
    return endState(route.scene)
  })()
  return undisturbed
}

// They wait, most of the time.
describe('an API server between which and the operator something fails', { concurrency: 2 }, () => {
  test('watches that are cut go on', async (t) => {
    const expected = await withoutFault(t)
    const route = await Route.ready(t)
    assert.ok(route.relay.cutWatches() > 0)
    await route.change()
    route.relay.cutWatches()
    await route.assertSame(expected)
  })

  test('a place that the API server has forgotten, in watches and in lists, is listed anew', async (t) => {
    const expected = await withoutFault(t)
    const route = await Route.ready(t)
    const lists = route.relay.reply(twiceEach(isList), GONE)
    route.relay.reply(twiceEach(isWatch), EXPIRED_WATCH)
    const watches = route.relay.cutWatches()
    await route.change()
    await until('all lists and watches were told so', () => lists.used >= 2 * watches)
    await route.assertSame(expected)
  })

  test('watches that fall silent are begun anew', async (t) => {
    const expected = await withoutFault(t)
    const route = await Route.ready(t, { 'watch-silence-seconds': 8 })
    assert.ok(route.relay.silenceWatches() > 0)
    await route.change()
    await route.assertSame(expected)
  })

  test('an API server that asks for patience is given it', async (t) => {
    const expected = await withoutFault(t)
    const route = await Route.ready(t)
    const rule = route.relay.reply(() => true, throttled(1), 20)
    route.relay.cutWatches()
    await route.change()
    await route.assertSame(expected)
    assert.equal(rule.used, 20)
  })

  test('answers that are lost after the API server did what it was asked do no harm', async (t) => {
    const expected = await withoutFault(t)
    const route = await Route.applied(t)
    let writes = 0
    const rule = route.relay.reply((one) => isWrite(one) && ++writes % 2 === 1, 'lose the answer')
    await route.scene.startOperator()
    await route.untilSettled()
    await route.change()
    await route.untilSettled()
    rule.takeBack()
    assert.ok(rule.used > 10, `${rule.used} answers were lost`)
    await route.assertSame(expected)
  })

  test('lists from the past undo nothing', async (t) => {
    const expected = await withoutFault(t)
    const route = await Route.ready(t)
    await route.change()
    await route.untilSettled()
    // As they were when the operator started: without any of what it has done, and with the spec as it was then.
    const lists = route.relay.reply(twiceEach(isList), 'stale')
    route.relay.reply(twiceEach(isWatch), EXPIRED_WATCH)
    const watches = route.relay.cutWatches()
    await until('all lists were from the past twice', () => lists.used >= 2 * watches)
    for (const kind of ['CalculateService', 'ConsumerGroup'] as const) await route.scene.untilLookedAt(kind, 2)
    await route.assertSame(expected)
  })

  test('an operator that starts from the past does not forget whose the topics are', async (t) => {
    // Where it deletes its topics its finalizer, which has to be set first, would show that it is another version.
    const route = await Route.ready(t, {}, {})
    const { topics } = await route.scene.statusOf('CalculateService')
    route.scene.operator.kill('SIGTERM')
    await route.scene.operator.exited
    // As the service was when the first operator began: with no status yet, and what came of it is there.
    const isOfServices = ({ path }: RelayedRequest): boolean => path.includes('/calculateservices?')
    const lists = route.relay.reply((one) => isList(one) && isOfServices(one), 'stale', 1)
    const watches = route.relay.reply((one) => isWatch(one) && isOfServices(one), 'hang')
    await route.scene.startOperator()
    await watches.met
    await route.scene.untilLookedAt('CalculateService', 2)
    assert.equal(lists.used, 1)
    assert.deepEqual((await route.scene.statusOf('CalculateService'))['topics'], topics)
    assert.equal((topics as readonly { readonly origin: string }[])[0]?.origin, 'Created')
  })

  test('an API server that is killed and started again, after changes were missed, is followed on', async (t) => {
    const { cluster, plane } = await ownCluster(t)
    const scene = await Scene.start(t, { flags: LONG_LEASE, namespace: await Namespace.start(t, cluster) })
    await scene.applyService(BEFORE)
    await scene.applyGroup()
    await scene.untilReady('ConsumerGroup')
    scene.operator.kill('SIGSTOP')
    await scene.namespace.delete('Deployment', PROXY)
    await scene.namespace.change('Deployment', WORKER, { spec: { replicas: 4 } })
    await scene.applyService(AFTER)
    await plane.apiServer.kill('SIGKILL')
    scene.operator.kill('SIGCONT')
    await plane.apiServer.start()
    await scene.untilReady('CalculateService')
    assert.equal((await scene.topicNow())?.partitions, 5)
    await scene.untilReplicas(1)
    await scene.applyGroup({ replicas: 2 })
    await scene.untilReplicas(2)
    assert.equal(scene.operator.exit, undefined)
  })
})
