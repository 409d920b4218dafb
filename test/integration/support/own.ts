import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { atEnd } from './clean-up.ts'
import { startKafka } from '../../../local/platform/kafka.ts'
import type { KafkaServer } from '../../../local/platform/kafka.ts'
import { startKafkaCluster } from '../../../local/platform/kafka-cluster.ts'
import type { KafkaCluster } from '../../../local/platform/kafka-cluster.ts'
import { startRedis } from '../../../local/platform/redis.ts'
import type { RedisServer } from '../../../local/platform/redis.ts'
import { PASSWORD, USER, makeSecurityFiles, securedListeners } from './secured-kafka.ts'
import type { DoorOptions, SecurityFiles } from './secured-kafka.ts'

/** A Redis that a test may break; it keeps what it acknowledged over a restart. Gone when the test is. */
export async function ownRedis(t: TestContext): Promise<RedisServer> {
  const directory = temporaryDirectory(t)
  const redis = await startRedis({
    directory,
    args: ['--appendonly', 'yes', '--appendfsync', 'always'],
    report: () => undefined,
  })
  atEnd(t, () => redis.stop())
  return redis
}

/** A Kafka that a test may break. Gone when the test is. */
export async function ownKafka(t: TestContext): Promise<KafkaServer> {
  const directory = temporaryDirectory(t)
  const kafka = await startKafka({ directory, report: () => undefined })
  atEnd(t, () => kafka.stop())
  return kafka
}

/** Brokers that a test may break, with the doors of `secured-kafka.ts`. Gone when the test is. */
export async function ownKafkaCluster(
  t: TestContext,
  brokerCount: number,
): Promise<KafkaCluster & { readonly files: SecurityFiles }> {
  const directory = temporaryDirectory(t)
  const files = await makeSecurityFiles(directory)
  const cluster = await startKafkaCluster({
    directory,
    brokerCount,
    listeners: securedListeners(files),
    users: { [USER]: PASSWORD },
    report: () => undefined,
  })
  atEnd(t, () => cluster.stop())
  return { ...cluster, files }
}

/** One broker with the doors of `secured-kafka.ts` and further users and settings. Gone when the test is. */
export async function ownSecuredKafka(
  t: TestContext,
  { users = [], properties = {}, ...door }: SecuredKafkaOptions = {},
): Promise<{ readonly kafka: KafkaServer; readonly files: SecurityFiles }> {
  const directory = temporaryDirectory(t)
  const files = await makeSecurityFiles(directory)
  const kafka = await startKafka({
    directory,
    listeners: securedListeners(files, door),
    users: Object.fromEntries([USER, ...users].map((name): [string, string] => [name, PASSWORD])),
    properties,
    report: () => undefined,
  })
  atEnd(t, () => kafka.stop())
  return { kafka, files }
}

interface SecuredKafkaOptions extends DoorOptions {
  /** Beside `USER`, with the same password. */
  readonly users?: readonly string[]
  /** Broker settings. */
  readonly properties?: Readonly<Record<string, string>>
}

export function temporaryDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'grpc-kafka-own-'))
  atEnd(t, () => rmSync(directory, { recursive: true, force: true }))
  return directory
}
