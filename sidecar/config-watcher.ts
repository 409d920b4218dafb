import { createHash } from 'node:crypto'
import type { Hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { isDeepStrictEqual } from 'node:util'
import { ConfigError, loadConfig } from './config.ts'
import type { SidecarConfig } from './config.ts'
import { settingsThatNeedRestart } from './hot-settings.ts'
import type { LiveConfig } from './live-config.ts'
import type { Logger } from './telemetry/log.ts'
import type { Counter, Gauge, Metrics } from './telemetry/metrics.ts'

const INTERVAL_MILLISECONDS = 1000

export interface ConfigWatcherOptions {
  /** The configuration file. */
  readonly file: string
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly live: LiveConfig<SidecarConfig>
  readonly logger: Logger
  readonly metrics: Metrics
}

/**
 * Looks once a second whether the configuration file, or a file that it names for a secret or for TLS, holds something
 * else than before, and applies it: all of a change or nothing of it. Contents are compared, not events or dates: a
 * mounted ConfigMap or Secret changes by a symlink that is swapped several directories above the file.
 */
export class ConfigWatcher {
  readonly #options: ConfigWatcherOptions
  readonly #applied: Counter
  readonly #refused: Counter
  readonly #successful: Gauge
  #seen: string | undefined
  #timer: NodeJS.Timeout | undefined
  #looking: Promise<void> = Promise.resolve()
  #closed = false

  constructor(options: ConfigWatcherOptions) {
    const { metrics } = options
    this.#options = options
    this.#applied = metrics.counter('grpc_kafka_config_reloads_total', { result: 'applied' })
    this.#refused = metrics.counter('grpc_kafka_config_reloads_total', { result: 'refused' })
    this.#successful = metrics.gauge('grpc_kafka_config_last_reload_successful')
    this.#successful.set(1)
  }

  /** What was loaded before is applied already; what changed since is found. */
  start(): void {
    this.#looking = this.#looking.then(() => this.#look(true))
    this.#schedule()
  }

  /** Looks at once, and tells of the result also where nothing has changed. */
  lookNow(): void {
    this.#looking = this.#looking.then(() => {
      this.#seen = undefined
      return this.#look(false)
    })
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  #schedule(): void {
    this.#timer = setTimeout(() => {
      this.#looking = this.#looking
        .then(() => this.#look(false))
        .finally(() => {
          if (!this.#closed) this.#schedule()
        })
    }, INTERVAL_MILLISECONDS).unref()
  }

  async #look(first: boolean): Promise<void> {
    const seen = await digestOfFiles(this.#options.file)
    if (this.#closed || seen === this.#seen) return
    this.#seen = seen
    // Read anew: what changed since the digest has another one at the next look.
    this.#reload(first)
  }

  #reload(first: boolean): void {
    const { file, environment, live, logger } = this.#options
    let next: SidecarConfig
    try {
      next = loadConfig(file, environment)
    } catch (error) {
      // Whatever else it was, the message may quote what nobody is to read; it must not end a process that works.
      this.#refuse(
        error instanceof ConfigError ? error.problems : [`(file): ${file} cannot be used (${(error as Error).name})`],
      )
      return
    }
    const cold = settingsThatNeedRestart(live.current, next)
    if (cold.length > 0) {
      this.#refuse(cold.map((path) => `${path}: cannot change while the sidecar runs; it needs a restart`))
      return
    }
    if (first && isDeepStrictEqual(next, live.current)) return
    live.replace(next)
    this.#applied.inc()
    this.#successful.set(1)
    logger.info('the configuration was read again and applied')
  }

  #refuse(problems: readonly string[]): void {
    this.#refused.inc()
    this.#successful.set(0)
    this.#options.logger.error({ problems }, 'the changed configuration is not applied; the earlier one stays')
  }
}

/** One digest over the configuration file and the files that it names; it tells nothing of the secrets in them. */
async function digestOfFiles(file: string): Promise<string> {
  const hash = createHash('sha256')
  const text = await addTo(hash, file)
  for (const named of namedFiles(text)) await addTo(hash, named)
  return hash.digest('base64')
}

async function addTo(hash: Hash, file: string): Promise<string> {
  const bytes = await readFile(file).catch((error: unknown) =>
    Buffer.from((error as NodeJS.ErrnoException).code ?? 'unknown'),
  )
  hash.update(`${file.length}:${file}${bytes.length}:`).update(bytes)
  return bytes.toString()
}

/** Fields that name a file whose contents count: secrets by reference, certificates, keys. */
const FILE_FIELDS: ReadonlySet<string> = new Set(['file', 'caFile', 'certFile', 'keyFile'])

function namedFiles(text: string): readonly string[] {
  const found = new Set<string>()
  try {
    JSON.parse(text, (key, value: unknown) => {
      if (FILE_FIELDS.has(key) && typeof value === 'string') found.add(value)
      return value
    })
  } catch {
    // No JSON: the loader says so.
  }
  return [...found]
}
