/** A route on a Redis Cluster of three masters and three replicas that changes under it, as an ACL user with the documented lists. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import type { Redis } from 'ioredis'
import type { RedisClusterNode } from '../../local/platform/redis-cluster.ts'
import { connectRedis } from '../../sidecar/results/redis.ts'
import { Secret } from '../../sidecar/secret.ts'
import { createLogger } from '../../sidecar/telemetry/log.ts'
import { Metrics } from '../../sidecar/telemetry/metrics.ts'
import { Load, assertAllAnswered, slowest } from './support/load.ts'
import { temporaryDirectory } from './support/own.ts'
import { documentedAcl } from './support/redis-acl.ts'
import { adminOf, isInSync, ownRedisCluster, roleOf } from './support/redis-topologies.ts'
import { startRoute, until } from './support/route.ts'
import type { Instruction } from './support/service.ts'

const USER = 'team'
const PASSWORD = 'correct-horse-battery'
/** ioredis says them to replicas, and goes on without. */
const NEEDLESS = new Set(['readonly', 'readwrite'])
const RULES = [...documentedAcl('acl'), ...documentedAcl('acl-cluster')]
const MIGRATED = Array.from({ length: 1000 }, (_, slot) => slot)
const LAST_SLOT = 16_383

/** Sends the same command for many slots at once. */
async function forEachSlot(admin: Redis, slots: readonly number[], command: (slot: number) => (string | number)[]) {
  const pipeline = admin.pipeline()
  for (const slot of slots) pipeline.call('CLUSTER', ...command(slot))
  for (const [error] of (await pipeline.exec()) ?? []) if (error !== null) throw error
}

/** Calls are answered although nothing more happens than has. */
async function goesOn(load: Load, more = 150): Promise<void> {
  const goal = load.sent + more
  await until('calls are answered', () => load.answered >= goal, 60_000)
}

async function stopped(t: TestContext, load: Load) {
  const answers = await load.stop()
  t.diagnostic(`${answers.length} calls, slowest ${slowest(answers)} ms`)
  assertAllAnswered(answers)
  return answers
}

