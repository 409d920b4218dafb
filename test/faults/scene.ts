/** The route of one run: proxies, workers and handlers as processes, on topics of its own, and its clients. */
import { copyFileSync, existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Route, until } from '../integration/support/route.ts'
import type { Process, Proxy, Sidecar, Worker } from '../integration/support/route.ts'
import { HURRIED_MILLISECONDS, PATIENT_MILLISECONDS } from './call-mix.ts'
import type { ClientOptions, ClientReport } from './client.ts'
import type { Mode } from './handler.ts'
import type { History } from './history.ts'
import { OFFSETS_TOPIC } from './offsets-topic.ts'
import type { Platform } from './platform.ts'

export const PROXIES = 2
export const WORKERS = 3
export const MAX_ATTEMPTS = 4
export const RETENTION_SECONDS = 86_400
/** How long anything here may take to be there again, on a machine that does much else. */
const HEAL_MILLISECONDS = 120_000
const HEALTHY: Mode = { sleepMilliseconds: 0, failPercent: 0 }

export class Scene {
  readonly platform: Platform
  readonly route: Route
  /** Ledgers and the handlers' mode; kept where something was found. */
  readonly directory: string
  readonly clientLedgers: string[] = []
  readonly delayLedger: string
  readonly #modeFile: string
  readonly #processes: Process[] = []
  #isKept = false

  private constructor(platform: Platform) {
    this.platform = platform
    this.directory = mkdtempSync(join(platform.directory, 'run-'))
    this.#modeFile = join(this.directory, 'mode')
    this.delayLedger = join(this.directory, 'delays')
    writeFileSync(this.delayLedger, '')
    this.setMode({})
    this.route = new Route({
      brokers: platform.cluster.brokers,
      kafka: { brokers: [...platform.brokers] },
      redisUrl: platform.redisUrl,
      partitions: 6,
      replicationFactor: 3,
      retryTopics: MAX_ATTEMPTS - 1,
      topicConfig: { 'min.insync.replicas': '2' },
      logLevel: 'warn',
      handlerScript: 'test/faults/handler.ts',
      handlerEnv: { MODE_FILE: this.#modeFile },
      service: { resultRetentionSeconds: RETENTION_SECONDS },
      proxy: { methods: METHODS },
      proxyEnv: (index) => this.#proxyEnv(index),
      worker: {
        methods: METHODS,
        concurrency: 32,
        timeoutMilliseconds: 5000,
        graceSeconds: 12,
        retry: {
          maxAttempts: MAX_ATTEMPTS,
          backoff: { initialMilliseconds: 200, factorPercent: 200, jitterPercent: 20 },
          retryableCodes: ['UNAVAILABLE'],
        },
      },
    })
  }

  /** Gone with the stack. */
  static async start(platform: Platform, stack: AsyncDisposableStack): Promise<Scene> {
    const scene = new Scene(platform)
    // Proxies write there until they are gone.
    stack.defer(() => scene.#discard())
    stack.defer(() => scene.route.close())
    await scene.route.createTopics()
    await Promise.all([
      ...Array.from({ length: WORKERS }, () => scene.route.startWorker()),
      ...Array.from({ length: PROXIES }, () => scene.route.startProxy()),
    ])
    return scene
  }

  #proxyEnv(index: number): Readonly<Record<string, string>> {
    return { TEST_IMPORT: 'test/faults/delay-ledger.ts', DELAY_LEDGER: this.delayLedger, PROXY: String(index) }
  }

  get topics(): readonly string[] {
    return [this.route.topic, ...this.route.retryTopics]
  }

  /** What is wrong with all handlers from now on; nothing where not given. */
  setMode(mode: Partial<Mode>): void {
    // Handlers read it at any time: it is there whole, or as it was.
    writeFileSync(`${this.#modeFile}.new`, JSON.stringify({ ...HEALTHY, ...mode }))
    renameSync(`${this.#modeFile}.new`, this.#modeFile)
  }

  startClient(options: Omit<ClientOptions, 'proxies' | 'ledger'>): Process {
    const ledger = join(this.directory, `client-${options.name}`)
    writeFileSync(ledger, '')
    this.clientLedgers.push(ledger)
    const proxies = this.route.proxies.map(({ port }) => port)
    const client = this.route.spawn('test/faults/client.ts', [JSON.stringify({ ...options, proxies, ledger })])
    this.#processes.push(client)
    return client
  }

  /** What the clients have said of themselves together. */
  get clients(): ClientReport {
    const reports = this.#processes.map((client) => {
      const last = client.lines.findLast((line) => line.startsWith('{"inFlight"'))
      const report = last === undefined ? { inFlight: 0, ok: 0 } : (JSON.parse(last) as ClientReport)
      // One that ended has nothing in flight, whatever it said last.
      return client.running ? report : { ...report, inFlight: 0 }
    })
    return {
      inFlight: reports.reduce((sum, { inFlight }) => sum + inFlight, 0),
      ok: reports.reduce((sum, { ok }) => sum + ok, 0),
    }
  }

