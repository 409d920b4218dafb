/**
 * A route on the real Kafka and Redis that KAFKA_BROKERS and REDIS_URL name: topics of its own, handlers, workers and
 * proxies as processes of their own, all gone when the test is.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { Metadata } from '@grpc/grpc-js'
import type { Client, ServiceError } from '@grpc/grpc-js'
import { Kafka, logLevel } from 'kafkajs'
import type { Admin, ITopicConfig } from 'kafkajs'
import type { SidecarConfigInput } from '../../../sidecar/config.ts'
import { retryTopic } from '../../../sidecar/kafka/topic-names.ts'
import { freePort } from '../../../local/platform/free-port.ts'
import { atEnd } from './clean-up.ts'
import { METHOD, SERVICE_NAME, rawClient } from './service.ts'
import type { Instruction } from './service.ts'

const ROOT = new URL('../../..', import.meta.url).pathname

/** A configuration that says itself which instance it is for. */
type Named = SidecarConfigInput & { readonly instance: string }
type ProxyInput = Extract<Named, { role: 'proxy' }>
type WorkerInput = Extract<Named, { role: 'worker' }>

export interface RouteOptions {
  readonly proxies?: number
  readonly workers?: number
  readonly partitions?: number
  /** How many there are; none when not given: failed calls wait in their workers. */
  readonly retryTopics?: number
  readonly method?: Partial<ProxyInput['proxy']['methods'][number]>
  readonly service?: Partial<ProxyInput['service']>
  readonly proxy?: Partial<ProxyInput['proxy']>
  readonly worker?: Partial<WorkerInput['worker']>
  /** Topic settings, as for `kafka-topics --config`. */
  readonly topicConfig?: Readonly<Record<string, string>>
  /** Given instead of the environment's. */
  readonly brokers?: readonly string[]
  /** What the sidecars are told of Kafka instead of those brokers; the test itself goes on using them. */
  readonly kafka?: SidecarConfigInput['kafka']
  /** The same for workers, where it is another. */
  readonly workerKafka?: SidecarConfigInput['kafka']
  /** Copies of each partition; one when not given. */
  readonly replicationFactor?: number
  readonly redisUrl?: string
  /** What the sidecars read instead of the URL. */
  readonly redisReference?: SidecarConfigInput['redis']['url']
  /** What the sidecars are told of Redis instead of an URL. */
  readonly redis?: SidecarConfigInput['redis']
  /** Added to the environment of the n-th worker or proxy. */
  readonly workerEnv?: (index: number) => Readonly<Record<string, string>>
  readonly proxyEnv?: (index: number) => Readonly<Record<string, string>>
  /** Instead of `handler.ts` of this folder; a path from the project's root. */
  readonly handlerScript?: string
  readonly logLevel?: 'debug' | 'warn'
  /** Added to the environment of every handler. */
  readonly handlerEnv?: Readonly<Record<string, string>>
}

export interface LedgerEntry {
  readonly event: 'began' | 'ended'
  readonly pid: number
  readonly at: number
  readonly id?: string
  readonly callId: string
  readonly attempt: number
  readonly remaining: number
  readonly bytes: number
  readonly metadata: Readonly<Record<string, readonly string[]>>
}

export interface Answer {
  readonly code: number
  readonly details: string
  readonly reply?: Buffer
  readonly initial: Metadata
  readonly trailing: Metadata
  readonly milliseconds: number
}

/** A machine that does much else takes half a minute. */
const READY_MILLISECONDS = 90_000

/** For tests that are not about time: no deadline of the resource's comes near, however busy the machine is. */
export const PATIENT = { timeoutMilliseconds: 20_000 } as const

function brokersOfEnvironment(): string[] {
  const brokers = process.env['KAFKA_BROKERS']
  if (brokers === undefined) throw new Error('KAFKA_BROKERS is not set: run npm run test:integration')
  return brokers.split(',')
}

export function redisOfEnvironment(): string {
  const url = process.env['REDIS_URL']
  if (url === undefined) throw new Error('REDIS_URL is not set: run npm run test:integration')
  return url
}

/** Resolves when the condition holds; it is asked again and again until the time is over. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  milliseconds = 20_000,
): Promise<void> {
  const end = performance.now() + milliseconds
  for (;;) {
    if (await condition()) return
    if (performance.now() > end) throw new Error(`not within ${milliseconds} ms: ${what}`)
    await pause(20)
  }
}

/** A child process whose lines are kept. */
export class Process {
  readonly child: ChildProcess
  readonly lines: string[] = []
  readonly exited: Promise<number | null>