test('a route on a Redis Cluster', async (t) => {
  const { nodes } = await ownRedisCluster(t, ['--user', USER, 'on', `>${PASSWORD}`, '-@all', ...RULES])
  const passwordFile = join(temporaryDirectory(t), 'password')
  writeFileSync(passwordFile, PASSWORD)
  const addresses = nodes.slice(0, 2).map(({ address }) => address)
  const route = await startRoute(t, {
    workers: 2,
    redis: { cluster: { nodes: addresses }, username: USER, password: { file: passwordFile } },
    method: { timeoutMilliseconds: 60_000 },
    worker: { retry: { maxAttempts: 3 } },
  })
  const [proxy] = route.proxies
  assert.ok(proxy)
  const admins = new Map(nodes.map((node) => [node, adminOf(t, node.url)]))
  const ask = (node: RedisClusterNode): Redis => admins.get(node)!
  const under = (name: string, perSecond = 150, instruction: Instruction = { sleep: 5 }) =>
    new Load(route, { perSecond, name, deadline: 60_000, instruction })

  /** By what a node knows. */
  const ownerOf = async (slot: number, witness: RedisClusterNode): Promise<RedisClusterNode> => {
    const ranges = (await ask(witness).call('CLUSTER', 'SLOTS')) as [number, number, [string, number, string]][]
    const range = ranges.find(([from, to]) => from <= slot && slot <= to)
    const owner = nodes.find(({ id }) => id === range?.[2][2])
    assert.ok(owner, `nobody owns slot ${slot}`)
    return owner
  }
  const refusals = async (user: string, among: readonly RedisClusterNode[] = nodes): Promise<string[]> => {
    const logs = await Promise.all(among.map((node) => ask(node).call('ACL', 'LOG') as Promise<string[][]>))
    const value = (entry: string[], name: string): string => entry[entry.indexOf(name) + 1]!
    return logs
      .flat()
      .filter((entry) => value(entry, 'username') === user && value(entry, 'reason') !== 'auth')
      .map((entry) => value(entry, 'object'))
      .filter((command) => !NEEDLESS.has(command))
  }

  await t.test('spreads the calls over its masters, and each is answered', async (part) => {
    const load = under('spread')
    await goesOn(load)
    await stopped(part, load)
    for (const master of nodes.slice(0, 3)) {
      assert.ok((await ask(master).dbsize()) > 10, `${master.address} holds next to nothing`)
    }
  })

  await t.test(
    'does not let a proxy with a wrong password be ready: it says why, and is once the password is right',
    async () => {
      writeFileSync(passwordFile, 'not-the-password')
      const late = await route.startProxy({}, { whenReady: false })
      const readyz = async () => (await fetch(`http://127.0.0.1:${late.adminPort}/readyz`)).text()
      await until(
        'it says why',
        () =>
          readyz().then(
            (text) => /WRONGPASS|NOAUTH/.test(text),
            () => false,
          ),
        60_000,
      )
      assert.equal(await route.status(late, '/readyz'), 503)
      await until('it logs why', () => late.process.lines.some((line) => /WRONGPASS|NOAUTH/.test(line)))
      assert.equal((await readyz()).includes('not-the-password'), false)
      assert.equal(late.process.lines.join('').includes('not-the-password'), false)
      writeFileSync(passwordFile, PASSWORD)
      await route.ready(late)
    },
  )

  await t.test('lets the calls of a killed worker be taken over', async (part) => {
    const [victim] = route.workers
    assert.ok(victim)
    const load = under('taken', 60, { sleep: 500 })
    await until('the victim runs some of them', () =>
      route
        .ledger()
        .some(({ event, id, pid }) => event === 'began' && id?.startsWith('taken') && pid === victim.handler.child.pid),
    )
    victim.process.kill('SIGKILL')
    victim.handler.kill('SIGKILL')
    await goesOn(load)
    await stopped(part, load)
    await route.startWorker()
  })

  // After the takeover, so that records ask whether they may start.
  await t.test('moves slots under load, and no call is lost or run twice', async (part) => {
    const from = await ownerOf(0, nodes[0]!)
    const to = await ownerOf(LAST_SLOT, nodes[0]!)
    const load = under('moved')
    await goesOn(load)
    await forEachSlot(ask(to), MIGRATED, (slot) => ['SETSLOT', slot, 'IMPORTING', from.id])
    await forEachSlot(ask(from), MIGRATED, (slot) => ['SETSLOT', slot, 'MIGRATING', to.id])
    // New keys of these slots belong to neither now: the old owner says ASK.
    await goesOn(load, 300)
    const { hostname, port } = new URL(to.url)
    for (const slot of MIGRATED) {
      for (;;) {
        const keys = (await ask(from).call('CLUSTER', 'GETKEYSINSLOT', slot, 100)) as string[]
        if (keys.length === 0) break
        await ask(from).call('MIGRATE', hostname, port, '', 0, 5000, 'KEYS', ...keys)
      }
    }
    for (const node of [to, from]) await forEachSlot(ask(node), MIGRATED, (slot) => ['SETSLOT', slot, 'NODE', to.id])
    // And now MOVED.
    await goesOn(load, 300)
    const answers = await stopped(part, load)
    const runs = route.runs()
    assert.deepEqual(
      answers.filter(({ id }) => runs.get(id) !== 1).map(({ id }) => [id, runs.get(id)]),
      [],
    )
  })

  await t.test('loses a master, and calls go on with its replica', async (part) => {
    const [witness] = nodes
    assert.ok(witness)
    const victim = await ownerOf(LAST_SLOT, witness)
    const load = under('failover')
    await goesOn(load)
    await victim.kill('SIGKILL')
    await until('another node owns its slots', async () => (await ownerOf(LAST_SLOT, witness)) !== victim, 40_000)
    await goesOn(load, 300)
    await stopped(part, load)
    await victim.start()
    await until(
      'it came back as a replica',
      async () => (await roleOf(ask(victim))) === 'slave' && (await isInSync(ask(victim))),
      40_000,
    )
  })

  await t.test('with the ACL that the documentation lists refuses nothing of all that', async () => {
    assert.deepEqual(await refusals(USER), [])
  })

  await t.test('without any one rule of the list for a Cluster refuses something', async () => {
    const key = 'gk:{missing}'
    const slot = await ask(nodes[0]!).cluster('KEYSLOT', key)
    const from = await ownerOf(slot, nodes[0]!)
    const to = await ownerOf(slot > LAST_SLOT / 2 ? 0 : LAST_SLOT, nodes[0]!)
    assert.notEqual(from, to)
    await ask(to).call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id)
    await ask(from).call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id)
    const needed = documentedAcl('acl-cluster')
    assert.ok(needed.length > 2)
    for (const rule of needed) {
      const user = `without-${rule.replace(/\W/g, '')}`
      const others = RULES.filter((one) => one !== rule)
      for (const node of nodes) {
        await ask(node).call('ACL', 'SETUSER', user, 'on', `>${PASSWORD}`, '-@all', ...others)
      }
      const redis = connectRedis({
        config: {
          cluster: { nodes: addresses },
          username: user,
          password: new Secret({ env: 'P' }, { P: PASSWORD }),
          commandTimeoutMilliseconds: 5000,
        },
        name: user,
        logger: createLogger('silent', {}),
        metrics: new Metrics(),
      })
      try {
        await until(`something is refused without ${rule}`, async () => {
          await redis.getAll([key]).catch(() => undefined)
          return (await refusals(user)).length > 0
        })
      } finally {
        redis.disconnect()
      }
    }
    for (const node of [from, to]) await ask(node).call('CLUSTER', 'SETSLOT', slot, 'STABLE')
  })

  await t.test('loses the node on which the replica listens, and it listens on another', async (part) => {
    const channel = `gk:reply:${proxy.config.instance}`
    const listening = async (node: RedisClusterNode) => Number((await ask(node).pubsub('NUMSUB', channel))[1]) > 0
    let victim: RedisClusterNode | undefined
    await until('the replica listens somewhere', async () => {
      for (const node of nodes) if (await listening(node)) victim = node
      return victim !== undefined
    })
    assert.ok(victim)
    const load = under('deaf')
    await goesOn(load)
    await victim.kill('SIGKILL')
    const others = nodes.filter((node) => node !== victim)
    await until('it listens on another', async () => (await Promise.all(others.map(listening))).some(Boolean), 30_000)
    await goesOn(load, 300)
    await stopped(part, load)
    assert.equal(await route.status(proxy, '/readyz'), 200)
    const ended = [...route.workers, ...route.proxies].filter((one) => !one.process.running)
    assert.deepEqual(
      ended.map(({ config }) => config.instance),
      [route.workers[0]!.config.instance],
      'a sidecar ended',
    )
  })
})