  /** Resolves when so many calls more were answered with OK. */
  async goesOn(calls: number): Promise<void> {
    const goal = this.clients.ok + calls
    await this.until(`${calls} calls are answered`, () => this.clients.ok >= goal)
  }

  /** Starts a sidecar again as it was, after it was killed. */
  async restart(kind: 'worker' | 'proxy', number: number): Promise<void> {
    const { route } = this
    const sidecar = kind === 'worker' ? route.workers[number]! : route.proxies[number]!
    const env = kind === 'proxy' ? this.#proxyEnv(number) : {}
    const process = route.spawn('sidecar/main.ts', ['--config', sidecar.configFile], env)
    if (kind === 'worker') route.workers[number] = { ...(sidecar as Worker), process }
    else route.proxies[number] = { ...(sidecar as Proxy), process }
    await this.#ready({ ...sidecar, process })
  }

  /**
   * Resolves when all parts are ready and every partition has its copies in sync.
   * @throws where a part has ended that nobody killed.
   */
  async untilWhole(): Promise<void> {
    const { route } = this
    const parts = [...route.workers, ...route.proxies].map(({ process }) => process)
    for (const one of [...parts, ...route.workers.map(({ handler }) => handler)]) {
      if (!one.running) throw new Error(`process ${one.child.pid} ended by itself:\n${one.lines.slice(-20).join('\n')}`)
    }
    await Promise.all([...route.workers, ...route.proxies].map((sidecar) => this.#ready(sidecar)))
    await this.until('every copy is in sync', async () => {
      const asked = route.admin.fetchTopicMetadata({ topics: [...this.topics, OFFSETS_TOPIC] })
      // A question may find no broker that answers.
      const found = await asked.catch(() => undefined)
      return found?.topics.every(({ partitions }) => partitions.every(({ isr }) => isr.length === 3)) === true
    })
  }

  async #ready(sidecar: Sidecar): Promise<void> {
    await this.route.ready(sidecar).catch(async (cause: unknown) => {
      const reason = await fetch(`http://127.0.0.1:${sidecar.adminPort}/readyz`).then(
        (response) => response.text(),
        (error: unknown) => String(error),
      )
      throw new Error(`${sidecar.config.instance} is not ready: ${reason.trim()}`, { cause })
    })
  }

  /** Resolves when everything that is on the topics is finished and committed. */
  async untilDrained(): Promise<void> {
    await this.until('no offset waits', async () => (await this.route.lag().catch(() => -1)) === 0)
  }

  /** Whoever ends the run does not wait for what cannot come any more. */
  async until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
    const { closing } = this.route
    const asked = (): boolean | Promise<boolean> => {
      closing.throwIfAborted()
      return condition()
    }
    await until(what, asked, HEAL_MILLISECONDS)
  }

  #discard(): void {
    if (!this.#isKept) rmSync(this.directory, { recursive: true, force: true })
  }

  /**
   * Leaves the ledgers behind, and what else would go with the route: the handlers' ledger, the last words of all, and
   * what was judged where it came to that.
   */
  keep(history: History | undefined): void {
    this.#isKept = true
    if (history !== undefined) {
      const { buried, exempt } = history
      const text = JSON.stringify({ ...history, buried: [...buried], exempt: [...exempt] })
      writeFileSync(join(this.directory, 'history'), text)
    }
    if (existsSync(this.route.ledgerFile)) copyFileSync(this.route.ledgerFile, join(this.directory, 'handlers'))
    writeFileSync(join(this.directory, 'last-words'), this.route.lastWords(200))
  }
}

const METHODS = [
  { name: 'Do', timeoutMilliseconds: PATIENT_MILLISECONDS },
  { name: 'Also', timeoutMilliseconds: HURRIED_MILLISECONDS },
]