  constructor(script: string, args: readonly string[], env: Readonly<Record<string, string>>) {
    this.child = spawn(
      process.execPath,
      ['--disable-warning=TimeoutNegativeWarning', ...nodeArguments(env), join(ROOT, script), ...args],
      {
        env: { ...process.env, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    )
    for (const stream of [this.child.stdout, this.child.stderr]) {
      if (stream !== null) createInterface({ input: stream }).on('line', (line) => this.lines.push(line))
    }
    this.exited = new Promise((resolve) => this.child.on('exit', (code) => resolve(code)))
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal)
  }

  /** Resolves with the exit code; kills a process that does not end in time. */
  async end(milliseconds = 40_000): Promise<number | null> {
    this.kill('SIGTERM')
    const timer = setTimeout(() => this.kill('SIGKILL'), milliseconds)
    const code = await this.exited
    clearTimeout(timer)
    return code
  }
}

const nodeArguments = (env: Readonly<Record<string, string>>): string[] =>
  env['TEST_IMPORT'] === undefined ? [] : ['--import', join(ROOT, env['TEST_IMPORT'])]

export interface Sidecar {
  readonly process: Process
  readonly adminPort: number
  readonly configFile: string
  readonly config: Named
}

export interface Proxy extends Sidecar {
  readonly port: number
  readonly client: Client
}

export interface Worker extends Sidecar {
  handler: Process
  handlerPort: number
}

export class Route {
  readonly topic: string
  readonly groupId: string
  readonly directory: string
  readonly ledgerFile: string
  readonly brokers: readonly string[]
  readonly redisUrl: string
  readonly proxies: Proxy[] = []
  readonly workers: Worker[] = []
  readonly admin: Admin
  readonly #options: RouteOptions
  readonly #processes: Process[] = []
  readonly #closing = new AbortController()
  #named = 0

  constructor(options: RouteOptions) {
    this.#options = options
    this.topic = `t-${randomUUID().slice(0, 13)}`
    this.groupId = `g-${this.topic}`
    this.directory = mkdtempSync(join(tmpdir(), 'grpc-kafka-test-'))
    this.ledgerFile = join(this.directory, 'ledger')
    writeFileSync(this.ledgerFile, '')
    this.brokers = options.brokers ?? brokersOfEnvironment()
    this.redisUrl = options.redisUrl ?? redisOfEnvironment()
    this.admin = new Kafka({ brokers: [...this.brokers], logLevel: logLevel.NOTHING }).admin()
  }

