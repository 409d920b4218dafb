/** Redis of several servers, for a test alone; gone when the test is. */
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { Redis } from 'ioredis'
import { startRedisCluster } from '../../../local/platform/redis-cluster.ts'
import type { RedisCluster } from '../../../local/platform/redis-cluster.ts'
import { startRedis } from '../../../local/platform/redis.ts'
import type { RedisServer } from '../../../local/platform/redis.ts'
import { startSentinel } from '../../../local/platform/redis-sentinel.ts'
import { atEnd } from './clean-up.ts'
import { temporaryDirectory } from './own.ts'
import { until } from './route.ts'

const quiet = { report: () => undefined }

/** A client of a test's own, which asks until it is answered. */
export function adminOf(t: TestContext, url: string): Redis {
  const admin = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 50 })
  admin.on('error', () => undefined)
  atEnd(t, () => admin.disconnect())
  return admin
}

export const roleOf = async (admin: Redis): Promise<string> => ((await admin.role()) as unknown as [string])[0]

export const isInSync = async (admin: Redis): Promise<boolean> =>
  /master_link_status:up/.test(await admin.info('replication'))

export interface WatchedRedis {
  readonly name: string
  /** `host:port` of the Sentinels. */
  readonly sentinels: readonly string[]
  /** One of them is the master. */
  readonly servers: readonly RedisServer[]
  /** For commands to a Sentinel. */
  readonly sentinel: Redis
  /** The server that the Sentinels call the master now. */
  master(): Promise<RedisServer>
}

/** A master, two replicas, and three Sentinels of which two must agree. */
export async function watchedRedis(t: TestContext): Promise<WatchedRedis> {
  const name = 'calls'
  const directory = temporaryDirectory(t)
  const master = await startRedis({ directory: join(directory, 'server-0'), ...quiet })
  atEnd(t, () => master.stop())
  const { port } = new URL(master.url)
  const replicas = await Promise.all(
    [1, 2].map((number) =>
      startRedis({
        directory: join(directory, `server-${number}`),
        args: ['--replicaof', '127.0.0.1', port],
        ...quiet,
      }),
    ),
  )
  for (const replica of replicas) atEnd(t, () => replica.stop())
  for (const replica of replicas) {
    const admin = adminOf(t, replica.url)
    await until('a replica has what its master has', () => isInSync(admin))
  }
  const sentinels = await Promise.all(
    [0, 1, 2].map((number) =>
      startSentinel({
        directory: join(directory, `sentinel-${number}`),
        master: { name, port: Number(port) },
        quorum: 2,
        downMilliseconds: 1000,
        ...quiet,
      }),
    ),
  )
  for (const sentinel of sentinels) atEnd(t, () => sentinel.stop())
  for (const { address } of sentinels) {
    const admin = adminOf(t, `redis://${address}`)
    await until('the Sentinels know each other and the replicas', async () => {
      const info = await admin.info('sentinel')
      return /slaves=2,sentinels=3/.test(info)
    })
  }
  const sentinel = adminOf(t, `redis://${sentinels[0]!.address}`)
  const servers = [master, ...replicas]
  return {
    name,
    sentinels: sentinels.map(({ address }) => address),
    servers,
    sentinel,
    master: async () => {
      const [, now] = (await sentinel.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', name)) as [string, string]
      const found = servers.find(({ url }) => new URL(url).port === now)
      if (found === undefined) throw new Error(`the Sentinels name a master on port ${now}, which is none of ours`)
      return found
    },
  }
}

/**
 * Three masters with a replica each.
 * @param args added to each node's command line
 */
export async function ownRedisCluster(t: TestContext, args: readonly string[] = []): Promise<RedisCluster> {
  const directory = temporaryDirectory(t)
  const cluster = await startRedisCluster({
    directory,
    masters: 3,
    replicas: 1,
    nodeTimeoutMilliseconds: 3000,
    args,
    ...quiet,
  })
  atEnd(t, () => cluster.stop())
  return cluster
}
