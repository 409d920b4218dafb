/** A proxy and a worker as processes on the benchmark's own Kafka and Redis. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { startChild, tail } from '../../local/child.ts'
import type { Child } from '../../local/child.ts'
import { countRecords, ensureTopics } from '../../local/kafka/admin.ts'
import { freePort } from '../../local/platform/free-port.ts'
import type { SidecarConfigInput } from '../../sidecar/config.ts'
import { CACHED_METHOD_NAME, METHOD_NAME, SERVICE_NAME } from './echo.ts'
import { ChildError } from './program.ts'

const READY_MILLISECONDS = 30_000
const STOP_MILLISECONDS = 10_000
const ASK_AGAIN_MILLISECONDS = 50

type NamedConfig = SidecarConfigInput & { readonly instance: string }

export interface RouteOptions {
  readonly name: string
  /** The checkout whose sidecar is run. */
  readonly root: string
  /** For configuration and logs. */
  readonly directory: string
  readonly brokers: readonly string[]
  readonly redisUrl: string
  readonly handlerPort: number
  readonly nodeFlags: readonly string[]
  /** With a rate limit that lets everything pass. */
  readonly rateLimit?: boolean
  /** A CPU profile of each sidecar is left here. */
  readonly profileDirectory?: string
}

export interface Sidecar {
  readonly pid: number
  /** The sum of a metric's series. */
  metric(name: string): Promise<number>
}

export interface Route {
  readonly port: number
  readonly proxy: Sidecar
  readonly worker: Sidecar
  /** Records that the topic ever gained. */
  records(): Promise<number>
  /** Resolves when both have ended. */
  stop(): Promise<void>
}

/** @throws ChildError with the end of the log when one does not become ready. */
export async function startRoute(options: RouteOptions, signal: AbortSignal): Promise<Route> {
  const { name, directory, brokers, redisUrl, handlerPort } = options
  const topic = `bench.${name}`
  await ensureTopics(brokers, () => [
    { name: topic, partitions: 3, replicationFactor: 1, config: { 'max.message.bytes': '4400000' }, declared: [] },
    {
      name: `${topic}.dead`,
      partitions: 1,
      replicationFactor: 1,
      config: { 'max.message.bytes': '4600000' },
      declared: [],
    },
  ])
  const common = (role: string, adminPort: number) => ({
    instance: `${role}-${name}`,
    service: { name: SERVICE_NAME, topic },
    kafka: { brokers: [...brokers] },
    redis: { url: redisUrl },
    admin: { host: '127.0.0.1', port: adminPort },
    log: { level: 'warn' as const },
  })
  // Free ports are asked for one after the other: two askings at once could get the same one.
  const port = await freePort()
  const workerConfig: NamedConfig = {
    ...common('worker', await freePort()),
    role: 'worker',
    worker: {
      groupId: topic,
      handler: { port: handlerPort },
      methods: [METHOD_NAME, CACHED_METHOD_NAME].map((name) => ({ name, timeoutMilliseconds: 30_000 })),
    },
  }
  const proxyConfig: NamedConfig = {
    ...common('proxy', await freePort()),
    role: 'proxy',
    proxy: {
      host: '127.0.0.1',
      port,
      methods: [
        { name: METHOD_NAME, timeoutMilliseconds: 30_000 },
        { name: CACHED_METHOD_NAME, timeoutMilliseconds: 30_000, cacheSeconds: 60 },
      ],
      ...(options.rateLimit === true && { rateLimit: { requestsPerSecond: 1_000_000, burst: 1_000_000 } }),
    },
  }

  const children: Child[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(children.map((child) => child.stop(STOP_MILLISECONDS)))
  }
  const start = async (config: NamedConfig): Promise<Sidecar> => {
    const file = join(directory, `${config.instance}.json`)
    const log = join(directory, `${config.instance}.log`)
    await writeFile(file, JSON.stringify(config))
    const { profileDirectory } = options
    const profile =
      profileDirectory === undefined
        ? []
        : [
            '--cpu-prof',
            '--cpu-prof-interval=500',
            `--cpu-prof-dir=${profileDirectory}`,
            `--cpu-prof-name=${config.instance}.cpuprofile`,
          ]
    const child = await startChild({
      name: config.instance,
      command: process.execPath,
      args: [...options.nodeFlags, ...profile, join(options.root, 'sidecar/main.ts'), '--config', file],
      directory: options.root,
      output: { file: log },
    })
    children.push(child)
    return { pid: child.pid, metric: (metric) => readMetric(config.admin.port, metric) }
  }
  const ready = async ({ instance, admin }: NamedConfig, child: Child | undefined): Promise<void> => {
    const late = AbortSignal.timeout(READY_MILLISECONDS)
    while (!(await isReady(admin.port))) {
      signal.throwIfAborted()
      if (late.aborted || child?.exit !== undefined) {
        throw new ChildError(`${instance} did not become ready:\n${await tail(join(directory, `${instance}.log`), 10)}`)
      }
      await pause(ASK_AGAIN_MILLISECONDS)
    }
  }
  try {
    const worker = await start(workerConfig)
    const proxy = await start(proxyConfig)
    await Promise.all([ready(workerConfig, children[0]), ready(proxyConfig, children[1])])
    return { port, proxy, worker, records: () => countRecords(brokers, topic), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

const isReady = (port: number): Promise<boolean> =>
  fetch(`http://127.0.0.1:${port}/readyz`).then(
    ({ ok }) => ok,
    () => false,
  )

async function readMetric(port: number, name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
}