  async createTopics(): Promise<void> {
    await this.admin.connect()
    const { replicationFactor = 1 } = this.#options
    const configEntries = Object.entries({ 'max.message.bytes': '4400000', ...this.#options.topicConfig }).map(
      ([name, value]) => ({ name, value }),
    )
    const calls = { numPartitions: this.#options.partitions ?? 3, replicationFactor, configEntries }
    await createTopics(this.admin, [
      ...[this.topic, ...this.retryTopics].map((topic) => ({ topic, ...calls })),
      {
        topic: `${this.topic}.dead`,
        numPartitions: 1,
        replicationFactor,
        configEntries: [{ name: 'max.message.bytes', value: '4600000' }],
      },
    ])
  }

  get retryTopics(): readonly string[] {
    return Array.from({ length: this.#options.retryTopics ?? 0 }, (_, index) => retryTopic(this.topic, index + 1))
  }

  /** Aborted when the route is closed. */
  get closing(): AbortSignal {
    return this.#closing.signal
  }

  async close(): Promise<void> {
    this.#closing.abort()
    for (const { client } of this.proxies) client.close()
    for (const process of this.#processes) process.kill('SIGKILL')
    await Promise.all(this.#processes.map(({ exited }) => exited))
    await this.admin
      .deleteTopics({ topics: [this.topic, ...this.retryTopics, `${this.topic}.dead`] })
      .catch(() => undefined)
    await this.admin.disconnect().catch(() => undefined)
    rmSync(this.directory, { recursive: true, force: true })
  }

  /** The last lines of each process. */
  lastWords(lines = 40): string {
    return this.#processes
      .map(({ child, lines: all }) =>
        [`process ${child.pid}: ${child.spawnargs.at(-1)}`, ...all.slice(-lines)].join('\n  '),
      )
      .join('\n')
  }

  spawn(script: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Process {
    const process = new Process(script, args, env)
    this.#processes.push(process)
    return process
  }

  async startHandler(port?: number): Promise<{ readonly handler: Process; readonly handlerPort: number }> {
    const handler = this.spawn(this.#options.handlerScript ?? 'test/integration/support/handler.ts', [], {
      ...this.#options.handlerEnv,
      LEDGER_FILE: this.ledgerFile,
      PORT: String(port ?? (await freePort())),
    })
    await until(
      'the handler listens',
      () => handler.lines.some((line) => line.startsWith('listening')) || !handler.running,
    )
    const line = handler.lines.find((one) => one.startsWith('listening'))
    if (line === undefined) throw new Error(`the handler does not start:\n${handler.lines.join('\n')}`)
    return { handler, handlerPort: Number(line.split(' ')[1]) }
  }

  /** Starts a worker with a handler of its own; resolves when it is ready, unless told otherwise. */
  async startWorker(extra: Partial<WorkerInput['worker']> = {}, { whenReady = true } = {}): Promise<Worker> {
    const { handler, handlerPort } = await this.startHandler()
    const adminPort = await freePort()
    // Taken where it is filled: several may be starting.
    const index = this.workers.length
    const config: WorkerInput = {
      ...this.#common('worker', adminPort),
      ...(this.#options.workerKafka === undefined ? {} : { kafka: this.#options.workerKafka }),
      role: 'worker',
      worker: {
        groupId: this.groupId,
        handler: { port: handlerPort },
        methods: [{ name: 'Do', ...this.#options.method }],
        graceSeconds: 30,
        ...this.#options.worker,
        ...extra,
      },
    }
    const worker: Worker = { ...this.#start(config, this.#options.workerEnv?.(index) ?? {}), handler, handlerPort }
    this.workers.push(worker)
    if (whenReady) await this.ready(worker)
    return worker
  }

  async startProxy(
    extra: Partial<ProxyInput['proxy']> = {},
    { whenReady = true, ...named }: { readonly whenReady?: boolean; readonly instance?: string } = {},
  ): Promise<Proxy> {
    const adminPort = await freePort()
    const port = extra.port ?? (await freePort())
    const index = this.proxies.length
    const config: ProxyInput = {
      ...this.#common('proxy', adminPort),
      ...named,
      role: 'proxy',
      proxy: {
        host: '127.0.0.1',
        port,
        methods: [{ name: 'Do', ...this.#options.method }],
        ...this.#options.proxy,
        ...extra,
      },
    }
    const proxy: Proxy = {
      ...this.#start(config, this.#options.proxyEnv?.(index) ?? {}),
      port,
      client: rawClient(port),
    }
    this.proxies.push(proxy)
    if (whenReady) await this.ready(proxy)
    return proxy
  }

  #common(kind: string, adminPort: number) {
    return {
      instance: `${kind}-${this.topic}-${this.#named++}`,
      service: { name: SERVICE_NAME, topic: this.topic, ...this.#options.service },
      kafka: this.#options.kafka ?? { brokers: [...this.brokers] },
      redis: this.#options.redis ?? { url: this.#options.redisReference ?? this.redisUrl },
      admin: { host: '127.0.0.1', port: adminPort },
      log: { level: this.#options.logLevel ?? ('debug' as const) },
    }
  }

  #start(config: Named, env: Readonly<Record<string, string>>): Sidecar {
    const configFile = join(this.directory, `${config.instance}.json`)
    writeFileSync(configFile, JSON.stringify(config, null, 2))
    return {
      process: this.spawn('sidecar/main.ts', ['--config', configFile], env),
      adminPort: config.admin.port,
      configFile,
      config,
    }
  }

  async ready(sidecar: Sidecar): Promise<void> {
    await until(
      `${sidecar.config.instance} is ready`,
      async () => {
        if (!sidecar.process.running)
          throw new Error(`${sidecar.config.instance} ended:\n${sidecar.process.lines.slice(-20).join('\n')}`)
        return (await this.status(sidecar, '/readyz')) === 200
      },
      READY_MILLISECONDS,
    ).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}\n${sidecar.process.lines.slice(-20).join('\n')}`)
    })
  }

  async status(sidecar: Sidecar, path: string): Promise<number> {
    return fetch(`http://127.0.0.1:${sidecar.adminPort}${path}`).then(
      ({ status }) => status,
      () => 0,
    )
  }

  /** The sum of a metric over the series whose labels contain the text. */
  async metric(sidecar: Sidecar, name: string, labels = ''): Promise<number> {
    const text = await (await fetch(`http://127.0.0.1:${sidecar.adminPort}/metrics`)).text()
    return text
      .split('\n')
      .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
      .filter((line) => line.includes(labels))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
  }

  /** Calls the method; never rejects: every status is an answer. */
  call(
    instruction: Instruction | Buffer,
    { deadline = 20_000, metadata = new Metadata(), proxy = 0, method = METHOD, signal }: CallOptions = {},
  ): Promise<Answer> {
    const target = this.proxies[proxy]
    if (target === undefined) throw new Error(`there is no proxy ${proxy}`)
    const request = Buffer.isBuffer(instruction) ? instruction : Buffer.from(JSON.stringify(instruction))
    const started = performance.now()
    return new Promise((resolve) => {
      let initial = new Metadata()
      let trailing = new Metadata()
      const call = target.client.makeUnaryRequest(
        method,
        (bytes: Buffer) => bytes,
        (bytes: Buffer) => bytes,
        request,
        metadata,
        { deadline: deadline === Infinity ? Infinity : Date.now() + deadline },
        (error: ServiceError | null, reply?: Buffer) => {
          // The status event comes with or right after the callback: its metadata is wanted too.
          setImmediate(() =>
            resolve({
              code: error?.code ?? 0,
              details: error?.details ?? '',
              ...(reply === undefined ? {} : { reply }),
              initial,
              trailing: error?.metadata ?? trailing,
              milliseconds: performance.now() - started,
            }),
          )
        },
      )
      call.on('metadata', (value: Metadata) => (initial = value))
      call.on('status', (status: { metadata: Metadata }) => (trailing = status.metadata))
      signal?.addEventListener('abort', () => call.cancel())
    })
  }

  ledger(): LedgerEntry[] {
    if (!existsSync(this.ledgerFile)) return []
    // A handler may be in the middle of its line: the last one counts once it has ended.
    return readFileSync(this.ledgerFile, 'utf8')
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as LedgerEntry)
  }

  /** How often each call began, by the test's own names. */
  runs(): Map<string, number> {
    const counts = new Map<string, number>()
    for (const { event, id } of this.ledger())
      if (event === 'began' && id !== undefined) counts.set(id, (counts.get(id) ?? 0) + 1)
    return counts
  }

  /** Records that the topic holds, over all partitions. */
  async records(topic = this.topic): Promise<number> {
    const offsets = await this.admin.fetchTopicOffsets(topic)
    return offsets.reduce((sum, { high, low }) => sum + Number(high) - Number(low), 0)
  }

  /** Records that are not committed, those that wait for their next attempt too. */
  async lag(): Promise<number> {
    const lags = await Promise.all([this.topic, ...this.retryTopics].map((topic) => this.#lagOf(topic)))
    return lags.reduce((sum, one) => sum + one)
  }

  async #lagOf(topic: string): Promise<number> {
    const [ends, [committed]] = await Promise.all([
      this.admin.fetchTopicOffsets(topic),
      this.admin.fetchOffsets({ groupId: this.groupId, topics: [topic] }),
    ])
    return ends.reduce((sum, { partition, high }) => {
      const offset = Number(committed?.partitions.find((one) => one.partition === partition)?.offset ?? -1)
      return sum + Number(high) - Math.max(0, offset)
    }, 0)
  }
}

/** Resolves when they have leaders. kafkajs' own waiting fails when a broker has not heard of a topic yet, as it may on a busy machine. */
export async function createTopics(admin: Admin, topics: ITopicConfig[]): Promise<void> {
  await admin.createTopics({ waitForLeaders: false, topics })
  const names = topics.map(({ topic }) => topic)
  await until('the topics have leaders', () =>
    admin.fetchTopicMetadata({ topics: names }).then(
      (found) => found.topics.every(({ partitions }) => partitions.every(({ leader }) => leader >= 0)),
      () => false,
    ),
  )
}

export interface CallOptions {
  readonly deadline?: number
  readonly metadata?: Metadata
  readonly proxy?: number
  readonly method?: string
  readonly signal?: AbortSignal
}

/** Starts topics, workers and proxies, and ends them with the test. */
export async function startRoute(t: TestContext, options: RouteOptions = {}): Promise<Route> {
  const route = new Route(options)
  atEnd(t, () => route.close())
  // A failure that comes once in a hundred runs is understood from what the processes said, or not at all.
  atEnd(t, () => {
    if (!t.passed) t.diagnostic(route.lastWords())
  })
  await route.createTopics()
  const workers = Array.from({ length: options.workers ?? 1 }, () => route.startWorker())
  const proxies = Array.from({ length: options.proxies ?? 1 }, () => route.startProxy())
  await Promise.all([...workers, ...proxies])
  return route
}
