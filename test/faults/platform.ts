/** Three brokers and a Redis that keeps what it acknowledged, each behind relays, for several runs one after the other. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { freePort } from '../../local/platform/free-port.ts'
import { startKafkaCluster } from '../../local/platform/kafka-cluster.ts'
import type { KafkaCluster } from '../../local/platform/kafka-cluster.ts'
import { startRedis } from '../../local/platform/redis.ts'
import type { RedisServer } from '../../local/platform/redis.ts'
import type { Report } from '../../local/report.ts'
import { Relay } from './relay.ts'

export const BROKERS = 3
const LISTENER = 'RELAYED'

export interface Platform {
  readonly directory: string
  readonly cluster: KafkaCluster
  /** What sidecars are told: the relays. */
  readonly brokers: readonly string[]
  readonly redis: RedisServer
  /** What sidecars are told. */
  readonly redisUrl: string
  readonly relays: Readonly<Record<'Kafka' | 'Redis', readonly Relay[]>>
  /** Past the relay. */
  readonly admin: Redis
}

/** @throws PartMissingError, PartFailedError; what was started goes with the stack. */
export async function startPlatform(
  directory: string,
  stack: AsyncDisposableStack,
  report: Report,
  signal: AbortSignal,
): Promise<Platform> {
  mkdirSync(directory, { recursive: true })
  const cluster = await startKafkaCluster(
    {
      directory: join(directory, 'kafka'),
      brokerCount: BROKERS,
      listeners: [{ name: LISTENER, protocol: 'PLAINTEXT', properties: {}, relayed: true }],
      report,
    },
    signal,
  )
  stack.defer(() => cluster.stop())
  const redis = await startRedis(
    { directory: join(directory, 'redis'), args: ['--appendonly', 'yes', '--appendfsync', 'always'], report },
    signal,
  )
  stack.defer(() => redis.stop())
  const relay = async (port: number, target: string): Promise<Relay> => {
    const started = await Relay.start(port, target)
    stack.defer(() => started.close())
    return started
  }
  const brokers = cluster.advertised[LISTENER] ?? []
  const targets = cluster.listeners[LISTENER] ?? []
  const redisPort = await freePort()
  const relays = {
    Kafka: await Promise.all(brokers.map((address, index) => relay(Number(address.split(':')[1]), targets[index]!))),
    Redis: [await relay(redisPort, new URL(redis.url).host)],
  }
  const admin = new Redis(redis.url, { maxRetriesPerRequest: null, retryStrategy: () => 50 })
  // Not there while it restarts: it connects again by itself.
  admin.on('error', () => undefined)
  stack.defer(() => admin.disconnect())
  return { directory, cluster, brokers, redis, redisUrl: `redis://127.0.0.1:${redisPort}`, relays, admin }
}
