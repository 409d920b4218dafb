import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { freePort } from './free-port.ts'
import { startRedis, type RedisServer } from './redis.ts'
import type { Report } from '../report.ts'

const SLOTS = 16_384
const FORM_MILLISECONDS = 30_000
const LOOK_MILLISECONDS = 50

export type RedisClusterOptions = {
  readonly directory: string
  readonly masters: number
  /** Of each master. */
  readonly replicas: number
  /** After how long without an answer a node is away. */
  readonly nodeTimeoutMilliseconds: number
  /** Added to each node's command line. */
  readonly args?: readonly string[]
  readonly report?: Report
}

export type RedisClusterNode = RedisServer & {
  /** `host:port` */
  readonly address: string
  /** By which the Cluster knows it. */
  readonly id: string
}

export type RedisCluster = {
  /** The masters first, then the replicas: replica `m + k * masters` began as one of master `m`. */
  readonly nodes: readonly RedisClusterNode[]
  stop(): Promise<void>
}

/**
 * Starts the nodes of a Redis Cluster, makes them one and waits until each of them says that it is.
 *
 * @param signal  gives up; nothing is left running
 * @throws PartMissingError, PartFailedError, Error when the nodes do not come together
 */
export async function startRedisCluster(options: RedisClusterOptions, signal?: AbortSignal): Promise<RedisCluster> {
  const { masters, replicas } = options
  const started = await Promise.allSettled(
    Array.from({ length: masters * (1 + replicas) }, (_, index) => startNode(options, index, signal)),
  )
  const nodes = started.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.stop()))
  }
  const clients = nodes.map(({ url }) => new Redis(url))
  for (const client of clients) client.on('error', () => undefined)
  try {
    for (const one of started) if (one.status === 'rejected') throw one.reason
    await form(nodes, clients, masters)
  } catch (error) {
    await stop()
    throw error
  } finally {
    for (const client of clients) client.disconnect()
  }
  return { nodes, stop }
}

async function startNode(options: RedisClusterOptions, index: number, signal?: AbortSignal): Promise<RedisClusterNode> {
  const { directory, nodeTimeoutMilliseconds, args = [], report } = options
  const busPort = await freePort()
  const server = await startRedis(
    {
      directory: join(directory, String(index)),
      args: [
        ['--cluster-enabled', 'yes', '--cluster-node-timeout', String(nodeTimeoutMilliseconds)],
        ['--cluster-port', String(busPort), '--cluster-announce-ip', '127.0.0.1'],
        args,
      ].flat(),
      ...(report && { report }),
    },
    signal,
  )
  const client = new Redis(server.url)
  try {
    const id = await client.cluster('MYID')
    return Object.assign(server, { address: new URL(server.url).host, id, busPort })
  } finally {
    client.disconnect()
  }
}

async function form(nodes: readonly RedisClusterNode[], clients: readonly Redis[], masters: number): Promise<void> {
  const [first] = clients
  if (first === undefined) return
  for (const [index, client] of clients.entries()) {
    await client.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1)
    if (index < masters) {
      const from = Math.floor((index * SLOTS) / masters)
      const to = Math.floor(((index + 1) * SLOTS) / masters) - 1
      await client.call('CLUSTER', 'ADDSLOTSRANGE', from, to)
    }
  }
  for (const node of nodes.slice(1)) {
    const { hostname, port } = new URL(node.url)
    await first.call('CLUSTER', 'MEET', hostname, port, (node as RedisClusterNode & { busPort: number }).busPort)
  }
  await untilAll(
    clients,
    async (client) => (await clusterInfo(client)).get('cluster_known_nodes') === String(nodes.length),
  )
  for (const [index, client] of clients.entries()) {
    if (index >= masters) await client.call('CLUSTER', 'REPLICATE', nodes[index % masters]!.id)
  }
  await untilAll(clients, async (client, index) => {
    if ((await clusterInfo(client)).get('cluster_state') !== 'ok') return false
    if (index < masters) return true
    return /master_link_status:up/.test(await client.info('replication'))
  })
}

async function clusterInfo(client: Redis): Promise<ReadonlyMap<string, string>> {
  const text = await client.cluster('INFO')
  return new Map(text.split('\r\n').map((line) => line.split(':') as [string, string]))
}

async function untilAll(
  clients: readonly Redis[],
  holds: (client: Redis, index: number) => Promise<boolean>,
): Promise<void> {
  const end = performance.now() + FORM_MILLISECONDS
  for (const [index, client] of clients.entries()) {
    while (!(await holds(client, index))) {
      if (performance.now() > end)
        throw new Error(`the Redis Cluster did not form within ${FORM_MILLISECONDS / 1000} s`)
      await pause(LOOK_MILLISECONDS)
    }
  }
}
