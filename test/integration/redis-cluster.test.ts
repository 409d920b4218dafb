/** The data plane on a Redis Cluster of three masters and three replicas that changes under it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Redis } from 'ioredis'
import type { RedisClusterNode } from '../../local/platform/redis-cluster.ts'
import { Load, assertAllAnswered, slowest } from './support/load.ts'
import { adminOf, ownRedisCluster, roleOf } from './support/redis-topologies.ts'
import { startRoute, until } from './support/route.ts'

const MIGRATED = 1000

/** Sends the same command for many slots at once. */
async function forEachSlot(admin: Redis, slots: readonly number[], command: (slot: number) => (string | number)[]) {
  const pipeline = admin.pipeline()
  for (const slot of slots) pipeline.call('CLUSTER', ...command(slot))
  for (const [error] of (await pipeline.exec()) ?? []) if (error !== null) throw error
}

/** Calls are answered although nothing more happens than has. */
async function goesOn(load: Load, more = 150): Promise<void> {
  const goal = load.answered + more
  await until('calls are answered', () => load.answered >= goal, 40_000)
}

test('a Redis Cluster', async (t) => {
  const cluster = await ownRedisCluster(t)
  const route = await startRoute(t, {
    workers: 2,
    redis: { cluster: { nodes: cluster.nodes.slice(0, 2).map(({ address }) => address) } },
    method: { timeoutMilliseconds: 30_000 },
    worker: { retry: { maxAttempts: 3 } },
  })
  const admins = new Map(cluster.nodes.map((node) => [node, adminOf(t, node.url)]))
  const ask = (node: RedisClusterNode): Redis => admins.get(node)!

  await t.test('spreads the calls over its masters, and each is answered', async () => {
    const load = new Load(route, { perSecond: 150, name: 'spread', instruction: { sleep: 5 } })
    await goesOn(load)
    const answers = await load.stop()
    assertAllAnswered(answers)
    for (const master of cluster.nodes.slice(0, 3)) {
      assert.ok((await ask(master).dbsize()) > 10, `${master.address} holds next to nothing`)
    }
  })

  await t.test('lets the calls of a killed worker be taken over', async () => {
    const [victim] = route.workers
    assert.ok(victim)
    const calls = Array.from({ length: 40 }, (_, number) =>
      route.call({ id: `taken-${number}`, sleep: 1500, reply: 'r' }),
    )
    await until('the victim runs some of them', () =>
      route
        .ledger()
        .some(({ event, id, pid }) => event === 'began' && id?.startsWith('taken') && pid === victim.handler.child.pid),
    )
    victim.process.kill('SIGKILL')
    victim.handler.kill('SIGKILL')
    for (const { code, details } of await Promise.all(calls)) assert.equal(code, 0, details)
    await route.startWorker()
  })

  await t.test('moves slots under load, and no call is lost or run twice', async (part) => {
    const [from, to] = cluster.nodes
    assert.ok(from && to)
    const slots = Array.from({ length: MIGRATED }, (_, slot) => slot)
    const load = new Load(route, { perSecond: 200, name: 'moved', instruction: { sleep: 5 } })
    await goesOn(load)
    await forEachSlot(ask(to), slots, (slot) => ['SETSLOT', slot, 'IMPORTING', from.id])
    await forEachSlot(ask(from), slots, (slot) => ['SETSLOT', slot, 'MIGRATING', to.id])
    // New keys of these slots belong to neither now: the old owner says ASK.
    await goesOn(load, 300)
    const { hostname, port } = new URL(to.url)
    for (const slot of slots) {
      for (;;) {
        const keys = (await ask(from).call('CLUSTER', 'GETKEYSINSLOT', slot, 100)) as string[]
        if (keys.length === 0) break
        await ask(from).call('MIGRATE', hostname, port, '', 0, 5000, 'KEYS', ...keys)
      }
    }
    for (const node of [to, from]) await forEachSlot(ask(node), slots, (slot) => ['SETSLOT', slot, 'NODE', to.id])
    // And now MOVED.
    await goesOn(load, 300)
    const answers = await load.stop()
    part.diagnostic(`${answers.length} calls, slowest ${slowest(answers)} ms`)
    assertAllAnswered(answers)
    const runs = route.runs()
    assert.deepEqual(
      answers.filter(({ id }) => runs.get(id) !== 1).map(({ id }) => [id, runs.get(id)]),
      [],
    )
  })

  await t.test('loses a master under load, and calls go on with its replica', async (part) => {
    const load = new Load(route, { perSecond: 150, name: 'failover', instruction: { sleep: 5 } })
    await goesOn(load)
    // The last master with its replica has no moved slots; both roles are asked for, since another test may have changed them.
    const victim = cluster.nodes[2]!
    const heir = cluster.nodes[5]!
    assert.equal(await roleOf(ask(victim)), 'master')
    await victim.kill('SIGKILL')
    await until('the replica is the master', async () => (await roleOf(ask(heir))) === 'master', 30_000)
    await goesOn(load, 300)
    const answers = await load.stop()
    part.diagnostic(`${answers.length} calls, slowest ${slowest(answers)} ms`)
    assertAllAnswered(answers)
  })

  await t.test('loses the node on which the replica listens, and it listens on another', async (part) => {
    const listening = async (node: RedisClusterNode) =>
      node.exited === undefined
        ? 0
        : Number((await ask(node).pubsub('NUMSUB', `gk:reply:${route.proxies[0]!.config.instance}`))[1])
    const alive = cluster.nodes.filter((_, index) => index !== 2)
    let victim: RedisClusterNode | undefined
    await until('the replica listens somewhere', async () => {
      for (const node of alive) if ((await listening(node)) > 0) victim = node
      return victim !== undefined
    })
    assert.ok(victim)
    const load = new Load(route, { perSecond: 150, name: 'deaf', instruction: { sleep: 5 } })
    await goesOn(load)
    await victim.kill('SIGKILL')
    await goesOn(load, 300)
    const answers = await load.stop()
    part.diagnostic(`${answers.length} calls, slowest ${slowest(answers)} ms`)
    assertAllAnswered(answers)
    assert.equal(await route.status(route.proxies[0]!, '/readyz'), 200)
  })
})
